/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "base/log.h"
#include "tests/unit/unit.h"

static void numbers_have_limits(void **state _unused_) {
        static const struct {
                const char *text;
                int r;
                uint64_t v;
        } table[] = {{"0", 0, 0}, {"007", 0, 7}, {"18446744073709551615", 0, UINT64_MAX},
                        {"18446744073709551616", -ERANGE, 0},
                        {"99999999999999999999999", -ERANGE, 0}, {"", -EINVAL, 0},
                        {NULL, -EINVAL, 0}, {"-1", -EINVAL, 0}, {"+1", -EINVAL, 0},
                        {" 1", -EINVAL, 0}, {"1 ", -EINVAL, 0}, {"1\n", -EINVAL, 0},
                        {"0x1", -EINVAL, 0}, {"1e3", -EINVAL, 0}, {"ten", -EINVAL, 0}};

        for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
                uint64_t v = 42;

                assert_int_equal(parse_u64(table[i].text, &v), table[i].r);
                assert_true(v == (table[i].r < 0 ? 42 : table[i].v));
        }
}

static void sizes_have_limits(void **state _unused_) {
        static const struct {
                const char *text;
                int r;
                uint64_t v;
        } table[] = {{"0", 0, 0}, {"512", 0, 512}, {"1K", 0, 1024}, {"3M", 0, 3u << 20},
                        {"1G", 0, 1u << 30}, {"1T", 0, UINT64_C(1) << 40},
                        {"16777215T", 0, UINT64_C(16777215) << 40}, {"16777216T", -ERANGE, 0},
                        {"18446744073709551615", 0, UINT64_MAX},
                        {"18446744073709551615K", -ERANGE, 0}, {"18446744073709551616", -ERANGE, 0},
                        {"K", -EINVAL, 0}, {"1k", -EINVAL, 0}, {"1KB", -EINVAL, 0},
                        {"1 K", -EINVAL, 0}, {"1KK", -EINVAL, 0}, {"1.5G", -EINVAL, 0},
                        {"-1K", -EINVAL, 0}, {"", -EINVAL, 0}, {NULL, -EINVAL, 0}};

        for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
                uint64_t v = 42;

                assert_int_equal(parse_size(table[i].text, &v), table[i].r);
                assert_true(v == (table[i].r < 0 ? 42 : table[i].v));
        }
}

static void booleans_are_eight_words(void **state _unused_) {
        static const char *const yes[] = {"yes", "true", "on", "1"},
                                 *const no[] = {"no", "false", "off", "0"},
                                 *const bad[] = {"", "Yes", "YES", "y", "2", " yes", "yes ", NULL};
        bool b;

        for (size_t i = 0; i < 4; i++) {
                b = false;
                assert_int_equal(parse_bool(yes[i], &b), 0);
                assert_true(b);
                assert_int_equal(parse_bool(no[i], &b), 0);
                assert_false(b);
        }
        for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
                assert_int_equal(parse_bool(bad[i], &b), -EINVAL);
}

static void only_harmless_text_is_printable(void **state _unused_) {
        static const struct {
                const char *in, *out;
        } table[] = {
                        {"", ""},
                        {"plain ~ text", "plain ~ text"},
                        {"\xc3\xa4 \xe2\x82\xac \xf0\x9f\x98\x80",
                                        "\xc3\xa4 \xe2\x82\xac \xf0\x9f\x98\x80"},
                        {"\xc2\xa0\xed\x9f\xbf\xee\x80\x80\xf4\x8f\xbf\xbf",
                                        "\xc2\xa0\xed\x9f\xbf\xee\x80\x80\xf4\x8f\xbf\xbf"},
                        {"a\nb\tc\r", "a\\x0ab\\x09c\\x0d"},
                        {"\x1b]0;title\x07", "\\x1b]0;title\\x07"},
                        {"\x7f\x01", "\\x7f\\x01"},
                        {"\xc2\x9b"
                         "31m",
                                        "\\xc2\\x9b31m"}, /* CSI as one C1 character */
                        {"\xc2\x80\xc2\x9f", "\\xc2\\x80\\xc2\\x9f"},
                        {"\xe2\x80\xaa\xe2\x80\xae",
                                        "\\xe2\\x80\\xaa\\xe2\\x80\\xae"}, /* LRE, RLO */
                        {"\xe2\x81\xa6\xe2\x81\xa9",
                                        "\\xe2\\x81\\xa6\\xe2\\x81\\xa9"}, /* LRI, PDI */
                        {"\xff\xfe", "\\xff\\xfe"},
                        {"\x80", "\\x80"},
                        {"\xc3", "\\xc3"},
                        {"\xc3(", "\\xc3("},
                        {"\xe2\x82", "\\xe2\\x82"},
                        {"\xf0\x9f\x98", "\\xf0\\x9f\\x98"},
                        {"\xc0\x80", "\\xc0\\x80"},                   /* overlong NUL */
                        {"\xe0\x80\xaf", "\\xe0\\x80\\xaf"},          /* overlong / */
                        {"\xf0\x82\x82\xac", "\\xf0\\x82\\x82\\xac"}, /* overlong euro */
                        {"\xed\xa0\x80", "\\xed\\xa0\\x80"},          /* surrogate */
                        {"\xf4\x90\x80\x80", "\\xf4\\x90\\x80\\x80"}, /* U+110000 */
                        {"\xf8\x88\x80\x80\x80", "\\xf8\\x88\\x80\\x80\\x80"},
        };

        for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
                _cleanup_(freep) char *out = str_printable(table[i].in);

                assert_string_equal(out, table[i].out);
        }
}

