/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>

#include "stream/writer.h"

#define JOBS 128u /* each may keep a file open */

typedef struct Job {
        File *file;
        Held held;
        bool last;
} Job;

struct Writer {
        pthread_t thread;
        pthread_mutex_t lock;
        pthread_cond_t changed;
        Job jobs[JOBS];
        atomic_uint head; /* jobs given so far */
        atomic_uint tail; /* jobs done so far */
        atomic_bool sleeping, waiting;
        bool stopping;
        atomic_int result;
        Err *err;
};

static int run_job(Job *j, bool skip, Err **reterr) {
        int r = 0;

        if (!skip)
                r = file_write_held(j->file, &j->held, reterr);
        held_drop(&j->held);
        if (j->last) {
                if (r == 0 && !skip)
                        r = file_finish(j->file, reterr);
                j->file = file_free(j->file);
        }
        return r;
}

/* Until there is work: its number, or the same as @tail when there will be none. */
static unsigned wait_for_work(Writer *w, unsigned tail) {
        unsigned head;

        pthread_mutex_lock(&w->lock);
        atomic_store(&w->sleeping, true);
        while ((head = atomic_load(&w->head)) == tail && !w->stopping)
                pthread_cond_wait(&w->changed, &w->lock);
        atomic_store(&w->sleeping, false);
        pthread_mutex_unlock(&w->lock);
        return head;
}

static void *writer_thread(void *userdata) {
        Writer *w = userdata;

        for (unsigned tail = 0;; tail++) {
                Err *e = NULL;
                int r;

                if (atomic_load(&w->head) == tail && wait_for_work(w, tail) == tail)
                        return NULL;

                r = run_job(&w->jobs[tail % JOBS], atomic_load(&w->result) < 0, &e);
                if (r < 0) {
                        w->err = e;
                        atomic_store(&w->result, r);
                }
                atomic_store(&w->tail, tail + 1);
                if (atomic_load(&w->waiting)) {
                        pthread_mutex_lock(&w->lock);
                        pthread_cond_broadcast(&w->changed);
                        pthread_mutex_unlock(&w->lock);
                }
        }
}

int writer_new(Writer **ret, Err **reterr) {
        _cleanup_(freep) Writer *w = calloc(1, sizeof(*w));
        sigset_t all, before;
        int r;

        if (!w)
                return err_sys(reterr, -ENOMEM, "Cannot start the writer");
        pthread_mutex_init(&w->lock, NULL);
        pthread_cond_init(&w->changed, NULL);
        sigfillset(&all);
        r = pthread_sigmask(SIG_SETMASK, &all, &before);
        if (r == 0) {
                r = pthread_create(&w->thread, NULL, writer_thread, w);
                pthread_sigmask(SIG_SETMASK, &before, NULL);
        }
        if (r != 0)
                return err_sys(reterr, -r, "Cannot start the writer");

        *ret = MOVE(w);
        return 0;
}

Writer *writer_free(Writer *w) {
        if (!w)
                return NULL;
        if (atomic_load(&w->result) == 0)
                atomic_store(&w->result, -ECANCELED);
        pthread_mutex_lock(&w->lock);
        w->stopping = true;
        pthread_cond_broadcast(&w->changed);
        pthread_mutex_unlock(&w->lock);
        pthread_join(w->thread, NULL);
        pthread_cond_destroy(&w->changed);
        pthread_mutex_destroy(&w->lock);
        err_free(w->err);
        free(w);
        return NULL;
}

/* Until at most @left jobs are not done. */
static void wait_until(Writer *w, unsigned left) {
        if (atomic_load(&w->head) - atomic_load(&w->tail) <= left)
                return;
        pthread_mutex_lock(&w->lock);
        atomic_store(&w->waiting, true);
        while (atomic_load(&w->head) - atomic_load(&w->tail) > left)
                pthread_cond_wait(&w->changed, &w->lock);
        atomic_store(&w->waiting, false);
        pthread_mutex_unlock(&w->lock);
}

static int result(Writer *w, Err **reterr) {
        int r = atomic_load(&w->result);

        if (r < 0 && reterr && !*reterr)
                *reterr = MOVE(w->err);
        return r;
}

int writer_submit(Writer *w, File *f, bool last, Err **reterr) {
        unsigned head = atomic_load(&w->head);
        Job *j = &w->jobs[head % JOBS];

        wait_until(w, JOBS - 1);
        *j = (Job){.file = f, .held = f->held, .last = last};
        f->held = (Held){0};
        f->busy = true;
        atomic_store(&w->head, head + 1);
        if (atomic_load(&w->sleeping)) {
                pthread_mutex_lock(&w->lock);
                pthread_cond_broadcast(&w->changed);
                pthread_mutex_unlock(&w->lock);
        }
        return result(w, reterr);
}

int writer_drain(Writer *w, Err **reterr) {
        wait_until(w, 0);
        return result(w, reterr);
}
