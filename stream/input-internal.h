/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* stream/input-internal.h - what the two halves of the input share: the ring (input.c) and who fills it (input-read.c). */
#pragma once

#include <pthread.h>

#include "stream/decompress.h"
#include "stream/input.h"
#include "stream/source.h"
#include "stream/verify.h"

#define INPUT_BLOCKS 6u /* four can be held by files that wait for their writer */

struct Input {
        InputArgs args;
        Source source;
        Verifier *verifier;
        Compression compression; /* that was signed; _COMPRESSION_INVALID: any */
        uint64_t plain_max;      /* unpacked bytes that were signed; 0: any */
        uint64_t plain;          /* unpacked so far */
        int stop_fd;
        uint8_t *arena;
        uint8_t *packed; /* INPUT_BLOCK_SIZE compressed bytes, where the image is compressed */
        Block blocks[INPUT_BLOCKS];

        pthread_t thread;
        pthread_mutex_t lock;
        pthread_cond_t changed;
        unsigned filled; /* blocks that the thread has filled so far */
        unsigned taken;  /* blocks that were handed out so far */
        bool ended;      /* nothing follows the filled blocks but @result */
        bool finished;   /* the thread does not touch this any more */
        bool stopping;
        int result;
        Err *err;

        uint64_t next_tick; /* the caller's thread only */
};

/* Waits until the block that comes next is free again. NULL: the input is being closed. */
Block *input_next_free(Input *in);

/* @size bytes of it are filled. */
void input_hand_over(Input *in, Block *b, size_t size);

/* Reads, verifies, unpacks and hands over until the image ends or something breaks. */
int input_fill(Input *in, Err **reterr);
