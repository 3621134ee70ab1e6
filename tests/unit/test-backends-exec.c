/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Boot=exec: what the program is told, and what is made of its words. */
#include <sys/stat.h>

#include "tests/unit/folder.h"

#include "backends/boot-backend.h"
#include "backends/boot-cmdline.h"
#include "backends/boot-files.h"

/* Says what is in the file "facts", notes how it was called, fails where it is told to. */
static const char program[] = "#!/bin/sh\n"
                              "cd \"${0%/*}\" || exit 1\n"
                              "for word; do printf '<%s>' \"$word\" >>calls; done\n"
                              "echo >>calls\n"
                              "if [ \"$1\" = \"$(cat fail 2>/dev/null)\" ]; then\n"
                              "        echo 'no such switch' >&2\n"
                              "        exit 3\n"
                              "fi\n"
                              "case $1 in\n"
                              "facts) cat facts ;;\n"
                              "fits) [ -f \"$2/etc/here\" ] ;;\n"
                              "esac\n";

static Config config = {.program = (char *) "switch", .cmdline = (char *) "quiet"};
static World world;
static Slot slots[] = {
                {.id = (char *) "1",
                                .version = (char *) "1.0",
                                .boot_options = (char *) "root=1",
                                .booted = true},
                {.id = (char *) "2",
                                .version = (char *) "2 0",
                                .boot_options = (char *) "root=2 rootflags=subvol=x"},
};
static const SlotList list = {ARRAY_SIZE(slots), slots};

static BootBackend *machine(void) {
        BootBackend *b = NULL;

        put_file(dir_fd, "switch", program);
        assert_int_equal(fchmodat(dir_fd, "switch", 0755, 0), 0);
        world = (World){dir, dir_fd, &config};
        assert_int_equal(exec_boot_ops.open(&world, &b, NULL), 0);
        return b;
}

static void assert_calls(const char *wanted) {
        _cleanup_(freep) char *calls = get_file(dir_fd, "calls");

        assert_string_equal(calls, wanted);
        assert_int_equal(unlinkat(dir_fd, "calls", 0), 0);
}

/* Of the mount options only what names a root is one slot's own: without its devices, or compression,
 * no other slot is the system that it was. */
static void mount_options_stay(void **state _unused_) {
        static const struct {
                const char *backend, *cmdline, *running, *options;
        } table[] = {
                        {"snapshot", NULL, "BOOT_IMAGE=/k root=1 rootflags=subvol=@old rw quiet",
                                        "root=2 rootflags=subvol=x quiet"},
                        {"snapshot", NULL,
                                        "root=1 "
                                        "rootflags=device=/dev/b,subvol=@old,device=/dev/"
                                        "c,subvolid=7,"
                                        "compress=zstd:3 rw quiet",
                                        "root=2 rootflags=subvol=x,device=/dev/b,device=/dev/c,"
                                        "compress=zstd:3 quiet"},
                        {"snapshot", NULL, "rootflags=noatime rootflags=degraded",
                                        "root=2 rootflags=subvol=x,degraded"},
                        {"seed", NULL, "rootflags=subvol=y,device=/dev/b,noatime ro",
                                        "root=2 rootflags=subvol=x,noatime"},
                        {"snapshot", "a=\"b  c\" rw", "rootflags=noatime quiet",
                                        "root=2 rootflags=subvol=x a=\"b  c\" rw"},
                        {"snapshot", "rootflags=subvol=@,ssd panic=9", "quiet",
                                        "root=2 rootflags=subvol=x,ssd panic=9"},
        };

        for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
                Config c = {.backend = (char *) table[i].backend,
                                .cmdline = (char *) table[i].cmdline};
                const World w = {dir, dir_fd, &c};
                _cleanup_(freep) char *options = NULL, *again = NULL;

                put_file(dir_fd, "proc/cmdline", table[i].running);
                assert_int_equal(boot_cmdline_make(&w, &slots[1], NULL, &options, NULL), 0);
                assert_string_equal(options, table[i].options);
                assert_int_equal(boot_cmdline_make(&w, &slots[1], options, &again, NULL), 0);
                if (!table[i].cmdline)
                        assert_string_equal(again, options);
        }
}

