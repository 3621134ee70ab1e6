/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <sys/mman.h>

#include "daemon/world.h"
#include "tests/unit/unit.h"

static const char good[] =
                "{\"backend\":\"snapshot\",\"state\":\"steady\",\"version\":\"1.0\","
                "\"booted\":\"10\",\"next\":\"\",\"reboot-required\":true,"
                "\"capabilities\":[\"a\",\"\"],\"problems\":[],\"unknown\":{\"x\":[1]},"
                "\"slots\":["
                "{\"id\":\"10\",\"state\":\"good\",\"pinned\":true,\"size\":18446744073709551615,"
                "\"tries-left\":-1,\"devices\":[\"/dev/a\"]},"
                "{\"id\":\"9\",\"tries-left\":2},{\"id\":\"b\"}],"
                "\"refused\":[{\"version\":\"0.9\",\"reason\":\"why\"}],"
                "\"history\":[{\"time\":1,\"job\":7,\"status\":-28,\"error\":\"NoSpace\"}]}";

static void refused(const char *text, const char *why) {
        World w = {.n_slots = 77};
        Err *e = NULL;

        if (world_parse(text, strlen(text), &w, &e) != -EBADMSG)
                fail_msg("'%s' is taken", text);
        if (!strstr(err_text(e), why))
                fail_msg("'%s' is refused with '%s', not '%s'", text, err_text(e), why);
        assert_int_equal(w.n_slots, 77); /* not touched */
        err_free(e);
}

static void a_world_is_read(void **state _unused_) {
        _cleanup_(world_done) World w = {0};

        assert_int_equal(world_parse(good, strlen(good), &w, NULL), 0);
        assert_string_equal(w.backend, "snapshot");
        assert_string_equal(w.booted, "10");
        assert_null(w.next);
        assert_null(w.good);
        assert_true(w.reboot_required);
        assert_string_equal(w.capabilities[0], "a");
        assert_string_equal(w.capabilities[1], "");
        assert_null(w.capabilities[2]);
        assert_null(w.problems);
        assert_int_equal(w.n_refused, 1);
        assert_string_equal(w.refused[0].reason, "why");
        assert_int_equal(w.n_history, 1);
        assert_int_equal(w.history[0].status, -28);
}

static void slots_are_sorted_and_found(void **state _unused_) {
        _cleanup_(world_done) World w = {0};

        assert_int_equal(world_parse(good, strlen(good), &w, NULL), 0);
        assert_int_equal(w.n_slots, 3);
        assert_string_equal(w.slots[0].id, "9");
        assert_string_equal(w.slots[1].id, "10");
        assert_string_equal(w.slots[2].id, "b");
        assert_ptr_equal(world_slot(&w, "10"), &w.slots[1]);
        assert_true(w.slots[1].size == UINT64_MAX);
        assert_int_equal(w.slots[1].tries_left, -1);
        assert_int_equal(w.slots[0].tries_left, 2);
        assert_null(world_slot(&w, "1"));
        assert_null(world_slot(&w, ""));
        assert_null(world_slot(&w, NULL));
}

static void what_is_no_world_is_refused(void **state _unused_) {
        refused("", "0 bytes");
        refused("[]", "not an object");
        refused("{} {}", "not JSON");
        refused("{\"slots\":{}}", "not a list");
        refused("{\"slots\":[1]}", "slots, item 1: an item is not an object");
        refused("{\"slots\":[{\"id\":\"1\"},{}]}", "without an id");
        refused("{\"slots\":[{\"id\":\"1\"},{\"id\":\"2\"},{\"id\":\"1\"}]}", "two slots \"1\"");
        refused("{\"slots\":[{\"id\":\"../1\"}]}", "\"id\" is not a name");
        refused("{\"booted\":\"a/b\"}", "\"booted\" is not a name");
        refused("{\"version\":1}", "\"version\" is not a string");
        refused("{\"version\":\"a\\u0000b\"}", "sane length");
        refused("{\"version\":\"\xff\"}", "not JSON");
        refused("{\"reboot-required\":1}", "true or false");
        refused("{\"slots\":[{\"id\":\"1\",\"size\":-1}]}", "not negative");
        refused("{\"slots\":[{\"id\":\"1\",\"size\":1.5}]}", "not a number");
        refused("{\"slots\":[{\"id\":\"1\",\"tries-left\":4294967296}]}", "in range");
        refused("{\"capabilities\":[[]]}", "not a string");
        refused("{\"a\":[[[[[[[[[[]]]]]]]]]]}", "not JSON");
}

static void nothing_follows_a_nul(void **state _unused_) {
        World w;
        Err *e = NULL;

        assert_int_equal(world_parse("{}\0{}", 5, &w, &e), -EBADMSG);
        assert_story(&e, ERR_FAILED, "goes on");
}

