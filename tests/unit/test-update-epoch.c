/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <fcntl.h>

#include "os/file.h"
#include "tests/unit/folder.h"
#include "update/epoch.h"

static char *copy_of(uint64_t epoch, const char *name) {
        char *text = NULL;
        size_t size;

        assert_int_equal(epoch_raise(dir_fd, epoch, NULL), 0);
        assert_int_equal(epoch_read(dir_fd), epoch);
        assert_true(file_read_at(dir_fd, name, 256, &text, &size, NULL) >= 0);
        return text;
}

static void nothing_is_epoch_0(void **state _unused_) {
        assert_int_equal(epoch_read(dir_fd), 0);
        assert_int_equal(epoch_raise(dir_fd, 0, NULL), 0);
        assert_int_equal(epoch_read(dir_fd), 0);
        assert_int_equal(faccessat(dir_fd, "epoch.a", F_OK, 0), -1);
}

static void raised_and_never_lowered(void **state _unused_) {
        static const uint64_t tries[][2] = {{3, 3}, {2, 3}, {0, 3}, {3, 3}, {4, 4},
                        {INT64_MAX, INT64_MAX}, {5, INT64_MAX}};

        for (size_t i = 0; i < ARRAY_SIZE(tries); i++) {
                assert_int_equal(epoch_raise(dir_fd, tries[i][0], NULL), 0);
                assert_int_equal(epoch_read(dir_fd), tries[i][1]);
        }
}

/* Whichever copy was being written, and wherever that broke off. */
static void one_copy_is_torn_or_gone(void **state _unused_) {
        static const char *const names[] = {"epoch.a", "epoch.b"};

        for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
                _cleanup_(freep) char *text = copy_of(12, names[i]);

                for (size_t n = 0; n < strlen(text); n++) {
                        _cleanup_(freep) char *torn = strndup(text, n);

                        put_file(dir_fd, names[i], torn);
                        assert_int_equal(epoch_read(dir_fd), 12);
                }
                assert_int_equal(unlinkat(dir_fd, names[i], 0), 0);
                assert_int_equal(epoch_read(dir_fd), 12);
                assert_int_equal(epoch_raise(dir_fd, 12, NULL), 0); /* mends it */
                assert_int_equal(unlinkat(dir_fd, names[1 - i], 0), 0);
                assert_int_equal(epoch_read(dir_fd), 12);
                assert_int_equal(epoch_raise(dir_fd, 12, NULL), 0);
        }
}

/* A damaged copy counts as none; it never says another number. */
static void wrong_checksum(void **state _unused_) {
        _cleanup_(freep) char *text = copy_of(12, "epoch.a");

        for (size_t bit = 0; bit < strlen(text) * 8; bit++) {
                uint64_t epoch;

                text[bit / 8] = (char) (text[bit / 8] ^ 1 << bit % 8);
                assert_true(file_write_at(dir_fd, "epoch.a", text, strlen(text), NULL) >= 0);
                assert_int_equal(epoch_read(dir_fd), 12);
                put_file(dir_fd, "epoch.b", "");
                epoch = epoch_read(dir_fd);
                if (epoch != 0 && epoch != 12)
                        fail_msg("bit %zu makes epoch %" PRIu64, bit, epoch);
                text[bit / 8] = (char) (text[bit / 8] ^ 1 << bit % 8);
                assert_true(file_write_at(dir_fd, "epoch.b", text, strlen(text), NULL) >= 0);
        }
        put_file(dir_fd, "epoch.a", "Epoch=99\n");
        assert_int_equal(epoch_read(dir_fd), 12);
        put_file(dir_fd, "epoch.a", "Epoch=99\nSum=1\n");
        assert_int_equal(epoch_read(dir_fd), 12);
}

/* After a cut between the two the copies differ. */
static void the_higher_copy_counts(void **state _unused_) {
        static const char *const names[] = {"epoch.a", "epoch.b"};
        _cleanup_(freep) char *low = copy_of(3, "epoch.a");

        for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
                assert_int_equal(epoch_raise(dir_fd, 7, NULL), 0);
                put_file(dir_fd, names[i], low);
                assert_int_equal(epoch_read(dir_fd), 7);
                assert_int_equal(epoch_raise(dir_fd, 4, NULL), 0);
                assert_int_equal(unlinkat(dir_fd, names[1 - i], 0), 0);
                assert_int_equal(epoch_read(dir_fd), 7);
        }
}

static void a_copy_that_cannot_be_written(void **state _unused_) {
        Err *e = NULL;

        assert_int_equal(mkdirat(dir_fd, "epoch.b", 0700), 0);
        assert_true(epoch_raise(dir_fd, 3, &e) < 0);
        assert_story(&e, ERR_FAILED, "raise the epoch to 3");
        assert_int_equal(epoch_read(dir_fd), 3);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                        IN_FOLDER(nothing_is_epoch_0),
                        IN_FOLDER(raised_and_never_lowered),
                        IN_FOLDER(one_copy_is_torn_or_gone),
                        IN_FOLDER(wrong_checksum),
                        IN_FOLDER(the_higher_copy_counts),
                        IN_FOLDER(a_copy_that_cannot_be_written),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