/* What somebody typed at the menu for one boot would be every boot of the next slot. */
static void rescue_words_go(void **state _unused_) {
        static const char running[] =
                        "root=1 init=/bin/sh quiet systemd.unit=rescue.target single S 1 3 "
                        "emergency -b rd.break rd.break=pre-mount break=top rdinit=/bin/sh "
                        "rd.systemd.unit=x systemd.run=/x systemd.debug-shell=1 10 panic=10 "
                        "systemd.debug_shell rd.shell=0 rescue recovery initcall_debug";
        Config c = {.backend = (char *) "snapshot"};
        const World w = {dir, dir_fd, &c};
        _cleanup_(freep) char *options = NULL, *own = NULL, *configured = NULL;

        put_file(dir_fd, "proc/cmdline", running);
        assert_int_equal(boot_cmdline_make(&w, &slots[1], NULL, &options, NULL), 0);
        assert_string_equal(options, "root=2 rootflags=subvol=x quiet 10 panic=10 rd.shell=0 "
                                     "initcall_debug");
        /* on purpose, for that slot or for all of them */
        assert_int_equal(boot_cmdline_make(&w, &slots[1], "root=2 single x", &own, NULL), 0);
        assert_string_equal(own, "root=2 rootflags=subvol=x single x");
        c.cmdline = (char *) "init=/x";
        assert_int_equal(boot_cmdline_make(&w, &slots[1], NULL, &configured, NULL), 0);
        assert_string_equal(configured, "root=2 rootflags=subvol=x init=/x");
}

/* What a version consists of comes with its slot; what belongs to the machine may be anywhere. */
static void fstab_of_a_version(void **state _unused_) {
        static const struct {
                const char *fstab, *part; /* of what is said; NULL: fine */
        } table[] = {
                        {"", NULL},
                        {"LABEL=m / btrfs defaults 0 0\n", NULL},
                        {"LABEL=m / btrfs subvol=@ 0 0\n", "mounts / with subvol=@"},
                        {"LABEL=m /usr btrfs subvol=@usr 0 0\n", "mounts /usr with"},
                        {"LABEL=m /etc btrfs ro,subvolid=9 0 0\n", "mounts /etc"},
                        {"LABEL=m /usr/lib/modules btrfs subvol=x 0 0\n", "modules"},
                        {"LABEL=m /home btrfs subvol=@home 0 0\n", NULL},
                        {"LABEL=m /usr/local btrfs subvol=@l 0 0\n", NULL},
                        {"LABEL=m /boot ext4 defaults 0 0\n", NULL},
        };

        for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
                Err *err = NULL;
                int r;

                put_file(dir_fd, "etc/fstab", table[i].fstab);
                r = boot_fstab_fit(dir_fd, &err);
                assert_int_equal(r < 0, table[i].part != NULL);
                if (r < 0)
                        assert_story(&err, ERR_WRONG_LAYOUT, table[i].part);
        }
}

