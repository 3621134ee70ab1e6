/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <fcntl.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <sys/stat.h>

#include "os/file.h"
#include "stream/hex.h"
#include "stream/keys.h"

#define KEY_FILE_MAX (256u << 10)
#define REVOKED_NAME "revoked"
#define BAD(...)     err_kind(reterr, ERR_BAD_CONFIG, EINVAL, __VA_ARGS__)

static const char *const directories[] = {"usr/lib/abupdate/keys.d", "etc/abupdate/keys.d"};

int keyring_new(Keyring **ret, Err **reterr) {
        _cleanup_(keyring_freep) Keyring *ring = calloc(1, sizeof(*ring));

        if (ring)
                ring->store = X509_STORE_new();
        if (!ring || !ring->store)
                return err_new(reterr, ENOMEM, "out of memory");
        *ret = MOVE(ring);
        return 0;
}

Keyring *keyring_free(Keyring *ring) {
        if (ring) {
                for (size_t i = 0; i < ring->n_keys; i++) {
                        free(ring->keys[i].name);
                        EVP_PKEY_free(ring->keys[i].key);
                }
                free(ring->keys);
                free(ring->revoked);
                X509_STORE_free(ring->store);
                free(ring);
        }
        return NULL;
}

bool keyring_empty(const Keyring *ring) {
        return ring->n_keys == 0 && ring->n_anchors == 0;
}

bool keyring_revokes(const Keyring *ring, const char *fingerprint) {
        for (size_t i = 0; i < ring->n_revoked; i++)
                if (str_eq(ring->revoked[i], fingerprint))
                        return true;
        return false;
}

const struct RingKey *keyring_find(const Keyring *ring, const char *fingerprint) {
        for (size_t i = 0; i < ring->n_keys; i++)
                if (str_eq(ring->keys[i].fingerprint, fingerprint))
                        return &ring->keys[i];
        return NULL;
}

