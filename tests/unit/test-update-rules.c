/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What is kept, where one goes back to, and what is refused: tables over small machines.
 *
 * A machine is a line of slots: "1g4" is slot 1, good, blessed as the fourth; s staged, b bad, i
 * incomplete; p behind it: pinned. Then: what runs, what boots next, and where a trial of that falls
 * back to. */
#include "tests/unit/fake.h"

static Fake *fake;

typedef struct Layout {
        const char *slots, *booted, *next, *fallback;
} Layout;

static SlotState state_of(char c) {
        switch (c) {
        case 'g': return SLOT_GOOD;
        case 's': return SLOT_STAGED;
        case 'b': return SLOT_BAD;
        default: assert_int_equal(c, 'i'); return SLOT_INCOMPLETE;
        }
}

static void lay_out(const Layout *l) {
        _cleanup_(freep) char *copy = strdup(l->slots);
        char *save = NULL;

        fake_reset(fake);
        memset(fake->disk->slots, 0, sizeof(fake->disk->slots));
        for (char *w = strtok_r(copy, " ", &save); w; w = strtok_r(NULL, " ", &save)) {
                size_t digits = strspn(w, "0123456789");
                char id[8], version[16];
                FakeSlot *s;

                snprintf(id, sizeof(id), "%.*s", (int) digits, w);
                snprintf(version, sizeof(version), "%s.0", id);
                s = fake_add_slot(fake, id, state_of(w[digits]), version,
                                strtoull(w + digits + 1, NULL, 10));
                s->pinned = strchr(w, 'p') != NULL;
        }
        fake->disk->booted_key = l->booted ? fake_slot(fake, l->booted)->key : 1;
        fake->disk->default_key = 1;
        if (l->next)
                fake_arm(fake, l->next, l->fallback ? 3 : 0, l->fallback);
}

/* The ids that are left, and a star behind the one that boots next. */
static void describe(char text[static 128]) {
        char *o = text;

        *o = '\0';
        for (FakeSlot *s = fake->disk->slots; s < fake->disk->slots + FAKE_SLOTS; s++)
                if (*s->id)
                        o += sprintf(o, "%s%s%s%s", o == text ? "" : " ", s->id,
                                        s->state == SLOT_BAD ? "b" : "",
                                        s->key == fake->disk->default_key ? "*" : "");
}

typedef int Verb(Job *j, const char *arg, Err **reterr);

static int run(Verb *verb, const char *arg, Err **reterr) {
        _cleanup_(machine_freep) Machine *m = fake_machine(fake);
        _cleanup_(job_done) Job j = {.m = m, .sink = &fake->sink, .type = "mark", .id = 7};
        int r = job_refresh(&j, reterr);

        return r < 0 ? r : verb(&j, arg, reterr);
}

static int prune(Job *j, const char *arg _unused_, Err **reterr) {
        return job_prune(j, reterr);
}

static int mark_bad(Job *j, const char *arg, Err **reterr) {
        return job_mark_bad(j, arg, "no good", reterr);
}

static int pin(Job *j, const char *arg, Err **reterr) {
        return job_pin(j, arg, true, reterr);
}

static int unpin(Job *j, const char *arg, Err **reterr) {
        return job_pin(j, arg, false, reterr);
}

static int begin(Job *j, const char *arg _unused_, Err **reterr) {
        return job_begin_in_place(j, reterr);
}

static int update(Job *j, const char *arg _unused_, Err **reterr) {
        const UpdateOptions o = {.name = "image", .arm = true};
        Plan p = {0};

        return job_update(j, -1, -1, &o, false, &p, reterr);
}

