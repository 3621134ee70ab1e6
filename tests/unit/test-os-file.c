/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "os/file.h"
#include "tests/unit/folder.h"

static void assert_file(const char *path, const char *want) {
        _cleanup_(freep) char *text = NULL;
        size_t size = 0;

        assert_int_equal(file_read_at(dir_fd, path, 100, &text, &size, NULL), 0);
        assert_string_equal(text, want);
        assert_int_equal(size, strlen(want));
}

static void a_file_is_replaced_whole(void **state _unused_) {
        assert_int_equal(file_write_at(dir_fd, "f", "one", 3, NULL), 0);
        assert_file("f", "one");
        assert_int_equal(file_write_at(dir_fd, "f", "", 0, NULL), 0);
        assert_file("f", "");
        put_file(dir_fd, "f.new", "a draft of an earlier power cut, longer");
        assert_int_equal(file_write_at(dir_fd, "f", "two", 3, NULL), 0);
        assert_file("f", "two");
        assert_int_equal(faccessat(dir_fd, "f.new", F_OK, 0), -1);
        put_file(dir_fd, "sub/x", "");
        assert_int_equal(file_write_at(dir_fd, "sub/f", "three", 5, NULL), 0);
        assert_file("sub/f", "three");
}

static void links_are_replaced_not_followed(void **state _unused_) {
        put_file(dir_fd, "victim", "mine");
        assert_int_equal(symlinkat("victim", dir_fd, "f"), 0);
        assert_int_equal(symlinkat("victim", dir_fd, "f.new"), 0);
        assert_int_equal(file_write_at(dir_fd, "f", "two", 3, NULL), 0);
        assert_file("f", "two");
        assert_file("victim", "mine");
}

static void a_failed_write_leaves_the_old_file(void **state _unused_) {
        _cleanup_(err_freep) Err *e = NULL;

        put_file(dir_fd, "d/x", "a folder in the place");
        assert_true(file_write_at(dir_fd, "d", "x", 1, &e) < 0);
        assert_non_null(strstr(err_text(e), "write d"));
        assert_int_equal(faccessat(dir_fd, "d.new", F_OK, 0), -1);
        e = err_free(e);
        assert_int_equal(file_write_at(dir_fd, "no/such", "x", 1, &e), -ENOENT);
        e = err_free(e);
        put_file(dir_fd, "g.new/x", "a folder in the place of the draft");
        put_file(dir_fd, "g", "old");
        assert_true(file_write_at(dir_fd, "g", "x", 1, &e) < 0);
        assert_file("g", "old");
}

static void only_files_are_read(void **state _unused_) {
        static const struct {
                const char *path;
                int r;
        } table[] = {{"absent", -ENOENT}, {"link", -ELOOP}, {"fifo", -EBADMSG},
                        {"folder", -EBADMSG}, {"file/x", -ENOTDIR}};

        put_file(dir_fd, "file", "x");
        put_file(dir_fd, "folder/x", "x");
        assert_int_equal(symlinkat("file", dir_fd, "link"), 0);
        assert_int_equal(symlinkat("nowhere", dir_fd, "dangling"), 0);
        assert_int_equal(mkfifoat(dir_fd, "fifo", 0600), 0);
        for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
                _cleanup_(err_freep) Err *e = NULL;
                char *text = NULL;

                assert_int_equal(file_read_at(dir_fd, table[i].path, 10, &text, NULL, &e),
                                table[i].r);
                assert_non_null(strstr(err_text(e), table[i].path));
                assert_null(text);
        }
        {
                _cleanup_(freep) char *text = NULL;
                char *none = NULL;

                assert_int_equal(file_read_if_at(dir_fd, "absent", 10, &none, NULL, NULL), 0);
                assert_int_equal(
                                file_read_if_at(dir_fd, "dangling", 10, &none, NULL, NULL), -ELOOP);
                assert_int_equal(file_read_if_at(dir_fd, "file", 10, &text, NULL, NULL), 1);
                assert_null(none);
        }
}

