/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "tests/unit/stream-build.h"
#include "tests/unit/unit.h"

static const size_t steps[] = {1, 2, 3, 7, 10, 11, 17, 18, 64, 1000, 4096, INPUT_BLOCK_SIZE};

/* Reads everything; the number of commands, or the error. */
static int read_all(const Build *b, size_t step, uint64_t *ret_digest, Err **reterr) {
        RawCommand raw;
        int n = 0, r;
        Reader reader;
        Feed feed;

        *ret_digest = 0;
        feed_init(&feed, b->data, b->size, step);
        reader_init(&reader, feed_next, &feed);
        while ((r = reader_next(&reader, &raw, reterr)) > 0) {
                for (uint32_t i = 0; i < raw.size; i++)
                        *ret_digest = *ret_digest * 31 + raw.data[i];
                *ret_digest = *ret_digest * 31 + raw.number + raw.offset;
                n++;
        }
        reader_done(&reader);
        feed_done(&feed);
        return r < 0 ? r : n;
}

static void expect(Build *b, ErrKind kind, const char *part) {
        for (size_t i = 0; i < ARRAY_SIZE(steps); i++) {
                uint64_t digest;
                Err *e = NULL;

                assert_true(read_all(b, steps[i], &digest, &e) < 0);
                assert_story(&e, kind, part);
        }
        build_done(b);
}

static Build good(uint32_t version) {
        static uint8_t data[48000];
        Build b = {0};

        for (size_t i = 0; i < sizeof(data); i++)
                data[i] = (uint8_t) (i * 7);
        build_header(&b, version);
        build_subvol(&b, "s");
        build_path(&b, CMD_MKFILE, "file");
        build_write(&b, "file", 0, data, sizeof(data));
        build_write(&b, "file", sizeof(data), data, 1);
        build_end(&b);
        return b;
}

static void commands_come_whole_whatever_the_blocks(void **state _unused_) {
        Build b = good(1);
        uint64_t first, digest;

        assert_int_equal(read_all(&b, INPUT_BLOCK_SIZE, &first, NULL), 5);
        for (size_t i = 0; i < ARRAY_SIZE(steps); i++) {
                assert_int_equal(read_all(&b, steps[i], &digest, NULL), 5);
                assert_true(digest == first);
        }
        build_done(&b);
}

static void streams_may_follow_each_other(void **state _unused_) {
        Build b = good(1), c = good(2);
        uint64_t digest;

        build_raw(&b, c.data, c.size);
        assert_int_equal(read_all(&b, 100, &digest, NULL), 10);
        build_done(&b);
        build_done(&c);
}

static void every_cut_is_found(void **state _unused_) {
        Build b = {0};
        size_t whole;

        build_header(&b, 1);
        build_subvol(&b, "s");
        build_path(&b, CMD_MKFILE, "file");
        build_end(&b);
        whole = b.size;
        for (b.size = 0; b.size < whole; b.size++) {
                uint64_t digest;
                Err *e = NULL;

                assert_int_equal(read_all(&b, 5, &digest, &e), -EBADMSG);
                assert_story(&e, ERR_TRUNCATED, b.size == 0 ? "empty" : "ends too early");
        }
        build_done(&b);
}

static void every_flipped_bit_is_found(void **state _unused_) {
        Build b = {0};

        build_header(&b, 1);
        build_subvol(&b, "s");
        build_path(&b, CMD_MKFILE, "file");
        build_end(&b);
        for (size_t bit = 0; bit < b.size * 8; bit++) {
                uint64_t digest;
                int r;

                b.data[bit / 8] ^= (uint8_t) (1 << bit % 8);
                r = read_all(&b, 64, &digest, NULL);
                /* version 1 becomes 0, 2, 3, 5, ...: 2 differs only in what the commands may be */
                if (bit == 13 * 8 + 1 || bit == 13 * 8)
                        assert_true(r == -EBADMSG || r == -EOPNOTSUPP);
                else
                        assert_int_equal(r, -EBADMSG);
                b.data[bit / 8] ^= (uint8_t) (1 << bit % 8);
        }
        build_done(&b);
}

static void what_is_no_stream_is_refused(void **state _unused_) {
        Build b = {0};

        build_raw(&b, "#!/bin/sh\nexit 0\n", 17);
        expect(&b, ERR_BAD_STREAM, "not a Btrfs send stream");
        build_raw(&b, "x", 1);
        expect(&b, ERR_BAD_STREAM, "not a Btrfs send stream");
        build_header(&b, 0);
        expect(&b, ERR_BAD_STREAM, "version 0 is unknown");
        build_header(&b, 4);
        expect(&b, ERR_BAD_STREAM, "version 4 is unknown");
        build_header(&b, 3);
        expect(&b, ERR_NOT_SUPPORTED, "fs-verity");
        b = good(1);
        build_raw(&b, "x", 1);
        expect(&b, ERR_BAD_STREAM, "something else follows");
}

