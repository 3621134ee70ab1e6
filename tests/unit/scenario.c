/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "tests/unit/scenario.h"
#include "update/records.h"

static void as_it_is(Fake *f _unused_) {
}

static void untold_version(Fake *f) {
        f->image.version = NULL;
}

static void incremental(Fake *f) {
        f->image.incremental = true;
}

static void first_slot(Fake *f) {
        FakeSlot *s = fake_slot(f, "3");

        /* what runs is no slot, as on a machine that has just been adopted */
        *fake_slot(f, "1") = *fake_slot(f, "2") = (FakeSlot){0};
        s->state = SLOT_GOOD;
}

static void one_is_armed(Fake *f) {
        fake_add_slot(f, "4", SLOT_STAGED, "4.0", 0);
        fake_arm(f, "4", 3, "3");
}

static void proven_one_is_next(Fake *f) {
        fake_arm(f, "2", 0, NULL);
}

static void one_is_staged(Fake *f) {
        fake_add_slot(f, "4", SLOT_STAGED, "4.0", 0);
}

static void two_are_staged(Fake *f) {
        one_is_staged(f);
        fake_add_slot(f, "5", SLOT_STAGED, "5.0", 0);
        fake_arm(f, "5", 3, "3");
}

static void trial_runs(Fake *f) {
        one_is_armed(f);
        fake_reboot(f);
}

static void refused_one_runs(Fake *f) {
        trial_runs(f);
        assert_int_equal(refused_add(f->state_fd, "4.0", "did not boot", NULL), 0);
}

static void bad_one_is_left(Fake *f) {
        FakeSlot *s = fake_add_slot(f, "4", SLOT_BAD, "4.0", 4);

        strcpy(s->reason, "crashed");
}

static void trial_runs_beside_litter(Fake *f) {
        bad_one_is_left(f);
        fake_slot(f, "1")->pinned = true;
        fake_add_slot(f, "5", SLOT_STAGED, "5.0", 0);
        fake_add_slot(f, "6", SLOT_STAGED, "6.0", 0);
        fake_arm(f, "6", 3, "3");
        fake_reboot(f);
}

static void much_to_prune(Fake *f) {
        bad_one_is_left(f);
        fake_add_slot(f, "5", SLOT_BAD, "5.0", 0);
}

static void two_is_pinned(Fake *f) {
        fake_slot(f, "2")->pinned = true;
}

static void transaction_open(Fake *f) {
        strcpy(fake_slot(f, "3")->transaction, "t4");
        strcpy(fake_slot(f, "3")->fallback, "4");
        fake_add_slot(f, "4", SLOT_GOOD, "3.0", 3);
        fake_arm(f, "4", 0, NULL);
}

static int update(Job *j, const UpdateOptions *o, Err **reterr) {
        Plan plan = {0};

        return job_update(j, -1, -1, o, /* dry_run= */ false, &plan, reterr);
}

static int run_update(Job *j, Err **reterr) {
        const UpdateOptions o = {.name = "image.send", .arm = true};

        return update(j, &o, reterr);
}

static int run_update_told(Job *j, Err **reterr) {
        const UpdateOptions o = {
                        .name = "image.send", .arm = true, .version = "9.1", .size = 1 << 20};

        return update(j, &o, reterr);
}

static int run_update_no_arm(Job *j, Err **reterr) {
        const UpdateOptions o = {.name = "image.send"};

        return update(j, &o, reterr);
}

static int run_rollback(Job *j, Err **reterr) {
        return job_rollback(j, "", reterr);
}

static int run_rollback_1(Job *j, Err **reterr) {
        return job_rollback(j, "1", reterr);
}

static int run_rollback_3(Job *j, Err **reterr) {
        return job_rollback(j, "3", reterr);
}

static int run_rollback_2(Job *j, Err **reterr) {
        return job_rollback(j, "2", reterr);
}

static int run_rollback_4(Job *j, Err **reterr) {
        return job_rollback(j, "4", reterr);
}

static int run_good(Job *j, Err **reterr) {
        return job_mark_good(j, "", reterr);
}

static int run_good_4(Job *j, Err **reterr) {
        return job_mark_good(j, "4", reterr);
}

static int run_bad(Job *j, Err **reterr) {
        return job_mark_bad(j, "", "fans howl", reterr);
}

static int run_bad_2(Job *j, Err **reterr) {
        return job_mark_bad(j, "2", NULL, reterr);
}

static int run_bad_4(Job *j, Err **reterr) {
        return job_mark_bad(j, "4", "", reterr);
}

static int run_prune(Job *j, Err **reterr) {
        return job_prune(j, reterr);
}

static int run_discard_1(Job *j, Err **reterr) {
        return job_discard(j, "1", reterr);
}

static int run_pin_2(Job *j, Err **reterr) {
        return job_pin(j, "2", true, reterr);
}

static int run_unpin_2(Job *j, Err **reterr) {
        return job_pin(j, "2", false, reterr);
}

static int run_begin(Job *j, Err **reterr) {
        return job_begin_in_place(j, reterr);
}

static int run_commit(Job *j, Err **reterr) {
        return job_commit(j, "", reterr);
}

static int run_abort(Job *j, Err **reterr) {
        return job_abort(j, "t4", reterr);
}

