/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* stream/input.h - a thread of its own reads and unpacks the image ahead of who applies it. What comes out is blocks
 * of plain bytes, which stay in memory for as long as somebody holds them. Knows nothing of commands. */
#pragma once

#include <stdatomic.h>

#include "stream/manifest.h"

#define INPUT_BLOCK_SIZE (1u << 20)
#define INPUT_HEADROOM                                                                             \
        (256u << 10) /* free bytes in front of data: the tail of the block before can go there */

typedef struct Input Input;

typedef struct Block Block;

/* What lies from byte @input of the image on unpacks, on its own, to byte @plain of the stream and what follows. */
typedef struct Restart {
        uint64_t input, plain;
} Restart;

struct Block {
        uint8_t *data; /* INPUT_HEADROOM bytes in front of it are the reader's */
        size_t size;
        atomic_uint refs;
        Restart restart; /* the last place from which this block can be had again */
        Input *owner;    /* NULL: does not belong to a ring */
};

typedef struct InputArgs {
        int fd;
        const Manifest *manifest; /* what must come; only until input_new() returns. NULL: anything may */
        uint64_t at;              /* byte of the image that @fd stands at */
        Restart start;            /* read from there on; only with a manifest */
        bool raw;                 /* not an image: packed bytes stay as they are */
        uint64_t stall_usec; /* 0: never */
        void *userdata;
        int (*chunk)(void *userdata, const uint8_t *data, size_t size, Err **reterr);
        int (*progress)(void *userdata, uint64_t bytes);
} InputArgs;

/* Starts the thread, with all signals blocked. @args is copied. */
int input_new(const InputArgs *args, Input **ret, Err **reterr);

/* Ends the thread. No block may be held any more. */
Input *input_free(Input *in);
DEFINE_CLEANUP(Input, input_free)

/* The next block, with one reference for the caller: 1, or 0 at the end of the image. Calls progress meanwhile.
 * Errors: whatever reading and unpacking met, in its place after the good blocks; -ETIMEDOUT (ERR_STALLED);
 * -ECANCELED where progress asked for it. */
int input_next(Input *in, Block **ret, Err **reterr);

/* Calls progress if it is time to: for long work between two blocks. */
int input_tick(Input *in, Err **reterr);

Block *block_ref(Block *b);
void block_unref(Block *b);
