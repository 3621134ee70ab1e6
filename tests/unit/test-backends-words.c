/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What a version brings for the command line of its kernel: read, refused, and told. */
#include "tests/unit/folder.h"

#include "backends/boot-cmdline.h"
#include "backends/boot-words.h"
#include "os/file.h"

#define ETC "etc/kernel/cmdline"
#define LIB "usr/lib/kernel/cmdline"

static void assert_words(const char *wanted) {
        _cleanup_(freep) char *words = NULL;

        assert_int_equal(words_read(dir_fd, &words, NULL), 0);
        if (wanted) {
                assert_non_null(words);
                assert_string_equal(words, wanted);
        } else
                assert_null(words);
}

static void assert_refused(const char *text, size_t size, const char *part) {
        _cleanup_(freep) char *words = NULL;
        Err *err = NULL;

        put_file(dir_fd, ETC, "");
        assert_int_equal(file_write_at(dir_fd, ETC, text, size, NULL), 0);
        assert_true(words_read(dir_fd, &words, &err) < 0);
        assert_null(words);
        assert_non_null(strstr(err_text(err), "/" ETC " of the version"));
        assert_story(&err, ERR_WRONG_LAYOUT, part);
}

/* As kernel-install(8) has it: the first that is there, an empty one too; what is no file is none. */
static void which_file(void **state _unused_) {
        assert_words(NULL);
        put_file(dir_fd, "usr/lib/kernel/x", "");
        put_file(dir_fd, "etc/kernel/x", "");
        assert_words(NULL);
        put_file(dir_fd, LIB, "of=the-maker\n");
        assert_words("of=the-maker");
        put_file(dir_fd, ETC, "of=somebody\n");
        assert_words("of=somebody");
        put_file(dir_fd, ETC, "");
        assert_words("");
        assert_int_equal(unlinkat(dir_fd, ETC, 0), 0);
        assert_int_equal(symlinkat("/dev/null", dir_fd, ETC), 0);
        assert_words("of=the-maker");
        assert_int_equal(unlinkat(dir_fd, ETC, 0), 0);
        assert_int_equal(symlinkat("cmdline", dir_fd, ETC), 0); /* to itself */
        assert_words("of=the-maker");
        assert_int_equal(unlinkat(dir_fd, ETC, 0), 0);
        assert_int_equal(symlinkat("/" LIB, dir_fd, ETC), 0); /* of the tree */
        assert_words("of=the-maker");
        assert_int_equal(unlinkat(dir_fd, ETC, 0), 0);
        put_file(dir_fd, ETC "/x", "");
        assert_words("of=the-maker");
}

static void lines(void **state _unused_) {
        static const struct {
                const char *text, *words;
        } table[] = {
                        {"\n", ""},
                        {" \t\n\n", ""},
                        {"quiet", "quiet"},
                        {"\tquiet \n", "quiet"},
                        {"a  b\t \tc\nd\n\n e\n", "a b c d e"},
                        {"# it's \xc3\xa4 \\ remark\na\n  # another\nb # c\n", "a b # c"},
                        {"#\n#", ""},
                        {"a=#b\n", "a=#b"},
                        {"a=\"b\n  c\" d=\"\" \"e f\"", "a=\"b c\" d=\"\" \"e f\""},
                        {"memmap=64M$0x1000 a;b {c} (d) `e` $f ${g} <h> *?~!@%^&|[i]",
                                        "memmap=64M$0x1000 a;b {c} (d) `e` $f ${g} <h> "
                                        "*?~!@%^&|[i]"},
                        {"dyndbg=\"file a.c +p; func b -p\"", "dyndbg=\"file a.c +p; func b -p\""},
                        {"init=/x single", "init=/x single"},
        };

        for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
                put_file(dir_fd, ETC, table[i].text);
                assert_words(table[i].words);
        }
}

#define TEXT(s) s, sizeof(s) - 1

