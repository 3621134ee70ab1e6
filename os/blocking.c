/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "os/blocking.h"

#include <pthread.h>
#include <stdatomic.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

enum { LOOK_MSEC = 50, IDLE_PRIORITY = 3 << 13 /* IOPRIO_CLASS_IDLE, linux/ioprio.h */ };

typedef struct Thread {
        const Blocking *b;
        atomic_bool stop; /* before it has begun */
        pthread_mutex_t lock;
        pthread_cond_t ended;
        bool done;
        int r;
        Err *err;
} Thread;

static void *run(void *userdata) {
        Thread *t = userdata;
        Err *err = NULL;
        int r;

        (void) syscall(SYS_ioprio_set, /* IOPRIO_WHO_PROCESS */ 1, 0, IDLE_PRIORITY);
        r = atomic_load(&t->stop) ? -ECANCELED : t->b->run(t->b->userdata, &err);
        pthread_mutex_lock(&t->lock);
        t->r = r;
        t->err = err;
        t->done = true;
        pthread_cond_signal(&t->ended);
        pthread_mutex_unlock(&t->lock);
        return NULL;
}

/* Has it ended, now or within a moment? */
static bool has_ended(Thread *t) {
        struct timespec until;
        bool done;

        /* a clock that somebody sets back must not make this moment a year */
        clock_gettime(CLOCK_MONOTONIC, &until);
        until.tv_nsec += LOOK_MSEC * 1000 * 1000;
        if (until.tv_nsec >= 1000 * 1000 * 1000) {
                until.tv_sec++;
                until.tv_nsec -= 1000 * 1000 * 1000;
        }
        pthread_mutex_lock(&t->lock);
        if (!t->done)
                (void) pthread_cond_clockwait(&t->ended, &t->lock, CLOCK_MONOTONIC, &until);
        done = t->done;
        pthread_mutex_unlock(&t->lock);
        return done;
}

int blocking_run(const Blocking *b, Err **reterr) {
        Thread t = {.b = b, .lock = PTHREAD_MUTEX_INITIALIZER, .ended = PTHREAD_COND_INITIALIZER};
        pthread_t thread;
        int r = pthread_create(&thread, NULL, run, &t);

        if (r != 0)
                return err_sys(reterr, r, "start a thread");
        while (!has_ended(&t))
                if (b->stop(b->userdata)) {
                        atomic_store(&t.stop, true);
                        b->cancel(b->userdata);
                }
        pthread_join(thread, NULL);
        if (reterr) {
                err_free(*reterr);
                *reterr = MOVE(t.err);
        } else
                err_free(t.err);
        return t.r;
}
