/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* stream/source.h - the bytes of an image as they lie on a descriptor: file, pipe or socket. Short reads, EINTR and
 * non-blocking descriptors end here. Knows nothing of compression or streams, and of no timeout: see input.h. */
#pragma once

#include <stdatomic.h>

#include "base/err.h"

typedef struct Source {
        int fd;      /* borrowed */
        int stop_fd; /* readable: somebody wants the read to end (-ECANCELED); borrowed, -1: nobody */
        bool polls;                 /* pipe or socket: wait in poll(), not in read() */
        _Atomic uint64_t bytes;     /* read so far */
        _Atomic uint64_t last_usec; /* when the last byte came, CLOCK_MONOTONIC */
} Source;

/* Checks that @fd can be read as an image. Errors: -EBADF, -EISDIR, -EINVAL, all ERR_BAD_INPUT. */
int source_init(Source *s, int fd, int stop_fd, Err **reterr);

/* Fills @buf whole unless the input ends; *@ret is the number of bytes, 0 at the end. */
int source_read(Source *s, void *buf, size_t size, size_t *ret, Err **reterr);
