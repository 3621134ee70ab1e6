/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A long call and who looks after it. */
#include <stdatomic.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "tests/unit/unit.h"

#include "os/blocking.h"

/* The clock is an hour ahead, and will be set right: who waits for a moment by it waits for an hour. */
int clock_gettime(clockid_t clock, struct timespec *ret) {
        int r = (int) syscall(SYS_clock_gettime, clock, ret);

        if (clock == CLOCK_REALTIME)
                ret->tv_sec += 3600;
        return r;
}

typedef struct Call {
        atomic_bool cancelled;
        bool wanted;
} Call;

static int call(void *userdata, Err **reterr) {
        Call *c = userdata;

        for (int i = 0; i < 500; i++) {
                if (atomic_load(&c->cancelled))
                        return err_new(reterr, ECANCELED, "stopped");
                (void) usleep(10 * 1000);
        }
        return 7;
}

static bool wanted(void *userdata) {
        return ((Call *) userdata)->wanted;
}

static void cancel(void *userdata) {
        atomic_store(&((Call *) userdata)->cancelled, true);
}

static void a_clock_that_jumps_delays_nothing(void **state _unused_) {
        Call c = {.wanted = true};
        Err *err = NULL;

        assert_int_equal(blocking_run(&(Blocking){&c, call, wanted, cancel}, &err), -ECANCELED);
        err_free(err);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                        CASE(a_clock_that_jumps_delays_nothing),
        };

        return cmocka_run_group_tests_name("os/blocking", tests, NULL, NULL);
}
