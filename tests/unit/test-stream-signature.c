/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Who may vouch for an image. Names of cases begin with the line of the list of faults that they prove. */
#include <openssl/pem.h>

#include "tests/unit/signed-image.h"

static EVP_PKEY *key, *other;
static Keyring *ring;
static char *text; /* signed with key */
static size_t size, covered;

static int set_up(void **state _unused_) {
        _cleanup_(manifest_freep) Manifest *m = NULL;
        _cleanup_(freep) uint8_t *payload = NULL;
        _cleanup_(freep) char *plain = NULL;
        size_t n;

        payload = make_stream(100000, &n);
        m = make_manifest(payload, n);
        key = make_key();
        other = make_key();
        ring = make_ring((EVP_PKEY *[]){key, NULL});
        text = sign_manifest(m, (EVP_PKEY *[]){key, NULL}, &size);
        assert_int_equal(manifest_format(m, &plain, &covered, NULL), 0);
        return 0;
}

static int tear_down(void **state _unused_) {
        keyring_free(ring);
        EVP_PKEY_free(key);
        EVP_PKEY_free(other);
        free(text);
        return 0;
}

static void refuse(const Keyring *r, const char *t, size_t n, unsigned threshold, ErrKind kind,
                const char *part) {
        _cleanup_(manifest_freep) Manifest *m = NULL;
        unsigned before = manifest_parse_count();
        Err *e = NULL;

        assert_true(open_manifest(r, t, n, threshold, &m, &e) < 0);
        assert_story(&e, kind, part);
        assert_int_equal(manifest_parse_count(), before);
}

static void accept(const Keyring *r, const char *t, size_t n, unsigned threshold) {
        _cleanup_(manifest_freep) Manifest *m = NULL;
        _cleanup_(err_freep) Err *e = NULL;

        if (open_manifest(r, t, n, threshold, &m, &e) < 0)
                fail_msg("%s", err_text(e));
        assert_string_equal(m->version, "1.0");
}

/* The text with other bytes as its signature. */
static char *with_signature(const uint8_t *data, size_t n, size_t *ret) {
        _cleanup_(signed_text_done) SignedText t = {0};
        Signature s = {.method = "ed25519", .data = (uint8_t *) (uintptr_t) data, .size = n};
        char *out;

        assert_int_equal(signed_text_split(text, size, &t, NULL), 0);
        memcpy(s.signer, t.signatures[0].signer, FINGERPRINT_SIZE);
        assert_int_equal(signed_text_add(text, t.size, &s, &out, NULL), 0);
        *ret = strlen(out);
        return out;
}

static void signed_is_accepted(void **state _unused_) {
        accept(ring, text, size, 1);
}

static void a1_no_signature(void **state _unused_) {
        refuse(ring, text, covered, 1, ERR_NOT_SIGNED, "not signed");
        refuse(ring, text, covered + 1, 1, ERR_NOT_SIGNED, "not signed");
}

static void a2_empty_signature(void **state _unused_) {
        _cleanup_(freep) char *t = str_printf("%.*s\ned25519 %064d \n", (int) covered, text, 0);
        _cleanup_(freep) char *u = str_printf("%.*s\ned25519 %064d\n", (int) covered, text, 0);
        _cleanup_(freep) char *v = str_printf("%.*s\n\n", (int) covered, text);

        refuse(ring, t, strlen(t), 1, ERR_BAD_SIGNATURE, "not one");
        refuse(ring, u, strlen(u), 1, ERR_BAD_SIGNATURE, "not one");
        refuse(ring, v, strlen(v), 1, ERR_BAD_SIGNATURE, "not one");
}

static void a3_signature_of_63_and_65_bytes(void **state _unused_) {
        _cleanup_(signed_text_done) SignedText s = {0};
        uint8_t data[65] = {0};

        assert_int_equal(signed_text_split(text, size, &s, NULL), 0);
        memcpy(data, s.signatures[0].data, 64);
        for (size_t n = 63; n <= 65; n += 2) {
                size_t length;
                _cleanup_(freep) char *t = with_signature(data, n, &length);

                refuse(ring, t, length, 1, ERR_BAD_SIGNATURE, "64 bytes");
        }
}

/* S + L is the same scalar in another coat; a point of small order fits every message of a weak key. */
static void a4_zero_non_canonical_and_small_order(void **state _unused_) {
        static const uint8_t order[32] = {0xed, 0xd3, 0xf5, 0x5c, 0x1a, 0x63, 0x12, 0x58, 0xd6,
                        0x9c, 0xf7, 0xa2, 0xde, 0xf9, 0xde, 0x14, [31] = 0x10};
        _cleanup_(signed_text_done) SignedText s = {0};
        uint8_t data[64] = {0};
        unsigned carry = 0;
        size_t length;
        char *t;

        t = with_signature(data, 64, &length);
        refuse(ring, t, length, 1, ERR_BAD_SIGNATURE, "belong together");
        free(t);
        data[0] = 1; /* R is the neutral element */
        t = with_signature(data, 64, &length);
        refuse(ring, t, length, 1, ERR_BAD_SIGNATURE, "belong together");
        free(t);

        assert_int_equal(signed_text_split(text, size, &s, NULL), 0);
        memcpy(data, s.signatures[0].data, 64);
        for (size_t i = 0; i < 32; i++) {
                carry += data[32 + i] + order[i];
                data[32 + i] = (uint8_t) carry;
                carry >>= 8;
        }
        t = with_signature(data, 64, &length);
        refuse(ring, t, length, 1, ERR_BAD_SIGNATURE, "belong together");
        free(t);
}

