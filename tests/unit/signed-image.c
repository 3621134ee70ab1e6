/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <endian.h>
#include <isa-l/crc.h>
#include <openssl/pem.h>
#include <sys/mman.h>

#include "stream/command.h"
#include "tests/unit/signed-image.h"

typedef struct Bytes {
        uint8_t *data;
        size_t size;
} Bytes;

static void put(Bytes *b, const void *data, size_t size) {
        b->data = realloc(b->data, b->size + size);
        assert_non_null(b->data);
        memcpy(b->data + b->size, data, size);
        b->size += size;
}

static void put16(Bytes *b, unsigned v) {
        uint16_t le = htole16((uint16_t) v);

        put(b, &le, sizeof(le));
}

static void put32(Bytes *b, uint32_t v) {
        uint32_t le = htole32(v);

        put(b, &le, sizeof(le));
}

static void attribute(Bytes *b, Attr a, const void *data, size_t size) {
        put16(b, a);
        put16(b, (unsigned) size);
        put(b, data, size);
}

static void command(Bytes *out, CommandKind kind, Bytes *body) {
        uint8_t header[10] = {0};
        uint32_t size = htole32((uint32_t) body->size), crc;
        uint16_t number = htole16((uint16_t) kind);

        memcpy(header, &size, 4);
        memcpy(header + 4, &number, 2);
        crc = crc32_iscsi(header, 10, 0);
        if (body->size > 0)
                crc = crc32_iscsi(body->data, (int) body->size, crc);
        crc = htole32(crc);
        memcpy(header + 6, &crc, 4);
        put(out, header, sizeof(header));
        if (body->size > 0)
                put(out, body->data, body->size);
        free(body->data);
        *body = (Bytes){0};
}

static const uint8_t subvol_uuid[16] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16};

uint8_t *make_stream(uint64_t bytes, size_t *ret_size) {
        Bytes out = {0}, b = {0};
        uint64_t ctransid = htole64(7), ino = htole64(257);
        uint32_t noise = 1;
        uint8_t block[32768];

        put(&out, "btrfs-stream", 13);
        put32(&out, 1);
        attribute(&b, ATTR_PATH, "root", 4);
        attribute(&b, ATTR_UUID, subvol_uuid, 16);
        attribute(&b, ATTR_CTRANSID, &ctransid, 8);
        command(&out, CMD_SUBVOL, &b);
        attribute(&b, ATTR_PATH, "file", 4);
        attribute(&b, ATTR_INO, &ino, 8);
        command(&out, CMD_MKFILE, &b);
        for (uint64_t at = 0; at < bytes; at += sizeof(block)) {
                size_t n = bytes - at < sizeof(block) ? (size_t) (bytes - at) : sizeof(block);
                uint64_t offset = htole64(at);

                for (size_t i = 0; i < n; i++)
                        block[i] = (uint8_t) ((noise = noise * 1103515245 + 12345) >> 16);
                attribute(&b, ATTR_PATH, "file", 4);
                attribute(&b, ATTR_FILE_OFFSET, &offset, 8);
                attribute(&b, ATTR_DATA, block, n);
                command(&out, CMD_WRITE, &b);
        }
        command(&out, CMD_END, &b);
        *ret_size = out.size;
        return out.data;
}

void set_chunks(Manifest *m, const uint8_t *payload, size_t size) {
        free(m->chunks);
        m->payload_size = size;
        m->n_chunks = (size + MANIFEST_CHUNK_SIZE - 1) / MANIFEST_CHUNK_SIZE;
        m->chunks = calloc(m->n_chunks, sizeof(*m->chunks));
        assert_non_null(m->chunks);
        for (size_t i = 0; i < m->n_chunks; i++) {
                size_t at = i * MANIFEST_CHUNK_SIZE, left = size - at;

                EVP_Digest(payload + at, left < MANIFEST_CHUNK_SIZE ? left : MANIFEST_CHUNK_SIZE,
                                m->chunks[i], NULL, EVP_sha256(), NULL);
        }
}

