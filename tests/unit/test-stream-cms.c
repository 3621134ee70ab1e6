/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Signatures with certificates: whom an installed anchor vouches for, and for what. */
#include <openssl/cms.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>

#include "tests/unit/certificate.h"

static Cert root, middle, leaf;
static char *text; /* not signed */
static size_t size;

static int set_up(void **state _unused_) {
        text = make_unsigned(&size);
        root = make_cert(NULL, "root", NULL, NULL, -DAY, DAY);
        middle = make_cert(NULL, "middle", &root, NULL, -DAY, DAY);
        leaf = make_cert(NULL, "leaf", &middle, "codeSigning", -DAY, DAY);
        return 0;
}

static int tear_down(void **state _unused_) {
        cert_done(&root);
        cert_done(&middle);
        cert_done(&leaf);
        free(text);
        return 0;
}

/* A list of @issuer, valid @from and @to seconds after CERT_NOW, that revokes @cert; NULL: nobody. @nid, with @value: an
 * extension of it; 0: none. */
static X509_CRL *make_special_list(
                const Cert *issuer, X509 *cert, long from, long to, int nid, const char *value) {
        X509_CRL *crl = X509_CRL_new();
        X509_REVOKED *entry = X509_REVOKED_new();
        ASN1_TIME *t = ASN1_TIME_set(NULL, CERT_NOW + from);

        X509_CRL_set_version(crl, 1);
        X509_CRL_set_issuer_name(crl, X509_get_subject_name(issuer->x509));
        X509_CRL_set1_lastUpdate(crl, t);
        if (cert) {
                X509_REVOKED_set_serialNumber(entry, X509_get_serialNumber(cert));
                X509_REVOKED_set_revocationDate(entry, t);
                X509_CRL_add0_revoked(crl, X509_REVOKED_dup(entry));
        }
        ASN1_TIME_set(t, CERT_NOW + to);
        X509_CRL_set1_nextUpdate(crl, t);
        if (nid) {
                ASN1_INTEGER *number = s2i_ASN1_INTEGER(NULL, value);
                X509_EXTENSION *ext = number ? X509V3_EXT_i2d(nid, 0, number)
                                             : X509V3_EXT_conf_nid(NULL, NULL, nid, value);

                ASN1_INTEGER_free(number);
                assert_non_null(ext);
                assert_int_equal(X509_CRL_add_ext(crl, ext, -1), 1);
                X509_EXTENSION_free(ext);
        }
        assert_true(X509_CRL_sign(crl, issuer->key, EVP_sha256()) > 0);
        ASN1_TIME_free(t);
        X509_REVOKED_free(entry);
        return crl;
}

static X509_CRL *make_list(const Cert *issuer, X509 *cert, long from, long to) {
        return make_special_list(issuer, cert, from, to, 0, NULL);
}

static int install_list(Keyring *ring, X509_CRL *crl, Err **reterr) {
        BIO *bio = BIO_new(BIO_s_mem());
        char *pem;
        long n;
        int r;

        assert_int_equal(PEM_write_bio_X509_CRL(bio, crl), 1);
        n = BIO_get_mem_data(bio, &pem);
        r = keyring_add_pem(ring, "list.pem", pem, (size_t) n, reterr);
        BIO_free(bio);
        return r;
}

static void list_as_revoked(Keyring *ring, const Cert *issuer, X509 *cert, long from, long to) {
        X509_CRL *crl = make_list(issuer, cert, from, to);

        assert_int_equal(install_list(ring, crl, NULL), 0);
        X509_CRL_free(crl);
}

static char *sign(const Cert *c, X509 *between, size_t *ret) {
        STACK_OF(X509) *chain = sk_X509_new_null();
        char *out;

        if (between)
                sk_X509_push(chain, between);
        *ret = size;
        out = add_signature(&cms_signature_ops,
                        &(Signer){.key = c->key, .cert = c->x509, .chain = chain}, text, ret);
        sk_X509_free(chain);
        return out;
}

static void judge(Keyring *ring, const char *t, size_t n, ErrKind kind, const char *part) {
        _cleanup_(manifest_freep) Manifest *m = NULL;
        unsigned parsed = manifest_parse_count();
        Err *e = NULL;

        assert_true(open_manifest(ring, t, n, 1, &m, &e) < 0);
        assert_story(&e, kind, part);
        assert_int_equal(manifest_parse_count(), parsed);
}

