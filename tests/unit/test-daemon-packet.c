/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/packet.h"
#include "tests/unit/unit.h"

static void taken(const char *text, Packet *ret) {
        Err *e = NULL;

        if (packet_parse(text, strlen(text), ret, &e) < 0)
                fail_msg("'%s' is refused: %s", text, err_text(e));
}

static void refused(const char *text, const char *why) {
        Packet p;
        Err *e = NULL;

        if (packet_parse(text, strlen(text), &p, &e) != -EBADMSG)
                fail_msg("'%s' is taken", text);
        if (!strstr(err_text(e), why))
                fail_msg("'%s' is refused with '%s', not '%s'", text, err_text(e), why);
        err_free(e);
}

static void every_type_is_read(void **state _unused_) {
        static const char *const types[] = {
                        "ready", "progress", "slot", "point-of-no-return", "world"};

        for (size_t i = 0; i < ARRAY_SIZE(types); i++) {
                _cleanup_(freep) char *text = str_printf("{\"msg\":\"%s\"}", types[i]);
                _cleanup_(packet_done) Packet p = {0};

                taken(text, &p);
                assert_int_equal(p.type, i);
        }
}

static void progress_has_numbers(void **state _unused_) {
        _cleanup_(packet_done) Packet p = {0};

        taken("{\"msg\":\"progress\",\"phase\":\"write\",\"done\":9223372036854775808,"
              "\"total\":18446744073709551615}",
                        &p);
        assert_string_equal(p.phase, "write");
        assert_true(p.done == UINT64_C(9223372036854775808));
        assert_true(p.total == UINT64_MAX);
        refused("{\"msg\":\"progress\",\"done\":-1}", "not negative");
        refused("{\"msg\":\"progress\",\"phase\":\"a b\"}", "not a name");
}

static void a_result_has_everything(void **state _unused_) {
        _cleanup_(packet_done) Packet p = {0};

        taken("{\"msg\":\"result\",\"code\":0,\"kind\":\"\",\"text\":\"done\",\"slot\":\"5\","
              "\"transaction\":\"t\",\"steps\":[{\"phase\":\"write\",\"text\":\"x\",\"bytes\":7}],"
              "\"findings\":[{\"severity\":\"info\"},{\"advice\":\"a\"}]}",
                        &p);
        assert_int_equal(p.type, PACKET_RESULT);
        assert_int_equal(p.result.code, 0);
        assert_string_equal(p.result.text, "done");
        assert_string_equal(p.result.slot, "5");
        assert_int_equal(p.result.n_steps, 1);
        assert_int_equal(p.result.steps[0].bytes, 7);
        assert_int_equal(p.result.n_findings, 2);
        assert_string_equal(p.result.findings[1].advice, "a");
}

static void a_failure_has_a_kind(void **state _unused_) {
        _cleanup_(packet_done) Packet p = {0};

        taken("{\"msg\":\"result\",\"code\":-28,\"kind\":\"NoSpace\",\"text\":\"full\"}", &p);
        assert_int_equal(p.result.code, -28);
        assert_int_equal(p.result.kind, ERR_NO_SPACE);
        refused("{\"msg\":\"result\",\"code\":-28}", "kind");
        refused("{\"msg\":\"result\",\"code\":-28,\"kind\":\"\"}", "kind");
        refused("{\"msg\":\"result\",\"code\":-28,\"kind\":7}", "kind");
        refused("{\"msg\":\"result\",\"code\":-5000,\"kind\":\"Failed\"}", "valid code");
        refused("{\"msg\":\"result\",\"code\":5}", "valid code");
        refused("{\"msg\":\"result\"}", "valid code");
        refused("{\"msg\":\"result\",\"code\":\"0\"}", "not a number");
}

static void half_read_lists_are_freed(void **state _unused_) {
        refused("{\"msg\":\"result\",\"code\":0,\"steps\":[{\"text\":\"a\"},{\"text\":1}]}",
                        "text");
        refused("{\"msg\":\"result\",\"code\":0,\"findings\":[{\"advice\":\"a\"},2]}", "item");
        refused("{\"msg\":\"result\",\"code\":0,\"steps\":[{}],\"findings\":7}", "list");
}

static void what_is_no_packet_is_refused(void **state _unused_) {
        refused("x", "not JSON");
        refused("null", "not");
        refused("{}", "without \"msg\"");
        refused("{\"msg\":7}", "without \"msg\"");
        refused("{\"msg\":\"\"}", "unknown type");
        refused("{\"msg\":\"Ready\"}", "unknown type");
        refused("{\"msg\":\"ready\"}{}", "not JSON");
}

static void an_error_becomes_a_result(void **state _unused_) {
        Result r = {0};
        Err *e = NULL;

        err_kind(&e, ERR_BUSY, EBUSY, "somebody %s", "else");
        result_set(&r, e);
        assert_int_equal(r.code, -EBUSY);
        assert_int_equal(r.kind, ERR_BUSY);
        assert_string_equal(r.text, "somebody else");
        result_set(&r, NULL); /* out of memory */
        assert_int_equal(r.code, -ENOMEM);
        result_done(&r);
        err_free(e);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                        CASE(every_type_is_read),
                        CASE(progress_has_numbers),
                        CASE(a_result_has_everything),
                        CASE(a_failure_has_a_kind),
                        CASE(half_read_lists_are_freed),
                        CASE(what_is_no_packet_is_refused),
                        CASE(an_error_becomes_a_result),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