static void every_prefix_is_refused(void **state _unused_) {
        for (size_t n = 0; n < strlen(good); n++) {
                World w;
                Err *e = NULL;

                assert_int_equal(world_parse(good, n, &w, &e), -EBADMSG);
                err_free(e);
        }
}

/* Whatever a byte is changed into, the answer is a world or -EBADMSG; the sanitizers look on. */
static void every_changed_byte_is_survived(void **state _unused_) {
        static const char replacements[] = {0, '"', '{', ']', ',', '9', '-', '\\', (char) 0xc3};
        char text[sizeof(good)];

        for (size_t i = 0; i < strlen(good); i++)
                for (size_t k = 0; k < sizeof(replacements); k++) {
                        World w = {0};
                        Err *e = NULL;
                        int r;

                        memcpy(text, good, sizeof(good));
                        text[i] = replacements[k];
                        r = world_parse(text, strlen(good), &w, &e);
                        assert_true(r == 0 || r == -EBADMSG);
                        world_done(&w);
                        err_free(e);
                }
}

static void lists_have_an_end(void **state _unused_) {
        size_t size = 0;
        char *text = NULL;
        FILE *f = open_memstream(&text, &size);

        assert_non_null(f);
        assert_true(fputs("{\"capabilities\":[", f) >= 0);
        for (int i = 0; i < 300; i++)
                assert_true(fputs(i ? ",\"x\"" : "\"x\"", f) >= 0);
        assert_true(fputs("]}", f) >= 0);
        assert_int_equal(fclose(f), 0);
        refused(text, "sane length");
        free(text);

        f = open_memstream(&text, &size);
        assert_non_null(f);
        assert_true(fputs("{\"refused\":[", f) >= 0);
        for (int i = 0; i < 2000; i++)
                assert_true(fputs(i ? ",{}" : "{}", f) >= 0);
        assert_true(fputs("]}", f) >= 0);
        assert_int_equal(fclose(f), 0);
        refused(text, "more than 1024");
        free(text);
}

static void files_of_a_sane_size_are_read(void **state _unused_) {
        _cleanup_(fd_closep) int fd = memfd_create("world", MFD_CLOEXEC), null = -1;
        _cleanup_(world_done) World w = {0};
        Err *e = NULL;

        assert_true(fd >= 0);
        assert_int_equal(world_read(fd, &w, &e), -EBADMSG);
        assert_story(&e, ERR_FAILED, "sane size");
        assert_int_equal(write(fd, good, strlen(good)), (ssize_t) strlen(good));
        assert_int_equal(world_read(fd, &w, NULL), 0); /* from its start */
        assert_int_equal(w.n_slots, 3);

        assert_int_equal(ftruncate(fd, WORLD_SIZE_MAX + 1), 0);
        world_done(&w);
        assert_int_equal(world_read(fd, &w, NULL), -EBADMSG);

        null = open("/dev/zero", O_RDONLY | O_CLOEXEC);
        assert_true(null >= 0);
        assert_int_equal(world_read(null, &w, NULL), -EBADMSG);
}

static void differences_are_seen(void **state _unused_) {
        static const char other[] = "{\"backend\":\"snapshot\",\"capabilities\":[\"a\"],"
                                    "\"refused\":[{\"version\":\"0.9\",\"reason\":\"other\"}]}";
        _cleanup_(world_done) World a = {0}, b = {0}, c = {0};
        unsigned equal = 0;

        assert_int_equal(world_parse(good, strlen(good), &a, NULL), 0);
        assert_int_equal(world_parse(good, strlen(good), &b, NULL), 0);
        assert_int_equal(world_parse(other, strlen(other), &c, NULL), 0);
        for (size_t i = 0; i < n_world_fields; i++) {
                assert_true(field_equal(&world_fields[i], &a, &b));
                equal += field_equal(&world_fields[i], &a, &c);
        }
        assert_int_equal(n_world_fields - equal, 5); /* state version booted reboot capabilities */
        assert_true(world_refused_equal(&a, &b));
        assert_false(world_refused_equal(&a, &c));
}

int main(void) {
        const struct CMUnitTest tests[] = {
                        CASE(a_world_is_read),
                        CASE(slots_are_sorted_and_found),
                        CASE(what_is_no_world_is_refused),
                        CASE(nothing_follows_a_nul),
                        CASE(every_prefix_is_refused),
                        CASE(every_changed_byte_is_survived),
                        CASE(lists_have_an_end),
                        CASE(files_of_a_sane_size_are_read),
                        CASE(differences_are_seen),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
