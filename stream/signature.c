/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <openssl/err.h>

#include "stream/hex.h"
#include "stream/keys.h"

static const SignatureOps *const methods[] = {&ed25519_signature_ops, &cms_signature_ops};

const SignatureOps *signature_ops_find(const char *method) {
        for (size_t i = 0; i < ARRAY_SIZE(methods); i++)
                if (str_eq(methods[i]->method, method))
                        return methods[i];
        return NULL;
}

const char *crypto_error(void) {
        unsigned long code = ERR_peek_last_error();
        const char *text = code ? ERR_reason_error_string(code) : NULL;

        ERR_clear_error();
        return str_or(text, "no reason given");
}

int fingerprint_of(EVP_PKEY *key, char ret[static FINGERPRINT_SIZE]) {
        uint8_t digest[EVP_MAX_MD_SIZE], *der = NULL;
        unsigned size = 0;
        int n = i2d_PUBKEY(key, &der), ok;

        ok = n > 0 && EVP_Digest(der, (size_t) n, digest, &size, EVP_sha256(), NULL) == 1;
        OPENSSL_free(der);
        if (!ok || 2 * size != FINGERPRINT_SIZE - 1)
                return -EINVAL;
        hex_write(ret, digest, size);
        return 0;
}

typedef struct Count {
        char signers[SIGNATURES_MAX][FINGERPRINT_SIZE];
        unsigned valid, unknown, revoked;
        const char *unknown_signer, *revoked_signer;
} Count;

static void count_valid(Count *c, const char *signer) {
        for (unsigned i = 0; i < c->valid; i++)
                if (str_eq(c->signers[i], signer))
                        return;
        memcpy(c->signers[c->valid++], signer, FINGERPRINT_SIZE);
}

static int count_one(const Keyring *ring, const Signature *s, const SignedText *t, uint64_t now,
                Count *c, Err **reterr) {
        const SignatureOps *ops = signature_ops_find(s->method);
        int r = ops ? ops->verify(ring, s, t->text, t->size, now, reterr) : SIGNATURE_UNKNOWN;

        if (r < 0)
                return r;
        switch ((SignatureVerdict) r) {
        case SIGNATURE_VALID: count_valid(c, s->signer); break;
        case SIGNATURE_UNKNOWN:
                c->unknown++;
                c->unknown_signer = s->signer;
                break;
        case SIGNATURE_REVOKED:
                c->revoked++;
                c->revoked_signer = s->signer;
                break;
        }
        return 0;
}

int keyring_verify(const Keyring *ring, const SignedText *t, unsigned threshold, uint64_t now,
                Err **reterr) {
        Count c = {0};
        int r;

        if (keyring_empty(ring))
                return err_kind(reterr, ERR_NO_KEYS, EKEYREJECTED,
                                "no key is installed, so nothing can be; put the maker's public "
                                "key into /etc/abupdate/keys.d/NAME.pem");
        for (size_t i = 0; i < t->n; i++) {
                r = count_one(ring, &t->signatures[i], t, now, &c, reterr);
                if (r < 0)
                        return r;
        }
        if (c.valid >= (threshold > 0 ? threshold : 1))
                return 0;
        if (c.valid > 0)
                return err_kind(reterr, ERR_NOT_SIGNED, EKEYREJECTED,
                                "the image is signed by %u of the keys that are trusted here, and "
                                "Threshold=%u asks for more",
                                c.valid, threshold);
        if (c.revoked > 0)
                return err_kind(reterr, ERR_REVOKED_KEY, EKEYREJECTED,
                                "the image is signed with key %s, which is revoked",
                                c.revoked_signer);
        return err_kind(reterr, ERR_UNKNOWN_KEY, EKEYREJECTED,
                        "the image is signed with key %s, which is not trusted here; if it is the "
                        "maker's, put it into /etc/abupdate/keys.d/NAME.pem",
                        str_or(c.unknown_signer, "?"));
}
