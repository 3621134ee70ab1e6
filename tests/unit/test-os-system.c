/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What a tree, a boot and a program say of themselves. */
#include "os/os-release.h"
#include "os/proc.h"
#include "os/process.h"
#include "tests/unit/folder.h"

static void the_kernel_command_line(void **state _unused_) {
        static const struct {
                const char *line, *value; /* of "key" */
        } table[] = {{"", NULL}, {"key=1\n", "1"}, {"a key b\n", ""}, {"key=1 key=2", "2"},
                        {"key=1 key", ""}, {"keys=1 mykey=2 xkey", NULL}, {"key=a=b,c", "a=b,c"},
                        {"KEY=1", NULL}, {"  \tkey=x\t\n", "x"}, {"key=", ""}};

        for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
                _cleanup_(freep) char *value = NULL;

                put_file(dir_fd, "proc/cmdline", table[i].line);
                assert_int_equal(proc_cmdline_get(dir_fd, "key", &value, NULL), 0);
                if (table[i].value)
                        assert_string_equal(value, table[i].value);
                else
                        assert_null(value);
        }
}

static void no_proc_is_an_error(void **state _unused_) {
        char *value = NULL;
        Err *e = NULL;

        assert_int_equal(proc_cmdline_get(dir_fd, "key", &value, &e), -ENOENT);
        assert_story(&e, ERR_FAILED, "read the kernel command line");
        assert_int_equal(proc_boot_id(dir_fd, &value, &e), -ENOENT);
        assert_story(&e, ERR_FAILED, "read the id of this boot");
        assert_null(value);
}

static void the_boot_id(void **state _unused_) {
        static const char path[] = "proc/sys/kernel/random/boot_id",
                          id[] = "01234567-89ab-cdef-0123-456789abcdef";
        _cleanup_(freep) char *value = NULL, *line = str_printf("%s\n", id);
        char *none = NULL;
        Err *e = NULL;

        put_file(dir_fd, path, line);
        assert_int_equal(proc_boot_id(dir_fd, &value, NULL), 0);
        assert_string_equal(value, id);
        put_file(dir_fd, path, "01234567\n");
        assert_int_equal(proc_boot_id(dir_fd, &none, &e), -EBADMSG);
        assert_story(&e, ERR_FAILED, "'01234567' is none");
        put_file(dir_fd, path, "");
        assert_int_equal(proc_boot_id(dir_fd, &none, NULL), -EBADMSG);
        assert_null(none);
}

static void mount_options(void **state _unused_) {
        static const struct {
                const char *options, *value; /* of "subvol" */
        } table[] = {{"", NULL}, {"rw,noatime", NULL}, {"subvol=@", "@"},
                        {"rw,subvol=/a/b,ro", "/a/b"}, {"subvolid=5", NULL}, {"rw,subvol", ""},
                        {"xsubvol=1", NULL}, {"subvol=", ""}};

        for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
                _cleanup_(freep) char *value = NULL;

                assert_int_equal(mount_option_get(table[i].options, "subvol", &value), 0);
                if (table[i].value)
                        assert_string_equal(value, table[i].value);
                else
                        assert_null(value);
        }
}

static void the_fstab(void **state _unused_) {
        static const struct {
                const char *fstab, *options; /* of / */
        } table[] = {
                        {NULL, ""},
                        {"", ""},
                        {"# nothing\n\n", ""},
                        {"UUID=1 / btrfs defaults,subvol=@ 0 0\n", "defaults,subvol=@"},
                        {"UUID=1\t/home btrfs rw\n/dev/vda2   /   btrfs   ro,noatime\n",
                                        "ro,noatime"},
                        {"/dev/vda2 / btrfs\n", ""},
                        {"/dev/vda2 / btrfs rw", "rw"}, /* no newline at the end */
                        {"/dev/vda1 /usr btrfs subvol=u\n", ""},
        };

        for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
                _cleanup_(freep) char *options = NULL;
                _cleanup_(err_freep) Err *e = NULL;

                if (table[i].fstab)
                        put_file(dir_fd, "etc/fstab", table[i].fstab);
                if (fstab_options(dir_fd, "/", &options, &e) < 0)
                        fail_msg("row %zu: %s", i, err_text(e));
                assert_string_equal(options, table[i].options);
        }
}

static void a_strange_fstab(void **state _unused_) {
        char *options = NULL;
        Err *e = NULL;

        assert_int_equal(mkdirat(dir_fd, "etc", 0755), 0);
        assert_int_equal(mkfifoat(dir_fd, "etc/fstab", 0644), 0);
        assert_int_equal(fstab_options(dir_fd, "/", &options, &e), -EBADMSG);
        assert_story(&e, ERR_FAILED, "etc/fstab");
        assert_null(options);
}

static void assert_version(const char *want) {
        _cleanup_(freep) char *version = NULL;

        assert_int_equal(os_release_version(dir_fd, &version, NULL), 0);
        if (want)
                assert_string_equal(version, want);
        else
                assert_null(version);
}

static void a_tree_says_its_version(void **state _unused_) {
        assert_version(NULL);
        put_file(dir_fd, "usr/lib/os-release", "NAME=x\nVERSION_ID=12\n");
        assert_version("12");
        put_file(dir_fd, "etc/os-release", "ID=x\nVERSION_ID=\"13.1\"\n# x\n");
        assert_version("13.1");
        put_file(dir_fd, "etc/os-release", "VERSION_ID=13\nIMAGE_VERSION='2026-11'\n");
        assert_version("2026-11");
        put_file(dir_fd, "etc/os-release", "IMAGE_VERSION=\nVERSION_ID=14\n");
        assert_version("14");
        put_file(dir_fd, "etc/os-release", "IMAGE_VERSION=''\nVERSION_ID=\"\"\n");
        assert_version(NULL);
        put_file(dir_fd, "etc/os-release", "ID=rolling\n");
        assert_version(NULL);
        put_file(dir_fd, "etc/os-release", "VERSION_ID=1\x1b[2J\n");
        assert_version("1\\x1b[2J");
        put_file(dir_fd, "etc/os-release", "");
        assert_version(NULL);
        put_file(dir_fd, "etc/os-release", "no key\n=\n[x\n");
        assert_version(NULL);
}