/* What some loader would read as something else, or the kernel would cut off. */
static void refused(void **state _unused_) {
        static const struct {
                const char *text;
                size_t size;
                const char *part;
        } table[] = {
                        {TEXT("a\0b\n"), "the byte 0x00"},
                        {TEXT("quiet\r\n"), "the byte 0x0d"},
                        {TEXT("a=\x1b[1m\n"), "the byte 0x1b"},
                        {TEXT("a=\x7f\n"), "the byte 0x7f"},
                        {TEXT("a=\xc3\xa4\n"), "the byte 0xc3"},
                        {TEXT("it's\n"), "the character '"},
                        {TEXT("a\\b\n"), "the character \\"},
                        {TEXT("a=b\\\nc\n"), "the character \\"},
                        {TEXT("a=\"b c\n"), "quotes have no end"},
                        {TEXT("a=\"b\" c\"\n"), "quotes have no end"},
                        {TEXT("a=b\"c d\"\n"), "neither a word nor a value"},
                        {TEXT("a=\"b c\"d\n"), "neither a word nor a value"},
                        {TEXT("a=\"b\"\"c\"\n"), "neither a word nor a value"},
                        {TEXT("\"a\"=\"b\"\n"), "neither a word nor a value"},
                        {TEXT("a\"b\"\n"), "neither a word nor a value"},
                        {TEXT("\"root=LABEL=x\"\n"), "names a slot"},
                        {TEXT("\"root=LABEL=x y\"\n"), "names a slot"},
                        {TEXT("a=\"b root=LABEL=x\"\n"), "names a slot"},
                        {TEXT("a=\"b ro\"\n"), "names a slot"},
                        {TEXT("a=\"b\nabupdate.seal c\"\n"), "names a slot"},
        };
        _cleanup_(freep) char *large = malloc(64 * 1024);
        const size_t most = 1535; /* and 512 for the root: COMMAND_LINE_SIZE of most machines */

        for (size_t i = 0; i < ARRAY_SIZE(table); i++)
                assert_refused(table[i].text, table[i].size, table[i].part);
        memset(large, 'x', 64 * 1024);
        assert_refused(large, 64 * 1024, "larger than");
        assert_refused(large, 64 * 1024 - 1, "characters");
        assert_refused(large, most + 1, "characters");
#if !defined(__arm__) && !defined(__riscv)
        assert_int_equal(file_write_at(dir_fd, ETC, large, most, NULL), 0);
        large[most] = '\0';
        assert_words(large);
#endif
}

static void changes(void **state _unused_) {
        _cleanup_(fd_closep) int before_fd = -1, after_fd = -1;

        put_file(dir_fd, "before/x", "");
        put_file(dir_fd, "after/x", "");
        before_fd = dir_open_at(dir_fd, "before", NULL);
        after_fd = dir_open_at(dir_fd, "after", NULL);
        assert_int_equal(words_differ(after_fd, before_fd, NULL), 0);
        put_file(after_fd, LIB, "a\n");
        assert_int_equal(words_differ(after_fd, before_fd, NULL), 1);
        assert_int_equal(words_differ(before_fd, after_fd, NULL), 1);
        put_file(before_fd, LIB, "a\n");
        assert_int_equal(words_differ(after_fd, before_fd, NULL), 0);
        put_file(after_fd, LIB, "b\n");
        assert_int_equal(words_differ(after_fd, before_fd, NULL), 1);
        put_file(after_fd, LIB, "");
        assert_int_equal(words_differ(after_fd, before_fd, NULL), 1);
        put_file(after_fd, LIB, "a\n");
        put_file(after_fd, ETC, "a\n");
        assert_int_equal(words_differ(after_fd, before_fd, NULL), 1);
        /* what could not be told, and has not changed */
        put_file(before_fd, ETC, "it's\n");
        put_file(after_fd, ETC, "it's\n");
        assert_int_equal(words_differ(after_fd, before_fd, NULL), 0);
}

