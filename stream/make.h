/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* stream/make.h - from read-only subvolumes to an image: sent by the kernel, packed, hashed as it is written, and put
 * through the same gate that will receive it. Signs nothing. */
#pragma once

#include "stream/manifest.h"

typedef struct MakeSource {
        int fd;           /* a read-only subvolume, borrowed */
        int parent_fd;    /* read-only subvolume that it builds on, borrowed; -1: full */
        const char *path; /* where it belongs in the system */
} MakeSource;

typedef struct MakeArgs {
        const MakeSource *sources;
        size_t n_sources;
        int out_fd;              /* a regular file, readable and writable, empty; borrowed */
        Compression compression; /* none or zstd */
        int level;               /* of zstd, 1 to 19 */
        void *userdata;
        /* A few times a second at most: bytes of the streams so far. Non-zero stops (-ECANCELED). May be NULL. */
        int (*progress)(void *userdata, uint64_t bytes);
} MakeArgs;

/* Fills in of @m what follows from the image: chunks, sizes, compression, versions, subvolumes with their digests; the
 * flags of Allow= must be set before, and what they forbid is an error (ERR_FORBIDDEN_CONTENT). The same subvolumes give
 * the same bytes. Needs CAP_SYS_ADMIN. */
int image_make(const MakeArgs *args, Manifest *m, Err **reterr);