static void lengths_are_bounded(void **state _unused_) {
        static const uint8_t huge[10] = {0xf0, 0xff, 0xff, 0xff, 15};
        static uint8_t big[COMMAND_SIZE_MAX];
        uint64_t digest;
        Build b = {0};

        build_header(&b, 1);
        build_raw(&b, huge, sizeof(huge));
        expect(&b, ERR_BAD_STREAM, "Byte 17 of the stream: a command of 4294967290 bytes");

        build_header(&b, 2);
        build_begin(&b, CMD_WRITE);
        build_raw(&b, big, sizeof(big) - 10);
        build_finish(&b);
        build_end(&b);
        for (size_t i = 0; i < ARRAY_SIZE(steps); i++)
                assert_int_equal(read_all(&b, steps[i], &digest, NULL), 2);
        build_done(&b);

        build_header(&b, 2);
        build_begin(&b, CMD_WRITE);
        build_raw(&b, big, sizeof(big) - 9);
        build_finish(&b);
        expect(&b, ERR_BAD_STREAM, "at most 262144 are allowed");
}

/* Gives @left bytes of a good stream one by one, and then an error. */
typedef struct Broken {
        Feed feed;
        size_t left;
} Broken;

static int broken_next(void *userdata, Block **ret, Err **reterr) {
        Broken *b = userdata;

        if (b->left-- == 0)
                return err_kind(reterr, ERR_STALLED, -ETIMEDOUT, "the source has stalled");
        return feed_next(&b->feed, ret, reterr);
}

static void an_error_of_the_source_comes_through(void **state _unused_) {
        Build b = {0};

        build_header(&b, 1);
        build_subvol(&b, "s");
        build_end(&b);
        for (size_t n = 0; n < b.size; n++) {
                Broken broken = {.left = n};
                RawCommand raw;
                Reader reader;
                Err *e = NULL;
                int r;

                feed_init(&broken.feed, b.data, b.size, 1);
                reader_init(&reader, broken_next, &broken);
                do
                        r = reader_next(&reader, &raw, &e);
                while (r > 0);
                assert_int_equal(r, -ETIMEDOUT);
                assert_story(&e, ERR_STALLED, "has stalled");
                reader_done(&reader);
                feed_done(&broken.feed);
        }
        build_done(&b);
}

/* The number of commands from byte @to on, where the blocks begin at byte @from. */
static int read_rest(const Build *b, size_t step, size_t from, size_t to, Err **reterr) {
        RawCommand raw;
        Reader reader;
        int r, n = 0;
        Feed feed;

        feed_init(&feed, b->data + from, b->size - from, step);
        reader_init(&reader, feed_next, &feed);
        r = reader_skip(&reader, from, to, 2, reterr);
        while (r >= 0 && (r = reader_next(&reader, &raw, reterr)) > 0) {
                assert_int_equal(raw.version, 2);
                assert_true(n > 0 || raw.offset == to);
                n++;
        }
        reader_done(&reader);
        feed_done(&feed);
        return r < 0 ? r : n;
}

static void reading_may_begin_at_any_command(void **state _unused_) {
        Build b = good(2);
        size_t at = 17;

        for (int left = 5; left > 0; left--) {
                for (size_t i = 0; i < ARRAY_SIZE(steps); i++) {
                        assert_int_equal(read_rest(&b, steps[i], 0, at, NULL), left);
                        assert_int_equal(read_rest(&b, steps[i], at - 1, at, NULL), left);
                        assert_int_equal(read_rest(&b, steps[i], at, at, NULL), left);
                }
                at += 10u + b.data[at] + 256u * b.data[at + 1];
        }
        build_done(&b);
}

static int stalled(void *userdata _unused_, Block **ret _unused_, Err **reterr) {
        return err_kind(reterr, ERR_STALLED, -ETIMEDOUT, "the image has stalled");
}

static void what_is_skipped_must_be_there(void **state _unused_) {
        Build b = good(2);
        Reader reader;
        Err *e = NULL;

        for (size_t i = 0; i < ARRAY_SIZE(steps); i++) {
                assert_true(read_rest(&b, steps[i], 0, b.size + 1, &e) < 0);
                assert_story(&e, ERR_TRUNCATED, "");
        }
        reader_init(&reader, stalled, NULL);
        assert_int_equal(reader_skip(&reader, 0, 1, 2, &e), -ETIMEDOUT);
        assert_story(&e, ERR_STALLED, "has stalled");
        reader_done(&reader);
        build_done(&b);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                        CASE(commands_come_whole_whatever_the_blocks),
                        CASE(streams_may_follow_each_other),
                        CASE(every_cut_is_found),
                        CASE(every_flipped_bit_is_found),
                        CASE(what_is_no_stream_is_refused),
                        CASE(lengths_are_bounded),
                        CASE(an_error_of_the_source_comes_through),
                        CASE(reading_may_begin_at_any_command),
                        CASE(what_is_skipped_must_be_there),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
