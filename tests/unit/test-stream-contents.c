/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What is remembered of files is bounded, sorted where it is written, and found again. (That it hides no change on a real
 * Btrfs: tests/stream/contents.py.) */
#include "stream/contents.h"
#include "tests/unit/folder.h"

#define HEAD_SIZE 72
#define ITEM_SIZE 48

static const SubvolInfo info = {.uuid = {1, 2, 3}, .ctransid = 7};

/* Its size. */
static off_t save(Contents *c) {
        struct stat st;

        assert_int_equal(contents_save(c, dir_fd, &info, NULL), 0);
        assert_int_equal(fstatat(dir_fd, ".contents-01020300-0000-0000-0000-000000000000", &st, 0),
                        0);
        return st.st_size;
}

static void add(Contents *c, uint64_t ino) {
        const uint8_t digest[MANIFEST_DIGEST_SIZE] = {(uint8_t) ino, (uint8_t) (ino >> 8)};

        assert_int_equal(contents_add(c, ino, ino + 5, digest), 0);
}

static void what_was_added_is_found(void **state _unused_) {
        _cleanup_(contents_freep) Contents *c = NULL;

        assert_int_equal(contents_new(&c), 0);
        assert_null(contents_find(c, 300, 305));
        assert_int_equal(save(c), HEAD_SIZE);
        for (uint64_t ino = 1300; ino > 300; ino--)
                add(c, ino);
        assert_int_equal(save(c), HEAD_SIZE + 1000 * ITEM_SIZE);
        for (uint64_t ino = 301; ino <= 1300; ino++) {
                const uint8_t *digest = contents_find(c, ino, ino + 5);

                assert_non_null(digest);
                assert_int_equal(digest[0] + 256 * digest[1], ino);
                assert_null(contents_find(c, ino, ino + 6));
        }
        assert_null(contents_find(c, 300, 305));
}

static void of_very_many_files_the_first_are_known(void **state _unused_) {
        _cleanup_(contents_freep) Contents *c = NULL;

        assert_int_equal(contents_new(&c), 0);
        for (uint64_t ino = 1; ino <= CONTENTS_MAX + 1000; ino++)
                add(c, ino);
        assert_int_equal(save(c), HEAD_SIZE + CONTENTS_MAX * ITEM_SIZE);
        assert_non_null(contents_find(c, CONTENTS_MAX, CONTENTS_MAX + 5));
        assert_null(contents_find(c, CONTENTS_MAX + 1, CONTENTS_MAX + 6));
}

int main(void) {
        const struct CMUnitTest tests[] = {
                        IN_FOLDER(what_was_added_is_found),
                        IN_FOLDER(of_very_many_files_the_first_are_known),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
