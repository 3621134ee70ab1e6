/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <openssl/pem.h>
#include <openssl/x509v3.h>

#include "tests/unit/certificate.h"

static void extend(X509 *x, X509 *issuer, int nid, const char *value) {
        X509V3_CTX ctx;
        X509_EXTENSION *ext;

        X509V3_set_ctx(&ctx, issuer, x, NULL, NULL, 0);
        ext = X509V3_EXT_conf_nid(NULL, &ctx, nid, value);
        assert_non_null(ext);
        assert_int_equal(X509_add_ext(x, ext, -1), 1);
        X509_EXTENSION_free(ext);
}

Cert make_cert(EVP_PKEY *key, const char *name, const Cert *issuer, const char *usage, long from,
                long to) {
        static long serial = 1;
        Cert c = {key ? key : EVP_PKEY_Q_keygen(NULL, NULL, "EC", "P-256"), X509_new()};
        X509_NAME *subject = X509_get_subject_name(c.x509);
        const Cert *by = issuer ? issuer : &c;

        X509_set_version(c.x509, 2);
        ASN1_INTEGER_set(X509_get_serialNumber(c.x509), serial++);
        ASN1_TIME_set(X509_getm_notBefore(c.x509), CERT_NOW + from);
        ASN1_TIME_set(X509_getm_notAfter(c.x509), CERT_NOW + to);
        X509_NAME_add_entry_by_txt(subject, "CN", MBSTRING_ASC, (const uint8_t *) name, -1, -1, 0);
        X509_set_issuer_name(c.x509, X509_get_subject_name(by->x509));
        X509_set_pubkey(c.x509, c.key);
        extend(c.x509, by->x509, NID_subject_key_identifier, "hash");
        if (issuer)
                extend(c.x509, by->x509, NID_authority_key_identifier, "keyid:always");
        if (usage) {
                extend(c.x509, by->x509, NID_basic_constraints, "critical,CA:FALSE");
                extend(c.x509, by->x509, NID_key_usage, "critical,digitalSignature");
                if (*usage)
                        extend(c.x509, by->x509, NID_ext_key_usage, usage);
        } else {
                extend(c.x509, by->x509, NID_basic_constraints, "critical,CA:TRUE");
                extend(c.x509, by->x509, NID_key_usage, "critical,keyCertSign,cRLSign");
        }
        assert_true(X509_sign(c.x509, by->key, EVP_sha256()) > 0);
        return c;
}

void cert_done(Cert *c) {
        EVP_PKEY_free(c->key);
        X509_free(c->x509);
}

Keyring *trust_anchor(X509 *anchor) {
        Keyring *ring = NULL;
        BIO *bio = BIO_new(BIO_s_mem());
        char *pem;
        long n;

        assert_int_equal(PEM_write_bio_X509(bio, anchor), 1);
        n = BIO_get_mem_data(bio, &pem);
        assert_int_equal(keyring_new(&ring, NULL), 0);
        assert_int_equal(keyring_add_pem(ring, "ca.pem", pem, (size_t) n, NULL), 0);
        BIO_free(bio);
        return ring;
}
