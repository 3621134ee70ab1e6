/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* keys.d as an administrator leaves it: masked, replaced, unreadable. */
#include <openssl/pem.h>

#include "tests/unit/signed-image.h"

#define VENDOR "usr/lib/abupdate/keys.d/"
#define ADMIN  "etc/abupdate/keys.d/"

typedef struct Place {
        char path[64];
        int fd;
        EVP_PKEY *key;
        char *pem;
        char fingerprint[FINGERPRINT_SIZE];
} Place;

static char *pem_of(EVP_PKEY *key) {
        BIO *bio = BIO_new(BIO_s_mem());
        char *text, *out;
        long size;

        assert_int_equal(PEM_write_bio_PUBKEY(bio, key), 1);
        size = BIO_get_mem_data(bio, &text);
        out = strndup(text, (size_t) size);
        BIO_free(bio);
        return out;
}

static int set_up(void **state) {
        static Place p;

        p.fd = temp_dir_make(p.path);
        p.key = make_key();
        p.pem = pem_of(p.key);
        assert_int_equal(fingerprint_of(p.key, p.fingerprint), 0);
        *state = &p;
        return 0;
}

static int tear_down(void **state) {
        Place *p = *state;

        close(p->fd);
        temp_dir_remove(p->path);
        EVP_PKEY_free(p->key);
        free(p->pem);
        return 0;
}

static Keyring *load(Place *p) {
        _cleanup_(err_freep) Err *e = NULL;
        Keyring *ring = NULL;

        if (keyring_load(p->fd, &ring, &e) < 0)
                fail_msg("%s", err_text(e));
        return ring;
}

static void refuse(Place *p, const char *part) {
        Keyring *ring = NULL;
        Err *e = NULL;

        assert_true(keyring_load(p->fd, &ring, &e) < 0);
        assert_null(ring);
        assert_story(&e, ERR_BAD_CONFIG, part);
}

static void nothing_is_empty(void **state) {
        _cleanup_(keyring_freep) Keyring *ring = load(*state);

        assert_true(keyring_empty(ring));
}

static void vendor_key_is_found(void **state) {
        Place *p = *state;
        _cleanup_(keyring_freep) Keyring *ring = NULL;

        put_file(p->fd, VENDOR "maker.pem", p->pem);
        put_file(p->fd, VENDOR "README", "not a key");
        ring = load(p);
        assert_non_null(keyring_find(ring, p->fingerprint));
}

static void admin_replaces(void **state) {
        Place *p = *state;
        EVP_PKEY *other = make_key();
        _cleanup_(freep) char *pem = pem_of(other);
        _cleanup_(keyring_freep) Keyring *ring = NULL;

        put_file(p->fd, VENDOR "maker.pem", p->pem);
        put_file(p->fd, ADMIN "maker.pem", pem);
        ring = load(p);
        assert_int_equal(ring->n_keys, 1);
        assert_null(keyring_find(ring, p->fingerprint));
        EVP_PKEY_free(other);
}

static void admin_masks(void **state) {
        Place *p = *state;
        Keyring *ring;

        put_file(p->fd, VENDOR "maker.pem", p->pem);
        put_file(p->fd, ADMIN "maker.pem", "");
        ring = load(p);
        assert_true(keyring_empty(ring));
        keyring_free(ring);

        assert_int_equal(unlinkat(p->fd, ADMIN "maker.pem", 0), 0);
        assert_int_equal(symlinkat("/dev/null", p->fd, ADMIN "maker.pem"), 0);
        ring = load(p);
        assert_true(keyring_empty(ring));
        keyring_free(ring);
}

static void revocations_of_both_hold(void **state) {
        Place *p = *state;
        _cleanup_(keyring_freep) Keyring *ring = NULL;
        _cleanup_(freep) char *list = str_printf("%s\n", p->fingerprint);

        put_file(p->fd, VENDOR "maker.pem", p->pem);
        put_file(p->fd, VENDOR "revoked", list);
        put_file(p->fd, ADMIN "revoked", "# nothing of ours\n");
        ring = load(p);
        assert_true(keyring_revokes(ring, p->fingerprint));
}

