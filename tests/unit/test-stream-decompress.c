/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <linux/btrfs.h>
#include <lzma.h>
#include <zlib.h>
#include <zstd.h>

#include "stream/decompress.h"
#include "stream/encoded.h"
#include "stream/lzo.h"
#include "tests/unit/unit.h"

#define PLAIN 300000u

static uint8_t plain[PLAIN], packed[2 * PLAIN], out[4 * PLAIN];

static int set_up(void **state _unused_) {
        for (size_t i = 0; i < PLAIN; i++)
                plain[i] = (uint8_t) (i / 100 * 31 + (i % 7 == 0 ? i : 0));
        return 0;
}

static size_t pack_gzip(void) {
        z_stream z = {.next_in = plain,
                        .avail_in = PLAIN,
                        .next_out = packed,
                        .avail_out = sizeof(packed)};

        assert_int_equal(deflateInit2(&z, 6, Z_DEFLATED, 16 + MAX_WBITS, 8, Z_DEFAULT_STRATEGY),
                        Z_OK);
        assert_int_equal(deflate(&z, Z_FINISH), Z_STREAM_END);
        deflateEnd(&z);
        return sizeof(packed) - z.avail_out;
}

static size_t pack_xz(uint32_t preset) {
        size_t n = 0;

        assert_int_equal(lzma_easy_buffer_encode(preset, LZMA_CHECK_CRC64, NULL, plain, PLAIN,
                                         packed, &n, sizeof(packed)),
                        LZMA_OK);
        return n;
}

static size_t pack_zstd(int window) {
        ZSTD_CCtx *c = ZSTD_createCCtx();
        ZSTD_inBuffer in = {plain, PLAIN, 0};
        ZSTD_outBuffer ob = {packed, sizeof(packed), 0};

        ZSTD_CCtx_setParameter(c, ZSTD_c_windowLog, window);
        ZSTD_CCtx_setParameter(c, ZSTD_c_contentSizeFlag, 0);
        /* in two steps, or it would see the size and take a smaller window */
        while (in.pos < in.size)
                assert_false(ZSTD_isError(ZSTD_compressStream2(c, &ob, &in, ZSTD_e_continue)));
        while (ZSTD_compressStream2(c, &ob, &in, ZSTD_e_end) != 0)
                ;
        ZSTD_freeCCtx(c);
        return ob.pos;
}

static size_t pack(Compression c) {
        return c == COMPRESSION_GZIP ? pack_gzip()
               : c == COMPRESSION_XZ ? pack_xz(6)
                                     : pack_zstd(20);
}

/* All of @size packed bytes, in pieces of @in_step and @out_step. */
static int unpack(Compression c, size_t size, size_t in_step, size_t out_step, size_t *ret,
                Err **reterr) {
        _cleanup_(decompressor_freep) Decompressor *d = NULL;
        const uint8_t *at = packed;
        size_t left = 0, done = 0, n;
        bool last = false;
        int r;

        assert_int_equal(decompressor_new(c, &d, reterr), 0);
        for (;;) {
                if (left == 0 && !last) {
                        left = size < in_step ? size : in_step;
                        size -= left;
                        last = left == 0;
                }
                r = decompressor_run(d, &at, &left, last, out + done,
                                out_step < sizeof(out) - done ? out_step : sizeof(out) - done, &n,
                                reterr);
                if (r < 0)
                        return r;
                done += n;
                if (n == 0 && last) {
                        *ret = done;
                        return 0;
                }
        }
}

static void every_codec_gives_back_what_went_in(void **state _unused_) {
        static const size_t steps[][2] = {
                        {1, 1000}, {1000, 1}, {4096, 4096}, {1u << 20, 1u << 20}, {7, 1u << 20}};

        for (Compression c = COMPRESSION_ZSTD; c < _COMPRESSION_MAX; c++)
                for (size_t i = 0; i < ARRAY_SIZE(steps); i++) {
                        size_t n, size = pack(c);

                        assert_int_equal(compression_detect(packed, size), c);
                        assert_int_equal(unpack(c, size, steps[i][0], steps[i][1], &n, NULL), 0);
                        assert_int_equal(n, PLAIN);
                        assert_memory_equal(out, plain, PLAIN);
                }
}

