/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The way of an image from a descriptor to its parser, with a manifest: what is not signed is not looked at. */
#include <pthread.h>
#include <signal.h>
#include <sys/socket.h>
#include <zstd.h>

#include "stream/receive.h"
#include "stream/verify.h"
#include "tests/unit/signed-image.h"

#define MIB    ((size_t) 1 << 20)
#define PLACES 10000u

static uint8_t *payload; /* a bit more than two chunks */
static size_t size;

static int set_up(void **state _unused_) {
        payload = make_stream(2 * MIB + 100000, &size);
        assert_true(size > 2 * MIB && size < 3 * MIB);
        return 0;
}

static int tear_down(void **state _unused_) {
        free(payload);
        return 0;
}

static int check(int fd, const Manifest *m, uint64_t stall, Err **e) {
        _cleanup_(stream_freep) Stream *s = NULL;
        int r = stream_open(
                        &(StreamArgs){.input_fd = fd, .manifest = m, .stall_usec = stall}, &s, e);

        return r < 0 ? r : stream_check(s, e);
}

/* The commands that are parsed when the first @chunks chunks are right and nothing else is seen. */
static unsigned long commands_in(size_t chunks) {
        unsigned long before = stream_parse_count();
        int fd = make_file(payload, chunks * MIB < size ? chunks * MIB : size);

        (void) check(fd, NULL, 0, NULL);
        close(fd);
        return stream_parse_count() - before;
}

static void refuse(const void *data, size_t n, const Manifest *m, ErrKind kind, const char *part,
                unsigned long parsed_at_most) {
        unsigned long before = stream_parse_count();
        int fd = make_file(data, n);
        Err *e = NULL;

        assert_true(check(fd, m, 0, &e) < 0);
        assert_story(&e, kind, part);
        assert_true(stream_parse_count() - before <= parsed_at_most);
        close(fd);
}

static void right_image_passes(void **state _unused_) {
        _cleanup_(manifest_freep) Manifest *m = make_manifest(payload, size);
        _cleanup_(err_freep) Err *e = NULL;
        int fd = make_file(payload, size);

        if (check(fd, m, 0, &e) < 0)
                fail_msg("%s", err_text(e));
        close(fd);
}

static void b20_shorter(void **state _unused_) {
        _cleanup_(manifest_freep) Manifest *m = make_manifest(payload, size);
        const size_t cuts[] = {0, 1, 100, MIB - 1, MIB, MIB + 1, 2 * MIB, size - 1};

        for (size_t i = 0; i < ARRAY_SIZE(cuts); i++)
                refuse(payload, cuts[i], m, ERR_TRUNCATED, "were signed",
                                cuts[i] >= MIB ? commands_in(cuts[i] / MIB) : 0);
}

static void b21_longer(void **state _unused_) {
        _cleanup_(manifest_freep) Manifest *m = make_manifest(payload, size);
        _cleanup_(manifest_freep) Manifest *whole = make_manifest(payload, 2 * MIB);
        _cleanup_(freep) uint8_t *more = malloc(size + 1);

        memcpy(more, payload, size);
        more[size] = 0;
        refuse(more, size + 1, m, ERR_BAD_IMAGE, "chunk 3", commands_in(2));
        refuse(payload, 2 * MIB + 1, whole, ERR_BAD_IMAGE, "goes on", commands_in(2));
}

/* Flips one bit at a random place of the first @length bytes of the file, which holds those of @data; gives the place, and
 * undoes the last flip, which was at @last. */
static size_t flip(int fd, const uint8_t *data, size_t length, size_t last) {
        static uint32_t noise = 42;
        size_t at;
        uint8_t bad;

        assert_int_equal(pwrite(fd, &data[last], 1, (off_t) last), 1);
        noise = noise * 1664525 + 1013904223;
        at = (size_t) ((uint64_t) noise * length >> 32);
        bad = data[at] ^ (uint8_t) (1u << (noise & 7));
        assert_int_equal(pwrite(fd, &bad, 1, (off_t) at), 1);
        lseek(fd, 0, SEEK_SET);
        return at;
}

