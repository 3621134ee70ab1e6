/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* CMS that libcrypto finds good, by somebody who is trusted, and that are refused all the same: for what they are. */
#include <openssl/cms.h>
#include <openssl/x509v3.h>

#include "tests/unit/certificate.h"

static Cert root, leaf, other;
static Keyring *ring;
static char *text; /* not signed */
static size_t size;

static int set_up(void **state _unused_) {
        text = make_unsigned(&size);
        root = make_cert(NULL, "root", NULL, NULL, -DAY, DAY);
        leaf = make_cert(NULL, "leaf", &root, "codeSigning", -DAY, DAY);
        other = make_cert(NULL, "other", &root, "codeSigning", -DAY, DAY);
        ring = trust_anchor(root.x509);
        return 0;
}

static int tear_down(void **state _unused_) {
        ring = keyring_free(ring);
        cert_done(&root);
        cert_done(&leaf);
        cert_done(&other);
        free(text);
        return 0;
}

static CMS_ContentInfo *begin(void) {
        return CMS_sign(NULL, NULL, NULL, NULL, CMS_BINARY | CMS_DETACHED | CMS_PARTIAL);
}

static CMS_SignerInfo *by(CMS_ContentInfo *cms, const Cert *c, const EVP_MD *digest) {
        CMS_SignerInfo *si =
                        CMS_add1_signer(cms, c->x509, c->key, digest, CMS_BINARY | CMS_NOSMIMECAP);

        assert_non_null(si);
        return si;
}

static void finish(CMS_ContentInfo *cms) {
        BIO *content = BIO_new_mem_buf(text, (int) size);

        assert_int_equal(CMS_final(cms, content, NULL, CMS_BINARY | CMS_DETACHED), 1);
        BIO_free(content);
}

/* As one line, which says that @c has signed; @more bytes behind the CMS. Takes it. */
static char *line_of(CMS_ContentInfo *cms, const Cert *c, size_t more) {
        static uint8_t data[SIGNATURE_SIZE_MAX];
        uint8_t *at = data;
        Signature s = {.method = "cms", .data = data};
        char *line;
        int n = i2d_CMS_ContentInfo(cms, &at);

        assert_true(n > 0);
        s.size = (size_t) n + more;
        assert_int_equal(fingerprint_of(c->key, s.signer), 0);
        assert_int_equal(signature_format(&s, &line), 0);
        CMS_ContentInfo_free(cms);
        return line;
}

static int open_lines(const char *first, const char *second, unsigned threshold, Err **e) {
        _cleanup_(freep) char *all = str_printf("%s\n%s%s", text, first, second);
        _cleanup_(manifest_freep) Manifest *m = NULL;

        return open_manifest(ring, all, strlen(all), threshold, &m, e);
}

/* Takes the line. */
static void judge(char *line, const char *part) {
        _cleanup_(freep) char *taken = line;
        _cleanup_(err_freep) Err *e = NULL;
        int r = open_lines(taken, "", 1, &e);

        if (!part && r < 0)
                fail_msg("%s", err_text(e));
        if (!part)
                return;
        if (r >= 0)
                fail_msg("was taken; should be: %s", part);
        assert_story(&e, ERR_BAD_SIGNATURE, part);
}

static void plain_ones_are_accepted(void **state _unused_) {
        const EVP_MD *const digests[] = {EVP_sha256(), EVP_sha384(), EVP_sha512()};

        for (size_t i = 0; i < ARRAY_SIZE(digests); i++) {
                CMS_ContentInfo *cms = begin();

                by(cms, &leaf, digests[i]);
                finish(cms);
                judge(line_of(cms, &leaf, 0), NULL);
        }
}

static void two_signers_who_are_trusted(void **state _unused_) {
        CMS_ContentInfo *cms = begin();

        by(cms, &leaf, EVP_sha256());
        by(cms, &other, EVP_sha256());
        finish(cms);
        judge(line_of(cms, &leaf, 0), "not exactly one signer");
}

static void in_the_name_of_another(void **state _unused_) {
        CMS_ContentInfo *cms = begin();

        by(cms, &leaf, EVP_sha256());
        finish(cms);
        judge(line_of(cms, &other, 0), "another key has made it");
}

static void something_is_not_signed(void **state _unused_) {
        CMS_ContentInfo *cms = begin();
        CMS_SignerInfo *si = by(cms, &leaf, EVP_sha256());

        finish(cms);
        assert_int_equal(CMS_unsigned_add1_attr_by_NID(
                                         si, NID_friendlyName, V_ASN1_UTF8STRING, "x", 1),
                        1);
        judge(line_of(cms, &leaf, 0), "something in it is not signed");
}

