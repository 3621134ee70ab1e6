/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <openssl/evp.h>

#include "stream/verify.h"

struct Chunk {
        const uint8_t *data;
        size_t size;
};

struct Verifier {
        bool checks;
        uint64_t payload_size;
        size_t n_chunks;
        uint8_t (*chunks)
                        [MANIFEST_DIGEST_SIZE]; /* a copy: a thread left behind must still find it */
        EVP_MD *sha256;
        EVP_MD_CTX *ctx;
        uint64_t passed;
        Chunk chunk;
};

const uint8_t *chunk_data(const Chunk *c) {
        return c->data;
}

size_t chunk_size(const Chunk *c) {
        return c->size;
}

int verifier_new(const Manifest *manifest, uint64_t first, Verifier **ret, Err **reterr) {
        _cleanup_(verifier_freep) Verifier *v = calloc(1, sizeof(*v));

        if (!v)
                return err_new(reterr, ENOMEM, "out of memory");
        v->passed = first;
        if (manifest) {
                v->checks = true;
                v->payload_size = manifest->payload_size;
                v->n_chunks = manifest->n_chunks;
                v->chunks = calloc(v->n_chunks, sizeof(*v->chunks));
                if (!v->chunks)
                        return err_new(reterr, ENOMEM, "out of memory");
                memcpy(v->chunks, manifest->chunks, v->n_chunks * sizeof(*v->chunks));
        }
        v->sha256 = EVP_MD_fetch(NULL, "SHA256", NULL);
        v->ctx = EVP_MD_CTX_new();
        if (!v->sha256 || !v->ctx)
                return err_new(reterr, ENOMEM, "SHA-256 is not available");
        *ret = MOVE(v);
        return 0;
}

Verifier *verifier_free(Verifier *v) {
        if (v) {
                free(v->chunks);
                EVP_MD_free(v->sha256);
                EVP_MD_CTX_free(v->ctx);
                free(v);
        }
        return NULL;
}

uint64_t verifier_passed(const Verifier *v) {
        return v->passed;
}

static uint64_t expected_size(const Verifier *v) {
        uint64_t left = v->payload_size - v->passed * MANIFEST_CHUNK_SIZE;

        return left < MANIFEST_CHUNK_SIZE ? left : MANIFEST_CHUNK_SIZE;
}

static int check(Verifier *v, const uint8_t *data, size_t size, Err **reterr) {
        uint8_t digest[EVP_MAX_MD_SIZE];
        unsigned n = 0;

        if (v->passed >= v->n_chunks)
                return size == 0 ? 0
                                 : err_kind(reterr, ERR_BAD_IMAGE, -EBADMSG,
                                                   "the image goes on after the %" PRIu64
                                                   " bytes that were signed",
                                                   v->payload_size);
        if (size < expected_size(v))
                return err_kind(reterr, ERR_TRUNCATED, -EBADMSG,
                                "the image ends after %" PRIu64 " of the %" PRIu64
                                " bytes that were signed",
                                v->passed * MANIFEST_CHUNK_SIZE + size, v->payload_size);
        if (size == expected_size(v) && EVP_DigestInit_ex(v->ctx, v->sha256, NULL) == 1 &&
                        EVP_DigestUpdate(v->ctx, data, size) == 1 &&
                        EVP_DigestFinal_ex(v->ctx, digest, &n) == 1 && n == MANIFEST_DIGEST_SIZE &&
                        memcmp(digest, v->chunks[v->passed], n) == 0)
                return 0;
        return err_kind(reterr, ERR_BAD_IMAGE, -EBADMSG,
                        "chunk %" PRIu64 " of %zu (from byte %" PRIu64
                        ") is not what was signed; nothing of it was used",
                        v->passed + 1, v->n_chunks, v->passed * MANIFEST_CHUNK_SIZE);
}

int verifier_next(Verifier *v, Source *source, uint8_t *buf, const Chunk **ret, Err **reterr) {
        size_t size;
        int r = source_read(source, buf, MANIFEST_CHUNK_SIZE, &size, reterr);

        if (r >= 0 && v->checks)
                r = check(v, buf, size, reterr);
        if (r < 0)
                return r;
        if (size == 0)
                return 0;
        v->passed++;
        v->chunk = (Chunk){buf, size};
        *ret = &v->chunk;
        return 1;
}
