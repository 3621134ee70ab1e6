/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Boot=uboot on a real redundant environment, in files; the loader of the test is as the manual
 * tells it to be. */
#include "tests/unit/folder.h"

#include <sched.h>
#include <sys/mount.h>

#include "backends/boot-backend.h"
#include "os/process.h"

enum { COPY = 0x4000 };

static char conf[128], initial[128];
static Config config = {.kernel_in_slot = true, .cmdline = (char *) "quiet"};
static World world;
static Slot slots[] = {
                {.id = (char *) "1", .version = (char *) "1.0", .boot_options = (char *) "root=1"},
                {.id = (char *) "2", .version = (char *) "2.0", .boot_options = (char *) "root=2"},
                {.id = (char *) "3", .version = (char *) "3.0", .boot_options = (char *) "root=3"},
};
static bool alone; /* in a mount namespace of its own */
static const SlotList list = {ARRAY_SIZE(slots), slots};

static void set(const char *name, const char *value) {
        const char *const argv[] = {"fw_setenv", "-c", conf, "-f", initial, name, value, NULL};

        assert_int_equal(program_run(argv, NULL, NULL), 0);
}

static char *get(const char *name) {
        const char *const argv[] = {"fw_printenv", "-c", conf, "-n", name, NULL};
        char *text = NULL;

        if (program_read(argv, NULL, 4096, &text, NULL) < 0)
                return NULL;
        text[strcspn(text, "\n")] = '\0';
        return text;
}

static BootBackend *machine(void) {
        _cleanup_(freep) char *text =
                        str_printf("%s/env-0 0x0 0x4000\n%s/env-1 0x0 0x4000\n", dir, dir);
        const char *const argv[] = {"fw_setenv", "--version", NULL};
        BootBackend *b = NULL;

        if (program_run(argv, NULL, NULL) == -ENOENT)
                skip();
        put_file(dir_fd, "etc/fw_env.config", text);
        put_file(dir_fd, "initial", "arch=x\n");
        put_file(dir_fd, "env-0", "");
        put_file(dir_fd, "env-1", "");
        for (int i = 0; i < 2; i++) {
                _cleanup_(fd_closep) int fd =
                                openat(dir_fd, i ? "env-1" : "env-0", O_WRONLY | O_CLOEXEC);

                assert_int_equal(ftruncate(fd, COPY), 0);
        }
        snprintf(conf, sizeof(conf), "%s/etc/fw_env.config", dir);
        snprintf(initial, sizeof(initial), "%s/initial", dir);
        world = (World){dir, dir_fd, &config};
        for (size_t i = 0; i < ARRAY_SIZE(slots); i++)
                slots[i].booted = i == 0;
        set("BOOT_ORDER", "1");
        assert_int_equal(uboot_boot_ops.open(&world, &b, NULL), 0);
        return b;
}

static void assert_env(const char *name, const char *value) {
        _cleanup_(freep) char *found = get(name);

        if (value)
                assert_string_equal(found, value);
        else
                assert_true(!found || !*found);
}

/* A boot: the first of the order that has tries, or needs none; else the last. */
static void boot(const char *expected) {
        _cleanup_(freep) char *order = get("BOOT_ORDER");
        const char *last = NULL;
        char *save = NULL, *w;

        for (w = strtok_r(order, " ", &save); w; w = strtok_r(NULL, " ", &save)) {
                _cleanup_(freep) char *name = str_printf("BOOT_%s_LEFT", w), *left = get(name);
                char number[24];

                last = w;
                if (!left || !*left)
                        break;
                if (strtoul(left, NULL, 16) == 0)
                        continue;
                snprintf(number, sizeof(number), "%lx", strtoul(left, NULL, 16) - 1);
                set(name, number);
                break;
        }
        assert_string_equal(w ? w : last, expected);
        for (size_t i = 0; i < ARRAY_SIZE(slots); i++)
                slots[i].booted = str_eq(slots[i].id, expected);
}

static void assert_facts(BootBackend *b, const char *next, const char *trial, int left,
                const char *fallback, const char *exhausted) {
        _cleanup_(boot_facts_done) BootFacts f = {0};

        assert_int_equal(b->ops->facts(b, &list, &f, NULL), 0);
        assert_true(str_eq(f.next, next));
        assert_int_equal(f.next_known, next != NULL);
        assert_true(str_eq(f.trial, trial));
        assert_int_equal(f.tries_left, left);
        assert_true(str_eq(f.fallback, fallback));
        assert_true(str_eq(f.exhausted, exhausted));
}

