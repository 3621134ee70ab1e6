/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* stream/pack.h - plain bytes into a file, packed on the way, with the SHA-256 of each chunk of what lands there. */
#pragma once

#include "stream/manifest.h"

typedef struct Pack Pack;

/* @compression: none or zstd. @fd is borrowed. */
int pack_new(int fd, Compression compression, int level, Pack **ret, Err **reterr);
Pack *pack_free(Pack *p);
DEFINE_CLEANUP(Pack, pack_free)

int pack_add(Pack *p, const void *data, size_t size, Err **reterr);

/* Bytes added so far. */
uint64_t pack_plain(const Pack *p);

/* Ends the file, and tells @m of its sizes, compression and chunks. ERR_LIMIT_EXCEEDED where a manifest could not list them. */
int pack_end(Pack *p, Manifest *m, Err **reterr);
