/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <linux/btrfs.h>
#include <zlib.h>
#include <zstd.h>

#include "stream/encoded.h"
#include "stream/lzo.h"

static int broken(Err **reterr, const char *what) {
        return err_kind(reterr, ERR_BAD_STREAM, -EBADMSG, "its data is not valid %s", what);
}

static int unpack_zlib(const uint8_t *data, size_t size, uint8_t *plain, size_t *plain_size,
                Err **reterr) {
        z_stream z = {
                        .next_in = (uint8_t *) (uintptr_t) data,
                        .avail_in = (unsigned) size,
                        .next_out = plain,
                        .avail_out = (unsigned) *plain_size,
        };
        int q;

        if (inflateInit(&z) != Z_OK)
                return err_sys(reterr, -ENOMEM, "Cannot unpack data");
        q = inflate(&z, Z_SYNC_FLUSH);
        *plain_size -= z.avail_out;
        inflateEnd(&z);
        return q == Z_OK || q == Z_STREAM_END || (q == Z_BUF_ERROR && z.avail_out == 0)
                               ? 0
                               : broken(reterr, "zlib");
}

static void zstd_freep(ZSTD_DStream **d) {
        ZSTD_freeDStream(*d);
}

static int unpack_zstd(const uint8_t *data, size_t size, uint8_t *plain, size_t *plain_size,
                Err **reterr) {
        _cleanup_(zstd_freep) ZSTD_DStream *d = ZSTD_createDStream();
        ZSTD_inBuffer in = {data, size, 0};
        ZSTD_outBuffer out = {plain, *plain_size, 0};

        if (!d)
                return err_sys(reterr, -ENOMEM, "Cannot unpack data");
        (void) ZSTD_DCtx_setParameter(d, ZSTD_d_windowLogMax, 17);
        while (out.pos < out.size) {
                size_t before_in = in.pos, before_out = out.pos;
                size_t n = ZSTD_decompressStream(d, &out, &in);

                if (ZSTD_isError(n))
                        return broken(reterr, "zstd");
                if (n == 0 || (in.pos == before_in && out.pos == before_out))
                        break;
        }
        *plain_size = out.pos;
        return 0;
}

int encoded_unpack(uint32_t compression, const uint8_t *data, size_t size, uint8_t *plain,
                size_t plain_size, Err **reterr) {
        size_t n = plain_size, sector;
        ssize_t m;
        int r;

        switch (compression) {
        case BTRFS_ENCODED_IO_COMPRESSION_ZLIB:
                r = unpack_zlib(data, size, plain, &n, reterr);
                break;
        case BTRFS_ENCODED_IO_COMPRESSION_ZSTD:
                r = unpack_zstd(data, size, plain, &n, reterr);
                break;
        case BTRFS_ENCODED_IO_COMPRESSION_LZO_4K:
        case BTRFS_ENCODED_IO_COMPRESSION_LZO_8K:
        case BTRFS_ENCODED_IO_COMPRESSION_LZO_16K:
        case BTRFS_ENCODED_IO_COMPRESSION_LZO_32K:
        case BTRFS_ENCODED_IO_COMPRESSION_LZO_64K:
                sector = (size_t) 4096 << (compression - BTRFS_ENCODED_IO_COMPRESSION_LZO_4K);
                m = lzo_extent_unpack(data, size, sector, plain, plain_size);
                r = m < 0 ? broken(reterr, "LZO") : 0;
                n = m < 0 ? 0 : (size_t) m;
                break;
        default:
                return err_kind(reterr, ERR_NOT_SUPPORTED, -EOPNOTSUPP,
                                "its data is compressed in an unknown way");
        }
        if (r < 0)
                return r;
        memset(plain + n, 0, plain_size - n);
        return 0;
}
