/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* os/inodes.h - which transaction changed each inode of a subvolume last: its content, its attributes, anything. Reads
 * metadata alone. */
#pragma once

#include "base/err.h"

typedef struct InodeList {
        size_t n;
        struct InodeChange {
                uint64_t ino;
                uint64_t transid;
        } * items; /* by rising ino; 16 bytes an inode */
} InodeList;

void inode_list_done(InodeList *l);

/* Of the subvolume at @fd, which should be read-only and synced: what waits for its transaction is not seen. */
int inode_list_read(int fd, InodeList *ret, Err **reterr);

/* 0 where there is no such inode. */
uint64_t inode_list_transid(const InodeList *l, uint64_t ino);
