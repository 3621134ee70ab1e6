/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "base/kv.h"
#include "tests/unit/unit.h"

static Kv *parse(const char *text) {
        Kv *kv = NULL;
        _cleanup_(err_freep) Err *e = NULL;

        if (kv_parse(text, strlen(text), &kv, &e) < 0)
                fail_msg("'%s' is refused: %s", text, err_text(e));
        return kv;
}

static void what_is_written_is_read(void **state _unused_) {
        _cleanup_(kv_freep) Kv *kv = NULL, *again = NULL;
        _cleanup_(freep) char *text = NULL, *text2 = NULL;

        assert_int_equal(kv_new(&kv), 0);
        assert_int_equal(kv_set(kv, "Version", "1.0 = first"), 0);
        assert_int_equal(kv_set(kv, "a.b-C9", "\xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80"), 0);
        assert_int_equal(kv_setf(kv, "Size", "%" PRIu64, UINT64_MAX), 0);
        assert_int_equal(kv_format(kv, &text), 0);
        assert_string_equal(text, "Version=1.0 = first\n"
                                  "a.b-C9=\xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80\n"
                                  "Size=18446744073709551615\n");
        again = parse(text);
        assert_int_equal(kv_count(again), 3);
        assert_string_equal(kv_key(again, 0), "Version");
        assert_string_equal(kv_key(again, 2), "Size");
        assert_null(kv_key(again, 3));
        assert_string_equal(kv_get(again, "Version"), "1.0 = first");
        assert_int_equal(kv_format(again, &text2), 0);
        assert_string_equal(text, text2);
}

static void setting_replaces_and_nothing_removes(void **state _unused_) {
        _cleanup_(kv_freep) Kv *kv = parse("A=1\nB=2\nC=3\n");
        _cleanup_(freep) char *text = NULL;

        assert_int_equal(kv_set(kv, "B", "two"), 0);
        assert_int_equal(kv_set(kv, "A", NULL), 0);
        assert_int_equal(kv_set(kv, "C", ""), 0);
        assert_int_equal(kv_set(kv, "Absent", NULL), 0);
        assert_int_equal(kv_setf(kv, "Absent", "%s", ""), 0);
        assert_null(kv_get(kv, "A"));
        assert_int_equal(kv_format(kv, &text), 0);
        assert_string_equal(text, "B=two\n");
}

static void an_empty_text_has_no_keys(void **state _unused_) {
        _cleanup_(kv_freep) Kv *kv = parse("");
        _cleanup_(freep) char *text = NULL;

        assert_int_equal(kv_count(kv), 0);
        assert_int_equal(kv_format(kv, &text), 0);
        assert_string_equal(text, "");
}

static const struct {
        const char *text, *story;
        size_t size; /* 0: strlen() */
} malformed[] = {
                {"A=1", "the last line has no end"},
                {"A=1\nB", "the last line has no end"},
                {"A\n", "line 1: no '='"},
                {"\n", "line 1: no '='"},
                {"A=1\n\nB=2\n", "line 2: no '='"},
                {"# comment\n", "line 1: no '='"},
                {"#A=1\n", "line 1: not a key"},
                {"=1\n", "line 1: not a key"},
                {" A=1\n", "line 1: not a key"},
                {"A =1\n", "line 1: not a key"},
                {"1A=1\n", "line 1: not a key"},
                {".A=1\n", "line 1: not a key"},
                {"A_B=1\n", "line 1: not a key"},
                {"\xc3\xa4=1\n", "line 1: not a key"},
                {"A=1\nA=1\n", "line 2: A= for the second time"},
                {"A=1\nB=1\nA=\n", "line 3: A= for the second time"},
                {"A=1\r\n", "line 1: A= has a value"},
                {"A=\t1\n", "line 1: A= has a value"},
                {"A=\x1b[2J\n", "line 1: A= has a value"},
                {"A=\x7f\n", "line 1: A= has a value"},
                {"A=\xff\n", "line 1: A= has a value"},
                {"A=\xc3\n", "line 1: A= has a value"},
                {"A=\xc0\xaf\n", "line 1: A= has a value"},         /* overlong */
                {"A=\xed\xa0\x80\n", "line 1: A= has a value"},     /* surrogate */
                {"A=\xf4\x90\x80\x80\n", "line 1: A= has a value"}, /* beyond Unicode */
                {"A=\xe2\x80\xae\n", "line 1: A= has a value"},     /* turns the text round */
                {"A=1\n\0B=2\n", "NUL in the text", 9},
                {"A=\0\n", "NUL in the text", 4},
};

