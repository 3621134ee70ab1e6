/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Every allocation of every job fails once, and then with all later ones. */
#include "tests/unit/fake-memory.h"
#include "tests/unit/scenario.h"

static Fake *fake;

typedef struct Ends {
        char *before, *after;
} Ends;

static void ends_done(Ends *e) {
        free(e->before);
        free(e->after);
}

static Ends ends_of(const Scenario *s, bool reasons) {
        Ends e;

        scenario_begin(fake, s);
        e.before = fake_dump(fake, reasons);
        assert_int_equal(scenario_run(fake, s, NULL), 0);
        e.after = fake_dump(fake, reasons);
        return e;
}

static void assert_settled(const Scenario *s, const Ends *ends, const char *now, unsigned n) {
        if (!same_dump(s, now, ends->before, ends->after))
                assert_dump(s, now, ends->after, ends->after, "neither old nor new after", n,
                                "allocation");
        assert_true(fake_journal_idle(fake));
        assert_int_equal(fake_quarantines(fake), 0);
        assert_in_range(fake_history_count(fake, fake->job, s->type, NULL), 0, 1);
        fake_assert_bootable(fake);
}

/* Runs @what with allocation @n failing: it says so, or does without. Was there such a one? */
static bool short_of_memory(int (*what)(const Scenario *s, Err **reterr), const Scenario *s,
                unsigned n, bool from, int *ret) {
        _cleanup_(err_freep) Err *err = NULL;
        bool failed;

        memory_break(n, from);
        *ret = what(s, &err);
        failed = memory_heal();
        if (*ret < 0) {
                assert_int_equal(*ret, -ENOMEM);
                assert_string_equal(err_kind_name(err_kind_of(err)), "NoMemory");
                assert_true(*err_text(err) != '\0');
        }
        return failed;
}

static int the_job(const Scenario *s, Err **reterr) {
        return scenario_run(fake, s, reterr);
}

static int the_recovery(const Scenario *s _unused_, Err **reterr) {
        return scenario_recover(fake, reterr);
}

static void one_allocation(void **state) {
        const Scenario *s = *state;
        _cleanup_(ends_done) Ends ends = ends_of(s, /* reasons= */ true);

        for (unsigned n = 1;; n++) {
                _cleanup_(freep) char *now = NULL;
                int r;

                scenario_begin(fake, s);
                if (!short_of_memory(the_job, s, n, false, &r)) {
                        assert_true(n > 50);
                        return;
                }
                now = fake_dump(fake, true);
                assert_dump(s, now, r < 0 ? ends.before : ends.after, ends.after,
                                r < 0 ? "refused at" : "went on at", n, "allocation");
                assert_int_equal(fake_quarantines(fake), 0);
        }
}

static void all_from_there(void **state) {
        const Scenario *s = *state;
        _cleanup_(ends_done) Ends ends = ends_of(s, /* reasons= */ false);

        for (unsigned n = 1;; n++) {
                _cleanup_(freep) char *now = NULL;
                int r;

                scenario_begin(fake, s);
                if (!short_of_memory(the_job, s, n, true, &r))
                        return;
                fake_assert_bootable(fake);
                assert_int_equal(scenario_recover(fake, NULL), 0);
                now = fake_dump(fake, false);
                assert_settled(s, &ends, now, n);
        }
}

/* The disk broke down in the middle of a job; recovery then has no memory, and the next has. */
static void recovery(void **state) {
        const Scenario *s = *state;
        _cleanup_(ends_done) Ends ends = ends_of(s, /* reasons= */ false);
        unsigned calls = fake->calls;

        for (unsigned k = calls / 2; k < calls; k += calls / 4)
                for (unsigned n = 1, more = 1; more; n++) {
                        _cleanup_(freep) char *now = NULL;
                        int r;

                        scenario_begin(fake, s);
                        fake_break(fake, FAULT_FROM, k);
                        (void) scenario_run(fake, s, NULL);
                        fake_heal(fake);
                        more = short_of_memory(the_recovery, s, n, false, &r);
                        fake_assert_bootable(fake);
                        assert_int_equal(scenario_recover(fake, NULL), 0);
                        now = fake_dump(fake, false);
                        assert_settled(s, &ends, now, n);
                }
}

int main(void) {
        static const Treatment treatments[] = {
                        {"every allocation fails", one_allocation},
                        {"every allocation and all after it fail", all_from_there},
                        {"every allocation of a recovery fails", recovery},
        };
        int r;

        fake = fake_new();
        r = scenario_tests(treatments, ARRAY_SIZE(treatments));
        fake_free(fake);
        return r;
}
