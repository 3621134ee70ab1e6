/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "os/file.h"
#include "tests/unit/folder.h"
#include "update/records.h"

static void add(uint64_t job, uint64_t started, const char *type) {
        _cleanup_(json_freep) json_object *o = json_object_new_object();

        assert_int_equal(json_put(o, "job", json_object_new_uint64(job)), 0);
        assert_int_equal(json_put(o, "started", json_object_new_uint64(started)), 0);
        assert_int_equal(json_put(o, "type", json_object_new_string(type)), 0);
        assert_int_equal(history_add(dir_fd, o, NULL), 0);
}

static size_t count(void) {
        _cleanup_(json_freep) json_object *list = NULL;

        assert_int_equal(history_read(dir_fd, &list, NULL), 0);
        return json_object_array_length(list);
}

static void history_grows_and_repeats_nothing(void **state _unused_) {
        assert_int_equal(count(), 0);
        add(1, 10, "update");
        add(1, 10, "update");
        assert_int_equal(count(), 1);
        add(1, 10, "rollback");
        add(1, 11, "rollback"); /* numbers begin anew with each daemon */
        add(2, 11, "rollback");
        assert_int_equal(count(), 4);
        add(1, 10, "update"); /* not the last one: another event */
        assert_int_equal(count(), 5);
}

static void history_keeps_the_newest_200(void **state _unused_) {
        _cleanup_(json_freep) json_object *list = NULL;

        for (unsigned i = 1; i <= 205; i++)
                add(i, i, "update");
        assert_int_equal(history_read(dir_fd, &list, NULL), 0);
        assert_int_equal(json_object_array_length(list), 200);
        assert_int_equal(json_object_get_int(json_object_object_get(
                                         json_object_array_get_idx(list, 0), "job")),
                        6);
        assert_int_equal(json_object_get_int(json_object_object_get(
                                         json_object_array_get_idx(list, 199), "job")),
                        205);
}

static void a_torn_last_line_is_skipped(void **state _unused_) {
        static const char whole[] =
                        "{\"job\":1,\"type\":\"update\"}\n{\"job\":2,\"type\":\"mark\"}\n";
        size_t first = strcspn(whole, "\n") + 1;

        for (size_t n = first; n < strlen(whole); n++) {
                _cleanup_(freep) char *torn = strndup(whole, n);

                put_file(dir_fd, "history", torn);
                assert_int_equal(count(), n >= strlen(whole) - 1 ? 2 : 1);
        }
        put_file(dir_fd, "history", whole);
        assert_int_equal(count(), 2);
        add(3, 3, "prune");
        assert_int_equal(count(), 3);
}

static void garbage_is_no_memory_but_no_error(void **state _unused_) {
        static const char *const texts[] = {"", "\n\n\n", "nonsense\n",
                        "[1,2]\n\"text\"\n7\nnull\n", "{\"job\":\n", "\x01\x02\xff\n"};

        for (size_t i = 0; i < ARRAY_SIZE(texts); i++) {
                _cleanup_(json_freep) json_object *refused = NULL;

                put_file(dir_fd, "history", texts[i]);
                put_file(dir_fd, "refused", texts[i]);
                assert_int_equal(count(), 0);
                assert_int_equal(refused_read(dir_fd, &refused, NULL), 0);
                assert_null(refused_reason(refused, "1.0"));
        }
        add(1, 1, "update");
        assert_int_equal(count(), 1);
}

static void strange_things_in_its_place(void **state _unused_) {
        int fd;

        put_file(dir_fd, "elsewhere", "{\"job\":1}\n");
        assert_int_equal(symlinkat("elsewhere", dir_fd, "history"), 0);
        assert_int_equal(count(), 0);
        add(1, 1, "update");
        assert_int_equal(count(), 1);
        assert_int_equal(unlinkat(dir_fd, "history", 0), 0);

        assert_int_equal(mkfifoat(dir_fd, "history", 0600), 0);
        assert_int_equal(count(), 0);
        add(1, 1, "update");
        assert_int_equal(count(), 1);

        fd = openat(dir_fd, "history", O_WRONLY | O_CLOEXEC);
        assert_int_equal(ftruncate(fd, 1 << 30), 0);
        close(fd);
        assert_int_equal(count(), 0);
        add(1, 1, "update");
        assert_int_equal(count(), 1);
}