static void a4_weak_keys_are_not_installed(void **state _unused_) {
        static const uint8_t raws[][32] = {{0}, {1}, {[0 ... 30] = 0xff, [31] = 0x7f},
                        {0xec, [1 ... 30] = 0xff, [31] = 0x7f},
                        {0xec, [1 ... 30] = 0xff, [31] = 0xff}};

        for (size_t i = 0; i < ARRAY_SIZE(raws); i++) {
                EVP_PKEY *weak = EVP_PKEY_new_raw_public_key(
                                EVP_PKEY_ED25519, NULL, raws[i], sizeof(raws[i]));
                _cleanup_(keyring_freep) Keyring *r = NULL;
                BIO *bio = BIO_new(BIO_s_mem());
                Err *e = NULL;
                char *pem;
                long n;

                assert_int_equal(PEM_write_bio_PUBKEY(bio, weak), 1);
                n = BIO_get_mem_data(bio, &pem);
                assert_int_equal(keyring_new(&r, NULL), 0);
                assert_true(keyring_add_pem(r, "weak.pem", pem, (size_t) n, &e) < 0);
                assert_story(&e, ERR_BAD_CONFIG, "weak");
                BIO_free(bio);
                EVP_PKEY_free(weak);
        }
}

static void a5_unknown_key(void **state _unused_) {
        _cleanup_(keyring_freep) Keyring *r = make_ring((EVP_PKEY *[]){other, NULL});

        refuse(r, text, size, 1, ERR_UNKNOWN_KEY, "not trusted here");
}

static void a6_no_keys(void **state _unused_) {
        _cleanup_(keyring_freep) Keyring *r = make_ring((EVP_PKEY *[]){NULL});

        refuse(r, text, size, 1, ERR_NO_KEYS, "keys.d");
}

static void a7_revoked_key(void **state _unused_) {
        _cleanup_(keyring_freep) Keyring *r = make_ring((EVP_PKEY *[]){key, other, NULL});
        char fingerprint[FINGERPRINT_SIZE];
        _cleanup_(freep) char *list = NULL, *both = NULL;
        size_t length = size;

        assert_int_equal(fingerprint_of(key, fingerprint), 0);
        list = str_printf("# stolen\n\n%s # 2026\n", fingerprint);
        assert_int_equal(keyring_add_revoked(r, "revoked", list, strlen(list), NULL), 0);
        refuse(r, text, size, 1, ERR_REVOKED_KEY, fingerprint);

        /* the maker's new key is enough, the old one does not count */
        both = add_signature(&ed25519_signature_ops, &(Signer){.key = other}, text, &length);
        accept(r, both, length, 1);
        refuse(r, both, length, 2, ERR_NOT_SIGNED, "Threshold=2");
}

static void threshold_counts_different_keys(void **state _unused_) {
        _cleanup_(keyring_freep) Keyring *r = make_ring((EVP_PKEY *[]){key, other, NULL});
        _cleanup_(freep) char *both = NULL, *again = NULL;
        size_t length = size, same = size;

        refuse(r, text, size, 2, ERR_NOT_SIGNED, "1 of the keys");
        again = add_signature(&ed25519_signature_ops, &(Signer){.key = key}, text, &same);
        assert_int_equal(same, size); /* replaced, not added */
        both = add_signature(&ed25519_signature_ops, &(Signer){.key = other}, text, &length);
        accept(r, both, length, 2);
        accept(ring, both, length, 1); /* of two, one is not known here */
        refuse(r, both, length, 3, ERR_NOT_SIGNED, "2 of the keys");
}

static void a_bad_signature_of_a_trusted_key_spoils_all(void **state _unused_) {
        _cleanup_(keyring_freep) Keyring *r = make_ring((EVP_PKEY *[]){key, other, NULL});
        uint8_t data[64] = {7};
        size_t length;
        _cleanup_(freep) char *bad = with_signature(data, 64, &length);
        _cleanup_(freep) char *both = add_signature(
                        &ed25519_signature_ops, &(Signer){.key = other}, bad, &length);

        refuse(r, both, length, 1, ERR_BAD_SIGNATURE, "belong together");
}

/* Every bit, not one a byte. */
static void a9_every_flipped_bit(void **state _unused_) {
        _cleanup_(freep) char *copy = malloc(size);
        unsigned parsed = manifest_parse_count();
        size_t flips = 0;

        for (size_t bit = 0; bit < size * 8; bit++, flips++) {
                _cleanup_(manifest_freep) Manifest *m = NULL;
                _cleanup_(err_freep) Err *e = NULL;

                memcpy(copy, text, size);
                copy[bit / 8] = (char) (copy[bit / 8] ^ 1 << bit % 8);
                if (open_manifest(ring, copy, size, 1, &m, &e) >= 0)
                        fail_msg("bit %zu of byte %zu may be flipped", bit % 8, bit / 8);
        }
        assert_int_equal(manifest_parse_count(), parsed);
        print_message("# %zu flips, all refused, none parsed\n", flips);
}

