/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <time.h>

#include "stream/input-internal.h"

#define TICK_USEC (200 * UINT64_C(1000))
#define LEAVE_USEC                                                                                 \
        (2 * USEC_PER_SEC) /* what a thread that hangs in read() gets before it is left behind */
#define STRIDE     (INPUT_HEADROOM + INPUT_BLOCK_SIZE)
#define ARENA_SIZE ((size_t) INPUT_BLOCKS * STRIDE)

static void deadline_in(struct timespec *ts, uint64_t usec) {
        uint64_t nsec;

        clock_gettime(CLOCK_MONOTONIC, ts);
        nsec = (uint64_t) ts->tv_nsec + usec % USEC_PER_SEC * 1000;
        ts->tv_sec += (time_t) (usec / USEC_PER_SEC + nsec / 1000000000);
        ts->tv_nsec = (long) (nsec % 1000000000);
}

Block *input_next_free(Input *in) {
        Block *b;

        pthread_mutex_lock(&in->lock);
        b = &in->blocks[in->filled % INPUT_BLOCKS];
        while (!in->stopping && atomic_load(&b->refs) > 0)
                pthread_cond_wait(&in->changed, &in->lock);
        if (in->stopping)
                b = NULL;
        pthread_mutex_unlock(&in->lock);
        atomic_store(&in->source.last_usec, now_monotonic());
        return b;
}

void input_hand_over(Input *in, Block *b, size_t size) {
        pthread_mutex_lock(&in->lock);
        b->size = size;
        atomic_store(&b->refs, 1);
        in->filled++;
        pthread_cond_broadcast(&in->changed);
        pthread_mutex_unlock(&in->lock);
}

static void *input_thread(void *userdata) {
        Input *in = userdata;
        Err *e = NULL;
        int r;

        r = input_fill(in, &e);

        pthread_mutex_lock(&in->lock);
        in->result = r;
        in->err = e;
        in->ended = true;
        in->finished = true;
        pthread_cond_broadcast(&in->changed);
        pthread_mutex_unlock(&in->lock);
        return NULL;
}

static int start_thread(Input *in) {
        sigset_t all, before;
        int r;

        sigfillset(&all);
        r = pthread_sigmask(SIG_SETMASK, &all, &before);
        if (r == 0) {
                r = pthread_create(&in->thread, NULL, input_thread, in);
                pthread_sigmask(SIG_SETMASK, &before, NULL);
        }
        return -r;
}

static void input_release(Input *in) {
        if (in->arena)
                munmap(in->arena, ARENA_SIZE);
        free(in->packed);
        source_done(&in->source);
        in->verifier = verifier_free(in->verifier);
        in->stop_fd = fd_close(in->stop_fd);
        in->err = err_free(in->err);
        pthread_cond_destroy(&in->changed);
        pthread_mutex_destroy(&in->lock);
        free(in);
}

static void input_releasep(Input **in) {
        if (*in)
                input_release(*in);
}

