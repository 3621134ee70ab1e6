/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* stream/decompress.h - compressed bytes to plain bytes with bounded memory: zstd, xz, gzip, or none. Frames may
 * follow each other. Does no input or output of its own. */
#pragma once

#include "base/err.h"

typedef enum Compression {
        COMPRESSION_NONE,
        COMPRESSION_ZSTD,
        COMPRESSION_XZ,
        COMPRESSION_GZIP,
        _COMPRESSION_MAX,
        _COMPRESSION_INVALID = -EINVAL,
} Compression;

const char *compression_to_string(Compression c);
Compression compression_from_string(const char *s);

/* By the first bytes of the input. */
Compression compression_detect(const uint8_t *head, size_t size);

/* The window that a frame may ask for: what zstd -19 and xz -6 use. More would break the promise that applying an
 * image takes a bounded amount of memory. */
#define DECOMPRESS_WINDOW_MAX (8u << 20)

typedef struct Decompressor Decompressor;

/* @c is anything but COMPRESSION_NONE. Errors: -ENOMEM. */
int decompressor_new(Compression c, Decompressor **ret, Err **reterr);
Decompressor *decompressor_free(Decompressor *d);
DEFINE_CLEANUP(Decompressor, decompressor_free)

/* Where the last frame begins that has begun: unpacking may begin anew there. In bytes of what was taken and given. */
typedef struct FrameStart {
        uint64_t in, out;
} FrameStart;

FrameStart decompressor_frame(const Decompressor *d);

/* Takes from *@in (advanced, *@in_size reduced), gives up to @out_size bytes to @out, number in *@ret. With @last no
 * input follows this: then *@ret below @out_size means the end, and an unfinished frame is ERR_TRUNCATED.
 * Errors: -EBADMSG (ERR_BAD_STREAM), -EFBIG (ERR_NOT_SUPPORTED) for a window that is too large, -ENOMEM. */
int decompressor_run(Decompressor *d, const uint8_t **in, size_t *in_size, bool last, uint8_t *out,
                size_t out_size, size_t *ret, Err **reterr);