static void a_trial_is_lost(void **state _unused_) {
        _cleanup_(boot_backend_closep) BootBackend *b = machine();

        assert_facts(b, "1", NULL, -1, NULL, NULL);
        assert_int_equal(b->ops->arm(b, &slots[1], 2, &slots[0], NULL), 0);
        assert_env("BOOT_ORDER", "2 1");
        assert_env("BOOT_2_LEFT", "2");
        assert_env("BOOT_2_ARGS", "root=2 quiet");
        assert_facts(b, "2", "2", 2, "1", NULL);
        boot("2");
        assert_facts(b, "2", "2", 1, "1", NULL);
        boot("2");
        assert_facts(b, "2", "2", 0, "1", NULL);
        assert_int_equal(b->ops->arm(b, &slots[0], 0, NULL, NULL), 0);
        assert_facts(b, "1", NULL, -1, NULL, "2");
        boot("1");
        assert_facts(b, "1", NULL, -1, NULL, "2");
        assert_int_equal(b->ops->forget(b, &slots[1], NULL), 0);
        assert_facts(b, "1", NULL, -1, NULL, NULL);
        assert_env("BOOT_ORDER", "1");
        assert_env("BOOT_2_LEFT", NULL);
        assert_env("BOOT_2_ARGS", NULL);
        assert_env("arch", "x");
}

static void a_trial_is_won(void **state _unused_) {
        _cleanup_(boot_backend_closep) BootBackend *b = machine();

        assert_int_equal(b->ops->arm(b, &slots[1], 2, &slots[0], NULL), 0);
        boot("2");
        assert_int_equal(b->ops->bless(b, &slots[1], NULL), 0);
        assert_int_equal(b->ops->bless(b, &slots[1], NULL), 0);
        for (int i = 0; i < 3; i++)
                boot("2");
        assert_facts(b, "2", NULL, -1, NULL, NULL);
        assert_int_equal(b->ops->arm(b, &slots[2], 1, &slots[1], NULL), 0);
        assert_env("BOOT_ORDER", "3 2 1");
        /* back before it was booted */
        assert_int_equal(b->ops->arm(b, &slots[1], 0, NULL, NULL), 0);
        assert_env("BOOT_ORDER", "2 3 1");
        boot("2");
        assert_int_equal(b->ops->forget(b, &slots[2], NULL), 0);
        assert_int_equal(b->ops->forget(b, &slots[2], NULL), 0);
        assert_env("BOOT_ORDER", "2 1");
}

/* U-Boot counts in hexadecimal. */
static void many_tries(void **state _unused_) {
        _cleanup_(boot_backend_closep) BootBackend *b = machine();

        assert_int_equal(b->ops->arm(b, &slots[1], 17, &slots[0], NULL), 0);
        assert_env("BOOT_2_LEFT", "11");
        for (int left = 16; left > 9; left--) {
                boot("2");
                assert_facts(b, "2", "2", left, "1", NULL);
        }
        assert_env("BOOT_2_LEFT", "a");
        set("BOOT_2_LEFT", "none");
        boot("1");
        assert_facts(b, "1", NULL, -1, NULL, "2");
}

/* What another script has counted down to nothing: a slot that boots is better than none. */
static void nothing_is_left(void **state _unused_) {
        _cleanup_(boot_backend_closep) BootBackend *b = machine();

        set("BOOT_ORDER", "2 3 1");
        set("BOOT_1_LEFT", "0");
        set("BOOT_2_LEFT", "0");
        set("BOOT_3_LEFT", "0");
        boot("1");
        assert_facts(b, "1", "1", 0, NULL, "2");
        assert_int_equal(b->ops->bless(b, &slots[0], NULL), 0);
        assert_facts(b, "1", NULL, -1, NULL, "2");
}

/* A fallback with a count that ran out would be no fallback. */
static void the_way_back_is_open(void **state _unused_) {
        _cleanup_(boot_backend_closep) BootBackend *b = machine();

        set("BOOT_1_LEFT", "0");
        assert_int_equal(b->ops->arm(b, &slots[1], 1, &slots[0], NULL), 0);
        boot("2");
        boot("1");
}

static void options_follow(void **state _unused_) {
        _cleanup_(boot_backend_closep) BootBackend *b = machine();
        Slot moved = slots[1];

        assert_int_equal(b->ops->arm(b, &slots[1], 2, &slots[0], NULL), 0);
        set("BOOT_2_ARGS", "root=2 loud");
        moved.boot_options = (char *) "root=other";
        assert_int_equal(b->ops->follow(b, &moved, NULL), 0);
        assert_env("BOOT_2_ARGS", "root=other loud");
        assert_env("BOOT_2_LEFT", "2");
}

/* A slot that was armed before keeps its command line, whatever the running system was told. */
static void armed_again(void **state _unused_) {
        _cleanup_(boot_backend_closep) BootBackend *b = machine();

        assert_int_equal(b->ops->arm(b, &slots[1], 2, &slots[0], NULL), 0);
        set("BOOT_2_ARGS", "root=2 loud");
        assert_int_equal(b->ops->arm(b, &slots[1], 0, NULL, NULL), 0);
        assert_env("BOOT_2_ARGS", "root=2 loud");
}

