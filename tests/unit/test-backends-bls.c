/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Boot entries: their names, their order, the number that makes one the first. */
#include "tests/unit/folder.h"

#include "backends/bls.h"
#include <fcntl.h>
#include <sys/stat.h>

#include "backends/boot-copies.h"
#include "os/file.h"

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

#define KERNEL "usr/lib/modules/6.1/vmlinuz"

static char kernel_path[80]; /* of the last slot that was looked up */

static int bring_tree(const char *slot, Err **reterr) {
        _cleanup_(fd_closep) int root_fd =
                        openat(dir_fd, "tree", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

        return boot_copies_bring(dir_fd, slot, root_fd, NULL, reterr);
}

/* The tree with that kernel comes to slot @slot. */
static int bring(const char *slot, const char *kernel, Err **reterr) {
        put_file(dir_fd, "tree/" KERNEL, kernel);
        return bring_tree(slot, reterr);
}

/* What the loader would get for @slot. */
static char *kernel_of(const char *slot, Err **reterr) {
        _cleanup_(boot_paths_done) BootPaths p = {0};

        if (boot_copies_find(dir_fd, slot, &p, reterr) < 0)
                return NULL;
        snprintf(kernel_path, sizeof(kernel_path), "%s", p.linux_path + 1);
        return get_file(dir_fd, kernel_path);
}

static void assert_kernel(const char *slot, const char *text) {
        _cleanup_(freep) char *found = kernel_of(slot, NULL);

        assert_non_null(found);
        assert_string_equal(found, text);
}

static size_t count_copies(void) {
        _cleanup_(fd_closep) int fd = dir_open_at(dir_fd, "abupdate/kernels", NULL);
        _cleanup_(strv_freep) char **names = NULL;
        size_t n = 0;

        assert_int_equal(dir_names(fd, &names, NULL), 0);
        while (names[n])
                n++;
        return n;
}

/* Which kernel it is, and that nothing outside the tree is followed to. */
static void kernels(void **state _unused_) {
        _cleanup_(boot_paths_done) BootPaths p = {0}, q = {0};
        Err *err = NULL;

        put_file(dir_fd, "tree/etc/x", "");
        put_file(dir_fd, "tree/usr/lib/modules/6.10/modules.dep", "");
        assert_true(bring_tree("b", &err) < 0);
        assert_story(&err, ERR_WRONG_LAYOUT, "has no kernel");
        put_file(dir_fd, "tree/boot/vmlinuz-6.10", "new");
        put_file(dir_fd, "tree/boot/initrd.img-6.10", "initrd");
        assert_int_equal(bring("b", "old", NULL), 0);
        assert_kernel("b", "new");
        assert_int_equal(boot_copies_find(dir_fd, "b", &p, NULL), 0);
        assert_string_equal(p.initrd, "/abupdate/kernels/initrd-"
                                      "09e6c018d2c8c4903308613dd1b72484");
        assert_int_equal(unlinkat(dir_fd, "tree/boot/initrd.img-6.10", 0), 0);
        assert_int_equal(symlinkat("/etc/passwd", dir_fd, "tree/boot/initrd.img-6.10"), 0);
        assert_int_equal(bring("b", "old", NULL), 0);
        assert_int_equal(boot_copies_find(dir_fd, "b", &q, NULL), 0);
        assert_null(q.initrd);
        assert_int_equal(boot_copies_drop(dir_fd, "b", NULL, NULL), 0);
        assert_null(kernel_of("b", NULL));
        assert_int_equal(count_copies(), 0);
        assert_int_equal(boot_copies_drop(dir_fd, "b", NULL, NULL), 0);
}

/* The names in their order: each one goes before all that are there already. */
static void other_names(void **state _unused_) {
        static const char *const rising[] = {"boot/kernel-6.1", "boot/vmlinux-6.1",
                        "usr/lib/modules/6.1/vmlinux", "boot/uImage-6.1", "boot/zImage-6.1",
                        "usr/lib/modules/6.1/zImage", "boot/Image.gz-6.1",
                        "usr/lib/modules/6.1/Image.gz", "boot/Image-6.1",
                        "usr/lib/modules/6.1/Image", "lib/modules/6.1/vmlinuz", "boot/vmlinuz-6.1",
                        KERNEL};
        static const char *const none[] = {"boot/Image", "boot/zImage-6.10", "boot/kernel-6",
                        "boot/Image-6.1.gz", "boot/vmlinux", "usr/lib/modules/6.1/Image.old",
                        "usr/lib/modules/6.1/kernel/fs/x.ko", "boot/kernel-6.1/x"};
        Err *err = NULL;

        put_file(dir_fd, "tree/usr/lib/modules/6.1/modules.dep", "");
        for (size_t i = 0; i < ARRAY_SIZE(none); i++) {
                _cleanup_(freep) char *path = str_printf("tree/%s", none[i]);

                put_file(dir_fd, path, "none");
        }
        assert_true(bring_tree("b", &err) < 0);
        assert_story(&err, ERR_WRONG_LAYOUT, "has no kernel");
        assert_int_equal(unlinkat(dir_fd, "tree/boot/kernel-6.1/x", 0), 0);
        assert_int_equal(unlinkat(dir_fd, "tree/boot/kernel-6.1", AT_REMOVEDIR), 0);
        for (size_t i = 0; i < ARRAY_SIZE(rising); i++) {
                _cleanup_(freep) char *path = str_printf("tree/%s", rising[i]);

                put_file(dir_fd, path, rising[i]);
                assert_int_equal(bring_tree("b", NULL), 0);
                assert_kernel("b", rising[i]);
        }
}

/* One copy for each content, until the last slot that needs it has gone. */
static void shared(void **state _unused_) {
        assert_int_equal(bring("1", "one", NULL), 0);
        assert_int_equal(bring("2", "one", NULL), 0);
        assert_int_equal(count_copies(), 1);
        assert_int_equal(bring("3", "three", NULL), 0);
        assert_int_equal(count_copies(), 2);
        assert_int_equal(boot_copies_drop(dir_fd, "1", NULL, NULL), 0);
        assert_kernel("2", "one");
        assert_kernel("3", "three");
        /* an entry that names it, in whatever text of a loader */
        put_file(dir_fd, "loader/entries/x.conf", kernel_path);
        assert_int_equal(boot_copies_drop(dir_fd, "3", NULL, NULL), 0);
        assert_int_equal(count_copies(), 2);
        assert_int_equal(unlinkat(dir_fd, "loader/entries/x.conf", 0), 0);
        assert_int_equal(boot_copies_drop(dir_fd, "3", kernel_path, NULL), 0);
        assert_int_equal(count_copies(), 2);
        assert_int_equal(boot_copies_drop(dir_fd, "2", NULL, NULL), 0);
        assert_int_equal(count_copies(), 0);
}

/* A copy under the right name with other content is never told to a loader, and written anew. */
static void torn(void **state _unused_) {
        Err *err = NULL;

        assert_int_equal(bring("1", "kernel", NULL), 0);
        assert_kernel("1", "kernel");
        put_file(dir_fd, kernel_path, "kern");
        assert_null(kernel_of("1", &err));
        assert_story(&err, ERR_VERIFY_FAILED, "is damaged");
        assert_int_equal(bring("2", "kernel", NULL), 0);
        assert_kernel("1", "kernel");
        assert_int_equal(unlinkat(dir_fd, kernel_path, 0), 0);
        assert_null(kernel_of("1", &err));
        assert_story(&err, ERR_WRONG_LAYOUT, "is not on the boot partition");
        put_file(dir_fd, "abupdate/slot-1/files", "Kernel=linux-12");
        assert_null(kernel_of("1", &err));
        assert_story(&err, ERR_FAILED, "slot-1/files");
        assert_int_equal(bring("1", "kernel", NULL), 0);
        assert_kernel("1", "kernel");
}

static int truncate_at(const char *path, off_t size) {
        _cleanup_(fd_closep) int fd = openat(dir_fd, path, O_WRONLY | O_CLOEXEC);

        return ftruncate(fd, size);
}

/* What cuts have left: slots that never came to be, drafts, what an installer wrote. */
static void cleaned(void **state _unused_) {
        Slot slots[] = {{.id = (char *) "1", .state = SLOT_GOOD},
                        {.id = (char *) "b", .state = SLOT_EMPTY}};
        const SlotList list = {ARRAY_SIZE(slots), slots};
        char *text;

        put_file(dir_fd, "abupdate/slot-1/linux", "installed");
        put_file(dir_fd, "loader/entries/abupdate-1.conf", "linux /abupdate/slot-1/linux\n");
        put_file(dir_fd, "loader/entries/other.conf", "linux /abupdate/slot-8/linux\n");
        put_file(dir_fd, "abupdate/slot-8/linux", "somebody's");
        put_file(dir_fd, "abupdate/state/journal", "");
        assert_int_equal(bring("7", "seven", NULL), 0);
        assert_int_equal(bring("b", "spare", NULL), 0);
        put_file(dir_fd, "abupdate/kernels/linux-77.new", "");
        assert_kernel("7", "seven");
        put_file(dir_fd, "loader/entries/abupdate-7+3.conf.new", kernel_path);
        assert_kernel("1", "installed");
        assert_int_equal(boot_copies_clean(dir_fd, &list, NULL, NULL), 0);
        assert_int_equal(count_copies(), 0);
        assert_int_equal(faccessat(dir_fd, "abupdate/slot-7", F_OK, 0), -1);
        assert_int_equal(faccessat(dir_fd, "abupdate/slot-b", F_OK, 0), -1);
        assert_int_equal(faccessat(dir_fd, "abupdate/slot-8/linux", F_OK, 0), 0);
        assert_int_equal(faccessat(dir_fd, "abupdate/state/journal", F_OK, 0), 0);
        /* its place is taken: it goes when the entry names the other */
        assert_int_equal(bring("1", "one", NULL), 0);
        assert_int_equal(boot_copies_clean(dir_fd, &list, NULL, NULL), 0);
        text = get_file(dir_fd, "abupdate/slot-1/linux");
        assert_string_equal(text, "installed");
        free(text);
        put_file(dir_fd, "loader/entries/abupdate-1.conf", "");
        assert_int_equal(boot_copies_clean(dir_fd, &list, NULL, NULL), 0);
        assert_null(get_file(dir_fd, "abupdate/slot-1/linux"));
        assert_kernel("1", "one");
        /* a name behind zeros, in what a cut has torn */
        put_file(dir_fd, "loader/entries/torn.conf", "");
        assert_int_equal(file_write_at(dir_fd, "loader/entries/torn.conf", "\0\0linux-77.new", 14,
                                         NULL),
                        0);
        put_file(dir_fd, "abupdate/kernels/linux-77.new", "");
        assert_int_equal(boot_copies_clean(dir_fd, &list, NULL, NULL), 0);
        assert_int_equal(count_copies(), 2);
        assert_int_equal(unlinkat(dir_fd, "loader/entries/torn.conf", 0), 0);
        /* where a text cannot be read nobody knows what is needed */
        put_file(dir_fd, "abupdate/kernels/linux-77.new", "");
        assert_int_equal(mkdirat(dir_fd, "loader/entries/folder", 0700), 0);
        put_file(dir_fd, "loader/entries/long.conf", "");
        assert_int_equal(truncate_at("loader/entries/long.conf", 1 << 20), 0);
        assert_true(boot_copies_clean(dir_fd, &list, NULL, NULL) < 0);
        assert_int_equal(count_copies(), 2);
        assert_int_equal(unlinkat(dir_fd, "loader/entries/long.conf", 0), 0);
        assert_int_equal(boot_copies_clean(dir_fd, &list, NULL, NULL), 0);
        assert_int_equal(count_copies(), 1);
}

/* Our own, and nobody else's. */
static void drafts(void **state _unused_) {
        _cleanup_(fd_closep) int fd = -1;

        put_file(dir_fd, "loader/entries/abupdate-7+3.conf.new", "");
        put_file(dir_fd, "loader/entries/abupdate-7.conf", "");
        put_file(dir_fd, "loader/entries/other-7.conf.new", "");
        fd = dir_open_at(dir_fd, "loader/entries", NULL);
        assert_int_equal(bls_remove_drafts(fd, "abupdate", NULL), 0);
        assert_int_equal(faccessat(fd, "abupdate-7+3.conf.new", F_OK, 0), -1);
        assert_int_equal(faccessat(fd, "abupdate-7.conf", F_OK, 0), 0);
        assert_int_equal(faccessat(fd, "other-7.conf.new", F_OK, 0), 0);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                        IN_FOLDER(names),
                        IN_FOLDER(order),
                        IN_FOLDER(written),
                        CASE(ranks),
                        IN_FOLDER(kernels),
                        IN_FOLDER(other_names),
                        IN_FOLDER(shared),
                        IN_FOLDER(torn),
                        IN_FOLDER(cleaned),
                        IN_FOLDER(drafts),
        };

        return cmocka_run_group_tests_name("backends/bls", tests, NULL, NULL);
}
