/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/rate.h"
#include "tests/unit/unit.h"

#define START UINT64_C(1000000000)

/* Feeds @r for @seconds at @per_second, from *@done on; returns the time. */
static uint64_t feed(Rate *r, uint64_t now, unsigned seconds, uint64_t per_second, uint64_t *done) {
        for (unsigned i = 0; i < seconds * 10; i++) {
                rate_sample(r, now, *done);
                now += USEC_PER_SEC / 10;
                *done += per_second / 10;
        }
        return now;
}

static void assert_about(uint64_t got, uint64_t want, unsigned percent) {
        uint64_t slack = want / 100 * percent;

        if (got < want - slack || got > want + slack)
                fail_msg("%" PRIu64 " is not about %" PRIu64, got, want);
}

static void nothing_is_known_at_first(void **state _unused_) {
        Rate r = {0};

        assert_true(rate_remaining(&r, 0, 100) == UINT64_MAX);
        rate_sample(&r, START, 0);
        assert_true(rate_remaining(&r, 0, 100) == UINT64_MAX);
        rate_sample(&r, START + 1000, 50); /* too soon to tell */
        assert_true(rate_remaining(&r, 50, 100) == UINT64_MAX);
}

static void a_steady_rate_is_found(void **state _unused_) {
        Rate r = {0};
        uint64_t done = 0;

        feed(&r, START, 5, 1000, &done);
        assert_about(rate_remaining(&r, 5000, 15000), 10 * USEC_PER_SEC, 3);
        assert_int_equal(rate_remaining(&r, 15000, 15000), 0);
}

static void a_change_is_followed(void **state _unused_) {
        Rate r = {0};
        uint64_t done = 0, now = feed(&r, START, 10, 100000, &done), before, after;

        before = rate_remaining(&r, 0, 1000000);
        now = feed(&r, now, 2, 10000, &done);
        after = rate_remaining(&r, 0, 1000000);
        assert_true(after > before); /* at once, but it is no reason to panic */
        assert_true(after < 3 * before);
        feed(&r, now, 60, 10000, &done);
        assert_about(rate_remaining(&r, 0, 1000000), 100 * USEC_PER_SEC, 10);
}

static void backwards_starts_afresh(void **state _unused_) {
        Rate r = {0};
        uint64_t done = 0, now = feed(&r, START, 5, 1000, &done);

        rate_sample(&r, now, 10);
        assert_true(rate_remaining(&r, 10, 100) == UINT64_MAX);
        rate_sample(&r, now - 10 * USEC_PER_SEC, 20);
        assert_true(rate_remaining(&r, 20, 100) == UINT64_MAX);
}

static void nonsense_has_no_end(void **state _unused_) {
        Rate r = {0};
        uint64_t done = 0, now = feed(&r, START, 5, 1000, &done);

        assert_true(rate_remaining(&r, 0, 0) == UINT64_MAX);
        assert_true(rate_remaining(&r, 200, 100) == UINT64_MAX);
        assert_true(rate_remaining(&r, 0, UINT64_MAX) == UINT64_MAX); /* in ages */
        feed(&r, now, 3600, 0, &done);
        assert_true(rate_remaining(&r, 0, 1 << 30) == UINT64_MAX);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                        CASE(nothing_is_known_at_first),
                        CASE(a_steady_rate_is_found),
                        CASE(a_change_is_followed),
                        CASE(backwards_starts_afresh),
                        CASE(nonsense_has_no_end),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
