/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* stream/signed-text.h - where the text ends that is signed, and the signatures behind it. All that is looked at before a
 * signature has been checked: no field of the text is. Trusts nothing, checks no signature (keys.h). */
#pragma once

#include "base/err.h"

#define SIGNATURES_MAX     16u
#define SIGNATURE_SIZE_MAX (32u << 10)
#define FINGERPRINT_SIZE                                                                           \
        65u /* SHA-256 of the key as SubjectPublicKeyInfo (DER), in hex, with its NUL */

typedef struct Signature {
        char method[17];               /* "ed25519", "cms", or one that this reader does not know */
        char signer[FINGERPRINT_SIZE]; /* what it says of the key; proves nothing */
        uint8_t *data;
        size_t size;
} Signature;

typedef struct SignedText {
        const char *text; /* borrowed: fields and chunks; what the signatures cover */
        size_t size;
        size_t n;
        Signature signatures[SIGNATURES_MAX];
} SignedText;

/* Splits a manifest at its second empty line. @text is borrowed by @ret. Errors: ERR_NOT_SIGNED where nothing follows the
 * text, ERR_BAD_MANIFEST, ERR_BAD_SIGNATURE for a line that is not a signature (all -EBADMSG), -ENOMEM. */
int signed_text_split(const char *text, size_t size, SignedText *ret, Err **reterr);
void signed_text_done(SignedText *t);

/* The line for a signature, with its newline. New string. */
int signature_format(const Signature *s, char **ret);

/* @text with this signature besides those that it has; the signer's earlier one is replaced. New string. */
int signed_text_add(const char *text, size_t size, const Signature *s, char **ret, Err **reterr);
