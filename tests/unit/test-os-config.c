/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "os/config.h"
#include "tests/unit/folder.h"

#define MAIN   "etc/abupdate/abupdated.conf"
#define DROP   "etc/abupdate/abupdated.conf.d/"
#define VENDOR "usr/lib/abupdate/abupdated.conf"

static Config *load(void) {
        _cleanup_(err_freep) Err *e = NULL;
        Config *c = NULL;

        if (config_load(dir, &c, &e) < 0)
                fail_msg("%s", err_text(e));
        return c;
}

static void assert_refused(const char *part) {
        Config *c = NULL;
        Err *e = NULL;

        assert_true(config_load(dir, &c, &e) < 0);
        assert_null(c);
        assert_story(&e, ERR_BAD_CONFIG, part);
}

static void without_a_file_the_defaults_hold(void **state _unused_) {
        _cleanup_(config_freep) Config *c = load();

        assert_null(c->compatible);
        assert_string_equal(c->backend, "snapshot");
        assert_string_equal(c->boot, "default-subvolume");
        assert_int_equal(c->verification, VERIFICATION_SIGNATURE);
        assert_null(c->state_directory);
        assert_int_equal(c->stall_usec, 60 * USEC_PER_SEC);
        assert_false(c->read_only);
        assert_int_equal(c->keep, 2);
        assert_int_equal(c->min_free, 64 << 20);
        assert_null(c->carry);
        assert_int_equal(c->n_places, 0);
        assert_int_equal(c->tries, 3);
        assert_int_equal(c->health_usec, 300 * USEC_PER_SEC);
        assert_int_equal(c->check_usec, 60 * USEC_PER_SEC);
        assert_null(c->warnings);
        assert_null(config_place(c, "home"));
        assert_null(config_free(NULL));
}

static void every_key_is_taken(void **state _unused_) {
        _cleanup_(config_freep) Config *c = NULL;

        put_file(dir_fd, MAIN,
                        "# a comment\n\n"
                        "[Update]\nCompatible=fridge mk 2\nBackend=none\nBoot=none\n"
                        "Verification=none\nStateDirectory=/var/lib/abupdate\nStallTimeout=7\n"
                        "[Snapshot]\nReadOnly=yes\nKeep=5\nMinFree=3G\n"
                        "Carry=/etc/hostname /etc/ssh\nSubvolumes=home:/home usr:/usr root:/\n"
                        "[Boot]\nTries=9\n[Health]\nTimeout=0\nCheckTimeout=86400\n");
        c = load();
        assert_string_equal(c->compatible, "fridge mk 2");
        assert_string_equal(c->backend, "none");
        assert_string_equal(c->boot, "none");
        assert_int_equal(c->verification, VERIFICATION_NONE);
        assert_string_equal(c->state_directory, "var/lib/abupdate"); /* below the root */
        assert_int_equal(c->stall_usec, 7 * USEC_PER_SEC);
        assert_true(c->read_only);
        assert_int_equal(c->keep, 5);
        assert_true(c->min_free == UINT64_C(3) << 30);
        assert_string_equal(c->carry[0], "etc/hostname");
        assert_string_equal(c->carry[1], "etc/ssh");
        assert_null(c->carry[2]);
        assert_int_equal(c->n_places, 3);
        assert_string_equal(config_place(c, "home"), "/home");
        assert_string_equal(config_place(c, "root"), "/");
        assert_null(config_place(c, "hom"));
        assert_int_equal(c->tries, 9);
        assert_int_equal(c->health_usec, 0);
        assert_int_equal(c->check_usec, 86400 * USEC_PER_SEC);
        assert_null(c->warnings);
}

