/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The machine opened, its facts asked, told to the daemon, and looked over. */
#include <sys/file.h>

#include "tests/unit/fake.h"
#include "update/records.h"
#include "update/report.h"

static Fake *fake;

static int make(void **state _unused_) {
        fake = fake_new();
        return 0;
}

static int clean(void **state _unused_) {
        fake = fake_free(fake);
        return 0;
}

/* A machine of the real backends that do nothing, below the fake's folder. */
static void prepare_none(void) {
        put_file(fake->root_fd, "proc/sys/kernel/random/boot_id",
                        "01234567-89ab-cdef-0123-456789abcdef\n");
        put_file(fake->root_fd, "etc/abupdate/abupdated.conf",
                        "[Update]\nBackend=none\nBoot=none\nStateDirectory=/state\n");
        put_file(fake->root_fd, "state/x", "");
}

static int open_none(Machine **ret, Err **reterr) {
        _cleanup_(freep) char *root = str_printf("%s/root", fake->dir);

        return machine_open(root, ret, reterr);
}

static void a_machine_is_opened_once(void **state _unused_) {
        _cleanup_(machine_freep) Machine *m = NULL;
        _cleanup_(facts_done) Facts f = {0};
        Machine *second = NULL;
        Err *e = NULL;

        prepare_none();
        assert_int_equal(open_none(&m, NULL), 0);
        assert_string_equal(m->boot_id, "01234567-89ab-cdef-0123-456789abcdef");
        assert_int_equal(facts_read(m, &f, NULL), 0);
        assert_int_equal(f.slots->n, 0);
        assert_null(facts_next(&f));
        assert_int_equal(recover(m, NULL), 0);

        assert_int_equal(open_none(&second, &e), -EBUSY);
        assert_story(&e, ERR_BUSY, "another process is changing this machine");
        assert_null(second);
        m = machine_free(m);
        assert_int_equal(open_none(&m, NULL), 0);
        assert_null(machine_free(NULL));
}

static void what_it_cannot_be_opened_without(void **state _unused_) {
        Machine *m = NULL;
        Err *e = NULL;

        assert_true(machine_open("/no/such/machine", &m, &e) < 0);
        assert_story(&e, ERR_FAILED, "/no/such/machine");
        assert_true(open_none(&m, &e) < 0);
        assert_story(&e, ERR_FAILED, "read the id of this boot");
        prepare_none();
        put_file(fake->root_fd, "etc/abupdate/abupdated.conf",
                        "[Update]\nBackend=none\nBoot=none\n");
        assert_true(open_none(&m, &e) < 0);
        assert_story(&e, ERR_BAD_CONFIG, "StateDirectory=");
        put_file(fake->root_fd, "etc/abupdate/abupdated.conf", "[Update]\nBackend=snapshot\n");
        assert_true(open_none(&m, &e) < 0);
        assert_story(&e, ERR_NOT_BTRFS, "is not Btrfs");
        prepare_none();
        assert_int_equal(symlinkat("/etc/passwd", fake->root_fd, "state/lock"), 0);
        assert_true(open_none(&m, &e) < 0);
        assert_story(&e, ERR_FAILED, "open the lock");
        assert_null(m);
}

static void a_backend_that_cannot_says_so(void **state _unused_) {
        _cleanup_(machine_freep) Machine *m = NULL;
        _cleanup_(job_done) Job j = {.sink = &fake->sink, .type = "update", .id = 7};
        const UpdateOptions o = {.name = "image"};
        Plan p = {0};
        Err *e = NULL;

        prepare_none();
        assert_int_equal(open_none(&m, NULL), 0);
        j.m = m;
        assert_int_equal(job_refresh(&j, NULL), 0);
        assert_int_equal(job_update(&j, -1, -1, &o, false, &p, &e), -EOPNOTSUPP);
        assert_story(&e, ERR_NOT_SUPPORTED, "Backend=none");
        assert_int_equal(job_begin_in_place(&j, &e), -EOPNOTSUPP);
        assert_story(&e, ERR_NOT_SUPPORTED, "Backend=none");
        assert_int_equal(job_prune(&j, &e), -EALREADY);
        e = err_free(e);
}

