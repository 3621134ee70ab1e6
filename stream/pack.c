/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <openssl/evp.h>

#include "stream/compress.h"
#include "stream/pack.h"

/* As many lines of 65 bytes as fit beside the fields. */
#define CHUNKS_MAX ((MANIFEST_SIZE_MAX - MANIFEST_HEAD_MAX) / 65)
#define LEVEL_MAX  19
#define WORKERS    2 /* any number above 0 gives the same bytes */
#define FRAME_SIZE                                                                                 \
        (32u << 20) /* plain bytes: an update that was cut off goes on at the beginning of a frame */

struct Pack {
        int fd;
        Compression compression;
        Compressor *zstd; /* NULL: as it is */
        EVP_MD_CTX *ctx;
        uint64_t plain, written;
        size_t in_frame; /* plain bytes */
        size_t n_chunks;
        uint8_t (*chunks)[MANIFEST_DIGEST_SIZE];
};

Pack *pack_free(Pack *p) {
        if (p) {
                compressor_free(p->zstd);
                EVP_MD_CTX_free(p->ctx);
                free(p->chunks);
                free(p);
        }
        return NULL;
}

static int start_zstd(Pack *p, int level, Err **reterr) {
        if (level < 1 || level > LEVEL_MAX)
                return err_kind(reterr, ERR_INVALID_ARGUMENT, EINVAL,
                                "levels of zstd go from 1 to %d here: machines unpack with little "
                                "memory",
                                LEVEL_MAX);
        return compressor_new(level, WORKERS, &p->zstd, reterr);
}

int pack_new(int fd, Compression compression, int level, Pack **ret, Err **reterr) {
        _cleanup_(pack_freep) Pack *p = calloc(1, sizeof(*p));
        int r = 0;

        if (!p)
                return err_new(reterr, ENOMEM, "out of memory");
        p->fd = fd;
        p->compression = compression;
        p->ctx = EVP_MD_CTX_new();
        if (!p->ctx || EVP_DigestInit_ex(p->ctx, EVP_sha256(), NULL) != 1)
                return err_new(reterr, ENOMEM, "SHA-256 is not available");
        if (compression == COMPRESSION_ZSTD)
                r = start_zstd(p, level, reterr);
        else if (compression != COMPRESSION_NONE)
                r = err_kind(reterr, ERR_NOT_SUPPORTED, EOPNOTSUPP,
                                "images are packed with zstd or not at all");
        if (r < 0)
                return r;
        *ret = MOVE(p);
        return 0;
}

uint64_t pack_plain(const Pack *p) {
        return p->plain;
}

static int end_chunk(Pack *p, Err **reterr) {
        uint8_t(*more)[MANIFEST_DIGEST_SIZE];

        if (p->n_chunks == CHUNKS_MAX)
                return err_kind(reterr, ERR_LIMIT_EXCEEDED, EFBIG,
                                "the image has more than %u MiB, the most that a manifest can "
                                "describe; pack it with --compress=zstd",
                                CHUNKS_MAX);
        more = reallocarray(p->chunks, p->n_chunks + 1, sizeof(*more));
        if (!more)
                return err_new(reterr, ENOMEM, "out of memory");
        p->chunks = more;
        if (EVP_DigestFinal_ex(p->ctx, more[p->n_chunks++], NULL) != 1 ||
                        EVP_DigestInit_ex(p->ctx, EVP_sha256(), NULL) != 1)
                return err_new(reterr, EIO, "compute SHA-256");
        return 0;
}

static int put(void *userdata, const uint8_t *data, size_t size, Err **reterr) {
        Pack *p = userdata;

        while (size > 0) {
                size_t room = MANIFEST_CHUNK_SIZE - (size_t) (p->written % MANIFEST_CHUNK_SIZE);
                ssize_t n = write(p->fd, data, size < room ? size : room);
                int r;

                if (n < 0 && errno == EINTR)
                        continue;
                if (n < 0)
                        return err_sys(reterr, errno, "write the image");
                if (EVP_DigestUpdate(p->ctx, data, (size_t) n) != 1)
                        return err_new(reterr, EIO, "compute SHA-256");
                p->written += (uint64_t) n;
                data += n;
                size -= (size_t) n;
                r = p->written % MANIFEST_CHUNK_SIZE == 0 ? end_chunk(p, reterr) : 0;
                if (r < 0)
                        return r;
        }
        return 0;
}

int pack_add(Pack *p, const void *data, size_t size, Err **reterr) {
        int r = 0;

        p->plain += size;
        if (!p->zstd)
                return put(p, data, size, reterr);
        while (r >= 0 && size > 0) {
                size_t n = FRAME_SIZE - p->in_frame < size ? FRAME_SIZE - p->in_frame : size;

                p->in_frame = (p->in_frame + n) % FRAME_SIZE;
                r = compressor_add(p->zstd, data, n, /* end_frame= */ p->in_frame == 0, put, p,
                                reterr);
                data = (const uint8_t *) data + n;
                size -= n;
        }
        return r;
}

int pack_end(Pack *p, Manifest *m, Err **reterr) {
        int r = p->in_frame > 0 ? compressor_add(p->zstd, NULL, 0, /* end_frame= */ true, put, p,
                                                  reterr)
                                : 0;

        if (r >= 0 && p->written % MANIFEST_CHUNK_SIZE != 0)
                r = end_chunk(p, reterr);
        if (r >= 0 && fdatasync(p->fd) < 0)
                r = err_sys(reterr, errno, "write the image");
        if (r < 0)
                return r;
        m->payload_size = p->written;
        m->stream_size = p->plain;
        m->compression = p->compression;
        m->n_chunks = p->n_chunks;
        m->chunks = MOVE(p->chunks);
        return 0;
}
