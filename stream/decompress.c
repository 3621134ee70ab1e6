/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <lzma.h>
#include <zlib.h>
#include <zstd.h>
#include <zstd_errors.h>

#include "base/enum.h"
#include "stream/decompress.h"

#define XZ_MEMORY_MAX (DECOMPRESS_WINDOW_MAX + (2u << 20))

static const char *const compression_names[_COMPRESSION_MAX] = {
                [COMPRESSION_NONE] = "none",
                [COMPRESSION_ZSTD] = "zstd",
                [COMPRESSION_XZ] = "xz",
                [COMPRESSION_GZIP] = "gzip",
};
DEFINE_ENUM(compression, Compression, compression_names, _COMPRESSION_MAX, _COMPRESSION_INVALID)

/* What a step of a codec came to: more may follow, or a frame has just ended. */
enum { STEP_MORE, STEP_FRAME_END };

typedef struct Codec {
        int (*open)(Decompressor *d);
        void (*close)(Decompressor *d);
        int (*step)(Decompressor *d, const uint8_t **in, size_t *in_size, bool last, uint8_t **out,
                        size_t *out_size, Err **reterr);
} Codec;

struct Decompressor {
        const Codec *codec;
        bool between; /* a frame has ended and no byte of another was seen */
        uint64_t taken, given;
        FrameStart frame;
        ZSTD_DCtx *zstd;
        lzma_stream xz;
        z_stream gzip;
};

Compression compression_detect(const uint8_t *head, size_t size) {
        static const struct {
                Compression c;
                size_t size;
                const char *bytes;
        } magics[] = {
                        {COMPRESSION_ZSTD, 4, "\x28\xb5\x2f\xfd"},
                        {COMPRESSION_XZ, 6,
                                        "\xfd"
                                        "7zXZ"},
                        {COMPRESSION_GZIP, 3, "\x1f\x8b\x08"},
        };

        for (size_t i = 0; i < ARRAY_SIZE(magics); i++)
                if (size >= magics[i].size && memcmp(head, magics[i].bytes, magics[i].size) == 0)
                        return magics[i].c;
        return COMPRESSION_NONE;
}

static int broken(Err **reterr, const char *what, const char *why) {
        return err_kind(reterr, ERR_BAD_STREAM, -EBADMSG, "The image is not valid %s: %s", what,
                        why);
}

static int too_large(Err **reterr, const char *what, const char *advice) {
        return err_kind(reterr, ERR_NOT_SUPPORTED, -EFBIG,
                        "The image needs a %s window of more than %u MiB to unpack; compress it "
                        "with %s or less",
                        what, DECOMPRESS_WINDOW_MAX >> 20, advice);
}

static int zstd_open(Decompressor *d) {
        int bits = __builtin_ctz(DECOMPRESS_WINDOW_MAX);

        d->zstd = ZSTD_createDCtx();
        if (!d->zstd || ZSTD_isError(ZSTD_DCtx_setParameter(d->zstd, ZSTD_d_windowLogMax, bits)))
                return -ENOMEM;
        return 0;
}

static void zstd_close(Decompressor *d) {
        ZSTD_freeDCtx(d->zstd);
}

static int zstd_step(Decompressor *d, const uint8_t **in, size_t *in_size, bool last, uint8_t **out,
                size_t *out_size, Err **reterr) {
        ZSTD_inBuffer ib = {*in, *in_size, 0};
        ZSTD_outBuffer ob = {*out, *out_size, 0};
        size_t n;

        (void) last;
        n = ZSTD_decompressStream(d->zstd, &ob, &ib);
        if (ZSTD_isError(n)) {
                if (ZSTD_getErrorCode(n) == ZSTD_error_frameParameter_windowTooLarge)
                        return too_large(reterr, "zstd", "zstd -19");
                if (ZSTD_getErrorCode(n) == ZSTD_error_memory_allocation)
                        return err_sys(reterr, -ENOMEM, "Cannot unpack the image");
                return broken(reterr, "zstd", ZSTD_getErrorName(n));
        }
        *in += ib.pos;
        *in_size -= ib.pos;
        *out += ob.pos;
        *out_size -= ob.pos;
        return n == 0 ? STEP_FRAME_END : STEP_MORE;
}

static int xz_open(Decompressor *d) {
        lzma_ret r = lzma_stream_decoder(&d->xz, XZ_MEMORY_MAX, LZMA_CONCATENATED);

        return r == LZMA_OK ? 0 : -ENOMEM;
}

static void xz_close(Decompressor *d) {
        lzma_end(&d->xz);
}

