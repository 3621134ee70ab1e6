/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <zstd.h>

#include "stream/compress.h"

struct Compressor {
        ZSTD_CCtx *zstd;
        uint8_t *out;
};

Compressor *compressor_free(Compressor *c) {
        if (c) {
                ZSTD_freeCCtx(c->zstd);
                free(c->out);
                free(c);
        }
        return NULL;
}

int compressor_new(int level, int workers, Compressor **ret, Err **reterr) {
        _cleanup_(compressor_freep) Compressor *c = calloc(1, sizeof(*c));

        if (!c)
                return err_new(reterr, ENOMEM, "out of memory");
        c->zstd = ZSTD_createCCtx();
        c->out = malloc(ZSTD_CStreamOutSize());
        if (!c->zstd || !c->out ||
                        ZSTD_isError(ZSTD_CCtx_setParameter(
                                        c->zstd, ZSTD_c_compressionLevel, level)) ||
                        ZSTD_isError(ZSTD_CCtx_setParameter(c->zstd, ZSTD_c_checksumFlag, 1)))
                return err_new(reterr, ENOMEM, "cannot pack with zstd");
        /* a build of zstd without threads packs with one */
        if (workers > 0)
                (void) ZSTD_CCtx_setParameter(c->zstd, ZSTD_c_nbWorkers, workers);
        *ret = MOVE(c);
        return 0;
}

int compressor_add(Compressor *c, const void *data, size_t size, bool end_frame, CompressSink sink,
                void *userdata, Err **reterr) {
        ZSTD_EndDirective end = end_frame ? ZSTD_e_end : ZSTD_e_continue;
        ZSTD_inBuffer in = {data, size, 0};
        size_t left;

        do {
                ZSTD_outBuffer out = {c->out, ZSTD_CStreamOutSize(), 0};
                int r;

                left = ZSTD_compressStream2(c->zstd, &out, &in, end);
                if (ZSTD_isError(left))
                        return err_new(reterr, EIO, "pack: %s", ZSTD_getErrorName(left));
                r = sink(userdata, c->out, out.pos, reterr);
                if (r < 0)
                        return r;
        } while (in.pos < in.size || (end_frame && left > 0));
        return 0;
}
