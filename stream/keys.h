/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* stream/keys.h - whom this machine trusts: usr/lib/abupdate/keys.d and etc/abupdate/keys.d, below its root.
 *
 * NAME.pem holds Ed25519 public keys, certificates (anchors for CMS) or certificate revocation lists, in PEM. A file in
 * etc takes the place of the one of the same name in usr/lib; an empty one, or a link to /dev/null, takes it away. The
 * files called "revoked" hold fingerprints, one a line, # begins a comment; those of both directories hold. */
#pragma once

#include "stream/signature.h"

struct Keyring {
        size_t n_keys;
        struct RingKey {
                char *name;
                EVP_PKEY *key;
                char fingerprint[FINGERPRINT_SIZE];
        } * keys;
        X509_STORE *store; /* anchors and revocation lists */
        size_t n_anchors;
        size_t n_revoked;
        char (*revoked)[FINGERPRINT_SIZE];
};

/* All that is installed below @root_fd. Nothing installed is no error here: see keyring_empty(). What is there and cannot
 * be read is: nobody knows whom it would have revoked. Errors: ERR_BAD_CONFIG with the file and what is wrong. */
int keyring_load(int root_fd, Keyring **ret, Err **reterr);

int keyring_new(Keyring **ret, Err **reterr);
Keyring *keyring_free(Keyring *ring);
DEFINE_CLEANUP(Keyring, keyring_free)

/* Adds what a file holds: keys, certificates, lists (@revoked: fingerprints). ERR_BAD_CONFIG. */
int keyring_add_pem(Keyring *ring, const char *name, const char *text, size_t size, Err **reterr);
int keyring_add_revoked(
                Keyring *ring, const char *name, const char *text, size_t size, Err **reterr);

bool keyring_empty(const Keyring *ring);
bool keyring_revokes(const Keyring *ring, const char *fingerprint);
const struct RingKey *keyring_find(const Keyring *ring, const char *fingerprint);

/* Do @threshold different keys that are trusted vouch for the text? Signatures of keys that are not installed or revoked
 * do not count; a signature of a trusted key that is not valid refuses all. Errors: ERR_NO_KEYS, ERR_UNKNOWN_KEY,
 * ERR_REVOKED_KEY, ERR_BAD_SIGNATURE, ERR_NOT_SIGNED (fewer than @threshold); all -EKEYREJECTED or -EBADMSG. */
int keyring_verify(const Keyring *ring, const SignedText *t, unsigned threshold, uint64_t now,
                Err **reterr);

/* The time for certificates and ValidUntil=, in seconds: the clock, but never before the system below @root_fd was built. A
 * clock that was never set can so neither stop an update nor bring back what ran out before that. */
uint64_t keyring_now(int root_fd);
