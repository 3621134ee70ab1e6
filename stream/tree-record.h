/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* stream/tree-record.h - what a record of the tree digest says of an inode, from "mode" on: docs/image-format.md. Made by
 * name, or from the items of the subvolume, which is the same and quicker. */
#pragma once

#include <openssl/evp.h>
#include <sys/stat.h>

#include "os/inode-items.h"
#include "stream/contents.h"

typedef struct Bytes {
        uint8_t *data;
        size_t size, room;
        bool failed; /* memory was short: what is there is not all */
} Bytes;

void bytes_put(Bytes *b, const void *data, size_t size);
void bytes_put32(Bytes *b, uint64_t v);
void bytes_put64(Bytes *b, uint64_t v);
void bytes_put_text(Bytes *b, const void *text, size_t size);

typedef struct InodePart {
        Bytes bytes; /* the caller frees bytes.data */
        bool made;
        bool wants_content; /* a file: its SHA-256 belongs behind the bytes, and is not known */
        bool was_known;     /* it was, from a base: worth telling the next one */
        uint32_t mode;
        uint64_t ino, nlink, size;
        uint64_t transid; /* 0: not known */
} InodePart;

/* By name: @st is what it is. -errno, without a story. */
int part_from_name(int dir_fd, const char *name, const struct stat *st, InodePart *ret);

/* Of a file, or of a symbolic link that has its content in @f. Content that is in @known, which may be NULL, is taken from
 * there. @ctx is for use here. -errno, without a story. */
int part_from_facts(const InodeFacts *f, const Contents *known, EVP_MD_CTX *ctx,
                const EVP_MD *sha256, InodePart *ret);
