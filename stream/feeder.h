/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* stream/feeder.h - a file whose file system may never answer, as a pipe. Whoever reads a file of a FUSE server that says
 * nothing cannot be killed, and a process does not end before its last thread does. So that is a process of its own,
 * which holds nothing but the file and the pipe, and nobody waits for it. */
#pragma once

#include <sys/types.h>

#include "base/err.h"

typedef struct Feeder {
        pid_t pid; /* 0: none */
        int fd;    /* the end of the pipe to read from; -1: none */
} Feeder;

/* Starts a process that asks where @fd, a regular file, lies. What it says is the first byte from ret->fd, which may never
 * come: feeder_wanted(). It ends with the thread that calls this. */
int feeder_start(int fd, Feeder *ret, Err **reterr);

/* Takes that first byte. 1: the file from where it stands follows in the pipe; 0: it lies where reads end, and the feeder is
 * done with. Negative errno: what kept it from asking. */
int feeder_wanted(Feeder *f, Err **reterr);

/* When the pipe has ended: 0, or the negative errno of the read that failed. */
int feeder_result(Feeder *f);

/* Leaves it behind: it is killed, as soon as that is possible. */
void feeder_done(Feeder *f);
