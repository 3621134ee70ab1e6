/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* stream/signer.h - private keys of who makes images: made, opened, used. Never on a machine that installs. */
#pragma once

#include "stream/keys.h"

/* @key: a PEM file, or a pkcs11: URI where OpenSSL has a provider for it. @passphrase: what opens it, NULL: ask on the
 * terminal. @cert, @chain: PEM files with the certificate of the key and those between it and an anchor; NULL: Ed25519. */
typedef struct SignerArgs {
        const char *key, *cert, *chain, *passphrase;
} SignerArgs;

int signer_open(const SignerArgs *args, Signer *ret, Err **reterr);
void signer_done(Signer *s);

/* At the end of a program: lets go of tokens, and of libcrypto with them. The library of a token may take itself apart at
 * exit, before libcrypto would let go of it (SoftHSM 2.6 crashes then). Nothing that hashes or signs may follow. */
void signer_end(void);

/* The manifest @text with one more signature. New string. */
int signer_sign(const Signer *s, const char *text, size_t size, char **ret, Err **reterr);

/* Makes an Ed25519 key: @private_fd gets it, encrypted where @passphrase is not NULL, @public_fd its public half; both PEM. */
int signer_generate(int private_fd, int public_fd, const char *passphrase,
                char ret_fingerprint[static FINGERPRINT_SIZE], Err **reterr);
