/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* stream/signature.h - the kinds of signatures: one const table of verbs each. Whom to trust is in the keyring. */
#pragma once

#include <openssl/evp.h>
#include <openssl/x509.h>

#include "stream/signed-text.h"

typedef struct Keyring Keyring;

typedef enum SignatureVerdict {
        SIGNATURE_VALID,   /* by a key that is trusted and not revoked */
        SIGNATURE_UNKNOWN, /* by a key that is not installed, so nobody can tell */
        SIGNATURE_REVOKED,
} SignatureVerdict;

/* Who signs: a private key, and for CMS its certificate and those between it and what the machines trust. Borrowed. */
typedef struct Signer {
        EVP_PKEY *key;
        X509 *cert;
        STACK_OF(X509) * chain; /* may be NULL */
} Signer;

typedef struct SignatureOps {
        const char *method; /* the word in the manifest */

        /* A verdict, or -EBADMSG (ERR_BAD_SIGNATURE) where the signer is trusted and this is no valid signature of his.
         * @now: seconds since 1970, for certificates. */
        int (*verify)(const Keyring *ring, const Signature *s, const char *text, size_t size,
                        uint64_t now, Err **reterr);
        int (*sign)(const Signer *who, const char *text, size_t size, Signature *ret, Err **reterr);
} SignatureOps;

extern const SignatureOps ed25519_signature_ops;
extern const SignatureOps cms_signature_ops;

/* NULL where this reader does not know the method. */
const SignatureOps *signature_ops_find(const char *method);

/* The fingerprint of a key. -EINVAL where it has none. */
int fingerprint_of(EVP_PKEY *key, char ret[static FINGERPRINT_SIZE]);

/* What libcrypto last complained of, as a clause; empties its queue. */
const char *crypto_error(void);