static void a6_what_cannot_be_read_refuses_all(void **state) {
        Place *p = *state;

        put_file(p->fd, VENDOR "maker.pem", p->pem);
        put_file(p->fd, ADMIN "zz.pem", "garbage");
        refuse(p, "etc/abupdate/keys.d/zz.pem");
        put_file(p->fd, ADMIN "zz.pem",
                        "-----BEGIN PUBLIC KEY-----\nMAo=\n-----END PUBLIC KEY-----\n");
        refuse(p, "not a public key");
        assert_int_equal(unlinkat(p->fd, ADMIN "zz.pem", 0), 0);
        assert_int_equal(symlinkat("loop.pem", p->fd, ADMIN "loop.pem"), 0);
        refuse(p, "loop.pem cannot be read");
        assert_int_equal(unlinkat(p->fd, ADMIN "loop.pem", 0), 0);
        assert_int_equal(mkfifoat(p->fd, ADMIN "fifo.pem", 0644), 0);
        refuse(p, "fifo.pem cannot be read");
        assert_int_equal(unlinkat(p->fd, ADMIN "fifo.pem", 0), 0);
        put_file(p->fd, ADMIN "revoked", "not a fingerprint\n");
        refuse(p, "revoked:1");
        assert_int_equal(unlinkat(p->fd, ADMIN "revoked", 0), 0);
        assert_int_equal(unlinkat(p->fd, ADMIN, AT_REMOVEDIR), 0);
        put_file(p->fd, "etc/abupdate/keys.d", "a file in its place");
        refuse(p, "etc/abupdate/keys.d cannot be read");
}

/* A file that was written or copied in part: what its end would have revoked nobody knows. */
static void a6_a_torn_file_refuses_all(void **state) {
        Place *p = *state;
        _cleanup_(freep) char *twice = str_printf("%s%s", p->pem, p->pem);
        size_t one = strlen(p->pem), two = strlen(twice);

        for (size_t size = 1; size < two - 1; size++) {
                _cleanup_(keyring_freep) Keyring *ring = NULL;
                bool cut = size != one - 1 && size != one;

                assert_int_equal(keyring_new(&ring, NULL), 0);
                if ((keyring_add_pem(ring, "torn.pem", twice, size, NULL) < 0) != cut)
                        fail_msg("the first %zu of %zu bytes", size, two);
        }
}

static void private_and_foreign_keys_are_refused(void **state) {
        Place *p = *state;
        EVP_PKEY *rsa = EVP_PKEY_Q_keygen(NULL, NULL, "RSA", (size_t) 2048);
        _cleanup_(freep) char *pem = pem_of(rsa), *private = NULL;
        BIO *bio = BIO_new(BIO_s_mem());
        char *text;
        long size;

        put_file(p->fd, ADMIN "rsa.pem", pem);
        refuse(p, "not Ed25519");
        assert_int_equal(unlinkat(p->fd, ADMIN "rsa.pem", 0), 0);
        assert_int_equal(PEM_write_bio_PKCS8PrivateKey(bio, p->key, NULL, NULL, 0, NULL, NULL), 1);
        size = BIO_get_mem_data(bio, &text);
        private = strndup(text, (size_t) size);
        put_file(p->fd, ADMIN "private.pem", private);
        refuse(p, "private key");
        BIO_free(bio);
        EVP_PKEY_free(rsa);
}

#define PLACE(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void) {
        const struct CMUnitTest tests[] = {
                        PLACE(nothing_is_empty),
                        PLACE(vendor_key_is_found),
                        PLACE(admin_replaces),
                        PLACE(admin_masks),
                        PLACE(revocations_of_both_hold),
                        PLACE(a6_what_cannot_be_read_refuses_all),
                        PLACE(a6_a_torn_file_refuses_all),
                        PLACE(private_and_foreign_keys_are_refused),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