static const struct {
        const char *section, *line;
        bool good;
} values[] = {
                {"Update", "Compatible=x", true},
                {"Update", "Compatible=", false},
                {"Update", "Backend=snapshot", true},
                {"Update", "Backend=floppy", false},
                {"Update", "Backend=", false},
                {"Update", "Backend=../none", false},
                {"Update", "Boot=none", true},
                {"Update", "Boot=lilo", false},
                {"Update", "Boot=", false},
                {"Update", "Verification=signature", true},
                {"Update", "Verification=None", false},
                {"Update", "Verification=no", false},
                {"Update", "Verification=", false},
                {"Update", "StateDirectory=/a", true},
                {"Update", "StateDirectory=/", false},
                {"Update", "StateDirectory=a/b", false},
                {"Update", "StateDirectory=/a/../b", false},
                {"Update", "StateDirectory=/a/./b", false},
                {"Update", "StateDirectory=/a//b", false},
                {"Update", "StateDirectory=/a/", false},
                {"Update", "StateDirectory=/..a", true},
                {"Update", "StallTimeout=0", true},
                {"Update", "StallTimeout=86400", true},
                {"Update", "StallTimeout=86401", false},
                {"Update", "StallTimeout=1min", false},
                {"Update", "StallTimeout=-1", false},
                {"Snapshot", "ReadOnly=0", true},
                {"Snapshot", "ReadOnly=perhaps", false},
                {"Snapshot", "ReadOnly=", false},
                {"Snapshot", "Keep=1", true},
                {"Snapshot", "Keep=1000", true},
                {"Snapshot", "Keep=0", false},
                {"Snapshot", "Keep=1001", false},
                {"Snapshot", "Keep=two", false},
                {"Snapshot", "MinFree=0", true},
                {"Snapshot", "MinFree=10M", true},
                {"Snapshot", "MinFree=10%", false},
                {"Snapshot", "MinFree=99999999999T", false},
                {"Snapshot", "Carry=", true},
                {"Snapshot", "Carry=/a /b/c", true},
                {"Snapshot", "Carry=/a b", false},
                {"Snapshot", "Carry=/", false},
                {"Snapshot", "Carry=/a/../../etc", false},
                {"Snapshot", "Subvolumes=", true},
                {"Snapshot", "Subvolumes=a:/", true},
                {"Snapshot", "Subvolumes=a", false},
                {"Snapshot", "Subvolumes=a:", false},
                {"Snapshot", "Subvolumes=a:b", false},
                {"Snapshot", "Subvolumes=:/a", false},
                {"Snapshot", "Subvolumes=a/b:/a", false},
                {"Snapshot", "Subvolumes=a:/x a:/y", false},
                {"Snapshot", "Subvolumes=a:/x/..", false},
                {"Boot", "Tries=1", true},
                {"Boot", "Tries=99", true},
                {"Boot", "Tries=0", false},
                {"Boot", "Tries=100", false},
                {"Boot", "Tries=1.5", false},
};

static void bad_values_are_refused_with_file_and_line(void **state _unused_) {
        for (size_t i = 0; i < ARRAY_SIZE(values); i++) {
                _cleanup_(freep) char *text = str_printf(
                                "# one\n[%s]\n\n%s\n", values[i].section, values[i].line);

                put_file(dir_fd, MAIN, text);
                if (values[i].good) {
                        _cleanup_(config_freep) Config *c = load();

                        assert_null(c->warnings);
                } else {
                        Config *c = NULL;
                        Err *e = NULL;

                        if (config_load(dir, &c, &e) >= 0)
                                fail_msg("%s is taken", values[i].line);
                        assert_non_null(strstr(err_text(e), values[i].line));
                        assert_non_null(strstr(err_text(e), "; allowed is "));
                        assert_story(&e, ERR_BAD_CONFIG, "/" MAIN ":4: ");
                }
        }
}

static void what_is_no_configuration_says_where(void **state _unused_) {
        put_file(dir_fd, MAIN, "[Update]\nBackend=none\nnonsense without an equals sign\n");
        assert_refused("/" MAIN ":3: ");
        put_file(dir_fd, MAIN, "[Update\nBackend=none\n");
        assert_refused("/" MAIN ":1: ");
}

static void unknown_keys_warn(void **state _unused_) {
        _cleanup_(config_freep) Config *c = NULL;

        put_file(dir_fd, MAIN,
                        "[Update]\nBackend=none\nBakend=none\n[Snapshot]\nTries=3\n[Hooks]"
                        "\nTimeout=9\n");
        put_file(dir_fd, DROP "10.conf", "Keep=1\n");
        c = load();
        assert_string_equal(c->backend, "none");
        assert_int_equal(c->tries, 3);
        assert_int_equal(c->keep, 2);
        assert_non_null(strstr(c->warnings[0], MAIN ":3: unknown key Bakend= in [Update]"));
        assert_non_null(strstr(c->warnings[1], MAIN ":5: unknown key Tries= in [Snapshot]"));
        assert_non_null(strstr(c->warnings[2], MAIN ":7: unknown key Timeout= in [Hooks]"));
        assert_non_null(strstr(c->warnings[3], "10.conf:1: unknown key Keep= in []"));
        assert_null(c->warnings[4]);
}