static void retention(void **state _unused_) {
        static const struct {
                Layout l;
                unsigned keep;
                const char *left; /* NULL: nothing to do */
        } table[] = {
                        /* the running one and so many proven ones beside it */
                        {{"1g1 2g2 3g3 4g4", "4", "4"}, 1, "3 4*"},
                        {{"1g1 2g2 3g3 4g4", "4", "4"}, 2, "2 3 4*"},
                        {{"1g1 2g2 3g3 4g4", "4", "4"}, 3, NULL},
                        {{"1g1", "1", "1"}, 1, NULL},
                        /* by what was proven last, not by number */
                        {{"1g9 2g2 3g3 4g4", "4", "4"}, 1, "1 4*"},
                        {{"1g1 2g2 3g3 4g4", "1", "1"}, 1, "1* 4"},
                        /* pinned ones stay and do not count */
                        {{"1g1p 2g2 3g3 4g4", "4", "4"}, 1, "1 3 4*"},
                        {{"1g1 2g2 3g3p 4g4", "4", "4"}, 1, "2 3 4*"},
                        {{"1bp 2g2 3g3", "3", "3"}, 1, NULL},
                        /* bad ones go, unless they run or boot next */
                        {{"1g1 2b 3g3", "3", "3"}, 1, "1 3*"},
                        {{"1g1 2b 3g3", "2", "3"}, 1, NULL},
                        {{"1g1 2g2 3b 4g4", "3", "4"}, 1, "2 3b 4*"},
                        /* incomplete ones wait for a person */
                        {{"1i 2g2 3g3", "3", "3"}, 1, NULL},
                        /* staged: kept while nothing newer has proven itself */
                        {{"1g1 2g2 3s", "2", "2"}, 1, NULL},
                        {{"1s 2g2 3g3", "3", "3"}, 1, "2 3*"},
                        {{"9s 10g2 11g3", "11", "11"}, 1, "10 11*"},
                        {{"2s 10g2", "10", "10"}, 1, "10*"},
                        /* on trial nothing goes but what is of no use */
                        {{"1g1 2g2 3g3 4s", "3", "4", "3"}, 1, NULL},
                        {{"1g1 2g2 3g3 4s", "4", "4", "3"}, 1, NULL},
                        {{"1g1 2b 3g3 4s", "4", "4", "3"}, 1, "1 3 4*"},
                        {{"1g1 2b 3g3 4s", "4", "4", "2"}, 1, NULL},
                        {{"1g1 2s 3g3 4s", "4", "4", "3"}, 1, NULL},
        };

        for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
                _cleanup_(err_freep) Err *e = NULL;
                char left[128];
                int r;

                lay_out(&table[i].l);
                fake->keep = table[i].keep;
                r = run(prune, NULL, &e);
                describe(left);
                if (!table[i].left) {
                        if (r >= 0 || err_kind_of(e) != ERR_NOTHING_TO_DO)
                                fail_msg("row %zu, '%s': left are %s", i, table[i].l.slots, left);
                } else if (r < 0 || !str_eq(left, table[i].left))
                        fail_msg("row %zu, '%s': left are %s, not %s", i, table[i].l.slots, left,
                                        table[i].left);
        }
}

static void the_way_back(void **state _unused_) {
        static const struct {
                Layout l;
                const char *to, *after; /* NULL: refused */
                ErrKind kind;
        } table[] = {
                        /* nobody says where: before the reboot to what runs */
                        {{"1g1 2g2 3s", "2", "3", "2"}, "", "1 2* 3b", 0},
                        {{"1g9 2g2 3s", "2", "3", "2"}, "", "1 2* 3b", 0},
                        /* after it to what was proven last */
                        {{"1g1 2g2 3s", "3", "3", "2"}, "", "1 2* 3b", 0},
                        {{"1g9 2g2 3s", "3", "3", "2"}, "", "1* 2 3b", 0},
                        {{"1g1 2g2", "2", "2"}, "", "1* 2b", 0},
                        {{"1g1 2b", "2", "2"}, "", "1* 2b", 0},
                        /* what runs is no slot */
                        {{"1g1 2s", NULL, "2", "1"}, "", "1* 2b", 0},
                        /* done already; nothing there */
                        {{"1g1 2g2 3b", "3", "2"}, "", NULL, ERR_NOTHING_TO_DO},
                        {{"1g1", "1", "1"}, "", NULL, ERR_NO_FALLBACK},
                        {{"1b 2s 3i 4g1", "4", "4"}, "", NULL, ERR_NO_FALLBACK},
                        {{"1s", "1", "1"}, "", NULL, ERR_NO_FALLBACK},
                        /* by name */
                        {{"1g1 2g2 3g3", "3", "3"}, "1", "1* 2 3b", 0},
                        {{"1g1 2g2 3s", "2", "3", "2"}, "1", "1* 2 3b", 0},
                        {{"1g1 2s 3g3", "3", "3"}, "2", "1 2* 3", 0}, /* no verdict on 3 */
                        {{"1g1 2s 3g3", "3", "3"}, "3", NULL, ERR_NOTHING_TO_DO},
                        {{"1b 2g2", "2", "2"}, "1", NULL, ERR_REFUSED},
                        {{"1i 2g2", "2", "2"}, "1", NULL, ERR_NO_FALLBACK},
                        {{"1g1 2g2", "2", "2"}, "7", NULL, ERR_UNKNOWN_SLOT},
        };

        for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
                _cleanup_(err_freep) Err *e = NULL;
                char before[128], after[128];
                int r;

                lay_out(&table[i].l);
                describe(before);
                r = run(job_rollback, table[i].to, &e);
                describe(after);
                if (!table[i].after) {
                        if (r >= 0 || err_kind_of(e) != table[i].kind || !str_eq(before, after))
                                fail_msg("row %zu, '%s': %s, %s", i, table[i].l.slots, after,
                                                e ? err_text(e) : "taken");
                } else if (r < 0 || !str_eq(after, table[i].after))
                        fail_msg("row %zu, '%s': %s, not %s (%s)", i, table[i].l.slots, after,
                                        table[i].after, e ? err_text(e) : "no error");
        }
}

