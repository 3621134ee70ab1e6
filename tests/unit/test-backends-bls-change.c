/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Boot entries that are written anew, and what a power cut leaves of that. */
#include <fcntl.h>
#include <sys/stat.h>

#include "tests/unit/folder.h"

#include "backends/bls-change.h"

static BlsEntry *find_in(BlsList *l, const char *slot) {
        assert_int_equal(bls_list(dir_fd, "abupdate", l, NULL), 0);
        return bls_find(l, slot);
}

static void set_options(BlsEntry *e, const char *options) {
        assert_non_null(e);
        assert_int_equal(str_set(&e->options, options), 0);
}

/* What was proven is never without a whole entry: a folder in the place of its draft stops the work half way. */
static void proven_ones_are_written_anew(void **state _unused_) {
        _cleanup_(bls_list_done) BlsList l = {0}, cut = {0}, other = {0}, again = {0}, last = {0};
        BlsEntry *e;

        put_file(dir_fd, "abupdate-a.conf", "sort-key abupdate-99999990\nlinux /l\noptions old\n");
        put_file(dir_fd, "abupdate-b.conf", "sort-key abupdate-99999991\nlinux /l\noptions b\n");
        set_options(find_in(&l, "a"), "new");
        assert_int_equal(mkdirat(dir_fd, "abupdate-a.conf.new", 0700), 0);
        assert_true(bls_rewrite(dir_fd, "abupdate", bls_find(&l, "a"), NULL) < 0);
        e = find_in(&cut, "a");
        assert_string_equal(e->file, "abupdate-a+9-99.conf");
        assert_string_equal(e->options, "new");
        assert_string_equal(cut.entries[1].options, "old");
        assert_int_equal(cut.n, 3);

        /* the loader has booted it twice, and fsck has emptied the other */
        assert_int_equal(renameat(dir_fd, "abupdate-a+9-99.conf", dir_fd, "abupdate-a+7-101.conf"),
                        0);
        put_file(dir_fd, "abupdate-a.conf", "");
        assert_int_equal(unlinkat(dir_fd, "abupdate-a.conf.new", AT_REMOVEDIR), 0);
        find_in(&other, "b");
        assert_int_equal(bls_finish(dir_fd, "abupdate", &other, "b", NULL), 0);
        assert_int_equal(bls_finish(dir_fd, "abupdate", &other, "a", NULL), 0);
        e = find_in(&again, "a");
        assert_string_equal(e->file, "abupdate-a.conf");
        assert_string_equal(e->options, "new");
        assert_int_equal(again.n, 2);

        set_options(e, "newer");
        assert_int_equal(bls_rewrite(dir_fd, "abupdate", e, NULL), 0);
        assert_int_equal(bls_list(dir_fd, "abupdate", &last, NULL), 0);
        assert_int_equal(last.n, 2);
        assert_string_equal(last.entries[0].options, "newer");
}

/* A trial is no such entry, whatever its number. */
static void trials_are_none(void **state _unused_) {
        _cleanup_(bls_list_done) BlsList l = {0}, after = {0};

        put_file(dir_fd, "abupdate-a+9-90.conf", "options old\n");
        set_options(find_in(&l, "a"), "new");
        assert_int_equal(bls_finish(dir_fd, "abupdate", &l, "a", NULL), 0);
        assert_int_equal(bls_rewrite(dir_fd, "abupdate", bls_find(&l, "a"), NULL), 0);
        assert_string_equal(find_in(&after, "a")->file, "abupdate-a+9-90.conf");
        assert_string_equal(after.entries[0].options, "new");
        assert_int_equal(after.n, 1);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                        IN_FOLDER(proven_ones_are_written_anew),
                        IN_FOLDER(trials_are_none),
        };

        return cmocka_run_group_tests_name("backends/bls-change", tests, NULL, NULL);
}
