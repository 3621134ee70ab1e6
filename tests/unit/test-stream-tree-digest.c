/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The tree digest sees every fact of a tree, nothing else, and is what docs/image-format.md says:
 * tests/image/check-manifest.py, which knows only that page, comes to the same. */
#include <sys/sysmacros.h>
#include <sys/xattr.h>

#include "stream/hex.h"
#include "stream/tree-digest.h"
#include "tests/unit/unit.h"

typedef struct Tree {
        char path[64];
        int fd;
} Tree;

static void set_mtime(int fd, const char *name, long sec, long nsec) {
        const struct timespec t[2] = {{sec, 0}, {sec, nsec}};

        assert_int_equal(utimensat(fd, name, t, AT_SYMLINK_NOFOLLOW), 0);
}

static const char *const names[] = {"etc/passwd", "etc/shadow", "usr/bin/sh", "usr/lib/x/y/z",
                "usr/lib-x", "usr/empty", "link", "node", "fifo", "again", "usr/lib/x/y",
                "usr/lib/x", "usr/lib", "usr/bin", "etc", "usr", "."};

static int make_tree(void **state) {
        static Tree t;

        t.fd = temp_dir_make(t.path);
        put_file(t.fd, "etc/passwd", "root:x:0\n");
        put_file(t.fd, "etc/shadow", "secret\n");
        put_file(t.fd, "usr/bin/sh", "#!\n");
        put_file(t.fd, "usr/lib/x/y/z", "deep");
        put_file(t.fd, "usr/lib-x", "sorts before lib/");
        put_file(t.fd, "usr/empty", "");
        assert_int_equal(fchmodat(t.fd, "usr/bin/sh", 04755, 0), 0);
        assert_int_equal(fchownat(t.fd, "etc/shadow", 1, 42, 0), 0);
        assert_int_equal(symlinkat("usr/bin", t.fd, "link"), 0);
        assert_int_equal(linkat(t.fd, "etc/passwd", t.fd, "again", 0), 0);
        assert_int_equal(mkfifoat(t.fd, "fifo", 0600), 0);
        assert_int_equal(mknodat(t.fd, "node", S_IFCHR | 0600, makedev(1, 3)), 0);
        for (size_t i = 0; i < ARRAY_SIZE(names); i++)
                set_mtime(t.fd, names[i], 1700000000 - (long) i, 123456789);
        set_mtime(t.fd, "usr/empty", -5, 7);
        *state = &t;
        return 0;
}

static int remove_tree(void **state) {
        Tree *t = *state;

        close(t->fd);
        temp_dir_remove(t->path);
        return 0;
}

static void digest(const Tree *t, unsigned threads, char ret[65]) {
        _cleanup_(err_freep) Err *e = NULL;
        TreeDigest d;

        if (tree_digest(&(TreeDigestArgs){.fd = t->fd, .from_disk = true, .threads = threads}, &d,
                            &e) < 0)
                fail_msg("%s", err_text(e));
        hex_write(ret, d.digest, sizeof(d.digest));
}

static void another_program_agrees(void **state) {
        Tree *t = *state;
        _cleanup_(freep) char *command =
                        str_printf("/usr/bin/python3 -c 'import importlib.util as u, sys; s = "
                                   "u.spec_from_file_location(\"m\", sys.argv[1]); m = "
                                   "u.module_from_spec(s); s.loader.exec_module(m); "
                                   "print(m.tree_digest(sys.argv[2]))' %s %s",
                                        getenv("CHECK_MANIFEST"), t->path);
        char mine[65], theirs[65] = "";
        FILE *f;

        digest(t, 1, mine);
        f = popen(command, "re");
        assert_non_null(f);
        assert_int_equal(fread(theirs, 1, 64, f), 64);
        pclose(f);
        assert_string_equal(mine, theirs);
        digest(t, 8, theirs);
        assert_string_equal(mine, theirs);
}

/* Does what @change did show? Puts back nothing: each case has a tree of its own. */
#define SEEN(t, change)                                                                            \
        do {                                                                                       \
                char before_[65], after_[65];                                                      \
                digest(t, 2, before_);                                                             \
                assert_true((change) >= 0);                                                        \
                for (size_t i_ = 0; i_ < ARRAY_SIZE(names); i_++)                                  \
                        set_mtime((t)->fd, names[i_], 1700000000 - (long) i_, 123456789);          \
                digest(t, 2, after_);                                                              \
                assert_string_not_equal(before_, after_);                                          \
        } while (false)

static int overwrite(int fd, const char *name, const char *text) {
        put_file(fd, name, text);
        return 0;
}