int input_new(const InputArgs *args, Input **ret, Err **reterr) {
        _cleanup_(input_releasep) Input *in = calloc(1, sizeof(*in));
        pthread_condattr_t attr;
        void *arena;
        int r;

        if (!in)
                return err_sys(reterr, -ENOMEM, "Cannot read the image");
        in->args = *args;
        in->args.manifest = NULL;
        in->compression = args->manifest ? args->manifest->compression : _COMPRESSION_INVALID;
        in->plain_max = args->manifest ? args->manifest->stream_size : 0;
        in->plain = args->start.plain;
        pthread_mutex_init(&in->lock, NULL);
        pthread_condattr_init(&attr);
        pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
        pthread_cond_init(&in->changed, &attr);
        pthread_condattr_destroy(&attr);

        in->stop_fd = eventfd(0, EFD_CLOEXEC);
        in->source.feeder.fd = -1;
        if (in->stop_fd < 0)
                return err_sys(reterr, -errno, "Cannot make an event descriptor");
        r = source_init(&in->source, args->fd, in->stop_fd, reterr);
        if (r < 0)
                return r;

        r = verifier_new(args->manifest, args->start.input / MANIFEST_CHUNK_SIZE, &in->verifier,
                        reterr);
        if (r < 0)
                return r;

        arena = mmap(NULL, ARENA_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (arena == MAP_FAILED)
                return err_sys(reterr, -ENOMEM, "Cannot read the image");
        in->arena = arena;
        (void) madvise(arena, ARENA_SIZE, MADV_HUGEPAGE); /* a wish: fewer page faults */
        for (unsigned i = 0; i < INPUT_BLOCKS; i++) {
                in->blocks[i].data = in->arena + (size_t) i * STRIDE + INPUT_HEADROOM;
                in->blocks[i].owner = in;
        }

        r = start_thread(in);
        if (r < 0)
                return err_sys(reterr, r, "Cannot start a thread to read the image");

        *ret = MOVE(in);
        return 0;
}

Input *input_free(Input *in) {
        struct timespec deadline;
        bool finished;

        if (!in)
                return NULL;

        pthread_mutex_lock(&in->lock);
        in->stopping = true;
        pthread_cond_broadcast(&in->changed);
        (void) eventfd_write(in->stop_fd, 1);
        deadline_in(&deadline, LEAVE_USEC);
        while (!in->finished)
                if (pthread_cond_timedwait(&in->changed, &in->lock, &deadline) == ETIMEDOUT)
                        break;
        finished = in->finished;
        pthread_mutex_unlock(&in->lock);

        /* A disk that does not answer holds the thread in read(). Only the end of the process can free it; until then it
         * must find its memory. */
        if (!finished) {
                pthread_detach(in->thread);
                return NULL;
        }
        pthread_join(in->thread, NULL);
        input_release(in);
        return NULL;
}

int input_tick(Input *in, Err **reterr) {
        uint64_t now;

        if (!in->args.progress)
                return 0;
        now = now_monotonic();
        if (now < in->next_tick)
                return 0;
        in->next_tick = now + TICK_USEC;
        if (in->args.progress(in->args.userdata, atomic_load(&in->source.bytes)) != 0)
                return err_kind(reterr, ERR_CANCELLED, -ECANCELED, "Cancelled");
        return 0;
}

static int check_stall(Input *in, Err **reterr) {
        uint64_t last = atomic_load(&in->source.last_usec), now = now_monotonic();

        if (in->args.stall_usec == 0 || now < last || now - last < in->args.stall_usec)
                return 0;
        return err_kind(reterr, ERR_STALLED, -ETIMEDOUT,
                        "The image stalled: no byte came for %llu seconds",
                        (unsigned long long) ((now - last) / USEC_PER_SEC));
}

int input_next(Input *in, Block **ret, Err **reterr) {
        Block *b = NULL;
        int r = 0;

        for (;;) {
                struct timespec deadline;
                bool ended = false;

                r = input_tick(in, reterr);
                if (r < 0)
                        return r;

                pthread_mutex_lock(&in->lock);
                deadline_in(&deadline, TICK_USEC);
                while (in->filled == in->taken && !in->ended)
                        if (pthread_cond_timedwait(&in->changed, &in->lock, &deadline) == ETIMEDOUT)
                                break;
                if (in->filled != in->taken)
                        b = &in->blocks[in->taken++ % INPUT_BLOCKS];
                else if (in->ended) {
                        ended = true;
                        r = in->result;
                        if (r < 0 && reterr)
                                *reterr = MOVE(in->err);
                }
                pthread_mutex_unlock(&in->lock);
                if (b)
                        break;
                if (ended)
                        return r;
                r = check_stall(in, reterr);
                if (r < 0)
                        return r;
        }
        *ret = b;
        return 1;
}

Block *block_ref(Block *b) {
        atomic_fetch_add(&b->refs, 1);
        return b;
}

void block_unref(Block *b) {
        if (!b || atomic_fetch_sub(&b->refs, 1) != 1 || !b->owner)
                return;
        pthread_mutex_lock(&b->owner->lock);
        pthread_cond_broadcast(&b->owner->changed);
        pthread_mutex_unlock(&b->owner->lock);
}
