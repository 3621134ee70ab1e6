/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* stream/compress.h - packs with zstd, each frame with its checksum. The other way round is decompress.h. */
#pragma once

#include "base/err.h"

typedef struct Compressor Compressor;

/* Takes what is packed, all of it. */
typedef int (*CompressSink)(void *userdata, const uint8_t *data, size_t size, Err **reterr);

/* @workers: threads besides the caller, where this zstd has any. -ENOMEM */
int compressor_new(int level, int workers, Compressor **ret, Err **reterr);
Compressor *compressor_free(Compressor *c);
DEFINE_CLEANUP(Compressor, compressor_free)

/* Packs @data, which may be none; with @end_frame the frame ends behind it. Errors: those of @sink; -EIO. */
int compressor_add(Compressor *c, const void *data, size_t size, bool end_frame, CompressSink sink,
                void *userdata, Err **reterr);
