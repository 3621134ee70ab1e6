/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* stream/bases.h - what a stream may build on or share data with: what this image has brought so far, and what the
 * caller finds. Nothing else is reachable from a stream. */
#pragma once

#include "stream/receive.h"

typedef struct Base {
        uint8_t uuid[16];
        int fd;
} Base;

typedef struct Bases {
        Base *items;
        size_t count;
} Bases;

void bases_done(Bases *b);

/* Takes @fd, also where it fails. */
int bases_add(Bases *b, const uint8_t uuid[static 16], int fd, Err **reterr);

/* A borrowed descriptor of a read-only subvolume. Errors: -ENOENT (ERR_PARENT_MISSING), those of find_base. */
int bases_find(Bases *b, const StreamArgs *args, const uint8_t uuid[static 16], uint64_t ctransid,
                int *ret_fd, Err **reterr);
