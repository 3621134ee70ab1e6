/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <pthread.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <zstd.h>

#include "stream/input.h"
#include "tests/unit/unit.h"

#define SIZE (3 * INPUT_BLOCK_SIZE + 12345)

static uint8_t content[SIZE];

typedef struct Writer {
        pthread_t thread;
        int fd;
        const uint8_t *data;
        size_t size, step;
} Writer;

static int set_up(void **state _unused_) {
        for (size_t i = 0; i < SIZE; i++)
                content[i] = (uint8_t) (i * 2654435761u >> 13);
        return 0;
}

static void *write_all(void *userdata) {
        Writer *w = userdata;

        while (w->size > 0) {
                ssize_t n = write(w->fd, w->data, w->size < w->step ? w->size : w->step);

                if (n < 0)
                        break;
                w->data += n;
                w->size -= (size_t) n;
        }
        w->fd = fd_close(w->fd);
        return NULL;
}

static void writer_start(Writer *w, int fd, const void *data, size_t size, size_t step) {
        *w = (Writer){.fd = fd, .data = data, .size = size, .step = step};
        assert_int_equal(pthread_create(&w->thread, NULL, write_all, w), 0);
}

/* Reads everything and compares; the number of bytes or the error. */
static int64_t read_all(const InputArgs *args, Err **reterr) {
        _cleanup_(input_freep) Input *in = NULL;
        int64_t done = 0;
        Block *b;
        int r;

        r = input_new(args, &in, reterr);
        if (r < 0)
                return r;
        while ((r = input_next(in, &b, reterr)) > 0) {
                assert_true((size_t) done + b->size <= SIZE);
                assert_memory_equal(b->data, content + done, b->size);
                done += (int64_t) b->size;
                block_unref(b);
        }
        return r < 0 ? r : done;
}

static void pipes_and_sockets_of_any_pace(void **state _unused_) {
        static const struct {
                size_t size, step;
        } paces[] = {{SIZE, 65536}, {SIZE, 4097}, {5000, 1}, {1, 1}, {0, 1},
                        {INPUT_BLOCK_SIZE, 1u << 20}};

        for (size_t i = 0; i < ARRAY_SIZE(paces); i++)
                for (int sock = 0; sock < 2; sock++) {
                        Writer w;
                        int fds[2];

                        assert_int_equal(
                                        sock ? socketpair(AF_UNIX, SOCK_STREAM, 0, fds) : pipe(fds),
                                        0);
                        writer_start(&w, fds[1], content, paces[i].size, paces[i].step);
                        assert_int_equal(read_all(&(InputArgs){.fd = fds[0]}, NULL), paces[i].size);
                        pthread_join(w.thread, NULL);
                        close(fds[0]);
                }
}

static void packed_input_is_unpacked(void **state _unused_) {
        size_t room = ZSTD_compressBound(SIZE), n;
        _cleanup_(freep) uint8_t *packed = malloc(room);
        int fds[2];
        Writer w;

        n = ZSTD_compress(packed, room, content, SIZE, 1);
        assert_false(ZSTD_isError(n));
        assert_int_equal(pipe(fds), 0);
        writer_start(&w, fds[1], packed, n, 10000);
        assert_int_equal(read_all(&(InputArgs){.fd = fds[0]}, NULL), SIZE);
        pthread_join(w.thread, NULL);
        close(fds[0]);

        /* cut short */
        assert_int_equal(pipe(fds), 0);
        writer_start(&w, fds[1], packed, n / 2, 10000);
        Err *e = NULL;
        assert_int_equal(read_all(&(InputArgs){.fd = fds[0]}, &e), -EBADMSG);
        assert_story(&e, ERR_TRUNCATED, "ends too early");
        pthread_join(w.thread, NULL);
        close(fds[0]);
}

typedef struct Seen {
        size_t bytes, refuse_at;
        unsigned calls;
} Seen;

static int see_chunk(void *userdata, const uint8_t *data, size_t size, Err **reterr) {
        Seen *s = userdata;

        assert_memory_equal(data, content + s->bytes, size);
        if (s->bytes >= s->refuse_at)
                return err_kind(reterr, ERR_VERIFY_FAILED, -EBADMSG,
                                "chunk %u is not what was signed", s->calls);
        s->calls++;
        s->bytes += size;
        return 0;
}

static void every_chunk_is_seen_before_it_counts(void **state _unused_) {
        Seen seen = {.refuse_at = SIZE_MAX};
        Err *e = NULL;
        int fds[2];
        Writer w;

        assert_int_equal(pipe(fds), 0);
        writer_start(&w, fds[1], content, SIZE, 9999);
        assert_int_equal(read_all(&(InputArgs){.fd = fds[0], .userdata = &seen, .chunk = see_chunk},
                                         NULL),
                        SIZE);
        assert_int_equal(seen.bytes, SIZE);
        assert_int_equal(seen.calls, 4);
        pthread_join(w.thread, NULL);
        close(fds[0]);

        seen = (Seen){.refuse_at = 2 * INPUT_BLOCK_SIZE};
        assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
        writer_start(&w, fds[1], content, SIZE, 9999);
        assert_int_equal(read_all(&(InputArgs){.fd = fds[0], .userdata = &seen, .chunk = see_chunk},
                                         &e),
                        -EBADMSG);
        assert_story(&e, ERR_VERIFY_FAILED, "chunk 2");
        assert_int_equal(seen.bytes, 2 * INPUT_BLOCK_SIZE);
        shutdown(fds[0], SHUT_RDWR);
        pthread_join(w.thread, NULL);
        close(fds[0]);
}