static void other_digests(void **state _unused_) {
        const EVP_MD *const digests[] = {EVP_sha1(), EVP_sha224()};

        for (size_t i = 0; i < ARRAY_SIZE(digests); i++) {
                CMS_ContentInfo *cms = begin();

                by(cms, &leaf, digests[i]);
                finish(cms);
                judge(line_of(cms, &leaf, 0), "its digest is not");
        }
}

static void another_type_of_content(void **state _unused_) {
        CMS_ContentInfo *cms = begin();

        assert_int_equal(CMS_set1_eContentType(cms, OBJ_nid2obj(NID_id_smime_ct_TSTInfo)), 1);
        by(cms, &leaf, EVP_sha256());
        finish(cms);
        judge(line_of(cms, &leaf, 0), "detached signature in DER");
}

static void bytes_behind_it(void **state _unused_) {
        CMS_ContentInfo *cms = begin();

        by(cms, &leaf, EVP_sha256());
        finish(cms);
        judge(line_of(cms, &leaf, 1), "detached signature in DER");
}

static void signed_by(Cert c, const char *part) {
        CMS_ContentInfo *cms = begin();

        by(cms, &c, EVP_sha256());
        finish(cms);
        judge(line_of(cms, &c, 0), part);
        cert_done(&c);
}

static void weak_keys(void **state _unused_) {
        signed_by(make_cert(EVP_PKEY_Q_keygen(NULL, NULL, "RSA", (size_t) 2048), "rsa", &root,
                                  "codeSigning", -DAY, DAY),
                        NULL);
        signed_by(make_cert(EVP_PKEY_Q_keygen(NULL, NULL, "RSA", (size_t) 1024), "rsa", &root,
                                  "codeSigning", -DAY, DAY),
                        "EE certificate key too weak");
}

/* Made with the key of @issuer again after a change. */
static Cert sign_again(Cert c, const Cert *issuer) {
        assert_true(X509_sign(c.x509, issuer->key, EVP_sha256()) > 0);
        return c;
}

static void key_for_something_else(void **state _unused_) {
        Cert c = make_cert(NULL, "odd", &root, "codeSigning", -DAY, DAY);
        X509_EXTENSION *usage =
                        X509V3_EXT_conf_nid(NULL, NULL, NID_key_usage, "critical,keyAgreement");

        X509_EXTENSION_free(
                        X509_delete_ext(c.x509, X509_get_ext_by_NID(c.x509, NID_key_usage, -1)));
        assert_int_equal(X509_add_ext(c.x509, usage, -1), 1);
        X509_EXTENSION_free(usage);
        signed_by(sign_again(c, &root), "not for signatures");
}

/* Whoever may sign code may not let others sign. */
static void signer_as_authority(void **state _unused_) {
        Cert c = make_cert(NULL, "below", &leaf, "codeSigning", -DAY, DAY);
        CMS_ContentInfo *cms = begin();

        CMS_add1_cert(cms, leaf.x509);
        by(cms, &c, EVP_sha256());
        finish(cms);
        judge(line_of(cms, &c, 0), "invalid CA certificate");
        cert_done(&c);
}

/* Two signatures by one key differ, for they hold a random number; they are those of one key all the same. */
static void one_key_twice(void **state _unused_) {
        char *lines[2];
        Err *e = NULL;

        for (size_t i = 0; i < 2; i++) {
                CMS_ContentInfo *cms = begin();

                by(cms, &leaf, EVP_sha256());
                finish(cms);
                lines[i] = line_of(cms, &leaf, 0);
        }
        if (strcmp(lines[0], lines[1]) > 0) {
                char *first = lines[1];

                lines[1] = lines[0];
                lines[0] = first;
        }
        assert_int_equal(open_lines(lines[0], lines[1], 1, &e), 0);
        assert_true(open_lines(lines[0], lines[1], 2, &e) < 0);
        assert_story(&e, ERR_NOT_SIGNED, "by 1 of the keys");
        assert_true(open_lines(lines[1], lines[0], 1, &e) < 0);
        assert_story(&e, ERR_BAD_SIGNATURE, "not sorted");
        assert_true(open_lines(lines[0], lines[0], 1, &e) < 0);
        assert_story(&e, ERR_BAD_SIGNATURE, "there twice");
        free(lines[0]);
        free(lines[1]);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                        CASE(plain_ones_are_accepted),
                        CASE(two_signers_who_are_trusted),
                        CASE(in_the_name_of_another),
                        CASE(something_is_not_signed),
                        CASE(other_digests),
                        CASE(another_type_of_content),
                        CASE(bytes_behind_it),
                        CASE(weak_keys),
                        CASE(key_for_something_else),
                        CASE(signer_as_authority),
                        CASE(one_key_twice),
        };

        return cmocka_run_group_tests(tests, set_up, tear_down);
}