/* Without threads and parser, many: the verifier gives every chunk before the one, and never that one. */
static void b22_flipped_bits(void **state _unused_) {
        size_t length = MIB + 70000;
        _cleanup_(manifest_freep) Manifest *m = make_manifest(payload, length);
        _cleanup_(freep) uint8_t *buf = malloc(MIB);
        int fd = make_file(payload, length);
        size_t at = 0;

        for (unsigned i = 0; i < PLACES; i++) {
                _cleanup_(verifier_freep) Verifier *v = NULL;
                const Chunk *c = NULL;
                Source source;
                Err *e = NULL;
                int r;

                at = flip(fd, payload, length, at);
                assert_int_equal(source_init(&source, fd, -1, NULL), 0);
                assert_int_equal(verifier_new(m, 0, &v, NULL), 0);
                while ((r = verifier_next(v, &source, buf, &c, &e)) > 0)
                        ;
                if (r == 0)
                        fail_msg("byte %zu may be changed", at);
                assert_int_equal(err_kind_of(e), ERR_BAD_IMAGE);
                assert_int_equal(verifier_passed(v), at / MIB);
                err_free(e);
        }
        close(fd);
        print_message("# %u places, all refused at their chunk\n", PLACES);
}

/* With all that an image goes through: nothing of the chunk was parsed. */
static void flips_on_the_whole_way(
                const uint8_t *data, size_t length, const unsigned long *at_most, unsigned places) {
        _cleanup_(manifest_freep) Manifest *m = make_manifest(data, length);
        int fd = make_file(data, length);
        size_t at = 0;

        for (unsigned i = 0; i < places; i++) {
                unsigned long before = stream_parse_count();
                Err *e = NULL;

                at = flip(fd, data, length, at);
                if (check(fd, m, 0, &e) >= 0)
                        fail_msg("byte %zu may be changed", at);
                assert_int_equal(err_kind_of(e), ERR_BAD_IMAGE);
                assert_true(stream_parse_count() - before <= at_most[at / MIB]);
                err_free(e);
        }
        close(fd);
        print_message("# %u places of %zu bytes, all refused before they were parsed\n", places,
                        length);
}

static void b22_flipped_bits_are_not_parsed(void **state _unused_) {
        const unsigned long at_most[] = {0, commands_in(1), commands_in(2)};
        size_t length;
        _cleanup_(freep) uint8_t *small = make_stream(70000, &length);

        flips_on_the_whole_way(small, length, at_most, PLACES);
        flips_on_the_whole_way(payload, size, at_most, PLACES / 25);
}

static void b23_swapped_and_repeated(void **state _unused_) {
        _cleanup_(manifest_freep) Manifest *m = make_manifest(payload, size);
        _cleanup_(freep) uint8_t *other = malloc(size + MIB);

        memcpy(other, payload + MIB, MIB);
        memcpy(other + MIB, payload, MIB);
        memcpy(other + 2 * MIB, payload + 2 * MIB, size - 2 * MIB);
        refuse(other, size, m, ERR_BAD_IMAGE, "chunk 1", 0);

        memcpy(other, payload, MIB);
        memcpy(other + MIB, payload, size);
        refuse(other, size + MIB, m, ERR_BAD_IMAGE, "chunk 2", commands_in(1));
}

typedef struct Writer {
        int fd;
        size_t piece, limit;
        bool stalls;
} Writer;

static void *write_pieces(void *userdata) {
        Writer *w = userdata;

        for (size_t at = 0; at < w->limit;) {
                size_t n = w->limit - at < w->piece ? w->limit - at : w->piece;
                ssize_t k = send(w->fd, payload + at, n, MSG_NOSIGNAL);

                if (k <= 0)
                        break;
                at += (size_t) k;
        }
        if (w->stalls)
                sleep(2);
        close(w->fd);
        return NULL;
}

static int check_pieces(size_t piece, size_t limit, bool stalls, Err **e) {
        _cleanup_(manifest_freep) Manifest *m = make_manifest(payload, size);
        Writer w = {.piece = piece, .limit = limit, .stalls = stalls};
        pthread_t thread;
        int pair[2], r;

        assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
        w.fd = pair[1];
        assert_int_equal(pthread_create(&thread, NULL, write_pieces, &w), 0);
        r = check(pair[0], m, USEC_PER_SEC / 2, e);
        close(pair[0]);
        pthread_join(thread, NULL);
        return r;
}

static void b27_short_reads(void **state _unused_) {
        assert_int_equal(check_pieces(977, size, false, NULL), 0);
}

static void b26_writer_leaves(void **state _unused_) {
        Err *e = NULL;

        assert_true(check_pieces(65536, MIB + 5, false, &e) < 0);
        assert_story(&e, ERR_TRUNCATED, "ends after");
}