static void every_fact_counts(void **state) {
        Tree *t = *state;
        char before[65], after[65];

        set_mtime(t->fd, "usr/empty", 1700000000 - 5, 123456789);
        SEEN(t, overwrite(t->fd, "etc/shadow", "Secret\n"));
        SEEN(t, overwrite(t->fd, "usr/empty", "x"));
        SEEN(t, fchmodat(t->fd, "usr/bin/sh", 0755, 0));
        SEEN(t, fchmodat(t->fd, "usr", 0700, 0));
        SEEN(t, fchownat(t->fd, "etc/shadow", 2, 42, 0));
        SEEN(t, fchownat(t->fd, "etc/shadow", 2, 43, 0));
        SEEN(t, fchownat(t->fd, "link", 7, 7, AT_SYMLINK_NOFOLLOW));
        SEEN(t, unlinkat(t->fd, "link", 0) | symlinkat("usr/lib", t->fd, "link"));
        SEEN(t, unlinkat(t->fd, "node", 0) | mknodat(t->fd, "node", S_IFCHR | 0600, makedev(1, 5)));
        SEEN(t, unlinkat(t->fd, "node", 0) | mknodat(t->fd, "node", S_IFBLK | 0600, makedev(1, 5)));
        /* a copy in the place of a hard link */
        SEEN(t, unlinkat(t->fd, "again", 0) | overwrite(t->fd, "again", "root:x:0\n"));
        SEEN(t, mkdirat(t->fd, "usr/new", 0755));
        SEEN(t, renameat(t->fd, "usr/new", t->fd, "usr/other"));

        digest(t, 2, before);
        set_mtime(t->fd, "usr/bin/sh", 1700000000 - 2, 123456788);
        digest(t, 2, after);
        assert_string_not_equal(before, after);
}

static void attributes_count(void **state) {
        Tree *t = *state;
        int fd = openat(t->fd, "etc/passwd", O_RDONLY | O_CLOEXEC);

        assert_true(fd >= 0);
        if (fsetxattr(fd, "trusted.abupdate", "1", 1, 0) < 0) {
                close(fd);
                skip();
        }
        SEEN(t, fsetxattr(fd, "trusted.abupdate", "2", 1, 0));
        SEEN(t, fsetxattr(fd, "trusted.abupdate2", "", 0, 0));
        SEEN(t, fremovexattr(fd, "trusted.abupdate"));
        close(fd);
}

static void same_tree_same_digest(void **state) {
        Tree *t = *state;
        char first[65], again[65];
        struct stat st;

        digest(t, 2, first);
        assert_int_equal(fstatat(t->fd, "etc/shadow", &st, 0), 0);
        /* another inode, another access time */
        assert_int_equal(unlinkat(t->fd, "etc/shadow", 0), 0);
        put_file(t->fd, "etc/shadow", "secret\n");
        assert_int_equal(fchownat(t->fd, "etc/shadow", 1, 42, 0), 0);
        set_mtime(t->fd, "etc/shadow", 1700000000 - 1, 123456789);
        set_mtime(t->fd, "etc", 1700000000 - 14, 123456789);
        digest(t, 2, again);
        assert_string_equal(first, again);
}

/* Links need no thread, files do: who takes the one must not outrun who hashes the other. */
static void links_and_files_in_turns(void **state) {
        Tree *t = *state;
        _cleanup_(freep) char *text = calloc(1, 300000);
        char first[65], again[65];

        memset(text, 'x', 299999);
        for (unsigned i = 0; i < 2000; i++) {
                char name[32];

                snprintf(name, sizeof(name), "usr/n%04u", i);
                if (i % 200 == 0)
                        put_file(t->fd, name, text);
                else
                        assert_int_equal(symlinkat("nowhere", t->fd, name), 0);
        }
        digest(t, 1, first);
        for (unsigned i = 0; i < 20; i++) {
                digest(t, 2 + i % 3, again);
                assert_string_equal(first, again);
        }
}

static int stop(void *userdata, uint64_t bytes _unused_) {
        ++*(unsigned *) userdata;
        return 1;
}

static void can_be_stopped(void **state) {
        Tree *t = *state;
        unsigned calls = 0;
        Err *e = NULL;
        TreeDigest d;

        assert_int_equal(tree_digest(&(TreeDigestArgs){.fd = t->fd,
                                                     .userdata = &calls,
                                                     .progress = stop},
                                         &d, &e),
                        -ECANCELED);
        assert_story(&e, ERR_CANCELLED, "Cancelled");
        assert_int_equal(calls, 1);
}

#define TREE(f) cmocka_unit_test_setup_teardown(f, make_tree, remove_tree)

int main(void) {
        const struct CMUnitTest tests[] = {
                        TREE(another_program_agrees),
                        TREE(every_fact_counts),
                        TREE(attributes_count),
                        TREE(same_tree_same_digest),
                        TREE(links_and_files_in_turns),
                        TREE(can_be_stopped),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
