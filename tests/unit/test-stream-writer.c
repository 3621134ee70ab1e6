/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "stream/writer.h"
#include "tests/unit/unit.h"

/* A file that takes no mode. */
static File *broken(const char *path) {
        File *f = NULL;

        assert_int_equal(file_new(path, &f, NULL), 0);
        file_made(f, open("/", O_PATH | O_CLOEXEC), 0, 0, 0600);
        file_chmod(f, 0640);
        return f;
}

static void an_error_is_told_to_everyone_who_asks(void **state _unused_) {
        _cleanup_(writer_freep) Writer *w = NULL;
        Err *e = NULL;

        assert_int_equal(writer_new(&w, NULL), 0);
        (void) writer_submit(w, broken("first"), /* last= */ true, NULL);
        for (int i = 0; i < 3; i++) {
                assert_int_equal(writer_drain(w, &e), -EBADF);
                assert_story(&e, ERR_FAILED, "first");
        }
        assert_int_equal(writer_submit(w, broken("second"), /* last= */ true, &e), -EBADF);
        assert_story(&e, ERR_FAILED, "first");
        assert_int_equal(writer_drain(w, NULL), -EBADF);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                        CASE(an_error_is_told_to_everyone_who_asks),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
