/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* libFuzzer target: reader, parser and gate. The mutator knows the framing: it mends lengths and checksums, so that
 * mutations reach what lies behind them. First byte of the input: bits 0-1 block size, bit 2 strict limits. */
#include <endian.h>
#include <isa-l/crc.h>

#include "stream/gate.h"
#include "tests/unit/stream-build.h"

#define HEADER_SIZE  17u
#define COMMAND_HEAD 10u

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
size_t LLVMFuzzerMutate(uint8_t *data, size_t size, size_t max_size);
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size, unsigned seed);

/* What the gate promises of everything that it lets through, said once more and differently. */
static void must_hold(const Command *c, const StreamLimits *limits) {
        const char *texts[] = {command_has(c, ATTR_PATH) ? c->path : "x",
                        command_has(c, ATTR_PATH_TO) || command_has(c, ATTR_CLONE_PATH) ||
                                                        c->kind == CMD_LINK
                                        ? c->path_to
                                        : "x"};

        for (size_t i = 0; i < ARRAY_SIZE(texts); i++) {
                _cleanup_(freep) char *framed = str_printf("/%s/", texts[i]);

                if (!framed)
                        abort();
                if (texts[i][0] == '\0' && i == 0 && c->kind >= CMD_SET_XATTR &&
                                c->kind != CMD_WRITE)
                        continue;
                if (strstr(framed, "//") || strstr(framed, "/./") || strstr(framed, "/../") ||
                                strlen(texts[i]) >= PATH_MAX)
                        abort();
        }
        if (limits->forbid_devices && c->kind == CMD_MKNOD)
                abort();
        if (limits->forbid_setuid && c->kind == CMD_CHMOD && c->mode & 06000)
                abort();
        if (limits->file_size && c->kind == CMD_WRITE &&
                        (c->file_offset > limits->file_size || c->data_size > limits->file_size))
                abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        static const size_t steps[] = {1, 13, 512, 65536};
        static Feed feeds[ARRAY_SIZE(steps)]; /* never freed: the process ends */
        static Command c;
        StreamLimits limits = {0};
        RawCommand raw;
        Reader reader;
        Gate gate;
        Feed *feed;

        if (size == 0)
                return 0;
        if (data[0] & 4)
                limits = (StreamLimits){1000, 5, 4096, 2, true, true, true};
        gate_init(&gate, &limits);
        feed = &feeds[data[0] & 3];
        if (!feed->step)
                feed_init(feed, NULL, 0, steps[data[0] & 3]);
        feed_again(feed, data + 1, size - 1);
        reader_init(&reader, feed_next, feed);
        for (;;) {
                _cleanup_(err_freep) Err *e = NULL;
                int r;

                r = reader_next(&reader, &raw, &e);
                if (r > 0)
                        r = command_parse(&raw, &c, &e) < 0 || gate_check(&gate, &c, &e) < 0 ? -1
                                                                                             : 1;
                if (r < 0 && !e)
                        abort(); /* a refusal without a story */
                if (r <= 0)
                        break;
                must_hold(&c, &limits);
        }
        reader_done(&reader);
        return 0;
}

/* Goes over the commands as they are and makes length and checksum right; a last one that is cut short is made whole. */
static void mend(uint8_t *p, size_t size) {
        size_t at = 0;

        while (at < size) {
                uint32_t length, crc;

                if (size - at >= HEADER_SIZE && memcmp(p + at, "btrfs-stream", 13) == 0) {
                        at += HEADER_SIZE;
                        continue;
                }
                if (size - at < COMMAND_HEAD)
                        return;
                memcpy(&length, p + at, 4);
                length = le32toh(length);
                if (length > size - at - COMMAND_HEAD) {
                        length = (uint32_t) (size - at - COMMAND_HEAD);
                        memcpy(p + at, &(uint32_t){htole32(length)}, 4);
                }
                memset(p + at + 6, 0, 4);
                crc = htole32(crc32_iscsi(p + at, (int) (length + COMMAND_HEAD), 0));
                memcpy(p + at + 6, &crc, 4);
                at += length + COMMAND_HEAD;
        }
}

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size, unsigned seed) {
        size = LLVMFuzzerMutate(data, size, max_size);
        if (size > 1 && seed % 8 != 0) {
                if (seed % 3 == 0 && size > 1 + HEADER_SIZE) {
                        memcpy(data + 1, "btrfs-stream\0\1\0\0", HEADER_SIZE);
                        data[14] = (uint8_t) (1 + (seed >> 8) % 2);
                }
                mend(data + 1, size - 1);
        }
        return size;
}