static void slots_are_asked_for_by_name(void **state _unused_) {
        _cleanup_(machine_freep) Machine *m = NULL;
        _cleanup_(facts_done) Facts f = {0};
        Slot *s = NULL;
        Err *e = NULL;

        for (unsigned i = 4; i <= 10; i++) {
                char id[8];

                snprintf(id, sizeof(id), "%u", i);
                fake_add_slot(fake, id, SLOT_GOOD, id, i);
        }
        m = fake_machine(fake);
        assert_int_equal(facts_read(m, &f, NULL), 0);
        assert_int_equal(facts_slot(&f, "7", &s, NULL), 0);
        assert_string_equal(s->id, "7");
        assert_int_equal(facts_slot(&f, "", &s, NULL), 0);
        assert_true(s->booted);
        assert_int_equal(facts_slot(&f, "11", &s, &e), -ENOENT);
        assert_story(&e, ERR_UNKNOWN_SLOT,
                        "there is no slot 11; there are: ..., 3, 4, 5, 6, 7, 8, 9, 10");
        assert_int_equal(facts_next_blessing(&f), 11);
        assert_false(facts_on_trial(&f, NULL));
}

/* Nothing else is found than that images need no signature, and @want (may be NULL). */
static void check(const char *want, const char *severity) {
        const size_t n = want ? 2 : 1;
        _cleanup_(machine_freep) Machine *m = fake_machine(fake);
        _cleanup_(facts_done) Facts f = {0};
        _cleanup_(finding_list_done) FindingList l = {0};

        assert_int_equal(facts_read(m, &f, NULL), 0);
        assert_int_equal(machine_check(m, &f, &l, NULL), 0);
        assert_int_equal(l.n, n);
        assert_non_null(strstr(l.findings[0].problem, "Verification=none"));
        if (!want)
                return;
        if (!strstr(l.findings[1].problem, want))
                fail_msg("found: %s", l.findings[1].problem);
        assert_string_equal(l.findings[1].severity, severity);
        assert_true(*l.findings[1].subject && *l.findings[1].advice);
}

static void what_is_wrong_is_found(void **state _unused_) {
        check(NULL, NULL);
        fake->problem = "fstab says subvol=@";
        check("subvol=@", "error");
        fake->problem = NULL;
        fake->disk->default_key = 1;
        check("what boots next is not in a slot", "error");
        fake_arm(fake, "3", 0, NULL);
        fake->disk->booted_key = 1;
        check("the running system is not in a slot", "warning");
        fake->disk->booted_key = fake_slot(fake, "3")->key;
        fake_slot(fake, "3")->state = SLOT_BAD;
        check("slot 3 boots next and is bad", "error");
        fake_slot(fake, "3")->state = SLOT_GOOD;
        fake_slot(fake, "1")->state = SLOT_INCOMPLETE;
        strcpy(fake_slot(fake, "1")->reason, "its root subvolume is missing");
        check("its root subvolume is missing", "error");
}

static void a_machine_without_a_key_says_so(void **state _unused_) {
        _cleanup_(machine_freep) Machine *m = NULL;
        _cleanup_(facts_done) Facts f = {0};
        _cleanup_(finding_list_done) FindingList l = {0};

        fake->verification = VERIFICATION_SIGNATURE;
        m = fake_machine(fake);
        assert_int_equal(facts_read(m, &f, NULL), 0);
        assert_int_equal(machine_check(m, &f, &l, NULL), 0);
        assert_int_equal(l.n, 1);
        assert_string_equal(l.findings[0].severity, "error");
        assert_non_null(strstr(l.findings[0].problem, "no key is installed"));
}

/* What status says in its first line. */
static void assert_world(const char *want_state, const char *want_reason, bool reboot) {
        _cleanup_(machine_freep) Machine *m = fake_machine(fake);
        _cleanup_(facts_done) Facts f = {0};
        _cleanup_(json_freep) json_object *o = NULL;

        assert_int_equal(facts_read(m, &f, NULL), 0);
        assert_int_equal(report_world(m, &f, &o, NULL), 0);
        assert_string_equal(json_text(o, "state"), want_state);
        if (!strstr(json_text(o, "reason"), want_reason))
                fail_msg("'%s' does not say '%s'", json_text(o, "reason"), want_reason);
        assert_int_equal(json_object_get_boolean(json_object_object_get(o, "reboot-required")),
                        reboot);
        assert_int_equal(json_object_array_length(json_object_object_get(o, "slots")), f.slots->n);
        assert_string_equal(json_text(o, "backend"), "fake");
}