static void verbs(void **state _unused_) {
        _cleanup_(boot_backend_closep) BootBackend *b = machine();
        _cleanup_(freep) char *path = str_printf("<fits></proc/self/fd/%i>\n", dir_fd),
                              *bring = str_printf("<bring><2></proc/self/fd/%i>\n", dir_fd);
        Err *err = NULL;

        assert_int_equal(b->ops->arm(b, &slots[1], 3, &slots[0], NULL), 0);
        assert_calls("<arm><2><3><1><2 0><root=2 rootflags=subvol=x quiet>\n");
        assert_int_equal(b->ops->arm(b, &slots[0], 0, NULL, NULL), 0);
        assert_calls("<arm><1><0><><1.0><root=1 quiet>\n");
        assert_int_equal(b->ops->bless(b, &slots[1], NULL), 0);
        assert_calls("<bless><2>\n");
        assert_int_equal(b->ops->forget(b, &slots[1], NULL), 0);
        assert_calls("<forget><2>\n");
        assert_int_equal(b->ops->follow(b, &slots[1], NULL), 0);
        assert_calls("<follow><2><root=2 rootflags=subvol=x>\n");
        assert_int_equal(b->ops->bring(b, &slots[1], dir_fd, NULL, NULL), 0);
        assert_calls(bring);
        assert_true(b->ops->fits(b, dir_fd, &err) < 0);
        assert_story(&err, ERR_WRONG_LAYOUT, "fits of the boot program");
        assert_calls(path);
        put_file(dir_fd, "etc/here", "");
        assert_int_equal(b->ops->fits(b, dir_fd, NULL), 0);
        put_file(dir_fd, "fail", "arm");
        assert_true(b->ops->arm(b, &slots[1], 3, &slots[0], &err) < 0);
        assert_story(&err, ERR_FAILED, "no such switch");
}

static void facts(void **state _unused_) {
        _cleanup_(boot_backend_closep) BootBackend *b = machine();
        static const struct {
                const char *says, *next, *trial;
                int left;
                const char *fallback, *exhausted, *problem;
        } cases[] = {
                        {"", NULL, NULL, -1, NULL, NULL, NULL},
                        {"next=1\n", "1", NULL, -1, NULL, NULL, NULL},
                        {"next=1", "1", NULL, -1, NULL, NULL, NULL},
                        {"next=2\ntrial=2\ntries-left=0\nfallback=1\n", "2", "2", 0, "1", NULL,
                                        NULL},
                        {"next=1\nexhausted=9\nproblem=no flash\n", "1", NULL, -1, NULL, "9",
                                        "no flash"},
                        {"next=9\ntrial=9\ntries-left=2\nfallback=8\n", NULL, NULL, -1, NULL, NULL,
                                        NULL},
        };
        static const char *const wrong[] = {"next\n", "tries-left=\n", "tries-left=-1\n",
                        "tries-left=100\n", "Next=1\n", "next=1\n=\n"};

        for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
                _cleanup_(boot_facts_done) BootFacts f = {0};

                put_file(dir_fd, "facts", cases[i].says);
                assert_int_equal(b->ops->facts(b, &list, &f, NULL), 0);
                assert_true(str_eq(f.next, cases[i].next));
                assert_int_equal(f.next_known, cases[i].next != NULL);
                assert_true(str_eq(f.trial, cases[i].trial));
                assert_int_equal(f.tries_left, cases[i].left);
                assert_true(str_eq(f.fallback, cases[i].fallback));
                assert_true(str_eq(f.exhausted, cases[i].exhausted));
                assert_true(str_eq(f.problem, cases[i].problem));
                assert_calls("<facts><1>\n");
        }
        for (size_t i = 0; i < ARRAY_SIZE(wrong); i++) {
                _cleanup_(boot_facts_done) BootFacts f = {0};
                Err *err = NULL;

                put_file(dir_fd, "facts", wrong[i]);
                assert_true(b->ops->facts(b, &list, &f, &err) < 0);
                assert_story(&err, ERR_FAILED, "means nothing");
        }
}

static void no_program(void **state _unused_) {
        const Config none = {0};
        const World w = {dir, dir_fd, &none};
        BootBackend *b = NULL;
        Err *err = NULL;

        assert_true(exec_boot_ops.open(&w, &b, &err) < 0);
        assert_story(&err, ERR_BAD_CONFIG, "needs Program=");
        assert_null(b);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                        IN_FOLDER(verbs),
                        IN_FOLDER(mount_options_stay),
                        IN_FOLDER(rescue_words_go),
                        IN_FOLDER(fstab_of_a_version),
                        IN_FOLDER(facts),
                        IN_FOLDER(no_program),
        };

        return cmocka_run_group_tests_name("backends/exec", tests, NULL, NULL);
}
