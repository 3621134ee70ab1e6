/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* stream/apply.h - commands that passed the gate become files. Every path is resolved beneath the one subvolume that
 * is being made; the only other thing that can be read is the source of a clone. Knows nothing of bytes and framing. */
#pragma once

#include "stream/command.h"
#include "stream/receive.h"

typedef struct Applier Applier;

/* @args is borrowed. */
int applier_new(const StreamArgs *args, int dest_fd, Applier **ret, Err **reterr);
Applier *applier_free(Applier *a);
DEFINE_CLEANUP(Applier, applier_free)

/* SUBVOL and SNAPSHOT begin a subvolume; END finishes it: sealed (see subvol.h) when this returns. After an error
 * nothing more may be applied. */
int applier_apply(Applier *a, const Command *c, Err **reterr);

/* 1: all that was applied is in files (not on the disk yet), and a copy of the subvolume made now is where another applier
 * can go on. 0: it is not at such a place. */
int applier_settle(Applier *a, Err **reterr);

/* After it: what the files do not say. */
void applier_describe(const Applier *a, StreamPosition *p);

/* Instead of the first SUBVOL or SNAPSHOT: goes on in the subvolume that is in @dest_fd, as it was at @p. */
int applier_resume(Applier *a, const StreamPosition *p, Err **reterr);

/* Before waiting for more input: what is held of it may be what the input needs. */
void applier_wait(Applier *a);
