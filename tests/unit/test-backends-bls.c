/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Boot entries: their names, their order, the number that makes one the first. */
#include "tests/unit/folder.h"

#include "backends/bls.h"
#include "backends/boot-files.h"

static void assert_order(const char *const files[]) {
        _cleanup_(bls_list_done) BlsList l = {0};

        assert_int_equal(bls_list(dir_fd, "abupdate", &l, NULL), 0);
        for (size_t i = 0; i < l.n; i++) {
                assert_non_null(files[i]);
                assert_string_equal(l.entries[i].file, files[i]);
        }
        assert_null(files[l.n]);
}

static void names(void **state _unused_) {
        _cleanup_(bls_list_done) BlsList l = {0};
        const BlsEntry *e;

        put_file(dir_fd, "abupdate-b+3-1.conf", "version 2.0\n");
        put_file(dir_fd, "abupdate-a.conf", "# a remark\n\n  linux\t/linux \noptions  x y\n");
        put_file(dir_fd, "abupdate-c+x.conf", "");
        put_file(dir_fd, "abupdates.conf", "");
        put_file(dir_fd, "abupdate-b.conf.new", "");
        put_file(dir_fd, ".conf", "");
        assert_int_equal(bls_list(dir_fd, "abupdate", &l, NULL), 0);
        assert_int_equal(l.n, 4);
        e = bls_find(&l, "b");
        assert_non_null(e);
        assert_int_equal(e->left, 3);
        assert_int_equal(e->done, 1);
        assert_string_equal(e->id, "abupdate-b");
        assert_string_equal(e->version, "2.0");
        e = bls_find(&l, "a");
        assert_int_equal(e->left, -1);
        assert_string_equal(e->linux_path, "/linux ");
        assert_string_equal(e->options, "x y");
        assert_non_null(bls_find(&l, "c+x"));
        assert_null(bls_find(&l, "s"));
        assert_null(bls_find(&l, NULL));
}

static void order(void **state _unused_) {
        put_file(dir_fd, "old-9.conf", "title x\n");
        put_file(dir_fd, "old-10.conf", "title x\n");
        assert_order((const char *const[]){"old-10.conf", "old-9.conf", NULL});
        put_file(dir_fd, "abupdate-a.conf", "sort-key abupdate-99999998\nversion 9\n");
        put_file(dir_fd, "abupdate-b+3.conf", "sort-key abupdate-99999996\nversion 1\n");
        assert_order((const char *const[]){
                        "abupdate-b+3.conf", "abupdate-a.conf", "old-10.conf", "old-9.conf", NULL});
        /* used up: behind all others */
        put_file(dir_fd, "abupdate-c+0-3.conf", "sort-key abupdate-00000001\n");
        assert_order((const char *const[]){"abupdate-b+3.conf", "abupdate-a.conf", "old-10.conf",
                        "old-9.conf", "abupdate-c+0-3.conf", NULL});
        /* the same key: the higher version first, then the name */
        put_file(dir_fd, "abupdate-d.conf", "sort-key abupdate-99999998\nversion 10\n");
        assert_order((const char *const[]){"abupdate-b+3.conf", "abupdate-d.conf",
                        "abupdate-a.conf", "old-10.conf", "old-9.conf", "abupdate-c+0-3.conf",
                        NULL});
}

static void written(void **state _unused_) {
        _cleanup_(bls_list_done) BlsList l = {0};
        _cleanup_(bls_entry_done) BlsEntry e = {.left = 3};
        _cleanup_(freep) char *text = NULL;

        e.slot = strdup("b");
        e.version = strdup("2.0");
        e.linux_path = strdup("/linux");
        e.options = strdup("root=UUID=1 ro");
        e.sort_key = bls_sort_key("abupdate", 7);
        assert_int_equal(bls_write(dir_fd, "abupdate", &e, NULL), 0);
        assert_string_equal(e.file, "abupdate-b+3.conf");
        text = get_file(dir_fd, "abupdate-b+3.conf");
        assert_string_equal(text, "version 2.0\nsort-key abupdate-99999992\nlinux /linux\n"
                                  "options root=UUID=1 ro\n");
        assert_int_equal(bls_list(dir_fd, "abupdate", &l, NULL), 0);
        assert_int_equal(bls_rank(bls_find(&l, "b"), "abupdate"), 7);
        e.done = 2;
        e.left = 1;
        assert_int_equal(bls_write(dir_fd, "abupdate", &e, NULL), 0);
        assert_string_equal(e.file, "abupdate-b+1-2.conf");
        e.left = -1;
        assert_int_equal(bls_write(dir_fd, "abupdate", &e, NULL), 0);
        assert_string_equal(e.file, "abupdate-b.conf");
}

static void ranks(void **state _unused_) {
        static const struct {
                const char *key;
                unsigned rank;
        } cases[] = {
                        {"abupdate-99999999", 0},
                        {"abupdate-99999998", 1},
                        {"abupdate-00000000", 99999999},
                        {"abupdate-", 0},
                        {"abupdate-x", 0},
                        {"abupdate", 0},
                        {"other-99999998", 0},
                        {"abupdate-999999990", 0},
                        {NULL, 0},
        };

        for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
                const BlsEntry e = {.sort_key = (char *) cases[i].key};

                assert_int_equal(bls_rank(&e, "abupdate"), cases[i].rank);
        }
}

/* What is brought is replaced as a whole, and nothing outside the tree is followed to. */
static void kernels(void **state _unused_) {
        _cleanup_(fd_closep) int root_fd = -1;
        char *text;
        Err *err = NULL;

        put_file(dir_fd, "tree/etc/x", "");
        root_fd = openat(dir_fd, "tree", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        assert_true(boot_files_bring(dir_fd, "b", root_fd, &err) < 0);
        assert_story(&err, ERR_WRONG_LAYOUT, "has no kernel");
        put_file(dir_fd, "tree/usr/lib/modules/6.1/vmlinuz", "old");
        put_file(dir_fd, "tree/usr/lib/modules/6.10/modules.dep", "");
        put_file(dir_fd, "tree/boot/vmlinuz-6.10", "new");
        put_file(dir_fd, "tree/boot/initrd.img-6.10", "initrd");
        assert_int_equal(boot_files_bring(dir_fd, "b", root_fd, NULL), 0);
        text = get_file(dir_fd, "abupdate/slot-b/linux");
        assert_string_equal(text, "new");
        free(text);
        text = get_file(dir_fd, "abupdate/slot-b/initrd");
        assert_string_equal(text, "initrd");
        free(text);
        assert_int_equal(unlinkat(dir_fd, "tree/boot/initrd.img-6.10", 0), 0);
        assert_int_equal(symlinkat("/etc/passwd", dir_fd, "tree/boot/initrd.img-6.10"), 0);
        assert_int_equal(boot_files_bring(dir_fd, "b", root_fd, NULL), 0);
        assert_null(get_file(dir_fd, "abupdate/slot-b/initrd"));
        assert_int_equal(boot_files_drop(dir_fd, "b", NULL), 0);
        assert_null(get_file(dir_fd, "abupdate/slot-b/linux"));
        assert_int_equal(boot_files_drop(dir_fd, "b", NULL), 0);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                        IN_FOLDER(names),
                        IN_FOLDER(order),
                        IN_FOLDER(written),
                        CASE(ranks),
                        IN_FOLDER(kernels),
        };

        return cmocka_run_group_tests_name("backends/bls", tests, NULL, NULL);
}