static void accept(Keyring *ring, const char *t, size_t n) {
        _cleanup_(manifest_freep) Manifest *m = NULL;
        _cleanup_(err_freep) Err *e = NULL;

        if (open_manifest(ring, t, n, 1, &m, &e) < 0)
                fail_msg("%s", err_text(e));
}

static void chain_is_accepted(void **state _unused_) {
        _cleanup_(keyring_freep) Keyring *ring = trust_anchor(root.x509);
        size_t n;
        _cleanup_(freep) char *t = sign(&leaf, middle.x509, &n);

        accept(ring, t, n);
}

static void a8_missing_intermediate(void **state _unused_) {
        _cleanup_(keyring_freep) Keyring *ring = trust_anchor(root.x509);
        size_t n;
        _cleanup_(freep) char *t = sign(&leaf, NULL, &n);

        judge(ring, t, n, ERR_UNKNOWN_KEY, "not trusted");
}

static void a8_foreign_authority(void **state _unused_) {
        Cert foreign = make_cert(NULL, "root", NULL, NULL, -DAY, DAY);
        _cleanup_(keyring_freep) Keyring *ring = trust_anchor(foreign.x509);
        size_t n;
        _cleanup_(freep) char *t = sign(&leaf, middle.x509, &n);

        judge(ring, t, n, ERR_UNKNOWN_KEY, "not trusted");
        cert_done(&foreign);
}

static void with_leaf(const char *usage, long from, long to, const char *part) {
        Cert c = make_cert(NULL, "odd", &root, usage, from, to);
        _cleanup_(keyring_freep) Keyring *ring = trust_anchor(root.x509);
        size_t n;
        _cleanup_(freep) char *t = sign(&c, NULL, &n);

        judge(ring, t, n, ERR_BAD_SIGNATURE, part);
        cert_done(&c);
}

static void a8_expired(void **state _unused_) {
        with_leaf("codeSigning", -2 * DAY, -DAY, "expired");
        with_leaf("codeSigning", DAY, 2 * DAY, "not yet valid");
}

static void a8_wrong_usage(void **state _unused_) {
        with_leaf("serverAuth,clientAuth", -DAY, DAY, "not for signing code");
        with_leaf("emailProtection", -DAY, DAY, "not for signing code");
        with_leaf("", -DAY, DAY, "not for signing code");
}

static void a8_revoked_by_list(void **state _unused_) {
        _cleanup_(keyring_freep) Keyring *ring = trust_anchor(root.x509),
                                         *upper = trust_anchor(root.x509);
        size_t n;
        _cleanup_(freep) char *t = sign(&leaf, middle.x509, &n);

        list_as_revoked(ring, &middle, leaf.x509, -10, DAY);
        judge(ring, t, n, ERR_BAD_SIGNATURE, "revoked");
        list_as_revoked(upper, &root, middle.x509, -10, DAY);
        judge(upper, t, n, ERR_BAD_SIGNATURE, "revoked");
}

static void a8_list_without_us_and_old_list(void **state _unused_) {
        _cleanup_(keyring_freep) Keyring *ring = trust_anchor(root.x509),
                                         *old = trust_anchor(root.x509);
        size_t n;
        _cleanup_(freep) char *t = sign(&leaf, middle.x509, &n);

        list_as_revoked(ring, &middle, NULL, -10, DAY);
        accept(ring, t, n);
        list_as_revoked(old, &middle, NULL, -DAY, -10);
        judge(old, t, n, ERR_BAD_SIGNATURE, "CRL has expired");
}

