/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <endian.h>
#include <inttypes.h>
#include <isa-l/crc.h>

#include "stream/reader.h"

#define STREAM_HEADER_SIZE  17u /* magic with its NUL, u32 version */
#define COMMAND_HEADER_SIZE 10u /* u32 length of what follows, u16 number, u32 crc */

static const char magic[13] = "btrfs-stream";

#define BAD(...) err_kind(reterr, ERR_BAD_STREAM, -EBADMSG, __VA_ARGS__)

void reader_init(Reader *r, BlockNext next, void *userdata) {
        *r = (Reader){.next = next, .userdata = userdata};
}

void reader_done(Reader *r) {
        block_unref(r->block);
        r->block = NULL;
}

static uint32_t get_le32(const uint8_t *p) {
        uint32_t v;

        memcpy(&v, p, sizeof(v));
        return le32toh(v);
}

/* Makes @n bytes stand in one piece at @at: 1, or 0 where the input ends first. A tail moves to the room in front of
 * the next block, so a command is copied only where it crosses a border. */
static int want(Reader *r, size_t n, Err **reterr) {
        while (r->left < n) {
                Block *b;
                int q;

                q = r->next(r->userdata, &b, reterr);
                if (q <= 0)
                        return q;
                if (r->left > 0)
                        memcpy(b->data - r->left, r->at, r->left);
                r->at = b->data - r->left;
                r->left += b->size;
                block_unref(r->block);
                r->block = b;
        }
        return 1;
}

static void skip(Reader *r, size_t n) {
        r->at += n;
        r->left -= n;
        r->offset += n;
}

static int ends_early(const Reader *r, Err **reterr) {
        return err_kind(reterr, ERR_TRUNCATED, -EBADMSG,
                        "The image ends too early, after %" PRIu64 " bytes of the stream",
                        r->offset + r->left);
}

/* 1 when a stream begins, 0 at the end of the input. */
static int read_header(Reader *r, Err **reterr) {
        bool first = r->offset == 0;
        uint32_t version;
        int q;

        q = want(r, STREAM_HEADER_SIZE, reterr);
        if (q < 0)
                return q;
        if (r->left == 0)
                return first ? err_kind(reterr, ERR_TRUNCATED, -EBADMSG, "The image is empty") : 0;
        if (memcmp(r->at, magic, r->left < sizeof(magic) ? r->left : sizeof(magic)) != 0)
                return first ? BAD("The image is not a Btrfs send stream")
                             : BAD("Byte %" PRIu64 " of the stream: something else follows its end",
                                               r->offset);
        if (q == 0)
                return ends_early(r, reterr);

        version = get_le32(r->at + sizeof(magic));
        if (version == 3)
                return err_kind(reterr, ERR_NOT_SUPPORTED, -EOPNOTSUPP,
                                "The stream has version 3 (fs-verity), which is not supported; "
                                "send with --proto 2");
        if (version == 0 || version > STREAM_VERSION_MAX)
                return BAD("Byte %" PRIu64 " of the stream: version %u is unknown", r->offset,
                                version);
        skip(r, STREAM_HEADER_SIZE);
        r->version = version;
        return 1;
}

/* Raw CRC32C: seed 0, not inverted, its own field counted as zero. */
static uint32_t command_crc(const uint8_t *p, size_t size) {
        uint8_t header[COMMAND_HEADER_SIZE] = {0};
        uint32_t crc;

        memcpy(header, p, COMMAND_HEADER_SIZE - 4);
        crc = crc32_iscsi(header, (int) sizeof(header), 0);
        return crc32_iscsi((uint8_t *) (uintptr_t) p + COMMAND_HEADER_SIZE,
                        (int) (size - COMMAND_HEADER_SIZE), crc);
}

int reader_skip(Reader *r, uint64_t from, uint64_t to, uint32_t version, Err **reterr) {
        r->offset = from;
        while (r->offset < to) {
                uint64_t n = to - r->offset;
                int q = want(r, 1, reterr);

                if (q <= 0)
                        return q < 0 ? q : ends_early(r, reterr);
                skip(r, n < r->left ? (size_t) n : r->left);
        }
        r->version = version;
        return 0;
}

int reader_next(Reader *r, RawCommand *ret, Err **reterr) {
        uint64_t size;
        int q;

        if (r->version == 0) {
                q = read_header(r, reterr);
                if (q <= 0)
                        return q;
        }

        q = want(r, COMMAND_HEADER_SIZE, reterr);
        if (q < 0)
                return q;
        if (q == 0)
                return ends_early(r, reterr);
        size = (uint64_t) get_le32(r->at) + COMMAND_HEADER_SIZE;
        if (size > COMMAND_SIZE_MAX)
                return BAD("Byte %" PRIu64 " of the stream: a command of %" PRIu64
                           " bytes; at most %u are allowed",
                                r->offset, size, COMMAND_SIZE_MAX);
        q = want(r, size, reterr);
        if (q < 0)
                return q;
        if (q == 0)
                return ends_early(r, reterr);
        if (command_crc(r->at, size) != get_le32(r->at + 6))
                return BAD("Byte %" PRIu64 " of the stream: wrong checksum, the image is damaged",
                                r->offset);

        *ret = (RawCommand){
                        .offset = r->offset,
                        .version = r->version,
                        .number = (uint16_t) (r->at[4] | r->at[5] << 8),
                        .data = r->at + COMMAND_HEADER_SIZE,
                        .size = (uint32_t) (size - COMMAND_HEADER_SIZE),
                        .block = r->block,
        };
        skip(r, size);
        if (ret->number == CMD_END)
                r->version = 0;
        return 1;
}
