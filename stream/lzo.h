/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* stream/lzo.h - unpacks LZO1X, as Btrfs stores it. Own code: the library is under a licence that this project cannot
 * link to, and the format is small. Bounds are checked on every step: the data is hostile. */
#pragma once

#include "base/util.h"

/* Returns the number of bytes written to @out, at most @out_size, or -EBADMSG. */
ssize_t lzo1x_unpack(const uint8_t *in, size_t in_size, uint8_t *out, size_t out_size);

/* A whole compressed extent: u32 total, then pieces of at most one @sector plain bytes, each with a u32 length that
 * never crosses a sector border. Returns as above; what does not fit @out is left out. */
ssize_t lzo_extent_unpack(
                const uint8_t *in, size_t in_size, size_t sector, uint8_t *out, size_t out_size);