/* A list that would never be asked must not lie there as if it were. */
static void a8_list_of_a_kind_that_is_not_asked(void **state _unused_) {
        static const struct {
                int nid;
                const char *value;
                bool asked;
        } kinds[] = {
                        {NID_issuing_distribution_point, "critical,indirectCRL:TRUE", false},
                        {NID_issuing_distribution_point, "critical,onlysomereasons:keyCompromise",
                                        false},
                        {NID_issuing_distribution_point, "critical,onlyuser:TRUE,onlyCA:TRUE",
                                        false},
                        {NID_issuing_distribution_point, "critical,fullname:URI:http://localhost/1",
                                        true},
                        {NID_issuing_distribution_point, "critical,onlyuser:TRUE", true},
                        {NID_delta_crl, "1", true},
                        {NID_crl_number, "7", true},
        };
        size_t n;
        _cleanup_(freep) char *t = sign(&leaf, middle.x509, &n);

        for (size_t i = 0; i < ARRAY_SIZE(kinds); i++) {
                _cleanup_(keyring_freep) Keyring *ring = trust_anchor(root.x509);
                _cleanup_(err_freep) Err *e = NULL;
                X509_CRL *crl = make_special_list(
                                &middle, leaf.x509, -10, DAY, kinds[i].nid, kinds[i].value);
                int r = install_list(ring, crl, &e);

                X509_CRL_free(crl);
                if ((r >= 0) != kinds[i].asked)
                        fail_msg("%s: %s", kinds[i].value, r < 0 ? err_text(e) : "was taken");
                if (r >= 0)
                        judge(ring, t, n, ERR_BAD_SIGNATURE, "not valid");
                else
                        assert_story(&e, ERR_BAD_CONFIG, "list.pem");
        }
}

static void revoke_key(Keyring *ring, const Cert *c) {
        char fingerprint[FINGERPRINT_SIZE];

        assert_int_equal(fingerprint_of(c->key, fingerprint), 0);
        assert_int_equal(keyring_add_revoked(
                                         ring, "revoked", fingerprint, strlen(fingerprint), NULL),
                        0);
}

/* The anchor itself is not in the CMS. */
static void a7_revoked_by_fingerprint(void **state _unused_) {
        const Cert *const chain[] = {&leaf, &middle, &root};
        size_t n;
        _cleanup_(freep) char *t = sign(&leaf, middle.x509, &n);

        for (size_t i = 0; i < ARRAY_SIZE(chain); i++) {
                _cleanup_(keyring_freep) Keyring *ring = trust_anchor(root.x509);

                revoke_key(ring, chain[i]);
                judge(ring, t, n, ERR_REVOKED_KEY, "revoked");
        }
}

/* A CMS with the given signers, and perhaps a revocation list, under our own line. */
static char *custom(const Cert *const *signers, X509_CRL *list, unsigned flags, size_t *ret) {
        BIO *content = BIO_new_mem_buf(text, (int) size);
        CMS_ContentInfo *cms = CMS_sign(
                        NULL, NULL, NULL, NULL, CMS_BINARY | CMS_PARTIAL | (CMS_DETACHED & flags));
        Signature s = {.method = "cms"};
        char *out;
        int n;

        assert_int_equal(fingerprint_of(leaf.key, s.signer), 0);
        CMS_add1_cert(cms, middle.x509);
        if (list)
                assert_int_equal(CMS_add1_crl(cms, list), 1);
        for (; *signers; signers++)
                assert_non_null(CMS_add1_signer(cms, (*signers)->x509, (*signers)->key,
                                EVP_sha256(), CMS_BINARY | CMS_NOSMIMECAP));
        if (CMS_get0_SignerInfos(cms) && sk_CMS_SignerInfo_num(CMS_get0_SignerInfos(cms)) > 0)
                assert_int_equal(CMS_final(cms, content, NULL, CMS_BINARY | (CMS_DETACHED & flags)),
                                1);
        else
                CMS_set_detached(cms, 1);
        n = i2d_CMS_ContentInfo(cms, &s.data);
        assert_true(n > 0);
        s.size = (size_t) n;
        assert_int_equal(signed_text_add(text, size, &s, &out, NULL), 0);
        *ret = strlen(out);
        OPENSSL_free(s.data);
        CMS_ContentInfo_free(cms);
        BIO_free(content);
        return out;
}

static void a8_zero_and_two_signers(void **state _unused_) {
        _cleanup_(keyring_freep) Keyring *ring = trust_anchor(root.x509);
        Cert foreign = make_cert(NULL, "foreign", NULL, "codeSigning", -DAY, DAY);
        const Cert *none[] = {NULL}, *two[] = {&leaf, &foreign, NULL}, *one[] = {&leaf, NULL};
        _cleanup_(freep) char *t = NULL, *u = NULL, *v = NULL, *w = NULL;
        size_t n;

        t = custom(none, NULL, CMS_DETACHED, &n);
        judge(ring, t, n, ERR_BAD_SIGNATURE, "");
        u = custom(two, NULL, CMS_DETACHED, &n);
        judge(ring, u, n, ERR_UNKNOWN_KEY, "");
        v = custom(one, NULL, CMS_DETACHED, &n);
        accept(ring, v, n);
        w = custom(one, NULL, 0, &n);
        judge(ring, w, n, ERR_BAD_SIGNATURE, "detached");
        cert_done(&foreign);
}