static void frames_follow_each_other(void **state _unused_) {
        for (Compression c = COMPRESSION_ZSTD; c < _COMPRESSION_MAX; c++) {
                size_t n, size = pack(c);

                memcpy(packed + size, packed, size);
                assert_int_equal(unpack(c, 2 * size, 1000, 5000, &n, NULL), 0);
                assert_int_equal(n, 2 * PLAIN);
                assert_memory_equal(out + PLAIN, plain, PLAIN);
        }
}

static void every_cut_is_truncated(void **state _unused_) {
        for (Compression c = COMPRESSION_ZSTD; c < _COMPRESSION_MAX; c++) {
                size_t n, size = pack(c);

                for (size_t cut = 6; cut < size; cut += 1 + size / 97) {
                        Err *e = NULL;

                        assert_true(unpack(c, cut, 1000, 1u << 20, &n, &e) < 0);
                        assert_story(&e, ERR_TRUNCATED, "ends too early");
                }
        }
}

static void garbage_is_refused(void **state _unused_) {
        for (Compression c = COMPRESSION_ZSTD; c < _COMPRESSION_MAX; c++) {
                size_t n, size = pack(c);
                Err *e = NULL;

                memset(packed + size, 'x', 100);
                assert_true(unpack(c, size + 100, 1000, 1u << 20, &n, &e) < 0);
                assert_story(&e, ERR_BAD_STREAM, compression_to_string(c));
                size = pack(c);
                memset(packed + size / 2, 0x5a, 16);
                assert_true(unpack(c, size, 1000, 1u << 20, &n, NULL) < 0 ||
                                memcmp(out, plain, PLAIN) != 0);
        }
}

static void windows_are_bounded(void **state _unused_) {
        size_t n, size;
        Err *e = NULL;

        size = pack_zstd(23);
        assert_int_equal(unpack(COMPRESSION_ZSTD, size, 4096, 4096, &n, NULL), 0);
        size = pack_zstd(24);
        assert_true(unpack(COMPRESSION_ZSTD, size, 4096, 4096, &n, &e) < 0);
        assert_story(&e, ERR_NOT_SUPPORTED, "zstd -19");
        size = pack_xz(7);
        assert_true(unpack(COMPRESSION_XZ, size, 4096, 4096, &n, &e) < 0);
        assert_story(&e, ERR_NOT_SUPPORTED, "xz -6");
}

static void short_heads_are_plain(void **state _unused_) {
        assert_int_equal(compression_detect(NULL, 0), COMPRESSION_NONE);
        for (Compression c = COMPRESSION_ZSTD; c < _COMPRESSION_MAX; c++) {
                pack(c);
                assert_int_equal(compression_detect(packed, 2), COMPRESSION_NONE);
        }
}

static void extents_unpack(void **state _unused_) {
        static uint8_t got[8192];
        uLongf n = sizeof(packed);
        size_t m;

        assert_int_equal(compress(packed, &n, plain, 5000), Z_OK);
        memset(got, 0xff, sizeof(got));
        assert_int_equal(encoded_unpack(BTRFS_ENCODED_IO_COMPRESSION_ZLIB, packed, n, got, 8192,
                                         NULL),
                        0);
        assert_memory_equal(got, plain, 5000);
        for (size_t i = 5000; i < 8192; i++)
                assert_int_equal(got[i], 0);
        assert_int_equal(encoded_unpack(BTRFS_ENCODED_IO_COMPRESSION_ZLIB, packed, n, got, 4096,
                                         NULL),
                        0);
        assert_memory_equal(got, plain, 4096);

        m = ZSTD_compress(packed, sizeof(packed), plain, 5000, 1);
        assert_int_equal(encoded_unpack(BTRFS_ENCODED_IO_COMPRESSION_ZSTD, packed, m, got, 8192,
                                         NULL),
                        0);
        assert_memory_equal(got, plain, 5000);
        assert_int_equal(encoded_unpack(BTRFS_ENCODED_IO_COMPRESSION_ZSTD, packed, m, got, 4096,
                                         NULL),
                        0);
        assert_memory_equal(got, plain, 4096);
        packed[0] ^= 1;
        assert_int_equal(encoded_unpack(BTRFS_ENCODED_IO_COMPRESSION_ZSTD, packed, m, got, 4096,
                                         NULL),
                        -EBADMSG);
        assert_int_equal(encoded_unpack(99, packed, m, got, 4096, NULL), -EOPNOTSUPP);
}

