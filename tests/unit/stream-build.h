/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* tests/unit/stream-build.h - send streams made by hand, and fed in blocks of any size. The Python twin with all
 * commands is tests/stream/streamwriter.py. */
#pragma once

#include "stream/reader.h"

typedef struct Build {
        uint8_t *data;
        size_t size;
        size_t command; /* where the open one begins */
        uint32_t version;
} Build;

void build_header(Build *b, uint32_t version);
void build_begin(Build *b, uint16_t number);
void build_attr(Build *b, uint16_t attr, const void *data, size_t size);
void build_text(Build *b, uint16_t attr, const char *text);
void build_u64(Build *b, uint16_t attr, uint64_t v);
void build_finish(Build *b); /* length and checksum */
void build_raw(Build *b, const void *data, size_t size);
void build_done(Build *b);

/* Whole commands. */
void build_subvol(Build *b, const char *name);
void build_path(Build *b, CommandKind kind, const char *path); /* unlink and the like */
void build_write(Build *b, const char *path, uint64_t offset, const void *data, size_t size);
void build_end(Build *b);

/* Blocks of @step bytes out of @data; feed_next() is a BlockNext. Two buffers do: a reader holds at most two. */
typedef struct Feed {
        const uint8_t *data;
        size_t size, step;
        Block blocks[2];
        uint8_t *buffers[2];
        unsigned turn;
} Feed;

void feed_init(Feed *f, const void *data, size_t size, size_t step);
void feed_done(Feed *f);

/* Begins again with other data: the buffers stay. */
void feed_again(Feed *f, const void *data, size_t size);
int feed_next(void *userdata, Block **ret, Err **reterr);
