/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What a machine says to a manifest whose signatures are good, and who may ask it to say something else. */
#include "tests/unit/unit.h"
#include "update/policy.h"

#define NOW UINT64_C(1700000000)

static Slot slots[] = {
                {.id = (char *) "1", .version = (char *) "2.0", .state = SLOT_GOOD, .blessed = 1},
                {.id = (char *) "2", .version = (char *) "3.0", .state = SLOT_GOOD, .blessed = 2},
                {.id = (char *) "3", .version = (char *) "4.0", .state = SLOT_STAGED, .epoch = 9},
};
static SlotList list = {ARRAY_SIZE(slots), slots};
static Facts facts = {.slots = &list};
static Config config;
static Manifest manifest;
static UpdateOptions options;
static PolicyFacts about;

static int set_up(void **state _unused_) {
        slots[0].booted = true;
        slots[0].epoch = slots[1].epoch = 0;
        slots[0].state = slots[1].state = SLOT_GOOD;
        config = (Config){.compatible = (char *) "board"};
        manifest = (Manifest){.compatible = (char *) "board", .version = (char *) "3.5"};
        options = (UpdateOptions){0};
        about = (PolicyFacts){.now = NOW};
        return 0;
}

static void takes(void) {
        _cleanup_(err_freep) Err *e = NULL;

        if (policy_check(&config, &facts, &about, &manifest, &options, &e) < 0)
                fail_msg("%s", err_text(e));
}

static void refuses(ErrKind kind, const char *part) {
        Err *e = NULL;

        assert_true(policy_check(&config, &facts, &about, &manifest, &options, &e) < 0);
        assert_story(&e, kind, part);
}

static void a13_compatible(void **state _unused_) {
        takes();
        options.allow_downgrade = options.reinstall = true;
        manifest.compatible = (char *) "board2";
        refuses(ERR_NOT_COMPATIBLE, "this machine is 'board'");
        manifest.compatible = (char *) "Board";
        refuses(ERR_NOT_COMPATIBLE, "this machine is 'board'");
        config.compatible = NULL;
        refuses(ERR_NOT_COMPATIBLE, "does not say what it is");
}

static void lowest_daemon(void **state _unused_) {
        options.allow_downgrade = true;
        manifest.min_daemon = (char *) ABUPDATE_VERSION;
        takes();
        manifest.min_daemon = (char *) ABUPDATE_VERSION ".1";
        refuses(ERR_NOT_SUPPORTED, ABUPDATE_VERSION ".1 or later");
}

/* What is staged does not count; what has proven itself does, booted or not, until it is condemned. */
static void a14_older_version(void **state _unused_) {
        manifest.version = (char *) "3.0";
        takes();
        manifest.version = (char *) "3.0~rc1";
        refuses(ERR_DOWNGRADE, "in slot 2");
        options.reinstall = true;
        options.accept = (char *) "3.0~rc1";
        refuses(ERR_DOWNGRADE, "--allow-downgrade");
        options.allow_downgrade = true;
        takes();
        options.allow_downgrade = false;
        slots[1].state = SLOT_BAD;
        takes();
        manifest.version = (char *) "1.9";
        refuses(ERR_DOWNGRADE, "in slot 1");
        slots[0].booted = false;
        refuses(ERR_DOWNGRADE, "in slot 1");
        slots[0].booted = true;
        slots[0].state = SLOT_BAD;
        takes();
}

static void a15_earlier_epoch(void **state _unused_) {
        options.allow_downgrade = options.reinstall = true;
        manifest.epoch = about.epoch = 7;
        takes();
        manifest.epoch = 6;
        refuses(ERR_DOWNGRADE, "has reached epoch 7");
}

/* The highest of what is stored, what is demanded and what proven slots have. */
static void a15_epoch_that_was_reached(void **state _unused_) {
        assert_int_equal(policy_epoch(&config, &facts, 0), 0);
        assert_int_equal(policy_epoch(&config, &facts, 3), 3);
        config.epoch = 4;
        assert_int_equal(policy_epoch(&config, &facts, 3), 4);
        slots[1].epoch = 5;
        assert_int_equal(policy_epoch(&config, &facts, 3), 5);
        assert_int_equal(policy_epoch(&config, &facts, 6), 6);
}

static void a16_too_late(void **state _unused_) {
        options.allow_downgrade = true;
        manifest.valid_until = NOW;
        takes();
        about.now = NOW + 1;
        refuses(ERR_EXPIRED, "until 2023-11-14 22:13:20 UTC");
        manifest.valid_until = 0;
        takes();
}

static void a17_another_name(void **state _unused_) {
        options.version = (char *) "3.5";
        takes();
        options.version = (char *) "3.6";
        refuses(ERR_INVALID_ARGUMENT, "cannot be called 3.6");
}

#define POLICY(f) cmocka_unit_test_setup(f, set_up)

int main(void) {
        const struct CMUnitTest tests[] = {
                        POLICY(a13_compatible),
                        POLICY(lowest_daemon),
                        POLICY(a14_older_version),
                        POLICY(a15_earlier_epoch),
                        POLICY(a15_epoch_that_was_reached),
                        POLICY(a16_too_late),
                        POLICY(a17_another_name),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