static void malformed_text_is_refused_with_its_line(void **state _unused_) {
        for (size_t i = 0; i < ARRAY_SIZE(malformed); i++) {
                Err *e = NULL;
                Kv *kv = NULL;
                size_t n = malformed[i].size ? malformed[i].size : strlen(malformed[i].text);

                if (kv_parse(malformed[i].text, n, &kv, &e) != -EBADMSG)
                        fail_msg("'%s' is taken", malformed[i].text);
                assert_null(kv);
                assert_story(&e, ERR_FAILED, malformed[i].story);
                assert_int_equal(kv_parse(malformed[i].text, n, &kv, NULL), -EBADMSG);
        }
}

static void keys_and_values_have_limits(void **state _unused_) {
        _cleanup_(kv_freep) Kv *kv = NULL;
        char key[66], value[4098];

        memset(key, 'k', sizeof(key));
        memset(value, 'v', sizeof(value));
        key[65] = value[4097] = '\0';
        assert_int_equal(kv_new(&kv), 0);
        assert_int_equal(kv_set(kv, key, "v"), -EINVAL);
        assert_int_equal(kv_set(kv, key + 1, value), -EINVAL);
        assert_int_equal(kv_set(kv, key + 1, value + 1), 0);
        assert_string_equal(kv_get(kv, key + 1), value + 1);

        /* a refused value leaves the old one */
        assert_int_equal(kv_set(kv, key + 1, "a\nb"), -EINVAL);
        assert_string_equal(kv_get(kv, key + 1), value + 1);
        assert_int_equal(kv_set(kv, "Bad key", "v"), -EINVAL);
        assert_int_equal(kv_count(kv), 1);
}

static void a_text_of_too_many_keys_is_refused(void **state _unused_) {
        _cleanup_(freep) char *text = calloc(4097, 16);
        Err *e = NULL;
        Kv *kv = NULL;
        char *o = text;

        assert_non_null(text);
        for (int i = 0; i < 4096; i++)
                o += sprintf(o, "K%d=v\n", i);
        kv = parse(text);
        assert_int_equal(kv_count(kv), 4096);
        assert_int_equal(kv_set(kv, "OneMore", "v"), -E2BIG);
        kv = kv_free(kv);
        o += sprintf(o, "OneMore=v\n");
        assert_int_equal(kv_parse(text, (size_t) (o - text), &kv, &e), -E2BIG);
        assert_story(&e, ERR_FAILED, "line 4097");
}

static void numbers_are_numbers(void **state _unused_) {
        _cleanup_(kv_freep) Kv *kv = parse("N=18446744073709551615\nBig=18446744073709551616\n"
                                           "Neg=-1\nEmpty=\nHex=0x10\nBlank=1 \nYes=yes\nNo=0\n");
        static const char *const bad[] = {"Big", "Neg", "Empty", "Hex", "Blank", "Yes"};
        uint64_t v = 0;
        bool b = true;
        Err *e = NULL;

        assert_int_equal(kv_get_u64(kv, "N", 7, &v, NULL), 0);
        assert_true(v == UINT64_MAX);
        assert_int_equal(kv_get_u64(kv, "Absent", 7, &v, NULL), 0);
        assert_int_equal(v, 7);
        for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
                assert_int_equal(kv_get_u64(kv, bad[i], 7, &v, &e), -EBADMSG);
                assert_story(&e, ERR_FAILED, "is not a number");
        }

        assert_int_equal(kv_get_bool(kv, "No", true, &b, NULL), 0);
        assert_false(b);
        assert_int_equal(kv_get_bool(kv, "Yes", false, &b, NULL), 0);
        assert_true(b);
        assert_int_equal(kv_get_bool(kv, "Absent", false, &b, NULL), 0);
        assert_false(b);
        assert_int_equal(kv_get_bool(kv, "N", false, &b, &e), -EBADMSG);
        assert_story(&e, ERR_FAILED, "neither yes nor no");
        assert_null(kv_free(NULL));
}

int main(void) {
        const struct CMUnitTest tests[] = {
                        CASE(what_is_written_is_read),
                        CASE(setting_replaces_and_nothing_removes),
                        CASE(an_empty_text_has_no_keys),
                        CASE(malformed_text_is_refused_with_its_line),
                        CASE(keys_and_values_have_limits),
                        CASE(a_text_of_too_many_keys_is_refused),
                        CASE(numbers_are_numbers),
        };

        return cmocka_run_group_tests_name("base/kv", tests, NULL, NULL);
}
