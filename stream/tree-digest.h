/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* stream/tree-digest.h - one SHA-256 for everything that a subvolume is: docs/image-format.md says of what. Reads only. */
#pragma once

#include "stream/contents.h"

typedef struct TreeDigestArgs {
        int fd; /* a directory, a real descriptor; subvolumes below it are left out */
        bool from_disk; /* drop what is cached of each file first: what counts is what the disk gives back */
        const Contents *known; /* files that need not be read; NULL: read all */
        Contents *found; /* gets the content of every file; NULL: nobody asks. Both are of subvolumes only */
        unsigned threads; /* besides the caller, for content; 0: as the machine has processors */
        void *userdata;
        /* A few times a second at most: bytes of content read so far. Non-zero stops (-ECANCELED). May be NULL. */
        int (*progress)(void *userdata, uint64_t bytes);
} TreeDigestArgs;

typedef struct TreeDigest {
        uint8_t digest[MANIFEST_DIGEST_SIZE];
        uint64_t names, bytes; /* bytes: read from files; small ones come with the items of the subvolume */
        uint64_t max_file_size;
} TreeDigest;

/* A read-only subvolume is synced and read from its items (os/inode-items.h), another tree by its names: the digest is the
 * same. The tree must not change meanwhile. Memory is bounded but for hard links and the widest directories. Errors: -EIO and
 * what else reading meets, with the path; -ECANCELED; -ENOMEM. */
int tree_digest(const TreeDigestArgs *args, TreeDigest *ret, Err **reterr);
