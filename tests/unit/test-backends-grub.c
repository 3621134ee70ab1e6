/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What is told to GRUB: the environment in two copies, entries in its language. */
#include <sys/stat.h>

#include "tests/unit/folder.h"

#include "backends/grub.h"
#include "os/process.h"

static void need_editenv(void) {
        const char *const argv[] = {"grub-editenv", "--version", NULL};

        if (program_run(argv, NULL, NULL) == -ENOENT)
                skip();
}

static void empty(void **state _unused_) {
        _cleanup_(grub_env_done) GrubEnv e = {0};

        assert_int_equal(grub_env_read(dir_fd, &e, NULL), 0);
        assert_null(e.next);
        assert_int_equal(e.left, -1);
        assert_int_equal(e.copy, -1);
        assert_int_equal(e.serial, 0);
}

/* The copies take turns; what is not finished, or is no block, does not hold. */
static void in_turn(void **state _unused_) {
        _cleanup_(grub_env_done) GrubEnv e = {.left = 3, .copy = -1}, got = {0}, old = {0};
        _cleanup_(freep) char *block = NULL;
        char *cut;

        need_editenv();
        e.next = strdup("2");
        e.fallback = strdup("1");
        e.slots = strdup("2 1");
        for (int i = 0; i < 3; i++) {
                assert_int_equal(grub_env_write(dir_fd, &e, NULL), 0);
                assert_int_equal(e.copy, i % 2);
                assert_int_equal(e.serial, i + 1);
        }
        assert_int_equal(grub_env_read(dir_fd, &got, NULL), 0);
        assert_string_equal(got.next, "2");
        assert_string_equal(got.fallback, "1");
        assert_string_equal(got.slots, "2 1");
        assert_int_equal(got.left, 3);
        assert_int_equal(got.copy, 0);
        assert_int_equal(got.serial, 3);
        block = get_file(dir_fd, "grubenv-0");
        assert_int_equal(strlen(block), 1024);
        assert_int_equal(strspn(block + 512, "#"), 512);
        cut = strstr(block, "abupdate_end");
        assert_non_null(cut);
        memset(cut, '#', 16);
        put_file(dir_fd, "grubenv-0", block);
        assert_int_equal(grub_env_read(dir_fd, &old, NULL), 0);
        assert_int_equal(old.copy, 1);
        assert_int_equal(old.serial, 2);
        grub_env_done(&old);
        put_file(dir_fd, "grubenv-1", "");
        assert_int_equal(grub_env_read(dir_fd, &old, NULL), 0);
        assert_int_equal(old.copy, -1);
        /* and both are made anew */
        assert_int_equal(grub_env_write(dir_fd, &old, NULL), 0);
        grub_env_done(&old);
        assert_int_equal(grub_env_read(dir_fd, &old, NULL), 0);
        assert_int_equal(old.serial, 1);
        assert_null(old.next);
}

static void lists(void **state _unused_) {
        _cleanup_(grub_env_done) GrubEnv e = {.left = -1, .copy = -1};
        char name[16];

        need_editenv();
        assert_int_equal(grub_env_list(&e, "1", true), 0);
        assert_int_equal(grub_env_list(&e, "2", true), 0);
        assert_int_equal(grub_env_list(&e, "1", true), 0);
        assert_string_equal(e.slots, "1 2");
        assert_int_equal(grub_env_list(&e, "1", false), 0);
        assert_string_equal(e.slots, "2");
        assert_int_equal(grub_env_list(&e, "2", false), 0);
        assert_null(e.slots);
        for (int i = 0; i < 500; i++) {
                snprintf(name, sizeof(name), "%i", i);
                assert_int_equal(grub_env_list(&e, name, true), 0);
        }
        assert_ptr_equal(strstr(e.slots, "499 498 "), e.slots);
        assert_in_range(strlen(e.slots), 100, 160);
        e.next = strdup("1234567890123456789012345678901234567890123456789012345678901234");
        e.fallback = strdup(e.next);
        e.left = 99;
        e.serial = UINT64_MAX - 1;
        assert_int_equal(grub_env_write(dir_fd, &e, NULL), 0);
}

static void entries(void **state _unused_) {
        const GrubEntry e = {"b", "It's $(x) \"2\"", NULL, "/abupdate/slot-b/linux", "/i",
                        "root=UUID=1 a=\"b c\" it's  d"};
        _cleanup_(freep) char *text = grub_entry_text(&e), *options = NULL;

        assert_non_null(text);
        assert_non_null(strstr(text, "menuentry 'It'\\''s $(x) \"2\"' --class abupdate --id "
                                     "abupdate-'b' {\n"));
        assert_non_null(strstr(text, "linux '/abupdate/slot-b/linux' 'root=UUID=1' 'a=b c' "
                                     "'it'\\''s' 'd'\n"));
        assert_non_null(strstr(text, "initrd '/i'\n"));
        assert_int_equal(grub_entry_options(text, &options), 0);
        assert_string_equal(options, e.options);
}

/* What GRUB's own parser says of it. */
static void entries_parse(void **state _unused_) {
        const char *const odd[] = {
                        "", "'", "\"", "a\"b", "$x ${y} `z`", "a;b|c&d", "{ }", "\\", "\t"};

        need_editenv();
        for (size_t i = 0; i < ARRAY_SIZE(odd); i++) {
                const GrubEntry e = {"1", odd[i], "u-u", "/l", i % 2 ? "/i" : NULL, odd[i]};
                _cleanup_(freep) char *text = grub_entry_text(&e),
                                      *path = str_printf("%s/entry.cfg", dir);
                const char *const argv[] = {"grub-script-check", path, NULL};

                put_file(dir_fd, "entry.cfg", text);
                assert_int_equal(program_run(argv, NULL, NULL), 0);
        }
}

/* A folder in the place of its draft stops the work half way. */
static void entries_are_written_anew(void **state _unused_) {
        _cleanup_(freep) char *first = NULL, *cut = NULL, *emptied = NULL, *last = NULL;
        bool was_cut = true;

        assert_int_equal(grub_entry_read(dir_fd, &first, &was_cut), 0);
        assert_false(was_cut);
        assert_int_equal(grub_entry_write(dir_fd, "old", NULL), 0);
        assert_int_equal(faccessat(dir_fd, "entry.spare", F_OK, 0), -1);
        assert_int_equal(mkdirat(dir_fd, "entry.cfg.new", 0700), 0);
        assert_true(grub_entry_write(dir_fd, "new", NULL) < 0);
        assert_int_equal(grub_entry_read(dir_fd, &cut, &was_cut), 1);
        assert_string_equal(cut, "old");
        assert_true(was_cut);

        put_file(dir_fd, "entry.cfg", "");
        assert_int_equal(grub_entry_read(dir_fd, &emptied, &was_cut), 1);
        assert_string_equal(emptied, "new");
        assert_int_equal(unlinkat(dir_fd, "entry.cfg.new", AT_REMOVEDIR), 0);
        assert_int_equal(grub_entry_write(dir_fd, "new", NULL), 0);
        assert_int_equal(grub_entry_read(dir_fd, &last, &was_cut), 1);
        assert_string_equal(last, "new");
        assert_false(was_cut);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                        IN_FOLDER(empty),
                        IN_FOLDER(in_turn),
                        IN_FOLDER(lists),
                        CASE(entries),
                        IN_FOLDER(entries_parse),
                        IN_FOLDER(entries_are_written_anew),
        };

        return cmocka_run_group_tests_name("backends/grub", tests, NULL, NULL);
}