static void b25_writer_stalls(void **state _unused_) {
        Err *e = NULL;

        assert_true(check_pieces(65536, MIB + 5, true, &e) < 0);
        assert_story(&e, ERR_STALLED, "stalled");
}

/* Who rewrites the file while it is read changes bytes that have been copied, or is caught. */
static void *rewrite(void *userdata) {
        int fd = *(int *) userdata;

        for (unsigned i = 0; i < 2000; i++)
                if (pwrite(fd, "\xff\xff\xff\xff", 4, (off_t) (i * 4099 % size)) != 4)
                        break;
        return NULL;
}

static void b24_rewritten_while_read(void **state _unused_) {
        _cleanup_(manifest_freep) Manifest *m = make_manifest(payload, size);
        unsigned passed = 0, refused = 0;

        for (unsigned i = 0; i < 20; i++) {
                int fd = make_file(payload, size);
                pthread_t thread;
                Err *e = NULL;

                assert_int_equal(pthread_create(&thread, NULL, rewrite, &fd), 0);
                /* a command with a wrong checksum would be BadStream: something unverified was parsed */
                if (check(fd, m, 0, &e) >= 0)
                        passed++;
                else {
                        assert_int_equal(err_kind_of(e), ERR_BAD_IMAGE);
                        refused++;
                }
                err_free(e);
                pthread_join(thread, NULL);
                close(fd);
        }
        print_message("# %u passed whole, %u refused\n", passed, refused);
        assert_true(refused > 0);
}

static size_t pack(const void *data, size_t n, uint8_t **ret) {
        size_t bound = ZSTD_compressBound(n), packed;

        *ret = malloc(bound);
        packed = ZSTD_compress(*ret, bound, data, n, 1);
        assert_false(ZSTD_isError(packed));
        return packed;
}

static Manifest *packed_manifest(const uint8_t *packed, size_t n, size_t plain) {
        Manifest *m = make_manifest(packed, n);

        m->compression = COMPRESSION_ZSTD;
        m->stream_size = plain;
        return m;
}

static void packed_image_passes(void **state _unused_) {
        _cleanup_(freep) uint8_t *packed = NULL;
        size_t n = pack(payload, size, &packed);
        _cleanup_(manifest_freep) Manifest *m = packed_manifest(packed, n, size);
        int fd = make_file(packed, n);

        assert_int_equal(check(fd, m, 0, NULL), 0);
        close(fd);
        m->stream_size = size + 1;
        refuse(packed, n, m, ERR_TRUNCATED, "were signed", ULONG_MAX);
        m->compression = COMPRESSION_NONE;
        refuse(packed, n, m, ERR_BAD_STREAM, "manifest says none", 0);
}

/* Signed in one size, unpacks to another: ends at the signed size. */
static void b29_bomb(void **state _unused_) {
        _cleanup_(freep) uint8_t *zeros = calloc(64, MIB), *packed = NULL;
        _cleanup_(manifest_freep) Manifest *m = NULL;
        size_t n;

        memcpy(zeros, payload, MIB);
        n = pack(zeros, 64 * MIB, &packed);
        m = packed_manifest(packed, n, MIB);
        refuse(packed, n, m, ERR_LIMIT_EXCEEDED, "that were signed", commands_in(1));
}

static void later_stream_version(void **state _unused_) {
        _cleanup_(freep) uint8_t *two = malloc(size);
        _cleanup_(stream_freep) Stream *s = NULL;
        Err *e = NULL;
        int fd;

        memcpy(two, payload, size);
        two[13] = 2;
        fd = make_file(two, size);
        assert_true(stream_open(&(StreamArgs){.input_fd = fd, .limits.version = 1}, &s, &e) < 0);
        assert_story(&e, ERR_BAD_STREAM, "version 2");
        close(fd);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                        CASE(right_image_passes),
                        CASE(b20_shorter),
                        CASE(b21_longer),
                        CASE(b22_flipped_bits),
                        CASE(b22_flipped_bits_are_not_parsed),
                        CASE(b23_swapped_and_repeated),
                        CASE(b24_rewritten_while_read),
                        CASE(b25_writer_stalls),
                        CASE(b26_writer_leaves),
                        CASE(b27_short_reads),
                        CASE(packed_image_passes),
                        CASE(b29_bomb),
                        CASE(later_stream_version),
        };

        signal(SIGPIPE, SIG_IGN);
        return cmocka_run_group_tests(tests, set_up, tear_down);
}