/* Who comes first, and what of each is the slot's own. */
static void order(void **state _unused_) {
        static const struct {
                const char *backend, *rest, *cmdline, *brought, *running, *options;
        } table[] = {
                        {"snapshot", "root=9 old", "set", "new", "run", "old"},
                        {"snapshot", "", "set", "new", "run", ""},
                        {"snapshot", NULL, "set", "new", "run", "set"},
                        {"snapshot", NULL, NULL, "new", "run", "new"},
                        {"snapshot", NULL, NULL, "", "run", ""},
                        {"snapshot", NULL, NULL, NULL, "run", "run"},
                        {"snapshot", NULL, NULL,
                                        "BOOT_IMAGE=/k root=LABEL=m initrd=/i ro rw quiet "
                                        "rootfstype=ext4 abupdate.seal init=/x single",
                                        "run", "quiet init=/x single"},
                        {"snapshot", NULL, NULL,
                                        "rootflags=subvol=@,ssd,subvolid=7,device=/dev/x q", "run",
                                        ",ssd q"},
                        /* the disks are the machine's */
                        {"snapshot", NULL, NULL, "q rootflags=ssd,device=/dev/x",
                                        "rootflags=noatime,device=/dev/b,degraded,device=/dev/c "
                                        "run",
                                        ",ssd,device=/dev/b,degraded,device=/dev/c q"},
                        {"snapshot", NULL, NULL, "q", "rootflags=subvol=@,noatime,device=/dev/b",
                                        ",device=/dev/b q"},
                        {"seed", NULL, NULL, "q rootflags=ssd,device=/dev/x",
                                        "rootflags=device=/dev/b,degraded run", ",ssd q"},
                        {"snapshot", NULL, NULL, "a=\"b c\"", "run", "a=\"b c\""},
        };

        for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
                Config c = {.backend = (char *) table[i].backend,
                                .cmdline = (char *) table[i].cmdline};
                const World w = {dir, dir_fd, &c};
                const Slot slot = {.id = (char *) "2",
                                .boot_options = (char *) "root=2 rootflags=subvol=x",
                                .cmdline = (char *) table[i].brought};
                _cleanup_(freep) char *options = NULL, *again = NULL;
                const char *wanted = table[i].options;
                char text[128];

                snprintf(text, sizeof(text), "root=2 rootflags=subvol=x%s%s",
                                *wanted && *wanted != ',' ? " " : "", wanted);
                put_file(dir_fd, "proc/cmdline", table[i].running);
                assert_int_equal(boot_cmdline_make(&w, &slot, table[i].rest, &options, NULL), 0);
                assert_string_equal(options, text);
                /* and it stays */
                assert_int_equal(boot_cmdline_make(&w, &slot, options, &again, NULL), 0);
                if (!table[i].cmdline)
                        assert_string_equal(again, options);
        }
}

/* Whoever wrote the record. */
static void a_bad_record(void **state _unused_) {
        Config c = {.backend = (char *) "snapshot"};
        const World w = {dir, dir_fd, &c};
        const Slot slot = {.id = (char *) "2",
                        .boot_options = (char *) "root=2",
                        .cmdline = (char *) "it's"};
        char *options = NULL;
        Err *err = NULL;

        put_file(dir_fd, "proc/cmdline", "run");
        assert_true(boot_cmdline_make(&w, &slot, NULL, &options, &err) < 0);
        assert_story(&err, ERR_WRONG_LAYOUT, "Cmdline= of the slot");
        assert_null(options);
}

/* A root on very many disks. */
static void too_long_together(void **state _unused_) {
        Config c = {.backend = (char *) "snapshot"};
        const World w = {dir, dir_fd, &c};
        Slot slot = {.id = (char *) "2", .boot_options = (char *) "root=2 rootflags=subvol=x"};
        _cleanup_(freep) char *options = NULL, *none = NULL;
        char running[2048] = "rootflags=degraded,device=/dev/";
        Err *err = NULL;

        memset(running + strlen(running), 'x', sizeof(running) - strlen(running) - 1);
        put_file(dir_fd, "proc/cmdline", running);
        slot.cmdline = (char *) "quiet";
        assert_true(boot_cmdline_make(&w, &slot, NULL, &none, &err) < 0);
        assert_story(&err, ERR_WRONG_LAYOUT, "longer than a kernel reads");
        assert_null(none);
        running[900] = '\0';
        put_file(dir_fd, "proc/cmdline", running);
        assert_int_equal(boot_cmdline_make(&w, &slot, NULL, &options, NULL), 0);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                        IN_FOLDER(which_file),
                        IN_FOLDER(lines),
                        IN_FOLDER(refused),
                        IN_FOLDER(changes),
                        IN_FOLDER(order),
                        IN_FOLDER(a_bad_record),
                        IN_FOLDER(too_long_together),
        };

        return cmocka_run_group_tests_name("backends/words", tests, NULL, NULL);
}