/* The power goes while a copy of the environment is written, at each of the writes: old or new. */
static void a_torn_copy(void **state _unused_) {
        _cleanup_(boot_backend_closep) BootBackend *b = machine();
        static const char *const names[] = {"env-0", "env-1"};

        assert_int_equal(b->ops->arm(b, &slots[1], 2, &slots[0], NULL), 0);
        for (int i = 0; i < 2; i++) {
                _cleanup_(fd_closep) int fd = openat(dir_fd, names[i], O_RDWR | O_CLOEXEC);
                char byte, other;

                assert_int_equal(pread(fd, &byte, 1, 100), 1);
                other = (char) (byte ^ 1);
                assert_int_equal(pwrite(fd, &other, 1, 100), 1);
                assert_env("BOOT_2_LEFT", "2");
                assert_env("BOOT_2_ARGS", "root=2 quiet");
                {
                        _cleanup_(freep) char *order = get("BOOT_ORDER");

                        assert_true(str_eq(order, "1") || str_eq(order, "2 1"));
                }
                assert_int_equal(pwrite(fd, &byte, 1, 100), 1);
        }
        assert_env("BOOT_ORDER", "2 1");
}

/* A file system of its own in boot/, with a folder of ours. */
static void mount_boot(void) {
        char path[80];

        put_file(dir_fd, "boot/x", "");
        snprintf(path, sizeof(path), "%s/boot", dir);
        if (!alone || mount("none", path, "tmpfs", 0, "size=1M") < 0)
                skip();
        put_file(dir_fd, "boot/abupdate/slot-1/linux", "one");
        put_file(dir_fd, "tree/usr/lib/modules/6.1/vmlinuz", "two");
        put_file(dir_fd, "tree/usr/lib/modules/6.1/initrd", "initrd");
}

static void assert_loadable(const char *path, const char *expected) {
        _cleanup_(freep) char *full = str_printf("boot%s", path);
        _cleanup_(freep) char *text = get_file(dir_fd, full);

        assert_string_equal(text, expected);
}

static void kernels_on_the_boot_partition(void **state _unused_) {
        _cleanup_(boot_backend_closep) BootBackend *b = NULL;
        _cleanup_(freep) char *files = NULL;
        _cleanup_(fd_closep) int tree_fd = -1;
        char path[80], *initrd;

        boot_backend_close(machine());
        mount_boot();
        tree_fd = openat(dir_fd, "tree", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        config.kernel_in_slot = false;
        assert_int_equal(uboot_boot_ops.open(&world, &b, NULL), 0);
        config.kernel_in_slot = true;
        assert_int_equal(b->ops->bring(b, &slots[1], tree_fd, NULL, NULL), 0);
        assert_int_equal(b->ops->arm(b, &slots[1], 2, &slots[0], NULL), 0);
        files = get("BOOT_2_FILES");
        initrd = strchr(files, ' ');
        assert_non_null(initrd);
        *initrd++ = '\0';
        assert_loadable(files, "two");
        assert_loadable(initrd, "initrd");
        slots[0].state = SLOT_GOOD;
        slots[1].state = SLOT_BAD;
        /* given up: not to be loaded any more, but there for the next time */
        assert_int_equal(b->ops->condemn(b, &slots[1], NULL), 0);
        assert_env("BOOT_2_FILES", NULL);
        assert_int_equal(b->ops->clean(b, &list, NULL), 0);
        assert_int_equal(b->ops->arm(b, &slots[1], 2, &slots[0], NULL), 0);
        assert_int_equal(b->ops->arm(b, &slots[0], 0, NULL, NULL), 0);
        assert_env("BOOT_1_FILES", "/abupdate/slot-1/linux");
        assert_int_equal(b->ops->forget(b, &slots[1], NULL), 0);
        assert_env("BOOT_2_FILES", NULL);
        snprintf(path, sizeof(path), "boot%s", files);
        assert_int_equal(faccessat(dir_fd, path, F_OK, 0), -1);
        snprintf(path, sizeof(path), "%s/boot", dir);
        assert_int_equal(umount2(path, MNT_DETACH), 0);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                        IN_FOLDER(a_trial_is_lost),
                        IN_FOLDER(a_trial_is_won),
                        IN_FOLDER(many_tries),
                        IN_FOLDER(nothing_is_left),
                        IN_FOLDER(the_way_back_is_open),
                        IN_FOLDER(options_follow),
                        IN_FOLDER(armed_again),
                        IN_FOLDER(a_torn_copy),
                        IN_FOLDER(kernels_on_the_boot_partition),
        };

        alone = unshare(CLONE_NEWNS) >= 0 &&
                mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) >= 0;
        return cmocka_run_group_tests_name("backends/uboot", tests, NULL, NULL);
}