/* Whatever bytes come: nothing but printable text comes out, and what came out is left alone the
 * second time. */
static void no_byte_gets_through(void **state _unused_) {
        for (int a = 1; a < 256; a++)
                for (int b = 1; b < 256; b++) {
                        const char in[] = {(char) a, (char) b, '\0'};
                        _cleanup_(freep) char *out = str_printable(in), *again = str_printable(out);

                        for (const char *c = out; *c; c++)
                                assert_false((unsigned char) *c < 0x20 || *c == 0x7f);
                        assert_string_equal(out, again);
                }
}

static void what_is_told_has_an_end(void **state _unused_) {
        static const struct {
                const char *in, *out;
        } table[] = {
                        {"", ""},
                        {"eight by", "eight by"},
                        {"nine byte", "nine ..."},
                        {"\n", "\\x0a"},
                        {"\n\n", "\\x0a\\x0a"},
                        {"\n\n\n", "\\x0a\\..."},
                        {"1234567\xc3\xa4", "12345..."},
                        {"1234\xc3\xa4\xc3\xa4\xc3\xa4", "1234..."},
                        {"123456\xc3\xa4", "123456\xc3\xa4"},
                        {"\xff", "\\xff"},
        };

        for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
                _cleanup_(freep) char *out = str_told(table[i].in, 8);

                assert_string_equal(out, table[i].out);
        }
}

static void names_become_path_components(void **state _unused_) {
        static const char *const good[] = {"1", "a", "A-b_c.9", "_", "-", "a..b"},
                                 *const bad[] = {"", ".", "..", ".a", "a/b", "/", "a b", "a\n",
                                                 "\xc3\xa4", "a:b", "*", NULL};
        char longest[66];

        for (size_t i = 0; i < ARRAY_SIZE(good); i++)
                assert_true(name_ok(good[i]));
        for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
                assert_false(name_ok(bad[i]));
        memset(longest, 'n', sizeof(longest));
        longest[65] = '\0';
        assert_false(name_ok(longest));
        assert_true(name_ok(longest + 1));
}

static void uuids_go_both_ways(void **state _unused_) {
        static const char text[] = "01234567-89ab-cdef-fedc-ba9876543210";
        static const char *const bad[] = {"", "01234567-89ab-cdef-fedc-ba987654321",
                        "01234567-89ab-cdef-fedc-ba98765432100",
                        "01234567-89AB-cdef-fedc-ba9876543210", "0123456789abcdeffedcba9876543210",
                        "01234567_89ab-cdef-fedc-ba9876543210",
                        "0123456g-89ab-cdef-fedc-ba9876543210",
                        " 1234567-89ab-cdef-fedc-ba9876543210",
                        "01234567-89ab-cdef-fedc-ba9876543210\n"};
        char buf[UUID_TEXT_SIZE];
        uint8_t u[16] = {0}, zero[16] = {0};

        assert_int_equal(uuid_parse_text(text, u), 0);
        assert_int_equal(u[0], 0x01);
        assert_int_equal(u[15], 0x10);
        assert_string_equal(uuid_format(buf, u), text);
        assert_false(uuid_is_null(u));
        assert_true(uuid_is_null(zero));
        for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
                assert_int_equal(uuid_parse_text(bad[i], zero), -EINVAL);
                assert_true(uuid_is_null(zero));
        }
}

static void bytes_are_shown_to_people(void **state _unused_) {
        char buf[16];

        assert_string_equal(format_bytes(buf, 0), "0 B");
        assert_string_equal(format_bytes(buf, 1023), "1023 B");
        assert_string_equal(format_bytes(buf, 1024), "1.0 KiB");
        assert_string_equal(format_bytes(buf, UINT64_C(5) << 29), "2.5 GiB");
        assert_string_equal(format_bytes(buf, UINT64_MAX), "16.0 EiB");
}