static int xz_step(Decompressor *d, const uint8_t **in, size_t *in_size, bool last, uint8_t **out,
                size_t *out_size, Err **reterr) {
        lzma_ret r;

        d->xz.next_in = *in;
        d->xz.avail_in = *in_size;
        d->xz.next_out = *out;
        d->xz.avail_out = *out_size;
        r = lzma_code(&d->xz, last ? LZMA_FINISH : LZMA_RUN);
        *in = d->xz.next_in;
        *in_size = d->xz.avail_in;
        *out = d->xz.next_out;
        *out_size = d->xz.avail_out;

        switch (r) {
        case LZMA_STREAM_END: return STEP_FRAME_END;
        case LZMA_OK:
        case LZMA_BUF_ERROR: return STEP_MORE;
        case LZMA_MEMLIMIT_ERROR: return too_large(reterr, "xz", "xz -6");
        case LZMA_MEM_ERROR: return err_sys(reterr, -ENOMEM, "Cannot unpack the image");
        case LZMA_DATA_ERROR: return broken(reterr, "xz", "damaged data");
        default: return broken(reterr, "xz", "wrong format or options");
        }
}

static int gzip_open(Decompressor *d) {
        return inflateInit2(&d->gzip, 16 + MAX_WBITS) == Z_OK ? 0 : -ENOMEM;
}

static void gzip_close(Decompressor *d) {
        inflateEnd(&d->gzip);
}

static int gzip_step(Decompressor *d, const uint8_t **in, size_t *in_size, bool last, uint8_t **out,
                size_t *out_size, Err **reterr) {
        int r;

        (void) last;
        if (d->between && inflateReset(&d->gzip) != Z_OK)
                return broken(reterr, "gzip", "cannot begin another member");
        d->gzip.next_in = (uint8_t *) (uintptr_t) *in;
        d->gzip.avail_in = (unsigned) *in_size;
        d->gzip.next_out = *out;
        d->gzip.avail_out = (unsigned) *out_size;
        r = inflate(&d->gzip, Z_NO_FLUSH);
        *in = d->gzip.next_in;
        *in_size = d->gzip.avail_in;
        *out = d->gzip.next_out;
        *out_size = d->gzip.avail_out;

        switch (r) {
        case Z_STREAM_END: return STEP_FRAME_END;
        case Z_OK:
        case Z_BUF_ERROR: return STEP_MORE;
        case Z_MEM_ERROR: return err_sys(reterr, -ENOMEM, "Cannot unpack the image");
        default: return broken(reterr, "gzip", d->gzip.msg ? d->gzip.msg : "damaged data");
        }
}

static const Codec codecs[_COMPRESSION_MAX] = {
                [COMPRESSION_ZSTD] = {zstd_open, zstd_close, zstd_step},
                [COMPRESSION_XZ] = {xz_open, xz_close, xz_step},
                [COMPRESSION_GZIP] = {gzip_open, gzip_close, gzip_step},
};

int decompressor_new(Compression c, Decompressor **ret, Err **reterr) {
        _cleanup_(decompressor_freep) Decompressor *d = calloc(1, sizeof(*d));
        int r;

        if (!d)
                return err_sys(reterr, -ENOMEM, "Cannot unpack the image");
        r = codecs[c].open(d);
        if (r < 0)
                return err_sys(reterr, r, "Cannot unpack the image");
        d->codec = &codecs[c];

        *ret = MOVE(d);
        return 0;
}

Decompressor *decompressor_free(Decompressor *d) {
        if (d) {
                if (d->codec)
                        d->codec->close(d);
                else
                        ZSTD_freeDCtx(d->zstd);
                free(d);
        }
        return NULL;
}

FrameStart decompressor_frame(const Decompressor *d) {
        return d->frame;
}

int decompressor_run(Decompressor *d, const uint8_t **in, size_t *in_size, bool last, uint8_t *out,
                size_t out_size, size_t *ret, Err **reterr) {
        uint8_t *at = out;
        size_t left = out_size;
        int r;

        while (left > 0) {
                size_t in_before = *in_size, left_before = left;

                if (*in_size == 0 && (!last || d->between))
                        break;
                r = d->codec->step(d, in, in_size, last, &at, &left, reterr);
                if (r < 0)
                        return r;
                d->taken += in_before - *in_size;
                d->given += left_before - left;
                d->between = r == STEP_FRAME_END;
                if (d->between)
                        d->frame = (FrameStart){d->taken, d->given};
                if (!d->between && *in_size == in_before && left == left_before) {
                        if (last && *in_size == 0)
                                return err_kind(reterr, ERR_TRUNCATED, -EBADMSG,
                                                "The image ends too early: its compression is "
                                                "not finished");
                        break;
                }
        }
        *ret = out_size - left;
        return 0;
}