static const struct {
        Layout l;
        Verb *verb;
        const char *arg, *story;
        ErrKind kind;
} refusals[] = {
                {{"1g1 2g2", "2", "2"}, job_discard, "", "name the slot", ERR_INVALID_ARGUMENT},
                {{"1g1 2g2", "2", "2"}, job_discard, "9", "there are: 1, 2", ERR_UNKNOWN_SLOT},
                {{"1g1 2g2", "2", "1"}, job_discard, "2", "it is running", ERR_SLOT_IN_USE},
                {{"1g1 2g2", "2", "1"}, job_discard, "1", "it boots next", ERR_SLOT_IN_USE},
                {{"1g1 2g2 3s", "2", "3", "1"}, job_discard, "1", "the trial falls back to",
                                ERR_SLOT_IN_USE},
                {{"1g1p 2g2", "2", "2"}, job_discard, "1", "unpin it first", ERR_SLOT_PINNED},
                {{"1g1 2g2", "2", "2"}, job_mark_good, "", "is good already", ERR_NOTHING_TO_DO},
                {{"1i 2g2", "2", "2"}, job_mark_good, "1", "incomplete", ERR_INVALID_ARGUMENT},
                {{"1s 2g2", "2", "2"}, job_mark_good, "1", "never proven itself",
                                ERR_INVALID_ARGUMENT},
                {{"1b 2g2", "2", "2"}, job_mark_good, "1", "never proven itself",
                                ERR_INVALID_ARGUMENT},
                {{"1g1", NULL, "1"}, job_mark_good, "", "not in a slot", ERR_UNKNOWN_SLOT},
                {{"1b 2g2", "2", "2"}, mark_bad, "1", "bad already", ERR_NOTHING_TO_DO},
                {{"1i 2g2", "2", "2"}, mark_bad, "1", "discard it", ERR_INVALID_ARGUMENT},
                {{"1s 2g2", "2", "2"}, mark_bad, "2", "nothing would be left to boot",
                                ERR_NO_FALLBACK},
                {{"1g1 2s", "1", "2", "1"}, mark_bad, "1", "the trial of slot 2 falls back to",
                                ERR_NO_FALLBACK},
                {{"1i 2g2", "2", "2"}, pin, "1", "incomplete", ERR_INVALID_ARGUMENT},
                {{"1g1p 2g2", "2", "2"}, pin, "1", "pinned already", ERR_NOTHING_TO_DO},
                {{"1g1 2g2", "2", "2"}, unpin, "1", "unpinned already", ERR_NOTHING_TO_DO},
                {{"1g1 2s", "2", "2", "1"}, begin, "", "on trial", ERR_CONFLICT},
                {{"1g1 2b", "2", "1"}, begin, "", "is bad", ERR_CONFLICT},
                {{"1g1 2g2", "2", "1"}, begin, "", "slot 1 boots next", ERR_CONFLICT},
                {{"1g1", NULL, "1"}, begin, "", "not in a slot", ERR_WRONG_LAYOUT},
                {{"1g1 2g2", "2", "2"}, job_commit, "", "no transaction is open",
                                ERR_NO_TRANSACTION},
                {{"1g1 2g2", "2", "2"}, job_abort, "t1", "no transaction is open",
                                ERR_NO_TRANSACTION},
                {{"1g1 2s", "2", "2", "1"}, update, "", "on trial", ERR_CONFLICT},
};

static void refused_verbs_change_nothing(void **state _unused_) {
        for (size_t i = 0; i < ARRAY_SIZE(refusals); i++) {
                _cleanup_(freep) char *before = NULL, *after = NULL;
                Err *e = NULL;

                lay_out(&refusals[i].l);
                before = fake_dump(fake, true);
                if (run(refusals[i].verb, refusals[i].arg, &e) >= 0)
                        fail_msg("row %zu is not refused", i);
                assert_story(&e, refusals[i].kind, refusals[i].story);
                after = fake_dump(fake, true);
                assert_string_equal(before, after);
                assert_true(fake_journal_idle(fake));
                assert_int_equal(fake_history_count(fake, 7, "mark", NULL), 0);
                assert_int_equal(fake->ready, 0);
        }
}

