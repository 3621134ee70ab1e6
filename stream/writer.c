/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>

#include "stream/writer.h"

#define JOBS        128u /* each may keep a file open */
#define BATCH_JOBS  32u  /* to wake a thread costs more than to write a small file: not for each */
#define BATCH_BYTES (256u << 10)

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
        atomic_uint goal; /* who waits goes on when so many jobs are done */
        bool stopping;
        unsigned quiet_jobs; /* given since the thread was woken, and their bytes */
        uint64_t quiet_bytes;
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

static void wake(Writer *w) {
        pthread_mutex_lock(&w->lock);
        pthread_cond_broadcast(&w->changed);
        pthread_mutex_unlock(&w->lock);
}

/* False: there will be no more. */
static bool wait_for_work(Writer *w) {
        bool any;

        pthread_mutex_lock(&w->lock);
        atomic_store(&w->sleeping, true);
        while (!(any = atomic_load(&w->head) != atomic_load(&w->tail)) && !w->stopping)
                pthread_cond_wait(&w->changed, &w->lock);
        atomic_store(&w->sleeping, false);
        pthread_mutex_unlock(&w->lock);
        return any;
}

static void run_next(Writer *w) {
        unsigned tail = atomic_load(&w->tail);
        Err *e = NULL;
        int r;

        r = run_job(&w->jobs[tail % JOBS], atomic_load(&w->result) < 0, &e);
        if (r < 0) {
                w->err = e;
                atomic_store(&w->result, r);
        }
        atomic_store(&w->tail, tail + 1);
}

static void *writer_thread(void *userdata) {
        Writer *w = userdata;

        for (;;) {
                if (atomic_load(&w->head) == atomic_load(&w->tail) && !wait_for_work(w))
                        return NULL;
                run_next(w);
                if (atomic_load(&w->waiting) && atomic_load(&w->tail) == atomic_load(&w->goal))
                        wake(w);
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
        unsigned goal = atomic_load(&w->head) - left;

        pthread_mutex_lock(&w->lock);
        atomic_store(&w->goal, goal);
        atomic_store(&w->waiting, true);
        while ((int) (goal - atomic_load(&w->tail)) > 0) {
                /* To do the work is quicker than to have the thread woken for it. */
                if (atomic_load(&w->sleeping))
                        run_next(w);
                else
                        pthread_cond_wait(&w->changed, &w->lock);
        }
        atomic_store(&w->waiting, false);
        pthread_mutex_unlock(&w->lock);
}

/* Who tries again hears the same story. */
static int result(Writer *w, Err **reterr) {
        int r = atomic_load(&w->result);

        if (r < 0 && w->err)
                return err_kind(reterr, err_kind_of(w->err), r, "%s", err_text(w->err));
        return r;
}

void writer_kick(Writer *w) {
        w->quiet_jobs = 0;
        w->quiet_bytes = 0;
        if (atomic_load(&w->sleeping) && atomic_load(&w->head) != atomic_load(&w->tail))
                wake(w);
}

int writer_submit(Writer *w, File *f, bool last, Err **reterr) {
        unsigned head = atomic_load(&w->head);

        w->quiet_bytes += f->held.size;
        if (head - atomic_load(&w->tail) == JOBS)
                wait_until(w, JOBS / 2);
        w->jobs[head % JOBS] = (Job){.file = f, .held = f->held, .last = last};
        f->held = (Held){0};
        f->busy = true;
        atomic_store(&w->head, head + 1);
        if (++w->quiet_jobs >= BATCH_JOBS || w->quiet_bytes >= BATCH_BYTES)
                writer_kick(w);
        return result(w, reterr);
}

int writer_drain(Writer *w, Err **reterr) {
        if (atomic_load(&w->head) != atomic_load(&w->tail))
                wait_until(w, 0);
        return result(w, reterr);
}