static void a_key_twice_warns(void **state _unused_) {
        _cleanup_(config_freep) Config *c = NULL;

        put_file(dir_fd, MAIN, "[Snapshot]\nKeep=3\nKeep=4\n");
        c = load();
        assert_non_null(c->warnings);
        assert_non_null(strstr(c->warnings[0], MAIN ":3: Keep="));
        assert_int_equal(c->keep, 3); /* which the warning says */
}

static void later_files_win(void **state _unused_) {
        _cleanup_(config_freep) Config *c = NULL;

        put_file(dir_fd, MAIN, "[Snapshot]\nKeep=10\nMinFree=10\nCarry=/a /b\n[Boot]\nTries=10\n");
        put_file(dir_fd, DROP "20.conf", "[Snapshot]\nKeep=20\nMinFree=20\n");
        put_file(dir_fd, DROP "30.conf", "[Snapshot]\nKeep=30\nCarry=/c\n");
        put_file(dir_fd, DROP "40.conf.off", "[Snapshot]\nKeep=40\n");
        c = load();
        assert_int_equal(c->keep, 30);
        assert_int_equal(c->min_free, 20);
        assert_int_equal(c->tries, 10);
        assert_string_equal(c->carry[0], "c"); /* a list is replaced whole */
        assert_null(c->carry[1]);
}

static void the_vendor_comes_first(void **state _unused_) {
        _cleanup_(config_freep) Config *a = NULL, *b = NULL, *c = NULL;

        put_file(dir_fd, VENDOR, "[Snapshot]\nKeep=7\nMinFree=7\n");
        put_file(dir_fd, VENDOR ".d/50.conf", "[Snapshot]\nKeep=8\n");
        a = load();
        assert_int_equal(a->keep, 8);

        /* a drop-in of the same name takes its place */
        put_file(dir_fd, DROP "50.conf", "[Boot]\nTries=5\n");
        b = load();
        assert_int_equal(b->keep, 7);
        assert_int_equal(b->tries, 5);

        /* the administrator's file takes the place of the vendor's */
        put_file(dir_fd, MAIN, "[Boot]\nTries=6\n");
        c = load();
        assert_int_equal(c->keep, 2);
        assert_int_equal(c->tries, 5);
}

static void drop_ins_are_ordered_across_folders(void **state _unused_) {
        _cleanup_(config_freep) Config *c = NULL;

        put_file(dir_fd, VENDOR ".d/90.conf", "[Snapshot]\nKeep=90\n");
        put_file(dir_fd, DROP "10.conf", "[Snapshot]\nKeep=10\nMinFree=10\n");
        c = load();
        assert_int_equal(c->keep, 90);
        assert_int_equal(c->min_free, 10);
}

static void a_link_to_nothing_masks(void **state _unused_) {
        _cleanup_(config_freep) Config *c = NULL;

        put_file(dir_fd, VENDOR ".d/50.conf", "[Snapshot]\nKeep=50\n");
        put_file(dir_fd, DROP "60.conf", "[Boot]\nTries=6\n");
        assert_int_equal(symlinkat("/dev/null", dir_fd, DROP "50.conf"), 0);
        c = load();
        assert_int_equal(c->keep, 2);
        assert_int_equal(c->tries, 6);
}

static void verification_has_words(void **state _unused_) {
        assert_string_equal(verification_to_string(VERIFICATION_SIGNATURE), "signature");
        assert_string_equal(verification_to_string(VERIFICATION_NONE), "none");
        assert_null(verification_to_string(_VERIFICATION_MAX));
        assert_null(verification_to_string(_VERIFICATION_INVALID));
        assert_int_equal(verification_from_string("signature"), VERIFICATION_SIGNATURE);
        assert_int_equal(verification_from_string(NULL), _VERIFICATION_INVALID);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                        IN_FOLDER(without_a_file_the_defaults_hold),
                        IN_FOLDER(every_key_is_taken),
                        IN_FOLDER(bad_values_are_refused_with_file_and_line),
                        IN_FOLDER(what_is_no_configuration_says_where),
                        IN_FOLDER(unknown_keys_warn),
                        IN_FOLDER(a_key_twice_warns),
                        IN_FOLDER(later_files_win),
                        IN_FOLDER(the_vendor_comes_first),
                        IN_FOLDER(drop_ins_are_ordered_across_folders),
                        IN_FOLDER(a_link_to_nothing_masks),
                        CASE(verification_has_words),
        };

        return cmocka_run_group_tests_name("os/config", tests, NULL, NULL);
}