static void an_open_transaction_stops_the_others(void **state _unused_) {
        static Verb *const verbs[] = {job_rollback, begin, update, job_mark_good};
        static const Layout l = {"1g1 2g2 3g2", "2", "3"};

        for (size_t i = 0; i < ARRAY_SIZE(verbs); i++) {
                Err *e = NULL;

                lay_out(&l);
                strcpy(fake_slot(fake, "2")->transaction, "t3");
                strcpy(fake_slot(fake, "2")->fallback, "3");
                assert_true(run(verbs[i], "", &e) < 0);
                assert_story(&e, ERR_TRANSACTION_OPEN, "t3");
                assert_true(run(job_discard, "3", &e) < 0);
                assert_story(&e, ERR_SLOT_IN_USE, "slot 3");
                assert_true(run(job_commit, "t9", &e) < 0);
                assert_story(&e, ERR_NO_TRANSACTION, "open is t3");
        }
}

static void policy_comes_before_the_image(void **state _unused_) {
        static const Layout l = {"1g1 2g2", "2", "2"};
        Err *e = NULL;

        lay_out(&l);
        fake->problem = "fstab says subvol=@";
        assert_true(run(update, "", &e) < 0);
        assert_story(&e, ERR_WRONG_LAYOUT, "subvol=@");
        assert_true(run(begin, "", &e) < 0);
        assert_story(&e, ERR_WRONG_LAYOUT, "subvol=@");
        assert_true(run(job_rollback, "1", &e) < 0);
        assert_story(&e, ERR_WRONG_LAYOUT, "subvol=@");

        lay_out(&l);
        strcpy(fake->disk->exclusive, "balance");
        assert_true(run(update, "", &e) < 0);
        assert_story(&e, ERR_BUSY, "balance");
        lay_out(&l);
        fake_slot(fake, "2")->read_only = true;
        assert_true(run(begin, "", &e) < 0);
        assert_story(&e, ERR_READ_ONLY, "read-only");
}

static void what_the_image_may_not_bring(void **state _unused_) {
        static const Layout l = {"1g1 2g2", "2", "2"};
        Err *e = NULL;

        lay_out(&l);
        fake->image.second = "home"; /* no place for it in the configuration */
        assert_true(run(update, "", &e) < 0);
        assert_story(&e, ERR_UNKNOWN_SUBVOLUME, "Subvolumes=home:/path");
        lay_out(&l);
        fake->image.second = fake->image.name;
        assert_true(run(update, "", &e) < 0);
        assert_non_null(e);
        e = err_free(e);
        lay_out(&l);
        fake->image.name = "a b";
        assert_true(run(update, "", &e) < 0);
        assert_story(&e, ERR_UNKNOWN_SUBVOLUME, "letters");
        lay_out(&l);
        fake->image.wrong_uuid = true;
        assert_true(run(update, "", &e) < 0);
        assert_story(&e, ERR_VERIFY_FAILED, "is not what was received");
        lay_out(&l);
        fake->image.version = "2.0"; /* known only when it is here */
        assert_true(run(update, "", &e) < 0);
        assert_story(&e, ERR_ALREADY_INSTALLED, "slot 2");
        assert_int_equal(fake_quarantines(fake), 0);
}

static void a_dry_run_changes_nothing(void **state _unused_) {
        static const Layout l = {"1g1 2g2", "2", "2"};
        const UpdateOptions o = {.name = "image", .arm = true, .version = "7.0"};
        _cleanup_(freep) char *before = NULL, *after = NULL;
        _cleanup_(plan_done) Plan p = {0};
        Machine *m;

        lay_out(&l);
        before = fake_dump(fake, true);
        m = fake_machine(fake);
        {
                _cleanup_(job_done)
                                Job j = {.m = m, .sink = &fake->sink, .type = "update", .id = 7};

                assert_int_equal(job_refresh(&j, NULL), 0);
                assert_int_equal(job_update(&j, -1, -1, &o, /* dry_run= */ true, &p, NULL), 0);
        }
        machine_free(m);
        after = fake_dump(fake, true);
        assert_string_equal(before, after);
        assert_string_equal(p.slot, "3");
        assert_int_equal(p.n_steps, 5);
        assert_int_equal(fake->ready, 0);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                        CASE(retention),
                        CASE(the_way_back),
                        CASE(refused_verbs_change_nothing),
                        CASE(an_open_transaction_stops_the_others),
                        CASE(policy_comes_before_the_image),
                        CASE(what_the_image_may_not_bring),
                        CASE(a_dry_run_changes_nothing),
        };
        int r;

        fake = fake_new();
        r = cmocka_run_group_tests_name("update/rules", tests, NULL, NULL);
        fake_free(fake);
        return r;
}