/* By hand, from the description of the format. */
static void lzo_instructions(void **state _unused_) {
        static const uint8_t end[] = {0x11, 0, 0};
        struct {
                const char *in;
                size_t size;
                const char *out;
        } cases[] = {
                        {"\x15"
                         "abcd",
                                        5, "abcd"},
                        /* 4 literals, then 3 + 1 bytes from 4 back, 1 literal behind */
                        {"\x15"
                         "abcd"
                         "\x6d\x00"
                         "x",
                                        8, "abcdabcdx"},
                        /* a run packed as a match that overlaps itself: 2 + 6 from 1 back */
                        {"\x12"
                         "a"
                         "\x26\x00\x00",
                                        5, "aaaaaaaaa"},
                        /* long run of literals: 3 + 1 */
                        {"\x01"
                         "wxyz",
                                        5, "wxyz"},
                        /* two bytes from 1 back after one literal */
                        {"\x12"
                         "q"
                         "\x00\x00",
                                        4, "qqq"},
        };
        uint8_t in[64], got[64];

        for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
                size_t n = strlen(cases[i].out), size = cases[i].size + sizeof(end);

                memcpy(in, cases[i].in, cases[i].size);
                memcpy(in + cases[i].size, end, sizeof(end));
                assert_int_equal(lzo1x_unpack(in, size, got, sizeof(got)), n);
                assert_memory_equal(got, cases[i].out, n);
                for (size_t cut = 0; cut < size; cut++)
                        assert_int_equal(lzo1x_unpack(in, cut, got, sizeof(got)), -EBADMSG);
                assert_int_equal(lzo1x_unpack(in, size, got, n - 1), -EBADMSG);
        }
}

static void lzo_survives_anything(void **state _unused_) {
        uint32_t x = 1;
        uint8_t in[64], got[256];

        for (int round = 0; round < 200000; round++) {
                size_t size = (size_t) round % sizeof(in);
                _cleanup_(freep) uint8_t *exact = malloc(size + 1);
                ssize_t n;

                for (size_t i = 0; i < size; i++) {
                        x = x * 1664525 + 1013904223;
                        exact[i] = (uint8_t) (x >> 24);
                }
                n = lzo1x_unpack(exact, size, got, sizeof(got));
                assert_true(n == -EBADMSG || (n >= 0 && n <= (ssize_t) sizeof(got)));
                if (size >= 8)
                        exact[0] = (uint8_t) size, exact[1] = exact[2] = exact[3] = 0,
                        exact[5] = exact[6] = exact[7] = 0;
                n = lzo_extent_unpack(exact, size, 4096, got, sizeof(got));
                assert_true(n == -EBADMSG || (n >= 0 && n <= (ssize_t) sizeof(got)));
        }
}

int main(void) {
        const struct CMUnitTest tests[] = {
                        CASE(every_codec_gives_back_what_went_in),
                        CASE(frames_follow_each_other),
                        CASE(every_cut_is_truncated),
                        CASE(garbage_is_refused),
                        CASE(windows_are_bounded),
                        CASE(short_heads_are_plain),
                        CASE(extents_unpack),
                        CASE(lzo_instructions),
                        CASE(lzo_survives_anything),
        };

        return cmocka_run_group_tests(tests, set_up, NULL);
}
