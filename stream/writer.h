/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* stream/writer.h - a thread that writes the data of files and finishes them, in the order given, while the applier goes
 * on to the next names. Knows descriptors and data only, no paths. */
#pragma once

#include "stream/file.h"

typedef struct Writer Writer;

/* Starts the thread, with all signals blocked. */
int writer_new(Writer **ret, Err **reterr);

/* What waits is not done any more. */
Writer *writer_free(Writer *w);
DEFINE_CLEANUP(Writer, writer_free)

/* Hands over what @f holds; with @last the file too, to be finished and freed. Waits where too much is waiting already.
 * Returns the error of any earlier piece of work; @f is taken also then. */
int writer_submit(Writer *w, File *f, bool last, Err **reterr);

/* Sees to it that the thread works on what it has been given: before waiting for anything that may hang on that. */
void writer_kick(Writer *w);

/* Waits until everything is done, and returns the error of any of it. */
int writer_drain(Writer *w, Err **reterr);
