/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Every time a job asks whether it was cancelled, it was. */
#include "tests/unit/scenario.h"

static Fake *fake;

static void cancelled(void **state) {
        const Scenario *s = *state;
        _cleanup_(freep) char *before = NULL, *after = NULL;
        unsigned stopped = 0, asked = 0;

        scenario_begin(fake, s);
        before = fake_dump(fake, true);
        assert_int_equal(scenario_run(fake, s, NULL), 0);
        after = fake_dump(fake, true);
        asked = fake->cancel_asked;
        assert_true(asked > 0);

        for (unsigned n = 1; n <= asked; n++) {
                _cleanup_(err_freep) Err *err = NULL;
                _cleanup_(freep) char *now = NULL;
                int r, status = 0;

                scenario_begin(fake, s);
                fake->cancel_at = n;
                r = scenario_run(fake, s, &err);
                now = fake_dump(fake, true);
                if (r < 0) {
                        stopped++;
                        assert_int_equal(r, -ECANCELED);
                        assert_int_equal(err_kind_of(err), ERR_CANCELLED);
                        assert_non_null(strstr(err_text(err), "cancelled"));
                        assert_dump(s, now, before, after, "cancelled at", n, "question");
                        if (fake_history_count(fake, fake->job, s->type, &status) > 0)
                                assert_int_equal(status, -ECANCELED);
                } else /* it had passed the point of no return */
                        assert_dump(s, now, after, after, "went on after", n, "question");
                assert_true(fake_journal_idle(fake));
                assert_int_equal(fake_quarantines(fake), 0);
                fake_assert_bootable(fake);
        }
        assert_true(stopped > 0);
}

/* Whoever has heard of the point of no return is not asked any more, but for the moment in which it
 * was said. */
static void not_after_the_point_of_no_return(void **state) {
        const Scenario *s = *state;

        scenario_begin(fake, s);
        assert_int_equal(scenario_run(fake, s, NULL), 0);
        assert_in_range(fake->no_return, 0, 1);
        if (fake->no_return > 0)
                assert_int_equal(fake->asked_late, 1);
        assert_int_equal(fake->ready, 1);
}

int main(void) {
        static const Treatment treatments[] = {
                        {"cancelled at every question", cancelled},
                        {"asked in time", not_after_the_point_of_no_return},
        };
        int r;

        fake = fake_new();
        r = scenario_tests(treatments, ARRAY_SIZE(treatments));
        fake_free(fake);
        return r;
}
