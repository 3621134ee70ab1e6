/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* stream/encoded.h - the compressed extents of Btrfs as encoded_write carries them, for when the kernel does not take
 * them as they are. */
#pragma once

#include "base/err.h"

/* Unpacks @size bytes of @data into exactly @plain_size bytes; what the data leaves open is zero, what it has too much
 * is cut off, as the kernel does. @compression is BTRFS_ENCODED_IO_COMPRESSION_*. Errors: -EBADMSG (ERR_BAD_STREAM),
 * -EOPNOTSUPP (ERR_NOT_SUPPORTED), -ENOMEM. */
int encoded_unpack(uint32_t compression, const uint8_t *data, size_t size, uint8_t *plain,
                size_t plain_size, Err **reterr);
