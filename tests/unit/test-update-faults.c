/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Every call that a job makes fails once: before its work, behind its work, with every later one,
 * with one other one. */
#include "tests/unit/scenario.h"

static Fake *fake;

typedef struct Ends {
        char *before, *after;
} Ends;

static void ends_done(Ends *e) {
        free(e->before);
        free(e->after);
}

/* The machine before the job and after it, nothing failing. */
static Ends ends_of(const Scenario *s, bool reasons) {
        _cleanup_(err_freep) Err *err = NULL;
        Ends e;
        int status = -1;

        scenario_begin(fake, s);
        e.before = fake_dump(fake, reasons);
        if (scenario_run(fake, s, &err) < 0)
                fail_msg("%s fails with nothing broken: %s", s->name, err_text(err));
        e.after = fake_dump(fake, reasons);
        if (!strstr(e.after, s->done))
                fail_msg("%s ends without '%s':\n%s", s->name, s->done, e.after);
        assert_string_not_equal(e.before, e.after);
        assert_int_equal(fake_history_count(fake, fake->job, s->type, &status), 1);
        assert_int_equal(status, 0);
        assert_true(fake_journal_idle(fake));
        assert_int_equal(fake_quarantines(fake), 0);
        assert_int_equal(fake->ready, 1);
        assert_in_range(fake->no_return, 0, 1);
        fake_assert_bootable(fake);
        return e;
}

/* Recovery finds a machine that is @want, and leaves it so. */
static void assert_recovered(const Scenario *s, const Ends *ends, const char *want,
                const char *also, unsigned k, const char *call, bool reasons) {
        for (int i = 0; i < 2; i++) {
                _cleanup_(err_freep) Err *err = NULL;
                _cleanup_(freep) char *now = NULL;

                fake_heal(fake);
                if (scenario_recover(fake, &err) < 0)
                        fail_msg("%s, call %u: %s", s->name, k, err_text(err));
                now = fake_dump(fake, reasons);
                if (!also || !same_dump(s, now, also, ends->after))
                        assert_dump(s, now, want, ends->after,
                                        i ? "second recovery after" : "recovery after", k, call);
                assert_true(fake_journal_idle(fake));
                assert_int_equal(fake_quarantines(fake), 0);
                assert_in_range(fake_history_count(fake, fake->job, s->type, NULL), 0, 1);
                fake_assert_bootable(fake);
        }
}

/* One failure, and everything else works: an error means "as before", at once and to the letter. */
static void one_failure(const Scenario *s, FaultMode mode) {
        _cleanup_(ends_done) Ends ends = ends_of(s, true);

        for (unsigned k = 1;; k++) {
                _cleanup_(err_freep) Err *err = NULL;
                _cleanup_(freep) char *now = NULL;
                char call[32];
                int r;

                scenario_begin(fake, s);
                fake_break(fake, mode, k);
                r = scenario_run(fake, s, &err);
                if (fake->hits == 0) {
                        assert_true(k > 5);
                        return;
                }
                strcpy(call, fake->hit);
                now = fake_dump(fake, true);
                if (r < 0) {
                        assert_int_equal(r, -EIO);
                        assert_non_null(strstr(err_text(err), "fake: "));
                        assert_int_equal(err_code(err), r);
                        assert_dump(s, now, ends.before, ends.after, "failed", k, call);
                } else
                        assert_dump(s, now, ends.after, ends.after, "succeeded in spite of", k,
                                        call);
                assert_int_equal(fake_quarantines(fake), 0);
                fake_assert_bootable(fake);
                assert_recovered(s, &ends, r < 0 ? ends.before : ends.after, NULL, k, call, true);
        }
}

static void fails_before(void **state) {
        one_failure(*state, FAULT_BEFORE);
}

static void fails_behind(void **state) {
        one_failure(*state, FAULT_AFTER);
}

/* Where undoing fails too, recovery finishes: the old machine or the new one. */
static void several_failures(
                const Scenario *s, const Ends *ends, FaultMode mode, unsigned k, unsigned k2) {
        _cleanup_(err_freep) Err *err = NULL;
        char call[32];
        int r;

        scenario_begin(fake, s);
        fake_break(fake, mode, k);
        fake->at2 = k2;
        r = scenario_run(fake, s, &err);
        if (r < 0)
                assert_non_null(strstr(err_text(err), "fake: "));
        fake_assert_bootable(fake);
        strcpy(call, fake->hit);
        assert_recovered(s, ends, ends->before, ends->after, k, call, false);
}

static void everything_fails_from_there(void **state) {
        const Scenario *s = *state;
        _cleanup_(ends_done) Ends ends = ends_of(s, false);

        for (unsigned k = 1, more = 1; more; k++) {
                several_failures(s, &ends, FAULT_FROM, k, 0);
                scenario_begin(fake, s);
                fake_break(fake, FAULT_FROM, k);
                (void) scenario_run(fake, s, NULL);
                more = fake->hits;
        }
}

static void two_failures(void **state) {
        const Scenario *s = *state;
        _cleanup_(ends_done) Ends ends = ends_of(s, false);

        for (unsigned k = 1;; k++) {
                unsigned last;

                scenario_begin(fake, s);
                fake_break(fake, FAULT_BEFORE, k);
                (void) scenario_run(fake, s, NULL);
                last = fake->calls;
                if (fake->hits == 0)
                        return;
                for (unsigned k2 = k + 1; k2 <= last; k2++)
                        several_failures(s, &ends, FAULT_PAIR, k, k2);
        }
}

int main(void) {
        static const Treatment treatments[] = {
                        {"every call fails", fails_before},
                        {"every call fails behind its work", fails_behind},
                        {"every call and all after it fail", everything_fails_from_there},
                        {"every two calls fail", two_failures},
        };
        int r;

        fake = fake_new();
        r = scenario_tests(treatments, ARRAY_SIZE(treatments));
        fake_free(fake);
        return r;
}