const Scenario scenarios[] = {
                {"update", "update", as_it_is, run_update, false, "trial 4: 3 tries, then 3"},
                {"update of a told version", "update", as_it_is, run_update_told, false,
                                "slot 4: 9.1 staged"},
                {"update without a version", "update", untold_version, run_update, false,
                                "slot 4: sys-9 staged"},
                {"incremental update", "update", incremental, run_update, false, "next 4"},
                {"update beside one slot", "update", first_slot, run_update, false, "next 4"},
                {"update, not armed", "update", as_it_is, run_update_no_arm, false, "next 3"},
                {"update over an armed one", "update", one_is_armed, run_update, false,
                                "trial 5: 3 tries, then 3"},
                {"update, not armed, beside an armed one", "update", one_is_armed,
                                run_update_no_arm, false, "trial 4: 3 tries, then 3"},
                {"rollback before reboot", "rollback", one_is_armed, run_rollback, false,
                                "refused 4.0"},
                {"rollback after reboot", "rollback", trial_runs, run_rollback, false,
                                "booted 4, next 3"},
                {"rollback of a proven one", "rollback", as_it_is, run_rollback, false,
                                "slot 3: 3.0 bad"},
                {"rollback by name", "rollback", as_it_is, run_rollback_2, false,
                                "booted 3, next 2"},
                {"rollback by name before reboot", "rollback", one_is_armed, run_rollback_2, false,
                                "slot 4: 4.0 bad"},
                {"rollback to an older one", "rollback", as_it_is, run_rollback_1, false,
                                "slot 1: 1.0 good blessed 4"},
                {"rollback of a rollback", "rollback", proven_one_is_next, run_rollback_3, false,
                                "booted 3, next 3"},
                {"arming by name", "rollback", one_is_staged, run_rollback_4, false,
                                "trial 4: 3 tries, then 3"},
                {"arming by name over an armed one", "rollback", two_are_staged, run_rollback_4,
                                false, "trial 4: 3 tries, then 3"},
                {"mark good", "mark", trial_runs, run_good, true, "slot 4: 4.0 good"},
                {"mark good beside litter", "mark", trial_runs_beside_litter, run_good, true,
                                "slot 6: 6.0 good"},
                {"mark a refused one good", "mark", refused_one_runs, run_good, true,
                                "slot 4: 4.0 good"},
                {"mark a bad one good", "mark", bad_one_is_left, run_good_4, true,
                                "slot 4: 4.0 good"},
                {"mark the running one bad", "mark", trial_runs, run_bad, false, "slot 4: 4.0 bad"},
                {"mark the next one bad", "mark", one_is_armed, run_bad_4, false,
                                "slot 4: 4.0 bad"},
                {"mark another bad", "mark", as_it_is, run_bad_2, false, "slot 2: 2.0 bad"},
                {"prune", "prune", much_to_prune, run_prune, true, "slot 2: 2.0 good"},
                {"discard", "discard", as_it_is, run_discard_1, true, "slot 2: 2.0 good"},
                {"pin", "pin", as_it_is, run_pin_2, false, "slot 2: 2.0 good pinned"},
                {"unpin", "pin", two_is_pinned, run_unpin_2, false, "slot 2: 2.0 good blessed"},
                {"begin", "begin", as_it_is, run_begin, false, "ta 't4'>'4'"},
                {"commit", "commit", transaction_open, run_commit, false,
                                "trial 3: 3 tries, then 4"},
                {"abort", "abort", transaction_open, run_abort, false, "slot 3: 3.0 bad"},
};
const size_t n_scenarios = ARRAY_SIZE(scenarios);

void scenario_begin(Fake *f, const Scenario *s) {
        fake_reset(f);
        s->arrange(f);
}

int scenario_run(Fake *f, const Scenario *s, Err **reterr) {
        _cleanup_(machine_freep) Machine *m = fake_machine(f);
        _cleanup_(job_done) Job j = {.m = m,
                        .sink = &f->sink,
                        .type = s->type,
                        .id = f->job,
                        .started = 1000 + f->job};
        int r = job_refresh(&j, reterr);

        return r < 0 ? r : s->run(&j, reterr);
}

int scenario_recover(Fake *f, Err **reterr) {
        _cleanup_(machine_freep) Machine *m = fake_machine(f);

        return recover(m, reterr);
}

/* @text without the slots that @kept does not have. */
static char *without_deleted(const char *text, const char *kept) {
        char *out = strdup(""), *more;

        for (const char *line = text, *end; *line; line = end + 1) {
                const char *colon = strchr(line, ':');
                char head[32];

                end = strchr(line, '\n');
                snprintf(head, sizeof(head), "%.*s:", colon ? (int) (colon - line) : 0, line);
                if (str_after(line, "slot ") && !strstr(kept, head))
                        continue;
                more = str_printf("%s%.*s\n", out, (int) (end - line), line);
                free(out);
                out = more;
        }
        return out;
}

bool same_dump(const Scenario *s, const char *a, const char *b, const char *after) {
        _cleanup_(freep) char *x = NULL, *y = NULL;

        if (!s->deletes)
                return str_eq(a, b);
        x = without_deleted(a, after);
        y = without_deleted(b, after);
        return str_eq(x, y);
}

void assert_dump(const Scenario *s, const char *got, const char *want, const char *after,
                const char *where, unsigned k, const char *call) {
        if (!same_dump(s, got, want, after))
                fail_msg("%s: %s call %u (%s): wanted\n%sbut there is\n%s", s->name, where, k, call,
                                want, got);
}

int scenario_tests(const Treatment *treatments, size_t n) {
        struct CMUnitTest *tests = calloc(n * n_scenarios, sizeof(*tests)), *t = tests;
        int r;

        if (!tests)
                abort();
        for (size_t k = 0; k < n; k++)
                for (size_t i = 0; i < n_scenarios; i++, t++) {
                        t->name = str_printf("%s: %s", scenarios[i].name, treatments[k].name);
                        t->test_func = treatments[k].run;
                        t->initial_state = (void *) &scenarios[i];
                        if (!t->name)
                                abort();
                }
        r = _cmocka_run_group_tests("scenarios", tests, n * n_scenarios, NULL, NULL);
        while (t-- > tests)
                free((char *) t->name);
        free(tests);
        return r;
}
