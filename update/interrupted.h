/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* update/interrupted.h - the job that the journal says was cut off: finish it or take it back,
 * and tell its end. */
#pragma once

#include "update/job.h"

/* Does nothing where the journal is idle. @f is read before, and stale afterwards. Repeatable; a
 * cut in it leaves the journal as it is, so that it comes again. */
int interrupted_end(Machine *m, Facts *f, Err **reterr);