/* What the sum of the line would catch is taken away from it: the signature itself refuses. */
static void a9_every_bit_of_the_signature_itself(void **state _unused_) {
        _cleanup_(signed_text_done) SignedText s = {0};

        assert_int_equal(signed_text_split(text, size, &s, NULL), 0);
        for (size_t bit = 0; bit < 64 * 8; bit++) {
                uint8_t data[64];
                size_t length;
                char *t;

                memcpy(data, s.signatures[0].data, 64);
                data[bit / 8] ^= (uint8_t) (1u << bit % 8);
                t = with_signature(data, 64, &length);
                refuse(ring, t, length, 1, ERR_BAD_SIGNATURE, "belong together");
                free(t);
        }
}

/* Bits that base64 does not use are zero: there is one text for given bytes. The sum is right, as everybody can compute it. */
static void a9_another_encoding_of_the_same(void **state _unused_) {
        static const char letters[] =
                        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
        const size_t last = size - strlen("A== 0123456789abcdef\n");

        for (size_t i = 0; i < 64; i++) {
                _cleanup_(manifest_freep) Manifest *m = NULL;
                _cleanup_(freep) char *t = strdup(text);
                char *line = t + covered + 1;
                uint8_t sum[EVP_MAX_MD_SIZE];
                bool same = t[last] == letters[i];

                t[last] = letters[i];
                assert_int_equal(EVP_Digest(line, (size_t) (t + last + 3 - line), sum, NULL,
                                                 EVP_sha256(), NULL),
                                1);
                for (size_t k = 0; k < 8; k++)
                        snprintf(t + last + 4 + 2 * k, 3, "%02x", sum[k]);
                t[size - 1] = '\n';
                if ((open_manifest(ring, t, size, 1, &m, NULL) >= 0) != same)
                        fail_msg("'%c' in place of '%c'", letters[i], text[last]);
        }
}

static void a9_every_length(void **state _unused_) {
        for (size_t n = 0; n < size; n++) {
                _cleanup_(manifest_freep) Manifest *m = NULL;

                if (open_manifest(ring, text, n, 1, &m, NULL) >= 0)
                        fail_msg("the first %zu of %zu bytes are accepted", n, size);
        }
}

static void a18_bytes_around(void **state _unused_) {
        static const char *const extra[] = {" ", "\n", "x", "\n\n", "#\n"};

        for (size_t i = 0; i < ARRAY_SIZE(extra); i++) {
                _cleanup_(freep) char *before = str_printf("%s%s", extra[i], text);
                _cleanup_(freep) char *after = str_printf("%s%s", text, extra[i]);

                refuse(ring, before, strlen(before), 1, ERR_BAD_SIGNATURE, "");
                refuse(ring, after, strlen(after), 1, ERR_BAD_SIGNATURE, "");
        }
}

static void too_many_signatures(void **state _unused_) {
        _cleanup_(freep) char *t = strndup(text, covered);
        Signature s = {.method = "future", .data = (uint8_t[]){1}, .size = 1};
        Err *e = NULL;
        char *out;

        for (unsigned i = 0; i < SIGNATURES_MAX; i++) {
                snprintf(s.signer, sizeof(s.signer), "%064x", i);
                assert_int_equal(signed_text_add(t, strlen(t), &s, &out, NULL), 0);
                free(t);
                t = out;
        }
        refuse(ring, t, strlen(t), 1, ERR_UNKNOWN_KEY, "not trusted"); /* a method of later */
        snprintf(s.signer, sizeof(s.signer), "%064x", 99);
        assert_true(signed_text_add(t, strlen(t), &s, &out, &e) < 0);
        assert_story(&e, ERR_LIMIT_EXCEEDED, "at most 16");
}

int main(void) {
        const struct CMUnitTest tests[] = {
                        CASE(signed_is_accepted),
                        CASE(a1_no_signature),
                        CASE(a2_empty_signature),
                        CASE(a3_signature_of_63_and_65_bytes),
                        CASE(a4_zero_non_canonical_and_small_order),
                        CASE(a4_weak_keys_are_not_installed),
                        CASE(a5_unknown_key),
                        CASE(a6_no_keys),
                        CASE(a7_revoked_key),
                        CASE(threshold_counts_different_keys),
                        CASE(a_bad_signature_of_a_trusted_key_spoils_all),
                        CASE(a9_every_flipped_bit),
                        CASE(a9_every_bit_of_the_signature_itself),
                        CASE(a9_another_encoding_of_the_same),
                        CASE(a9_every_length),
                        CASE(a18_bytes_around),
                        CASE(too_many_signatures),
        };

        return cmocka_run_group_tests(tests, set_up, tear_down);
}
