/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* tests/unit/signed-image.h - small images with manifest, keys and signatures, made in memory, for tests of what refuses
 * them. */
#pragma once

#include "stream/keys.h"
#include "stream/manifest.h"
#include "tests/unit/unit.h"

/* A send stream of one subvolume with one file of @bytes of noise. New memory. */
uint8_t *make_stream(uint64_t bytes, size_t *ret_size);

/* Its manifest, without compression; and the chunk list of any payload. */
Manifest *make_manifest(const uint8_t *payload, size_t size);
void set_chunks(Manifest *m, const uint8_t *payload, size_t size);

/* The text of the manifest of a small image, for tests that sign it themselves. */
char *make_unsigned(size_t *ret_size);

/* The manifest as text, signed with each of @keys (NULL-terminated). New string. */
char *sign_manifest(const Manifest *m, EVP_PKEY *const *keys, size_t *ret_size);
char *add_signature(const SignatureOps *ops, const Signer *who, const char *text, size_t *size);

EVP_PKEY *make_key(void);
Keyring *make_ring(EVP_PKEY *const *keys);

/* split, verify, parse: what everybody who trusts a manifest does. 0 or the error. */
int open_manifest(const Keyring *ring, const char *text, size_t size, unsigned threshold,
                Manifest **ret, Err **e);

/* A memfd with these bytes. */
int make_file(const void *data, size_t size);