static void reading_has_a_bound(void **state _unused_) {
        _cleanup_(freep) char *text = NULL;
        Err *e = NULL;
        int fd;

        put_file(dir_fd, "f", "0123456789");
        assert_int_equal(file_read_at(dir_fd, "f", 10, &text, NULL, NULL), 0);
        assert_int_equal(file_read_at(dir_fd, "f", 9, &text, NULL, &e), -EFBIG);
        assert_story(&e, ERR_FAILED, "larger than 9 bytes");
        fd = openat(dir_fd, "holes", O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
        assert_int_equal(ftruncate(fd, INT64_C(1) << 40), 0);
        close(fd);
        assert_int_equal(file_read_at(dir_fd, "holes", 4096, &text, NULL, &e), -EFBIG);
        e = err_free(e);
        free(MOVE(text));
        assert_int_equal(file_read_at(AT_FDCWD, "/proc/self/status", 65536, &text, NULL, NULL), 0);
        assert_non_null(strstr(text, "Pid:")); /* whose size is 0 by stat() */
}

static void names_come_in_the_order_of_their_numbers(void **state _unused_) {
        static const char *const want[] = {".hidden", "1", "2", "10", "a1", "a10", NULL};
        static const char *const made[] = {"a10", "10", "2", "a1", ".hidden", "1"};
        _cleanup_(strv_freep) char **names = NULL;

        for (size_t i = 0; i < ARRAY_SIZE(made); i++)
                put_file(dir_fd, made[i], "");
        assert_int_equal(dir_names(dir_fd, &names, NULL), 0);
        for (size_t i = 0; i < ARRAY_SIZE(want); i++)
                if (want[i])
                        assert_string_equal(names[i], want[i]);
                else
                        assert_null(names[i]);
}

static void hundreds_of_names_and_none(void **state _unused_) {
        _cleanup_(strv_freep) char **none = NULL, **many = NULL;
        char name[16];
        size_t n = 0;

        assert_int_equal(dir_names(dir_fd, &none, NULL), 0);
        assert_null(none[0]);
        for (unsigned i = 0; i < 200; i++) {
                snprintf(name, sizeof(name), "%u", i);
                put_file(dir_fd, name, "");
        }
        assert_int_equal(dir_names(dir_fd, &many, NULL), 0);
        while (many[n])
                n++;
        assert_int_equal(n, 200);
        assert_string_equal(many[199], "199");
        assert_null(strv_free(NULL));
}

static void folders_are_opened_and_made(void **state _unused_) {
        Err *e = NULL;
        int fd;

        assert_int_equal(dir_make_at(dir_fd, "d", 0700, NULL), 0);
        assert_int_equal(dir_make_at(dir_fd, "d", 0700, NULL), 0);
        assert_true(dir_make_at(dir_fd, "a/b", 0700, &e) < 0);
        assert_story(&e, ERR_FAILED, "a/b");
        fd = dir_open_at(dir_fd, "d", NULL);
        assert_true(fd >= 0);
        close(fd);
        assert_int_equal(symlinkat("d", dir_fd, "l"), 0);
        assert_true(dir_open_at(dir_fd, "l", &e) < 0);
        e = err_free(e);
        put_file(dir_fd, "f", "");
        assert_int_equal(dir_open_at(dir_fd, "f", &e), -ENOTDIR);
        assert_story(&e, ERR_FAILED, "open directory f");
        assert_int_equal(fs_sync(dir_fd, NULL), 0);
        assert_true(fs_sync(-1, &e) < 0);
        assert_story(&e, ERR_FAILED, "sync the file system");
}

int main(void) {
        const struct CMUnitTest tests[] = {
                        IN_FOLDER(a_file_is_replaced_whole),
                        IN_FOLDER(links_are_replaced_not_followed),
                        IN_FOLDER(a_failed_write_leaves_the_old_file),
                        IN_FOLDER(only_files_are_read),
                        IN_FOLDER(reading_has_a_bound),
                        IN_FOLDER(names_come_in_the_order_of_their_numbers),
                        IN_FOLDER(hundreds_of_names_and_none),
                        IN_FOLDER(folders_are_opened_and_made),
        };

        return cmocka_run_group_tests_name("os/file", tests, NULL, NULL);
}
