/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* libFuzzer target: what is packed. First byte: which codec, 0-2 of whole images, 3-5 of extents; then the data. Images
 * go on into the reader. */
#include <linux/btrfs.h>

#include "stream/decompress.h"
#include "stream/encoded.h"
#include "tests/unit/stream-build.h"

#define OUT_MAX (1u << 20)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static uint8_t out[OUT_MAX];

static void image(Compression c, const uint8_t *data, size_t size) {
        _cleanup_(decompressor_freep) Decompressor *d = NULL;
        size_t done = 0, n, first = size / 2, rest = size - first;
        const uint8_t *at = data;
        RawCommand raw;
        Reader reader;
        static Feed feed;
        int r;

        if (decompressor_new(c, &d, NULL) < 0)
                return;
        do {
                _cleanup_(err_freep) Err *e = NULL;

                if (first == 0) {
                        first = rest;
                        rest = 0;
                }
                r = decompressor_run(
                                d, &at, &first, first == 0, out + done, OUT_MAX - done, &n, &e);
                if (r < 0 && !e)
                        abort();
                if (r < 0)
                        return;
                if (n > OUT_MAX - done)
                        abort();
                done += n;
        } while (done < OUT_MAX && (n > 0 || first > 0 || rest > 0));

        if (!feed.step)
                feed_init(&feed, NULL, 0, 4096);
        feed_again(&feed, out, done);
        reader_init(&reader, feed_next, &feed);
        while (reader_next(&reader, &raw, NULL) > 0)
                ;
        reader_done(&reader);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        static const uint32_t extents[] = {BTRFS_ENCODED_IO_COMPRESSION_ZLIB,
                        BTRFS_ENCODED_IO_COMPRESSION_ZSTD, BTRFS_ENCODED_IO_COMPRESSION_LZO_4K};

        if (size == 0)
                return 0;
        if (data[0] % 6 < 3)
                image((Compression) (COMPRESSION_ZSTD + data[0] % 6), data + 1, size - 1);
        else
                encoded_unpack(extents[data[0] % 6 - 3], data + 1, size - 1, out, 8192, NULL);
        return 0;
}
