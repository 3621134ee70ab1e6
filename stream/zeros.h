/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* stream/zeros.h - a buffer in runs: zeros that need not be stored, and the rest. */
#pragma once

#include "base/err.h"

#define ZEROS_PIECE 65536u /* shorter zeros are data */

typedef int (*ZerosRun)(void *userdata, const uint8_t *data, size_t size, bool zeros, Err **reterr);

static inline bool zeros_only(const uint8_t *data, size_t size) {
        return size == 0 || (data[0] == 0 && memcmp(data, data + 1, size - 1) == 0);
}

/* Calls @run for each run in turn; what is negative ends it. */
static inline int zeros_split(
                const uint8_t *data, size_t size, ZerosRun run, void *userdata, Err **reterr) {
        for (size_t at = 0, next; at < size; at = next) {
                size_t piece = size - at < ZEROS_PIECE ? size - at : ZEROS_PIECE;
                bool zeros = zeros_only(data + at, piece);
                int r;

                for (next = at + piece; next < size; next += piece) {
                        piece = size - next < ZEROS_PIECE ? size - next : ZEROS_PIECE;
                        if (zeros_only(data + next, piece) != zeros)
                                break;
                }
                r = run(userdata, data + at, next - at, zeros, reterr);
                if (r < 0)
                        return r;
        }
        return 0;
}
