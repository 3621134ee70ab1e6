/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* os/process.h - run a program from $PATH and wait for it. */
#pragma once

#include "base/err.h"

/* Runs argv[0] with standard input from /dev/null and its output dropped but for the last line
 * of standard error, which goes into the story. @fds (ended by -1, may be NULL) are kept open at
 * their numbers. -ENOENT where there is no such program, -ECHILD where it failed. */
int program_run(const char *const argv[], const int *fds, Err **reterr);

/* The same, and gives how it ended: 0, or the positive exit status with its story in @reterr. Negative
 * where there is none, for it did not run or was killed. */
int program_status(const char *const argv[], Err **reterr);

/* As program_run(), and gives what the program wrote to its standard output, at most @max bytes (-EFBIG), with
 * a NUL behind. */
int program_read(const char *const argv[], const int *fds, size_t max, char **ret, Err **reterr);
