/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* stream/source.h - the bytes of an image as they lie on a descriptor: file, pipe or socket. Short reads, EINTR and
 * non-blocking descriptors end here. Knows nothing of compression or streams, and of no timeout: see input.h. */
#pragma once

#include <stdatomic.h>

#include "stream/feeder.h"

typedef struct Source {
        int fd;      /* borrowed, or the end of the feeder's pipe */
        int stop_fd; /* readable: somebody wants the read to end (-ECANCELED); borrowed, -1: nobody */
        bool polls; /* pipe or socket: wait in poll(), not in read() */
        Feeder feeder;
        _Atomic uint64_t bytes;     /* of the image, up to where the next read begins */
        _Atomic uint64_t last_usec; /* when the last byte came, CLOCK_MONOTONIC */
} Source;

/* Checks that @fd can be read as an image, without a question to a file system that may not answer. Errors: -EBADF, -EISDIR,
 * -EINVAL, all ERR_BAD_INPUT. */
int source_init(Source *s, int fd, int stop_fd, Err **reterr);

/* Before the first byte, on the thread that will read: a file that is not surely answered comes through a feeder from now on.
 * Waits, until @stop_fd. */
int source_open(Source *s, Err **reterr);

/* What is borrowed stays open. */
void source_done(Source *s);

/* Goes on to byte @to of the image, from the one that @fd stands at: seeks in a file, reads the rest of others past, into
 * @buf. Before the first source_read(). -ESPIPE (ERR_CONFLICT) where that lies behind already. */
int source_skip(Source *s, uint64_t at, uint64_t to, void *buf, size_t size, Err **reterr);

/* Fills @buf whole unless the input ends; *@ret is the number of bytes, 0 at the end. */
int source_read(Source *s, void *buf, size_t size, size_t *ret, Err **reterr);