static void the_state_has_a_reason(void **state _unused_) {
        assert_world("steady", "slot 3 (version 3.0) is good and boots next", false);
        fake_add_slot(fake, "4", SLOT_STAGED, "4.0", 0);
        fake_arm(fake, "4", 3, "3");
        assert_world("staged", "slot 4 (version 4.0) boots next, on trial", true);
        fake_reboot(fake);
        assert_world("trial", "2 tries left", false);

        /* and never marked good */
        for (int i = 0; i < 3; i++)
                fake_reboot(fake);
        {
                _cleanup_(machine_freep) Machine *m = fake_machine(fake);

                assert_int_equal(recover(m, NULL), 0);
        }
        assert_world("fallback", "used up its tries", false);
        assert_int_equal(fake_slot(fake, "4")->state, SLOT_BAD);
        assert_int_equal(fake_history_count(fake, 0, "fallback", NULL), 1);

        fake_arm(fake, "2", 0, NULL);
        assert_world("staged", "slot 2 (version 2.0) boots next", true);
        fake->disk->default_key = 1;
        assert_world("fallback", "used up its tries", false);
        fake->disk->booted_key = 1;
        assert_world("steady", "not in a slot", false);

        fake_reset(fake);
        fake->problem = "subvol=@";
        assert_world("steady", "what boots next is not known", false);
        fake->problem = NULL;
        fake_slot(fake, "1")->state = SLOT_GOOD;
        strcpy(fake_slot(fake, "3")->transaction, "t1");
        strcpy(fake_slot(fake, "3")->fallback, "1");
        fake_arm(fake, "1", 0, NULL);
        assert_world("updating", "transaction t1 is open on slot 3; slot 1", false);
}

static void a_machine_that_cannot_be_read_is_told(void **state _unused_) {
        _cleanup_(json_freep) json_object *o = NULL;

        assert_int_equal(report_unreadable("not Btrfs", &o), 0);
        assert_string_equal(json_text(o, "reason"), "not Btrfs");
        assert_int_equal(json_object_array_length(json_object_object_get(o, "problems")), 1);
}

/* Trials end by facts alone, without a journal. */
static void trials_end_by_facts(void **state _unused_) {
        _cleanup_(machine_freep) Machine *m = NULL;
        _cleanup_(json_freep) json_object *refused = NULL;

        /* blessed, and the loader still counts */
        fake_add_slot(fake, "4", SLOT_GOOD, "4.0", 4);
        fake_arm(fake, "4", 2, "3");
        m = fake_machine(fake);
        assert_int_equal(recover(m, NULL), 0);
        assert_string_equal(fake->disk->trial.target, "");

        /* lost, and the slot is gone, too */
        strcpy(fake->disk->trial.target, "9");
        fake->disk->trial.target_key = 999;
        fake->disk->trial.tries = 0;
        assert_int_equal(recover(m, NULL), 0);
        assert_string_equal(fake->disk->trial.target, "");
        assert_int_equal(refused_read(fake->state_fd, &refused, NULL), 0);
        assert_int_equal(json_object_array_length(refused), 0);
}

static void a_journal_of_nobody_is_ended(void **state _unused_) {
        _cleanup_(machine_freep) Machine *m = fake_machine(fake);
        int status = 0;

        m->journal->phase = PHASE_WRITE;
        m->journal->job = 99;
        assert_int_equal(str_set(&m->journal->type, "from-the-future"), 0);
        assert_int_equal(str_set(&m->journal->slot, "4"), 0);
        assert_int_equal(journal_write(m->journal, NULL), 0);
        assert_int_equal(recover(m, NULL), 0);
        assert_true(fake_journal_idle(fake));
        assert_int_equal(fake_history_count(fake, 99, "from-the-future", &status), 1);
        assert_int_equal(status, -EINTR);
}

#define HERE(f) cmocka_unit_test_setup_teardown(f, make, clean)

int main(void) {
        const struct CMUnitTest tests[] = {
                        HERE(a_machine_is_opened_once),
                        HERE(what_it_cannot_be_opened_without),
                        HERE(a_backend_that_cannot_says_so),
                        HERE(slots_are_asked_for_by_name),
                        HERE(what_is_wrong_is_found),
                        HERE(a_machine_without_a_key_says_so),
                        HERE(the_state_has_a_reason),
                        HERE(a_machine_that_cannot_be_read_is_told),
                        HERE(trials_end_by_facts),
                        HERE(a_journal_of_nobody_is_ended),
        };

        return cmocka_run_group_tests_name("update/machine", tests, NULL, NULL);
}