static void a_version_is_refused_until_it_is_not(void **state _unused_) {
        _cleanup_(json_freep) json_object *one = NULL, *two = NULL, *three = NULL;

        assert_int_equal(refused_add(dir_fd, "1.0", "crashed", NULL), 0);
        assert_int_equal(refused_add(dir_fd, "1.0", "again", NULL), 0); /* the first reason stays */
        assert_int_equal(refused_add(dir_fd, "2.0 \"x\"\n", "tab\there", NULL), 0);
        assert_int_equal(refused_read(dir_fd, &one, NULL), 0);
        assert_int_equal(json_object_array_length(one), 2);
        assert_string_equal(refused_reason(one, "1.0"), "crashed");
        assert_string_equal(refused_reason(one, "2.0 \"x\"\n"), "tab\there");
        assert_null(refused_reason(one, "1.0.0"));

        assert_int_equal(refused_remove(dir_fd, "1.0", NULL), 0);
        assert_int_equal(refused_remove(dir_fd, "1.0", NULL), 0);
        assert_int_equal(refused_read(dir_fd, &two, NULL), 0);
        assert_null(refused_reason(two, "1.0"));
        assert_int_equal(json_object_array_length(two), 1);

        put_file(dir_fd, "refused", "{\"version\":\"3.0\"}\n{\"version\":4,\"reason\":\"x\"}\n");
        assert_int_equal(refused_read(dir_fd, &three, NULL), 0);
        assert_string_equal(refused_reason(three, "3.0"), "no reason given");
        assert_null(refused_reason(three, "4"));
}

static void the_newest_500_refusals_are_kept(void **state _unused_) {
        _cleanup_(json_freep) json_object *list = NULL;
        _cleanup_(freep) char *text = calloc(501, 32);
        char *end = text;

        for (unsigned i = 0; i < 500; i++)
                end += sprintf(end, "{\"version\":\"%u\"}\n", i);
        put_file(dir_fd, "refused", text);
        assert_int_equal(refused_add(dir_fd, "new", "r", NULL), 0);
        assert_int_equal(refused_read(dir_fd, &list, NULL), 0);
        assert_int_equal(json_object_array_length(list), 500);
        assert_null(refused_reason(list, "0"));
        assert_non_null(refused_reason(list, "1"));
        assert_non_null(refused_reason(list, "new"));
}

static void writing_says_what_it_could_not(void **state _unused_) {
        _cleanup_(json_freep) json_object *o = json_object_new_object();
        Err *e = NULL;

        put_file(dir_fd, "history/x", "a folder that is not empty");
        put_file(dir_fd, "refused/x", "another");
        assert_true(history_add(dir_fd, o, &e) < 0);
        assert_story(&e, ERR_FAILED, "write the history");
        assert_true(refused_add(dir_fd, "1.0", "r", &e) < 0);
        assert_story(&e, ERR_FAILED, "refuse version 1.0 from now on");
}

static void texts_are_texts(void **state _unused_) {
        _cleanup_(json_freep) json_object *o =
                        json_tokener_parse("{\"a\":\"x\",\"b\":1,\"c\":null}");

        assert_string_equal(json_text(o, "a"), "x");
        assert_null(json_text(o, "b"));
        assert_null(json_text(o, "c"));
        assert_null(json_text(o, "d"));
        assert_null(json_text(NULL, "a"));
        assert_int_equal(json_put(o, "e", NULL), -ENOMEM);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                        IN_FOLDER(history_grows_and_repeats_nothing),
                        IN_FOLDER(history_keeps_the_newest_200),
                        IN_FOLDER(a_torn_last_line_is_skipped),
                        IN_FOLDER(garbage_is_no_memory_but_no_error),
                        IN_FOLDER(strange_things_in_its_place),
                        IN_FOLDER(a_version_is_refused_until_it_is_not),
                        IN_FOLDER(the_newest_500_refusals_are_kept),
                        IN_FOLDER(writing_says_what_it_could_not),
                        CASE(texts_are_texts),
        };

        return cmocka_run_group_tests_name("update/records", tests, NULL, NULL);
}
