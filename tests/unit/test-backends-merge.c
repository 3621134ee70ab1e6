/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* How far a merge says that it is. */
#include "tests/unit/unit.h"

#include "backends/seed.h"

/* Chunks of 400 bytes, 1000 bytes on the device, 5000 read from it before. */
static MergeProgress start(void) {
        return (MergeProgress){.total = 1000, .left = 1000, .from = 5000, .chunk = 400};
}

static void reads_between_chunks(void **state _unused_) {
        MergeProgress p = start();

        assert_int_equal(seed_merge_done(&p, 1000, 5000), 0);
        assert_int_equal(seed_merge_done(&p, 1000, 5100), 100);
        assert_int_equal(seed_merge_done(&p, 1000, 5390), 390);
        assert_int_equal(seed_merge_done(&p, 600, 5400), 400);
        assert_int_equal(seed_merge_done(&p, 600, 5500), 500);
        assert_int_equal(seed_merge_done(&p, 200, 5800), 800);
        assert_int_equal(seed_merge_done(&p, 0, 6000), 1000);
}

/* What the running system reads itself is no progress. */
static void reads_of_others(void **state _unused_) {
        MergeProgress p = start();

        assert_int_equal(seed_merge_done(&p, 1000, 50000), 400);
        assert_int_equal(seed_merge_done(&p, 600, 90000), 400);
        assert_int_equal(seed_merge_done(&p, 600, 90100), 500);
        assert_int_equal(seed_merge_done(&p, 200, 500000), 800);
        assert_int_equal(seed_merge_done(&p, 200, 900000), 1000);
}

/* A chunk smaller than they can be: it waits there until the rest has come as far. */
static void never_falls(void **state _unused_) {
        MergeProgress p = start();

        assert_int_equal(seed_merge_done(&p, 1000, 9000), 400);
        assert_int_equal(seed_merge_done(&p, 900, 9000), 400);
        assert_int_equal(seed_merge_done(&p, 900, 9200), 400);
        assert_int_equal(seed_merge_done(&p, 900, 9350), 450);
}

/* A device that cannot tell how much was read. */
static void no_reads(void **state _unused_) {
        MergeProgress p = start();

        assert_int_equal(seed_merge_done(&p, 1000, 0), 0);
        assert_int_equal(seed_merge_done(&p, 300, 0), 700);
        assert_int_equal(seed_merge_done(&p, 0, 0), 1000);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                        cmocka_unit_test(reads_between_chunks),
                        cmocka_unit_test(reads_of_others),
                        cmocka_unit_test(never_falls),
                        cmocka_unit_test(no_reads),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
