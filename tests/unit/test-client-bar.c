/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <locale.h>

#include "client/bar.h"
#include "client/text.h"
#include "tests/unit/unit.h"

#define MIB (UINT64_C(1) << 20)

static const Bar half = {
                .phase = "write",
                .fraction = 0.5,
                .done = 512 * MIB,
                .total = 1024 * MIB,
                .rate = 16 * MIB,
                .elapsed = 32,
};

static void everything_where_there_is_room(void **state) {
        _cleanup_(freep) char *s = bar_format(&half, 120);

        (void) state;
        assert_string_equal(s, "write     ####################>...................  50 %      "
                               "512.0 MiB of "
                               "1.0 GiB     16.0 MiB/s      0:32 left");
}

static void less_where_there_is_less(void **state) {
        static const struct {
                size_t width;
                bool rate, bytes, left, bar;
        } cases[] = {
                        {84, true, true, true, true},
                        {68, false, true, true, true},
                        {42, false, false, true, true},
                        {27, false, false, false, true},
                        {20, false, false, false, false},
        };

        (void) state;
        for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
                _cleanup_(freep) char *s = bar_format(&half, cases[i].width);

                assert_true(text_width(s) <= cases[i].width);
                assert_int_equal(strstr(s, "/s") != NULL, cases[i].rate);
                assert_int_equal(strstr(s, " of ") != NULL, cases[i].bytes);
                assert_int_equal(strstr(s, "left") != NULL, cases[i].left);
                assert_int_equal(strstr(s, "#") != NULL, cases[i].bar);
                assert_non_null(strstr(s, "50 %"));
        }
}

static void no_width_is_exceeded(void **state) {
        static const double fractions[] = {-1, 0, 0.001, 0.999, 1, 7};

        (void) state;
        for (size_t width = 1; width < 200; width++)
                for (size_t i = 0; i < ARRAY_SIZE(fractions); i++)
                        for (int utf8 = 0; utf8 < 2; utf8++) {
                                Bar b = {
                                                .phase = "a-phase-with-a-long-name",
                                                .fraction = fractions[i],
                                                .done = UINT64_MAX,
                                                .total = i % 2 ? UINT64_MAX : 0,
                                                .rate = UINT64_MAX,
                                                .elapsed = UINT64_MAX,
                                                .utf8 = utf8,
                                };
                                _cleanup_(freep) char *s = bar_format(&b, width);

                                assert_true(text_width(s) <= width);
                        }
}

static void nothing_known(void **state) {
        Bar b = {.phase = "verify", .fraction = -1, .elapsed = 5};
        _cleanup_(freep) char *s = bar_format(&b, 60);

        (void) state;
        assert_null(strchr(s, '%'));
        assert_null(strchr(s, '#'));
        assert_non_null(strstr(s, "0:05"));
}

static void spans(void **state) {
        char buf[16];

        (void) state;
        assert_string_equal(format_span(buf, 0), "0:00");
        assert_string_equal(format_span(buf, 61), "1:01");
        assert_string_equal(format_span(buf, 3600 + 62), "1:01:02");
        assert_true(strlen(format_span(buf, UINT64_MAX)) < sizeof(buf));
}

static void texts_break_between_words(void **state) {
        static const struct {
                const char *text, *broken;
        } cases[] = {
                        {"", ""},
                        {"one", "one"},
                        {"one two three", "one two\nthree"},
                        {"one two th", "one two th"},
                        {"much-too-long-a-word and more", "much-too-long-a-word\nand more"},
                        {"a much-too-long-a-word", "a\nmuch-too-long-a-word"},
                        {"übergröße ä", "übergröße\nä"},
        };

        (void) state;
        for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
                _cleanup_(freep) char *s = text_wrap(cases[i].text, 10);

                assert_string_equal(s, cases[i].broken);
        }
}

int main(void) {
        const struct CMUnitTest tests[] = {
                        CASE(everything_where_there_is_room),
                        CASE(less_where_there_is_less),
                        CASE(no_width_is_exceeded),
                        CASE(nothing_known),
                        CASE(spans),
                        CASE(texts_break_between_words),
        };

        setlocale(LC_ALL, "C.UTF-8");
        return cmocka_run_group_tests_name("client/bar", tests, NULL, NULL);
}
