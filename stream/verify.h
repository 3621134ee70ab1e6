/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* stream/verify.h - bytes of an image as somebody has vouched for them. What unpacks and parses takes a Chunk, and nothing
 * but this module makes one: each was read once, into memory that nobody else can write to, and hashed there. */
#pragma once

#include "stream/manifest.h"
#include "stream/source.h"

typedef struct Verifier Verifier;

/* Up to a MiB of the payload. Its bytes stay where they were read to. */
typedef struct Chunk Chunk;

const uint8_t *chunk_data(const Chunk *c);
size_t chunk_size(const Chunk *c);

/* Checks against @manifest, from chunk @first on; nothing of it is kept. NULL where the configuration asks for no
 * verification: then every chunk passes. */
int verifier_new(const Manifest *manifest, uint64_t first, Verifier **ret, Err **reterr);
Verifier *verifier_free(Verifier *v);
DEFINE_CLEANUP(Verifier, verifier_free)

/* Fills @buf, of MANIFEST_CHUNK_SIZE bytes and private to this process, with the next chunk: 1 and the chunk, valid until
 * the next call, or 0 at the end of the image. Errors: ERR_BAD_IMAGE for a chunk that is not the one that was signed and for
 * bytes behind the last, ERR_TRUNCATED for an image that ends early (all -EBADMSG), those of source_read(). */
int verifier_next(Verifier *v, Source *source, uint8_t *buf, const Chunk **ret, Err **reterr);

/* Chunks that have passed, those before the first among them. */
uint64_t verifier_passed(const Verifier *v);