/* Who has stolen a key brings the list from before the theft was known: it is valid still, and it is not asked. */
static void a8_older_list_inside(void **state _unused_) {
        _cleanup_(keyring_freep) Keyring *ring = trust_anchor(root.x509);
        X509_CRL *older = make_list(&middle, NULL, -DAY, DAY);
        const Cert *one[] = {&leaf, NULL};
        _cleanup_(freep) char *t = NULL;
        size_t n;

        t = custom(one, older, CMS_DETACHED, &n);
        judge(ring, t, n, ERR_BAD_SIGNATURE, "holds a revocation list");
        list_as_revoked(ring, &middle, leaf.x509, -10, DAY);
        judge(ring, t, n, ERR_BAD_SIGNATURE, "revocation list");
        X509_CRL_free(older);
}

/* Of the two places that name the digest, the first, that CMS_verify() prepares with. A leak there shows with sanitizers. */
static void unknown_digest(void **state _unused_) {
        static const uint8_t sha256[] = {0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x01};
        _cleanup_(keyring_freep) Keyring *ring = trust_anchor(root.x509);
        Cert c = make_cert(NULL, "direct", &root, "codeSigning", -DAY, DAY);
        _cleanup_(freep) char *t = NULL;
        Signature s = {0};
        uint8_t *at;

        assert_int_equal(cms_signature_ops.sign(&(Signer){.key = c.key, .cert = c.x509}, text, size,
                                         &s, NULL),
                        0);
        at = memmem(s.data, s.size, sha256, sizeof(sha256));
        assert_non_null(at);
        at[5] = 42;
        assert_int_equal(signed_text_add(text, size, &s, &t, NULL), 0);
        judge(ring, t, strlen(t), ERR_BAD_SIGNATURE, "");
        OPENSSL_free(s.data);
        cert_done(&c);
}

static void another_text(void **state _unused_) {
        _cleanup_(keyring_freep) Keyring *ring = trust_anchor(root.x509);
        size_t n;
        _cleanup_(freep) char *t = sign(&leaf, middle.x509, &n);

        *strstr(t, "test-board") = 'T';
        judge(ring, t, n, ERR_BAD_SIGNATURE, "");
}

static void a9_every_flipped_bit(void **state _unused_) {
        _cleanup_(keyring_freep) Keyring *ring = trust_anchor(root.x509);
        size_t n, flips = 0;
        _cleanup_(freep) char *t = sign(&leaf, middle.x509, &n);
        unsigned parsed = manifest_parse_count();

        for (size_t bit = 0; bit < n * 8; bit++, flips++) {
                _cleanup_(manifest_freep) Manifest *m = NULL;

                t[bit / 8] = (char) (t[bit / 8] ^ 1 << bit % 8);
                if (open_manifest(ring, t, n, 1, &m, NULL) >= 0)
                        fail_msg("bit %zu of byte %zu may be flipped", bit % 8, bit / 8);
                t[bit / 8] = (char) (t[bit / 8] ^ 1 << bit % 8);
        }
        assert_int_equal(manifest_parse_count(), parsed);
        print_message("# %zu flips, all refused, none parsed\n", flips);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                        CASE(chain_is_accepted),
                        CASE(a8_missing_intermediate),
                        CASE(a8_foreign_authority),
                        CASE(a8_expired),
                        CASE(a8_wrong_usage),
                        CASE(a8_revoked_by_list),
                        CASE(a8_list_without_us_and_old_list),
                        CASE(a8_list_of_a_kind_that_is_not_asked),
                        CASE(a7_revoked_by_fingerprint),
                        CASE(a8_zero_and_two_signers),
                        CASE(a8_older_list_inside),
                        CASE(unknown_digest),
                        CASE(another_text),
                        CASE(a9_every_flipped_bit),
        };

        return cmocka_run_group_tests(tests, set_up, tear_down);
}
