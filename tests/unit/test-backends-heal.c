/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Whether a sprout can still be mounted, by what it keeps of its seed: on image files. */
#include "tests/unit/unit.h"

#include "backends/heal.h"
#include "os/process.h"

typedef struct Folder {
        char path[64];
        char *seed, *sprout;
} Folder;

static void make_image(const char *path) {
        _cleanup_(fd_closep) int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);

        assert_int_equal(ftruncate(fd, 200 << 20), 0);
}

static int setup(void **state) {
        Folder *f = calloc(1, sizeof(*f));
        int fd = temp_dir_make(f->path);

        close(fd);
        f->seed = str_printf("%s/seed", f->path);
        f->sprout = str_printf("%s/sprout", f->path);
        make_image(f->seed);
        make_image(f->sprout);
        *state = f;
        return 0;
}

static int teardown(void **state) {
        Folder *f = *state;

        temp_dir_remove(f->path);
        free(f->seed);
        free(f->sprout);
        free(f);
        return 0;
}

static void run(const char *const argv[]) {
        assert_int_equal(program_run(argv, NULL, NULL), 0);
}

static bool fits(const Folder *f) {
        BtrfsSuper seed;

        assert_int_equal(super_read(f->seed, &seed, NULL), 0);
        return sprout_fits(f->sprout, &seed);
}

static void fits_what_it_was_built_on(void **state) {
        Folder *f = *state;
        const char *const make[] = {"mkfs.btrfs", "-q", "-f", f->seed, NULL},
                          *const label[] = {"btrfs", "filesystem", "label", f->seed, "other", NULL};
        SuperCopies copies;

        run(make);
        assert_true(fits(f)); /* it says nothing */
        assert_int_equal(super_set_seed(f->seed, true, NULL), 0);
        assert_int_equal(super_copies_read(f->seed, &copies, NULL), 0);
        assert_int_equal(super_stash(f->sprout, &copies, NULL), 0);
        assert_true(fits(f));
        for (unsigned i = 0; i < 3; i++) { /* each one transaction, which can be taken back */
                run(label);
                assert_true(fits(f));
        }
        run(label);
        assert_false(fits(f));

        assert_int_equal(super_copies_write(f->seed, &copies, NULL), 0);
        assert_true(fits(f));
        assert_int_equal(super_set_seed(f->seed, false, NULL), 0);
        assert_false(fits(f));
        run(make);
        assert_int_equal(super_set_seed(f->seed, true, NULL), 0);
        assert_false(fits(f));
}

int main(void) {
        const struct CMUnitTest tests[] = {
                        cmocka_unit_test_setup_teardown(fits_what_it_was_built_on, setup, teardown),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
