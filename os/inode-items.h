/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* os/inode-items.h - what a Btrfs subvolume holds of its inodes, many in one call: straight from its tree, where a small
 * file has its content too. Reads metadata alone, and what the last commit wrote. */
#pragma once

#include "base/err.h"

typedef struct InodeItems InodeItems;

/* Of the subvolume that @fd lies in; it is synced first. -EOPNOTSUPP, without a story, where this cannot be told of it: no
 * Btrfs, writable (its tree may lag behind), no permission. */
int inode_items_open(int fd, InodeItems **ret, Err **reterr);
InodeItems *inode_items_free(InodeItems *x);
DEFINE_CLEANUP(InodeItems, inode_items_free)

/* Extended attributes as the tree has them, in its order. */
typedef struct InodeXattr {
        const char *name; /* without a NUL */
        const uint8_t *value;
        uint16_t name_size;
        uint16_t value_size;
} InodeXattr;

/* All pointers are good until the callback returns. */
typedef struct InodeFacts {
        uint64_t ino;
        uint64_t transid; /* the transaction that changed anything of it last */
        uint64_t size;
        int64_t mtime_sec;
        uint32_t mtime_nsec;
        uint32_t mode, uid, gid, nlink;
        const InodeXattr *xattrs;
        size_t n_xattrs;
        const uint8_t *content; /* all @size bytes of it; NULL: they are elsewhere, or packed */
} InodeFacts;

/* Calls @each for the inodes @inos[0..@n), which rise and may repeat, in that order; @facts is NULL for what is not there
 * or has more items than a reading takes: ask for it by name. Stops at the first negative answer and returns that. */
int inode_items_read(InodeItems *x, const uint64_t *inos, size_t n,
                int (*each)(void *userdata, size_t i, const InodeFacts *facts), void *userdata,
                Err **reterr);

/* Adds up what the files take on disk, reading every leaf of the tree: one that cannot be read is an error. */
int inode_items_size(InodeItems *x, uint64_t *ret_bytes, Err **reterr);