/* A key in the small subgroup has signatures that anybody can make; one that is not in normal form has two names. */
static bool ed25519_key_ok(EVP_PKEY *key) {
        static const char *const small[] = {
                        "0000000000000000000000000000000000000000000000000000000000000000",
                        "0100000000000000000000000000000000000000000000000000000000000000",
                        "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
                        "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
                        "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        };
        uint8_t raw[32], point[32];
        size_t size = sizeof(raw);
        bool high = true;

        if (EVP_PKEY_get_raw_public_key(key, raw, &size) != 1 || size != sizeof(raw))
                return false;
        raw[31] &= 0x7f;
        for (size_t i = 1; i < 31; i++)
                high = high && raw[i] == 0xff;
        if (high && raw[31] == 0x7f && raw[0] >= 0xed)
                return false;
        for (size_t i = 0; i < ARRAY_SIZE(small); i++)
                if (hex_read(small[i], point, sizeof(point)) && memcmp(point, raw, 32) == 0)
                        return false;
        return true;
}

static int add_key(Keyring *ring, const char *name, EVP_PKEY *key, Err **reterr) {
        char fingerprint[FINGERPRINT_SIZE];
        struct RingKey *more;

        if (!EVP_PKEY_is_a(key, "ED25519"))
                return BAD("%s: a public key that is not Ed25519; keys of other kinds come as a "
                           "certificate",
                                name);
        if (!ed25519_key_ok(key) || fingerprint_of(key, fingerprint) < 0)
                return BAD("%s: a weak key, for which anybody can sign", name);
        if (keyring_find(ring, fingerprint))
                return 0;
        more = reallocarray(ring->keys, ring->n_keys + 1, sizeof(*more));
        if (!more)
                return err_new(reterr, ENOMEM, "out of memory");
        ring->keys = more;
        more[ring->n_keys] = (struct RingKey){.name = strdup(name), .key = key};
        if (!more[ring->n_keys].name || EVP_PKEY_up_ref(key) != 1)
                return err_new(reterr, ENOMEM, "out of memory");
        memcpy(more[ring->n_keys].fingerprint, fingerprint, FINGERPRINT_SIZE);
        ring->n_keys++;
        return 0;
}

static int add_public_key(
                Keyring *ring, const char *name, const uint8_t *data, long size, Err **reterr) {
        EVP_PKEY *key = d2i_PUBKEY(NULL, &data, size);
        int r = key ? add_key(ring, name, key, reterr)
                    : BAD("%s: not a public key: %s", name, crypto_error());

        EVP_PKEY_free(key);
        return r;
}

static int add_certificate(
                Keyring *ring, const char *name, const uint8_t *data, long size, Err **reterr) {
        X509 *cert = d2i_X509(NULL, &data, size);
        int r = 0;

        if (!cert)
                return BAD("%s: not a certificate: %s", name, crypto_error());
        if (X509_STORE_add_cert(ring->store, cert) != 1)
                r = BAD("%s: a certificate that cannot be used: %s", name, crypto_error());
        else
                ring->n_anchors++;
        X509_free(cert);
        return r;
}

/* Of these kinds libcrypto asks nothing, and does not say so: they would lie there as if they were heard. */
static bool crl_is_asked(X509_CRL *crl) {
        ISSUING_DIST_POINT *idp = X509_CRL_get_ext_d2i(
                        crl, NID_issuing_distribution_point, /* critical */ NULL, NULL);
        bool asked = !idp || (!idp->onlysomereasons && idp->indirectCRL <= 0 &&
                                             !(idp->onlyuser > 0 && idp->onlyCA > 0));

        ISSUING_DIST_POINT_free(idp);
        return asked;
}

static int add_crl(Keyring *ring, const char *name, const uint8_t *data, long size, Err **reterr) {
        X509_CRL *crl = d2i_X509_CRL(NULL, &data, size);
        int r = 0;

        if (!crl)
                return BAD("%s: not a revocation list: %s", name, crypto_error());
        if (!crl_is_asked(crl))
                r = BAD("%s: a revocation list for some reasons only, or of other issuers; "
                        "give a whole one",
                                name);
        else if (X509_STORE_add_crl(ring->store, crl) != 1)
                r = BAD("%s: a revocation list that cannot be used: %s", name, crypto_error());
        X509_CRL_free(crl);
        return r;
}

static const struct {
        const char *label;
        int (*add)(Keyring *ring, const char *name, const uint8_t *data, long size, Err **reterr);
} blocks[] = {
                {PEM_STRING_PUBLIC, add_public_key},
                {PEM_STRING_X509, add_certificate},
                {PEM_STRING_X509_CRL, add_crl},
};

static int add_block(Keyring *ring, const char *name, const char *label, const uint8_t *data,
                long size, Err **reterr) {
        for (size_t i = 0; i < ARRAY_SIZE(blocks); i++)
                if (str_eq(blocks[i].label, label))
                        return blocks[i].add(ring, name, data, size, reterr);
        if (strstr(label, "PRIVATE"))
                return BAD("%s: a private key; it must not be on this machine", name);
        return BAD("%s: '%s' is not a public key, a certificate or a revocation list", name, label);
}

/* The end of a file that was written in part: nobody knows what else it would have said. */
static bool is_torn(const char *text, size_t size) {
        static const char end[] = "-----END ";
        const char *nl = memrchr(text, '\n', size), *last = nl ? nl + 1 : text;
        size_t n = size - (size_t) (last - text);

        return n > 0 && (n < strlen(end) || memcmp(last, end, strlen(end)) != 0);
}

int keyring_add_pem(Keyring *ring, const char *name, const char *text, size_t size, Err **reterr) {
        BIO *bio = size <= KEY_FILE_MAX ? BIO_new_mem_buf(text, (int) size) : NULL;
        char *label, *header;
        uint8_t *data;
        size_t n = 0;
        long length;
        bool torn;
        int r = 0;

        if (!bio)
                return BAD("%s: too large for a key", name);
        while (r >= 0 && PEM_read_bio(bio, &label, &header, &data, &length) == 1) {
                r = add_block(ring, name, label, data, length, reterr);
                OPENSSL_free(label);
                OPENSSL_free(header);
                OPENSSL_free(data);
                n++;
        }
        BIO_free(bio);
        torn = n > 0 && (ERR_GET_REASON(ERR_peek_last_error()) != PEM_R_NO_START_LINE ||
                                        is_torn(text, size));
        (void) crypto_error();
        if (r >= 0 && n == 0)
                return BAD("%s: not in PEM format", name);
        if (r >= 0 && torn)
                return BAD("%s: cut off or damaged behind its first %zu blocks", name, n);
        return r;
}

static int add_revoked(Keyring *ring, const char *fingerprint) {
        char(*more)[FINGERPRINT_SIZE] =
                        reallocarray(ring->revoked, ring->n_revoked + 1, sizeof(*more));

        if (!more)
                return -ENOMEM;
        ring->revoked = more;
        memcpy(more[ring->n_revoked++], fingerprint, FINGERPRINT_SIZE);
        return 0;
}

int keyring_add_revoked(
                Keyring *ring, const char *name, const char *text, size_t size, Err **reterr) {
        _cleanup_(freep) char *copy = strndup(text, size);
        char *rest = copy, *line;
        size_t number = 0;

        if (!copy)
                return err_new(reterr, ENOMEM, "out of memory");
        while ((line = strsep(&rest, "\n"))) {
                uint8_t ignored[32];
                size_t n;

                number++;
                line[strcspn(line, "#")] = '\0';
                line += strspn(line, " \t");
                n = strcspn(line, " \t\r");
                if (line[n + strspn(line + n, " \t\r")] != '\0')
                        return BAD("%s:%zu: more than one word", name, number);
                line[n] = '\0';
                if (n == 0)
                        continue;
                if (n != FINGERPRINT_SIZE - 1 || !hex_read(line, ignored, sizeof(ignored)))
                        return BAD("%s:%zu: '%s' is not a fingerprint: 64 lower-case hex digits",
                                        name, number, line);
                if (add_revoked(ring, line) < 0)
                        return err_new(reterr, ENOMEM, "out of memory");
        }
        return 0;
}

static bool ends_with(const char *s, const char *end) {
        size_t n = strlen(s), m = strlen(end);

        return n > m && str_eq(s + n - m, end);
}

/* An empty file or a link to /dev/null. */
static bool masks(int dir_fd, const char *name) {
        char target[16];
        struct stat st;
        ssize_t n;

        if (fstatat(dir_fd, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
                return false;
        if (S_ISREG(st.st_mode))
                return st.st_size == 0;
        n = S_ISLNK(st.st_mode) ? readlinkat(dir_fd, name, target, sizeof(target)) : -1;
        return n == (ssize_t) strlen("/dev/null") && memcmp(target, "/dev/null", (size_t) n) == 0;
}

static int load_file(Keyring *ring, int dir_fd, const char *dir, const char *name, Err **reterr) {
        _cleanup_(freep) char *text = NULL, *where = str_printf("/%s/%s", dir, name);
        _cleanup_(err_freep) Err *why = NULL;
        size_t size;
        int r;

        if (!where)
                return err_new(reterr, ENOMEM, "out of memory");
        r = file_read_at(dir_fd, name, KEY_FILE_MAX, &text, &size, &why);
        if (r < 0)
                return BAD("%s cannot be read: %s", where, err_text(why));
        return str_eq(name, REVOKED_NAME) ? keyring_add_revoked(ring, where, text, size, reterr)
                                          : keyring_add_pem(ring, where, text, size, reterr);
}

/* @above: the directory whose files take the place of those here; -1: none. */
static int load_directory(Keyring *ring, int dir_fd, const char *dir, int above, Err **reterr) {
        _cleanup_(strv_freep) char **names = NULL;
        _cleanup_(err_freep) Err *why = NULL;
        int r = dir_names(dir_fd, &names, &why);

        if (r < 0)
                return BAD("/%s cannot be read: %s", dir, err_text(why));
        for (char **n = names; r >= 0 && *n; n++) {
                bool revoked = str_eq(*n, REVOKED_NAME);
                struct stat st;

                if (!revoked && !ends_with(*n, ".pem"))
                        continue;
                if (masks(dir_fd, *n))
                        continue;
                if (!revoked && above >= 0 && fstatat(above, *n, &st, AT_SYMLINK_NOFOLLOW) == 0)
                        continue;
                r = load_file(ring, dir_fd, dir, *n, reterr);
        }
        return r;
}

int keyring_load(int root_fd, Keyring **ret, Err **reterr) {
        _cleanup_(keyring_freep) Keyring *ring = NULL;
        int fds[ARRAY_SIZE(directories)], r = keyring_new(&ring, reterr);

        if (!ring)
                return r;
        for (size_t i = 0; i < ARRAY_SIZE(directories); i++)
                fds[i] = -1;
        for (size_t i = 0; r >= 0 && i < ARRAY_SIZE(directories); i++) {
                _cleanup_(err_freep) Err *why = NULL;

                fds[i] = dir_open_at(root_fd, directories[i], &why);
                if (fds[i] < 0 && fds[i] != -ENOENT)
                        r = BAD("/%s cannot be read: %s", directories[i], err_text(why));
        }
        for (size_t i = 0; r >= 0 && i < ARRAY_SIZE(directories); i++)
                if (fds[i] >= 0)
                        r = load_directory(ring, fds[i], directories[i],
                                        i + 1 < ARRAY_SIZE(directories) ? fds[i + 1] : -1, reterr);
        for (size_t i = 0; i < ARRAY_SIZE(directories); i++)
                fd_close(fds[i]);
        if (r < 0)
                return r;
        *ret = MOVE(ring);
        return 0;
}

uint64_t keyring_now(int root_fd) {
        static const char *const built[] = {
                        "usr/lib/clock-epoch", "usr/lib/os-release", "etc/os-release"};
        uint64_t now = now_realtime() / USEC_PER_SEC;
        struct stat st;

        for (size_t i = 0; i < ARRAY_SIZE(built); i++)
                if (fstatat(root_fd, built[i], &st, AT_SYMLINK_NOFOLLOW) == 0 && st.st_mtime > 0 &&
                                (uint64_t) st.st_mtime > now)
                        now = (uint64_t) st.st_mtime;
        return now;
}