static void strings_know_nothing_of_null(void **state _unused_) {
        _cleanup_(freep) char *s = NULL;

        assert_true(str_eq(NULL, NULL));
        assert_false(str_eq(NULL, ""));
        assert_false(str_eq("", NULL));
        assert_true(str_eq("a", "a"));
        assert_string_equal(str_or(NULL, "x"), "x");
        assert_string_equal(str_or("y", "x"), "y");
        assert_string_equal(str_after("slot-7", "slot-"), "7");
        assert_string_equal(str_after("slot-", "slot-"), "");
        assert_null(str_after("slo", "slot-"));

        assert_int_equal(str_set(&s, "one"), 0);
        assert_int_equal(str_set(&s, s), 0); /* of itself */
        assert_string_equal(s, "one");
        assert_int_equal(str_set(&s, NULL), 0);
        assert_null(s);
        s = str_printf("%d-%s", 7, "x");
        assert_string_equal(s, "7-x");
}

static void ownership_moves_once(void **state _unused_) {
        char *a = strdup("x");
        _cleanup_(freep) char *b = MOVE(a);
        int fd = 7, other = MOVE_FD(fd);

        assert_null(a);
        assert_non_null(b);
        assert_int_equal(fd, -1);
        assert_int_equal(other, 7);
        errno = EXDEV;
        assert_int_equal(fd_close(-1), -1);
        assert_int_equal(fd_close(open("/dev/null", O_RDONLY | O_CLOEXEC)), -1);
        assert_int_equal(errno, EXDEV);
}

static void clocks_run_forward(void **state _unused_) {
        uint64_t a = now_monotonic(), b = now_monotonic();

        assert_true(a > 0 && b >= a);
        assert_true(now_realtime() > UINT64_C(1600000000) * USEC_PER_SEC);
}

/* What log_message() wrote to standard error. */
static char *logged(int level, const char *text) {
        FILE *f = tmpfile();
        int saved = dup(STDERR_FILENO);
        char buf[512];
        size_t n;

        assert_non_null(f);
        fflush(stderr);
        dup2(fileno(f), STDERR_FILENO);
        log_message(level, "%s", text);
        fflush(stderr);
        dup2(saved, STDERR_FILENO);
        close(saved);
        rewind(f);
        n = fread(buf, 1, sizeof(buf) - 1, f);
        buf[n] = '\0';
        fclose(f);
        return strdup(buf);
}

static void a_log_line_is_one_line(void **state _unused_) {
        _cleanup_(freep) char *here = NULL;
        struct stat st;
        const struct {
                const char *journal, *level, *text, *out;
                int at;
        } table[] = {
                        {NULL, NULL, "slot \x1b[31m\n<0>forged",
                                        "unit: slot \\x1b[31m\\x0a<0>forged\n", LOG_ERR},
                        {"here", NULL, "a\nb", "<4>a\\x0ab\n", LOG_WARNING},
                        {"8:1", NULL, "not here", "unit: not here\n", LOG_WARNING},
                        {"", NULL, "nowhere", "unit: nowhere\n", LOG_WARNING},
                        {NULL, NULL, "quiet", "", LOG_DEBUG},
                        {NULL, "3", "quiet", "", LOG_WARNING},
                        {NULL, "7", "said", "unit: said\n", LOG_DEBUG},
                        {NULL, "8", "level 8 is none", "unit: level 8 is none\n",
                                        LOG_DEBUG}, /* as before */
                        {NULL, "x", "nor is x", "unit: nor is x\n", LOG_DEBUG},
        };

        assert_int_equal(fstat(STDERR_FILENO, &st), 0);
        here = str_printf("%ju:%ju", (uintmax_t) st.st_dev, (uintmax_t) st.st_ino);
        assert_non_null(here);
        for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
                _cleanup_(freep) char *out = NULL;

                unsetenv("JOURNAL_STREAM");
                unsetenv("ABUPDATE_LOG_LEVEL");
                if (table[i].journal)
                        setenv("JOURNAL_STREAM",
                                        str_eq(table[i].journal, "here") ? here : table[i].journal,
                                        1);
                if (table[i].level)
                        setenv("ABUPDATE_LOG_LEVEL", table[i].level, 1);
                log_open("unit");
                out = logged(table[i].at, table[i].text);
                assert_string_equal(out, table[i].out);
        }
}

int main(void) {
        const struct CMUnitTest tests[] = {
                        CASE(numbers_have_limits),
                        CASE(sizes_have_limits),
                        CASE(booleans_are_eight_words),
                        CASE(only_harmless_text_is_printable),
                        CASE(no_byte_gets_through),
                        CASE(what_is_told_has_an_end),
                        CASE(names_become_path_components),
                        CASE(uuids_go_both_ways),
                        CASE(bytes_are_shown_to_people),
                        CASE(strings_know_nothing_of_null),
                        CASE(ownership_moves_once),
                        CASE(clocks_run_forward),
                        CASE(a_log_line_is_one_line),
        };

        return cmocka_run_group_tests_name("base/util", tests, NULL, NULL);
}