static void its_links_stay_inside(void **state _unused_) {
        int outer = dir_fd;

        put_file(outer, "usr/lib/os-release", "VERSION_ID=outside\n");
        put_file(outer, "tree/usr/lib/os-release", "VERSION_ID=inside\n");
        assert_int_equal(mkdirat(outer, "tree/etc", 0755), 0);
        dir_fd = openat(outer, "tree", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        assert_int_equal(symlinkat("../usr/lib/os-release", dir_fd, "etc/os-release"), 0);
        assert_version("inside");
        assert_int_equal(unlinkat(dir_fd, "etc/os-release", 0), 0);
        assert_int_equal(symlinkat("/usr/lib/os-release", dir_fd, "etc/os-release"), 0);
        assert_version("inside");
        assert_int_equal(unlinkat(dir_fd, "etc/os-release", 0), 0);
        assert_int_equal(symlinkat("../../../usr/lib/os-release", dir_fd, "etc/os-release"), 0);
        assert_version("inside");
        close(dir_fd);
        dir_fd = outer;
}

/* It must neither wait for a writer nor read what has no end. */
static void its_file_is_a_file(void **state _unused_) {
        int fd;

        assert_int_equal(mkdirat(dir_fd, "etc", 0755), 0);
        assert_int_equal(mkfifoat(dir_fd, "etc/os-release", 0644), 0);
        alarm(10);
        assert_version(NULL);
        assert_int_equal(unlinkat(dir_fd, "etc/os-release", 0), 0);
        assert_int_equal(mkdirat(dir_fd, "etc/os-release", 0755), 0);
        assert_version(NULL);
        assert_int_equal(unlinkat(dir_fd, "etc/os-release", AT_REMOVEDIR), 0);
        fd = openat(dir_fd, "etc/os-release", O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
        assert_int_equal(ftruncate(fd, INT64_C(1) << 36), 0);
        close(fd);
        assert_version(NULL);
        alarm(0);
}

static void a_program_is_run(void **state _unused_) {
        const char *const ok[] = {"true", NULL};
        const char *const args[] = {"sh", "-c", "test \"$1\" = 'a b' && ! read x && echo noise",
                        "sh", "a b", NULL};
        const char *const bad[] = {
                        "sh", "-c", "echo first >&2; echo 'what went wrong' >&2; exit 3", NULL};
        const char *const killed[] = {"sh", "-c", "kill -9 $$", NULL};
        const char *const none[] = {"no-such-program-anywhere", NULL};
        const char *const silent[] = {"false", NULL};
        Err *e = NULL;

        assert_int_equal(program_run(ok, NULL, NULL), 0);
        assert_int_equal(program_run(args, NULL, NULL), 0);
        assert_int_equal(program_run(bad, NULL, &e), -ECHILD);
        assert_story(&e, ERR_FAILED, "sh failed with status 3: what went wrong");
        assert_int_equal(program_run(killed, NULL, &e), -ECHILD);
        assert_story(&e, ERR_FAILED, "killed by signal 9");
        assert_int_equal(program_run(none, NULL, &e), -ENOENT);
        assert_story(&e, ERR_FAILED, "no-such-program-anywhere");
        assert_int_equal(program_run(silent, NULL, &e), -ECHILD);
        assert_story(&e, ERR_FAILED, "false failed with status 1");
}

static void a_program_gets_what_it_is_given(void **state _unused_) {
        _cleanup_(freep) char *script = NULL, *text = NULL;
        const char *argv[] = {"sh", "-c", NULL, NULL};
        int given, other, fds[] = {-1, -1};
        Err *e = NULL;

        given = openat(dir_fd, "given", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
        other = openat(dir_fd, "other", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
        script = str_printf("echo yes >&%i && ! { echo no >&%i; } 2>/dev/null", given, other);
        argv[2] = script;
        fds[0] = given;
        assert_int_equal(program_run(argv, fds, &e), 0);
        text = get_file(dir_fd, "given");
        assert_string_equal(text, "yes\n");
        close(given);
        close(other);

        argv[2] = "head -c 100000 /dev/zero | tr '\\0' x >&2; echo >&2; echo end >&2; exit 1";
        assert_int_equal(program_run(argv, NULL, &e), -ECHILD);
        assert_story(&e, ERR_FAILED, "status 1: end");
        argv[2] = "printf '\\033[31mred' >&2; exit 1";
        assert_int_equal(program_run(argv, NULL, &e), -ECHILD);
        assert_non_null(e);
        e = err_free(e);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                        IN_FOLDER(the_kernel_command_line),
                        IN_FOLDER(no_proc_is_an_error),
                        IN_FOLDER(the_boot_id),
                        CASE(mount_options),
                        IN_FOLDER(the_fstab),
                        IN_FOLDER(a_strange_fstab),
                        IN_FOLDER(a_tree_says_its_version),
                        IN_FOLDER(its_links_stay_inside),
                        IN_FOLDER(its_file_is_a_file),
                        CASE(a_program_is_run),
                        IN_FOLDER(a_program_gets_what_it_is_given),
        };

        return cmocka_run_group_tests_name("os/system", tests, NULL, NULL);
}