Manifest *make_manifest(const uint8_t *payload, size_t size) {
        Manifest *m = calloc(1, sizeof(*m));

        assert_non_null(m);
        *m = (Manifest){
                        .compatible = strdup("test-board"),
                        .version = strdup("1.0"),
                        .build_time = 1700000000,
                        .epoch = 3,
                        .stream_size = size,
                        .max_file_size = UINT64_C(1) << 30,
                        .stream_version = 1,
                        .n_subvols = 1,
                        .subvols = calloc(1, sizeof(*m->subvols)),
        };
        assert_non_null(m->subvols);
        m->subvols[0] = (ManifestSubvol){
                        .name = strdup("root"),
                        .path = strdup("/"),
                        .bytes = size,
                        .inodes = 1,
        };
        memcpy(m->subvols[0].uuid, subvol_uuid, 16);
        memset(m->subvols[0].digest, 0xab, MANIFEST_DIGEST_SIZE);
        set_chunks(m, payload, size);
        return m;
}

EVP_PKEY *make_key(void) {
        EVP_PKEY *key = EVP_PKEY_Q_keygen(NULL, NULL, "ED25519");

        assert_non_null(key);
        return key;
}

char *add_signature(const SignatureOps *ops, const Signer *who, const char *text, size_t *size) {
        _cleanup_(err_freep) Err *e = NULL;
        _cleanup_(signed_text_done) SignedText t = {0};
        Signature s = {0};
        char *out = NULL;
        size_t covered = *size;

        if (signed_text_split(text, *size, &t, NULL) == 0)
                covered = t.size;
        assert_int_equal(ops->sign(who, text, covered, &s, &e), 0);
        assert_int_equal(signed_text_add(text, *size, &s, &out, &e), 0);
        free(s.data);
        *size = strlen(out);
        return out;
}

char *sign_manifest(const Manifest *m, EVP_PKEY *const *keys, size_t *ret_size) {
        _cleanup_(err_freep) Err *e = NULL;
        char *text = NULL;

        assert_int_equal(manifest_format(m, &text, ret_size, &e), 0);
        for (; *keys; keys++) {
                char *more = add_signature(
                                &ed25519_signature_ops, &(Signer){.key = *keys}, text, ret_size);

                free(text);
                text = more;
        }
        return text;
}

Keyring *make_ring(EVP_PKEY *const *keys) {
        _cleanup_(err_freep) Err *e = NULL;
        Keyring *ring = NULL;

        assert_int_equal(keyring_new(&ring, &e), 0);
        for (; *keys; keys++) {
                BIO *bio = BIO_new(BIO_s_mem());
                char *text;
                long size;

                assert_int_equal(PEM_write_bio_PUBKEY(bio, *keys), 1);
                size = BIO_get_mem_data(bio, &text);
                assert_int_equal(keyring_add_pem(ring, "test.pem", text, (size_t) size, &e), 0);
                BIO_free(bio);
        }
        return ring;
}

int open_manifest(const Keyring *ring, const char *text, size_t size, unsigned threshold,
                Manifest **ret, Err **e) {
        _cleanup_(signed_text_done) SignedText t = {0};
        int r = signed_text_split(text, size, &t, e);

        if (r >= 0)
                r = keyring_verify(ring, &t, threshold, 1750000000, e);
        return r < 0 ? r : manifest_parse(t.text, t.size, ret, e);
}

int make_file(const void *data, size_t size) {
        int fd = memfd_create("image", MFD_CLOEXEC);

        assert_true(fd >= 0);
        assert_int_equal(write(fd, data, size), size);
        assert_int_equal(lseek(fd, 0, SEEK_SET), 0);
        return fd;
}

char *make_unsigned(size_t *ret_size) {
        _cleanup_(manifest_freep) Manifest *m = NULL;
        _cleanup_(freep) uint8_t *payload = NULL;
        char *text = NULL;
        size_t n;

        payload = make_stream(100, &n);
        m = make_manifest(payload, n);
        assert_int_equal(manifest_format(m, &text, ret_size, NULL), 0);
        return text;
}