static void a_stall_is_noticed(void **state _unused_) {
        uint64_t start = now_monotonic(), took;
        Err *e = NULL;
        int fds[2];

        assert_int_equal(pipe(fds), 0);
        assert_int_equal(write(fds[1], content, 100), 100);
        assert_int_equal(read_all(&(InputArgs){.fd = fds[0], .stall_usec = USEC_PER_SEC}, &e),
                        -ETIMEDOUT);
        assert_story(&e, ERR_STALLED, "no byte came");
        took = now_monotonic() - start;
        assert_in_range(took, USEC_PER_SEC, 3 * USEC_PER_SEC);
        close(fds[0]);
        close(fds[1]);
}

static int cancel_soon(void *userdata, uint64_t bytes) {
        unsigned *calls = userdata;

        assert_true(bytes <= 100);
        return ++*calls >= 3;
}

static void a_cancel_is_heard_while_nothing_comes(void **state _unused_) {
        unsigned calls = 0;
        Err *e = NULL;
        int fds[2];

        assert_int_equal(pipe(fds), 0);
        assert_int_equal(write(fds[1], content, 100), 100);
        assert_int_equal(read_all(&(InputArgs){.fd = fds[0],
                                                  .userdata = &calls,
                                                  .progress = cancel_soon},
                                         &e),
                        -ECANCELED);
        assert_story(&e, ERR_CANCELLED, "Cancelled");
        close(fds[0]);
        close(fds[1]);
}

static void what_is_no_image_is_named(void **state _unused_) {
        char dir[64];
        _cleanup_(fd_closep) int dir_fd = temp_dir_make(dir);
        static const struct {
                const char *path;
                int flags;
                const char *why;
        } bad[] = {
                        {".", O_RDONLY, "a directory"},
                        {"/dev/zero", O_RDONLY, "a character device"},
                        {"/dev/null", O_RDONLY, "a character device"},
                        {"file", O_WRONLY, "for writing only"},
                        {"file", O_PATH, "O_PATH"},
        };

        put_file(dir_fd, "file", "text");
        for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
                _cleanup_(fd_closep) int fd = openat(dir_fd, bad[i].path, bad[i].flags | O_CLOEXEC);
                Err *e = NULL;

                assert_true(fd >= 0);
                assert_true(read_all(&(InputArgs){.fd = fd}, &e) < 0);
                assert_story(&e, ERR_BAD_INPUT, bad[i].why);
        }
        Err *e = NULL;
        assert_true(read_all(&(InputArgs){.fd = 12345}, &e) < 0);
        assert_story(&e, ERR_BAD_INPUT, "not an open file");
        temp_dir_remove(dir);
}

/* A process of its own reads what may never answer. */
static void other_file_systems_are_read_as_well(void **state _unused_) {
        _cleanup_(fd_closep) int fd = open("/proc/version", O_RDONLY | O_CLOEXEC),
                                 none = open("/proc/self/mem", O_RDONLY | O_CLOEXEC);
        _cleanup_(input_freep) Input *in = NULL;
        uint8_t wanted[4096];
        ssize_t n = pread(fd, wanted, sizeof(wanted), 0);
        Err *e = NULL;
        Block *b;

        assert_true(n > 10 && n < (ssize_t) sizeof(wanted));
        assert_int_equal(lseek(fd, 10, SEEK_SET), 10);
        assert_int_equal(input_new(&(InputArgs){.fd = fd, .raw = true}, &in, NULL), 0);
        assert_int_equal(input_next(in, &b, NULL), 1);
        assert_int_equal(b->size, n - 10);
        assert_memory_equal(b->data, wanted + 10, b->size);
        block_unref(b);
        assert_int_equal(input_next(in, &b, NULL), 0);

        assert_int_equal(read_all(&(InputArgs){.fd = none, .raw = true}, &e), -EIO);
        assert_story(&e, ERR_BAD_INPUT, "Cannot read the image: Input/output error");
        /* whoever waits for children finds none */
        in = input_free(in);
        assert_int_equal(waitpid(-1, NULL, 0), -1);
        assert_int_equal(errno, ECHILD);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                        CASE(pipes_and_sockets_of_any_pace),
                        CASE(packed_input_is_unpacked),
                        CASE(every_chunk_is_seen_before_it_counts),
                        CASE(a_stall_is_noticed),
                        CASE(a_cancel_is_heard_while_nothing_comes),
                        CASE(what_is_no_image_is_named),
                        CASE(other_file_systems_are_read_as_well),
        };

        signal(SIGPIPE, SIG_IGN);
        return cmocka_run_group_tests(tests, set_up, NULL);
}
