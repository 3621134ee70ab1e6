/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "stream/keys.h"

enum { ED25519_SIZE = 64 };

static int bad(const Signature *s, const char *why, Err **reterr) {
        return err_kind(reterr, ERR_BAD_SIGNATURE, -EBADMSG,
                        "the signature of key %s is not valid: %s", s->signer, why);
}

static int ed25519_verify(const Keyring *ring, const Signature *s, const char *text, size_t size,
                uint64_t now _unused_, Err **reterr) {
        const struct RingKey *key = keyring_find(ring, s->signer);
        EVP_MD_CTX *ctx;
        int ok;

        if (!key)
                return SIGNATURE_UNKNOWN;
        if (s->size != ED25519_SIZE)
                return bad(s, "it has not 64 bytes", reterr);
        ctx = EVP_MD_CTX_new();
        if (!ctx)
                return err_new(reterr, ENOMEM, "out of memory");
        ok = EVP_DigestVerifyInit(ctx, NULL, NULL, NULL, key->key) == 1 &&
             EVP_DigestVerify(ctx, s->data, s->size, (const uint8_t *) text, size) == 1;
        EVP_MD_CTX_free(ctx);
        (void) crypto_error();
        if (!ok)
                return bad(s, "manifest and signature do not belong together", reterr);
        return keyring_revokes(ring, s->signer) ? SIGNATURE_REVOKED : SIGNATURE_VALID;
}

static int ed25519_sign(
                const Signer *who, const char *text, size_t size, Signature *ret, Err **reterr) {
        Signature s = {.method = "ed25519", .size = ED25519_SIZE};
        EVP_MD_CTX *ctx;
        int ok;

        if (!EVP_PKEY_is_a(who->key, "ED25519"))
                return err_kind(reterr, ERR_INVALID_ARGUMENT, EINVAL,
                                "the key is not an Ed25519 key; one of another kind needs its "
                                "certificate: --cert=FILE");
        if (fingerprint_of(who->key, s.signer) < 0)
                return err_kind(reterr, ERR_INVALID_ARGUMENT, EINVAL, "the key has no public half");
        s.data = malloc(s.size);
        ctx = EVP_MD_CTX_new();
        ok = s.data && ctx && EVP_DigestSignInit(ctx, NULL, NULL, NULL, who->key) == 1 &&
             EVP_DigestSign(ctx, s.data, &s.size, (const uint8_t *) text, size) == 1;
        EVP_MD_CTX_free(ctx);
        if (!ok) {
                free(s.data);
                return err_new(reterr, EIO, "cannot sign: %s", crypto_error());
        }
        *ret = s;
        return 0;
}

const SignatureOps ed25519_signature_ops = {
                .method = "ed25519",
                .verify = ed25519_verify,
                .sign = ed25519_sign,
};
