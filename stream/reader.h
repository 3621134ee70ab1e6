/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* stream/reader.h - the framing of send streams: headers, lengths, checksums, and streams one after another.
 * Blocks in, raw commands out; does not look into a command. */
#pragma once

#include "stream/command.h"
#include "stream/input.h"

/* A command with its header. The kernel makes none above 144 KiB. */
#define COMMAND_SIZE_MAX INPUT_HEADROOM

/* Where blocks come from: 1 and a block with one reference, 0 at the end, or an error. */
typedef int (*BlockNext)(void *userdata, Block **ret, Err **reterr);

typedef struct Reader {
        BlockNext next;
        void *userdata;
        Block *block;      /* holds the current command */
        const uint8_t *at; /* the byte that comes next */
        size_t left;       /* bytes from there to the end of the block */
        uint64_t offset;   /* of that byte in the unpacked stream */
        uint32_t version;  /* of the stream; 0: a header must come */
} Reader;

void reader_init(Reader *r, BlockNext next, void *userdata);
void reader_done(Reader *r);

/* Before the first command: the blocks begin at byte @from of the stream, the next command at byte @to, in a stream of
 * @version. ERR_TRUNCATED where they end first. */
int reader_skip(Reader *r, uint64_t from, uint64_t to, uint32_t version, Err **reterr);

/* 1 and the next command, which stays valid until the next call, or for as long as a reference to @r->block is held.
 * 0: the input ends after the END of a stream. Errors: -EBADMSG (ERR_BAD_STREAM, ERR_TRUNCATED), -EOPNOTSUPP
 * (ERR_NOT_SUPPORTED) for a later version, and those of @next. */
int reader_next(Reader *r, RawCommand *ret, Err **reterr);
