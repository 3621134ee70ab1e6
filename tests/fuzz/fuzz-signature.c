/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* libFuzzer target: signatures behind a text, by a plain key and by a certificate. Whatever the bytes are, only the one text
 * that was signed may pass. The mutator knows the framing: it changes the bytes of a signature behind its coat of base64,
 * and goes back to the valid text now and then. First byte of the input: bit 0 asks for two signatures. */
#include <openssl/core_names.h>
#include <openssl/ec.h>
#include <openssl/param_build.h>
#include <openssl/pem.h>

#include "tests/unit/certificate.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
size_t LLVMFuzzerMutate(uint8_t *data, size_t size, size_t max_size);
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size, unsigned seed);

/* The same keys in every run, so that an input that was found means the same in the next. */
static EVP_PKEY *ec_key(uint8_t secret) {
        EC_GROUP *group = EC_GROUP_new_by_curve_name(NID_X9_62_prime256v1);
        EC_POINT *point = EC_POINT_new(group);
        BIGNUM *scalar = BN_new();
        OSSL_PARAM_BLD *build = OSSL_PARAM_BLD_new();
        EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_name(NULL, "EC", NULL);
        EVP_PKEY *key = NULL;
        uint8_t public[65];
        OSSL_PARAM *params;

        BN_set_word(scalar, secret);
        EC_POINT_mul(group, point, scalar, NULL, NULL, NULL);
        EC_POINT_point2oct(
                        group, point, POINT_CONVERSION_UNCOMPRESSED, public, sizeof(public), NULL);
        OSSL_PARAM_BLD_push_utf8_string(build, OSSL_PKEY_PARAM_GROUP_NAME, "prime256v1", 0);
        OSSL_PARAM_BLD_push_BN(build, OSSL_PKEY_PARAM_PRIV_KEY, scalar);
        OSSL_PARAM_BLD_push_octet_string(build, OSSL_PKEY_PARAM_PUB_KEY, public, sizeof(public));
        params = OSSL_PARAM_BLD_to_param(build);
        if (EVP_PKEY_fromdata_init(ctx) <= 0 ||
                        EVP_PKEY_fromdata(ctx, &key, EVP_PKEY_KEYPAIR, params) <= 0)
                abort();
        OSSL_PARAM_free(params);
        EVP_PKEY_CTX_free(ctx);
        OSSL_PARAM_BLD_free(build);
        BN_free(scalar);
        EC_POINT_free(point);
        EC_GROUP_free(group);
        return key;
}

static Keyring *ring;
static char *genuine; /* with both signatures */
static size_t genuine_size, covered;

static void set_up(void) {
        static const uint8_t secret[32] = {7};
        _cleanup_(manifest_freep) Manifest *m = NULL;
        _cleanup_(signed_text_done) SignedText t = {0};
        _cleanup_(freep) uint8_t *payload = NULL;
        _cleanup_(freep) char *once = NULL;
        EVP_PKEY *key = EVP_PKEY_new_raw_private_key(
                        EVP_PKEY_ED25519, NULL, secret, sizeof(secret));
        Cert root = make_cert(ec_key(3), "root", NULL, NULL, -DAY, DAY);
        Cert leaf = make_cert(ec_key(5), "leaf", &root, "codeSigning", -DAY, DAY);
        BIO *pem = BIO_new(BIO_s_mem());
        size_t size;
        char *text;
        long n;

        payload = make_stream(100, &size);
        m = make_manifest(payload, size);
        once = sign_manifest(m, (EVP_PKEY *[]){key, NULL}, &genuine_size);
        genuine = add_signature(&cms_signature_ops, &(Signer){.key = leaf.key, .cert = leaf.x509},
                        once, &genuine_size);
        ring = trust_anchor(root.x509);
        PEM_write_bio_PUBKEY(pem, key);
        n = BIO_get_mem_data(pem, &text);
        if (keyring_add_pem(ring, "key.pem", text, (size_t) n, NULL) < 0 ||
                        signed_text_split(genuine, genuine_size, &t, NULL) < 0 ||
                        keyring_verify(ring, &t, 2, CERT_NOW, NULL) < 0)
                abort();
        covered = t.size;
        BIO_free(pem);
        EVP_PKEY_free(key);
        cert_done(&leaf);
        cert_done(&root);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        _cleanup_(signed_text_done) SignedText t = {0};
        _cleanup_(err_freep) Err *e = NULL;
        _cleanup_(freep) char *copy = NULL;
        int r;

        if (size == 0)
                return 0;
        if (!ring)
                set_up();
        /* not terminated, and with nothing readable behind it */
        copy = malloc(size);
        if (!copy)
                return 0;
        memcpy(copy, data + 1, size - 1);
        r = signed_text_split(copy, size - 1, &t, &e);
        if (r >= 0)
                r = keyring_verify(ring, &t, 1 + (data[0] & 1), CERT_NOW, &e);
        if (r < 0 && !e)
                abort(); /* a refusal without a story */
        if (r >= 0 && (t.size != covered || memcmp(t.text, genuine, covered) != 0))
                abort(); /* forged */
        return 0;
}

/* Changes the bytes of one signature of @data and puts it back. 0: there is none, or no room. */
static size_t change_signature(uint8_t *data, size_t size, size_t max_size, unsigned seed) {
        _cleanup_(signed_text_done) SignedText t = {0};
        _cleanup_(freep) char *text = NULL, *out = NULL;
        Signature s;
        size_t n;

        text = strndup((const char *) data, size);
        if (!text || signed_text_split(text, strlen(text), &t, NULL) < 0 || t.n == 0)
                return 0;
        s = t.signatures[seed % t.n];
        s.data = calloc(1, SIGNATURE_SIZE_MAX);
        if (!s.data)
                return 0;
        memcpy(s.data, t.signatures[seed % t.n].data, s.size);
        s.size = LLVMFuzzerMutate(s.data, s.size, SIGNATURE_SIZE_MAX);
        if (signed_text_add(text, strlen(text), &s, &out, NULL) < 0)
                out = NULL;
        free(s.data);
        n = out ? strlen(out) : 0;
        if (n == 0 || n > max_size)
                return 0;
        memcpy(data, out, n);
        return n;
}

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size, unsigned seed) {
        size_t n = 0;

        if (!ring)
                set_up();
        if (max_size < genuine_size + 1)
                return LLVMFuzzerMutate(data, size, max_size);
        if (size < 2 || seed % 32 == 0) {
                data[0] = (uint8_t) (seed >> 8);
                memcpy(data + 1, genuine, genuine_size);
                size = genuine_size + 1;
        }
        if (seed % 4 != 0)
                n = change_signature(data + 1, size - 1, max_size - 1, seed >> 3);
        return n > 0 ? n + 1 : LLVMFuzzerMutate(data, size, max_size);
}
