/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <openssl/pem.h>
#include <openssl/store.h>
#include <openssl/ui.h>

#include "stream/signer.h"

void signer_done(Signer *s) {
        EVP_PKEY_free(s->key);
        X509_free(s->cert);
        sk_X509_pop_free(s->chain, X509_free);
        *s = (Signer){0};
}

void signer_end(void) {
        OPENSSL_cleanup();
}

static int give_passphrase(char *buf, int size, int writing _unused_, void *userdata) {
        int n = (int) strlen(userdata);

        if (n > size)
                return -1;
        memcpy(buf, userdata, (size_t) n);
        return n;
}

typedef struct Store {
        OSSL_STORE_CTX *ctx;
        UI_METHOD *ui;
} Store;

static void store_done(Store *s) {
        OSSL_STORE_close(s->ctx);
        UI_destroy_method(s->ui);
        (void) crypto_error();
}

static bool on_token(const char *where) {
        return strncmp(where, "pkcs11:", strlen("pkcs11:")) == 0;
}

/* For people: behind the question mark of such a URI may stand the PIN. */
#define SHOWN(where) (int) (on_token(where) ? strcspn(where, "?") : strlen(where)), where

static int store_open(
                const char *where, const char *passphrase, int expect, Store *ret, Err **reterr) {
        Store s = {0};

        if (passphrase)
                s.ui = UI_UTIL_wrap_read_pem_callback(give_passphrase, 0);
        s.ctx = OSSL_STORE_open(where, passphrase ? s.ui : UI_get_default_method(),
                        (void *) (uintptr_t) passphrase, NULL, NULL);
        if (!s.ctx) {
                int r = err_kind(reterr, ERR_BAD_INPUT, EINVAL, "cannot open %.*s: %s%s",
                                SHOWN(where), crypto_error(),
                                on_token(where) ? "; a provider for tokens must be in openssl.cnf, "
                                                  "see abctl(1)"
                                                : "");

                store_done(&s);
                return r;
        }
        (void) OSSL_STORE_expect(s.ctx, expect);
        *ret = s;
        return 0;
}

static int open_key(const char *where, const char *passphrase, EVP_PKEY **ret, Err **reterr) {
        _cleanup_(store_done) Store s = {0};
        int r = store_open(where, passphrase, OSSL_STORE_INFO_PKEY, &s, reterr);

        if (r < 0)
                return r;
        while (!*ret && !OSSL_STORE_eof(s.ctx)) {
                OSSL_STORE_INFO *info = OSSL_STORE_load(s.ctx);

                if (info && OSSL_STORE_INFO_get_type(info) == OSSL_STORE_INFO_PKEY)
                        *ret = OSSL_STORE_INFO_get1_PKEY(info);
                OSSL_STORE_INFO_free(info);
                if (OSSL_STORE_error(s.ctx))
                        break;
        }
        if (!*ret)
                return err_kind(reterr, ERR_BAD_INPUT, EINVAL, "%.*s gives no private key: %s (%s)",
                                SHOWN(where),
                                on_token(where) ? "wrong PIN, or no such key on a token"
                                                : "wrong passphrase, or another kind of file",
                                crypto_error());
        return 0;
}

static int open_certs(const char *where, STACK_OF(X509) * into, Err **reterr) {
        _cleanup_(store_done) Store s = {0};
        int r = store_open(where, NULL, OSSL_STORE_INFO_CERT, &s, reterr),
            before = sk_X509_num(into);

        if (r < 0)
                return r;
        while (!OSSL_STORE_eof(s.ctx) && !OSSL_STORE_error(s.ctx)) {
                OSSL_STORE_INFO *info = OSSL_STORE_load(s.ctx);
                X509 *cert = info ? OSSL_STORE_INFO_get1_CERT(info) : NULL;

                OSSL_STORE_INFO_free(info);
                if (cert && sk_X509_push(into, cert) <= 0) {
                        X509_free(cert);
                        return err_new(reterr, ENOMEM, "out of memory");
                }
        }
        if (sk_X509_num(into) == before)
                return err_kind(reterr, ERR_BAD_INPUT, EINVAL, "%s holds no certificate", where);
        return 0;
}

int signer_open(const SignerArgs *args, Signer *ret, Err **reterr) {
        _cleanup_(signer_done) Signer s = {0};
        int r = open_key(args->key, args->passphrase, &s.key, reterr);

        if (r >= 0 && args->cert) {
                s.chain = sk_X509_new_null();
                r = s.chain ? open_certs(args->cert, s.chain, reterr)
                            : err_new(reterr, ENOMEM, "out of memory");
                /* the first is the signer's own, those behind it belong to the chain */
                if (r >= 0)
                        s.cert = sk_X509_shift(s.chain);
                if (r >= 0 && args->chain)
                        r = open_certs(args->chain, s.chain, reterr);
        }
        if (r < 0)
                return r;
        *ret = s;
        s = (Signer){0};
        return 0;
}

int signer_sign(const Signer *s, const char *text, size_t size, char **ret, Err **reterr) {
        const SignatureOps *ops = s->cert ? &cms_signature_ops : &ed25519_signature_ops;
        _cleanup_(signed_text_done) SignedText t = {0};
        _cleanup_(err_freep) Err *why = NULL;
        size_t covered = size;
        Signature one = {0};
        int r = signed_text_split(text, size, &t, &why);

        if (r >= 0)
                covered = t.size;
        else if (err_kind_of(why) != ERR_NOT_SIGNED)
                return err_kind(reterr, err_kind_of(why), r, "%s", err_text(why));
        r = ops->sign(s, text, covered, &one, reterr);
        if (r >= 0)
                r = signed_text_add(text, size, &one, ret, reterr);
        free(one.data);
        return r;
}

int signer_generate(int private_fd, int public_fd, const char *passphrase,
                char ret_fingerprint[static FINGERPRINT_SIZE], Err **reterr) {
        EVP_PKEY *key = EVP_PKEY_Q_keygen(NULL, NULL, "ED25519");
        BIO *private = BIO_new_fd(private_fd, BIO_NOCLOSE),
            *public = BIO_new_fd(public_fd, BIO_NOCLOSE);
        int ok;

        ok = key && private && public &&
             PEM_write_bio_PKCS8PrivateKey(private, key, passphrase ? EVP_aes_256_cbc() : NULL,
                             passphrase, passphrase ? (int) strlen(passphrase) : 0, NULL,
                             NULL) == 1 &&
             PEM_write_bio_PUBKEY(public, key) == 1 && fingerprint_of(key, ret_fingerprint) >= 0;
        BIO_free(private);
        BIO_free(public);
        EVP_PKEY_free(key);
        return ok ? 0 : err_new(reterr, EIO, "cannot make a key: %s", crypto_error());
}
