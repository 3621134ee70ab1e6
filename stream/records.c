/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <fcntl.h>
#include <openssl/evp.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <time.h>

#include "stream/records.h"

/* A wake-up costs as much as a small file: threads are woken for some at once, and the caller goes on when there is room for
 * many. */
enum { RING = 256, ROOM = RING / 2, WAKE = 16, THREADS_MAX = 8 };
#define BUFFER_SIZE (256u << 10)
#define TICK_USEC   (200 * UINT64_C(1000))

typedef struct Record {
        uint8_t *data;
        size_t size;
        RecordFile file;
        char *path;
        bool has_content, done;
        uint8_t content[MANIFEST_DIGEST_SIZE];
        int error;
} Record;

struct Records {
        TreeDigestArgs args;
        EVP_MD *sha256;
        EVP_MD_CTX *all;
        Record ring[RING];
        pthread_t threads[THREADS_MAX];
        unsigned n_threads;
        pthread_mutex_t lock;
        pthread_cond_t work, progress; /* for the threads; for the caller */
        unsigned added, begun, taken;  /* of the ring, rising for ever */
        const Record *awaited;         /* whose end wakes the caller */
        bool stopping;
        _Atomic uint64_t bytes;
        uint64_t next_tick; /* the caller's thread only */
};

static int hash_content(Records *q, EVP_MD_CTX *ctx, uint8_t *buf, Record *rec) {
        uint64_t left = rec->file.size;
        unsigned n;

        if (EVP_DigestInit_ex(ctx, q->sha256, NULL) != 1)
                return -ENOMEM;
        if (q->args.from_disk)
                (void) posix_fadvise(rec->file.fd, 0, 0, POSIX_FADV_DONTNEED);
        if (left > BUFFER_SIZE)
                (void) posix_fadvise(rec->file.fd, 0, 0, POSIX_FADV_SEQUENTIAL);
        while (left > 0) {
                ssize_t k = read(rec->file.fd, buf, BUFFER_SIZE);

                if (k < 0 && errno == EINTR)
                        continue;
                if (k < 0)
                        return -errno;
                if (k == 0)
                        return -EIO; /* shorter than it says */
                left -= (uint64_t) k < left ? (uint64_t) k : left;
                if (EVP_DigestUpdate(ctx, buf, (size_t) k) != 1)
                        return -EIO;
                atomic_fetch_add(&q->bytes, (uint64_t) k);
                if (__atomic_load_n(&q->stopping, __ATOMIC_RELAXED))
                        return -ECANCELED;
        }
        return EVP_DigestFinal_ex(ctx, rec->content, &n) == 1 ? 0 : -EIO;
}

static void *hash_thread(void *userdata) {
        EVP_MD_CTX *ctx = EVP_MD_CTX_new();
        uint8_t *buf = malloc(BUFFER_SIZE);
        Records *q = userdata;

        pthread_mutex_lock(&q->lock);
        for (;;) {
                Record *rec;
                int r;

                while (q->begun == q->added && !q->stopping)
                        pthread_cond_wait(&q->work, &q->lock);
                if (q->stopping)
                        break;
                rec = &q->ring[q->begun++ % RING];
                if (rec->done)
                        continue;
                pthread_mutex_unlock(&q->lock);
                r = ctx && buf ? hash_content(q, ctx, buf, rec) : -ENOMEM;
                rec->file.fd = fd_close(rec->file.fd);
                pthread_mutex_lock(&q->lock);
                rec->error = r;
                rec->done = true;
                if (rec == q->awaited)
                        pthread_cond_signal(&q->progress);
        }
        pthread_mutex_unlock(&q->lock);
        EVP_MD_CTX_free(ctx);
        free(buf);
        return NULL;
}

static int start_threads(Records *q) {
        long cpus = q->args.threads > 0 ? (long) q->args.threads : sysconf(_SC_NPROCESSORS_ONLN);
        sigset_t every, before;
        int r = 0;

        if (cpus < 1)
                cpus = 1;
        sigfillset(&every);
        pthread_sigmask(SIG_SETMASK, &every, &before);
        while (r == 0 && q->n_threads < (unsigned) cpus && q->n_threads < THREADS_MAX) {
                r = pthread_create(&q->threads[q->n_threads], NULL, hash_thread, q);
                q->n_threads += r == 0;
        }
        pthread_sigmask(SIG_SETMASK, &before, NULL);
        return q->n_threads > 0 ? 0 : -r;
}

int records_new(const TreeDigestArgs *args, Records **ret, Err **reterr) {
        _cleanup_(records_freep) Records *q = calloc(1, sizeof(*q));
        pthread_condattr_t attr;
        int r;

        if (!q)
                return err_new(reterr, ENOMEM, "out of memory");
        q->args = *args;
        for (unsigned i = 0; i < RING; i++)
                q->ring[i].file.fd = -1;
        pthread_mutex_init(&q->lock, NULL);
        pthread_condattr_init(&attr);
        pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
        pthread_cond_init(&q->work, NULL);
        pthread_cond_init(&q->progress, &attr);
        pthread_condattr_destroy(&attr);
        q->sha256 = EVP_MD_fetch(NULL, "SHA256", NULL);
        q->all = EVP_MD_CTX_new();
        if (!q->sha256 || !q->all || EVP_DigestInit_ex(q->all, q->sha256, NULL) != 1)
                return err_new(reterr, ENOMEM, "SHA-256 is not available");
        r = start_threads(q);
        if (r < 0)
                return err_sys(reterr, r, "start a thread to read the tree");
        *ret = MOVE(q);
        return 0;
}

static void record_done(Record *rec) {
        free(rec->data);
        free(rec->path);
        fd_close(rec->file.fd);
        *rec = (Record){.file.fd = -1};
}

Records *records_free(Records *q) {
        if (!q)
                return NULL;
        pthread_mutex_lock(&q->lock);
        __atomic_store_n(&q->stopping, true, __ATOMIC_RELAXED);
        pthread_cond_broadcast(&q->work);
        pthread_mutex_unlock(&q->lock);
        for (unsigned i = 0; i < q->n_threads; i++)
                pthread_join(q->threads[i], NULL);
        for (unsigned i = 0; i < RING; i++)
                record_done(&q->ring[i]);
        pthread_cond_destroy(&q->work);
        pthread_cond_destroy(&q->progress);
        pthread_mutex_destroy(&q->lock);
        EVP_MD_free(q->sha256);
        EVP_MD_CTX_free(q->all);
        free(q);
        return NULL;
}

static int tick(Records *q, Err **reterr) {
        uint64_t now = now_monotonic();

        if (!q->args.progress || now < q->next_tick)
                return 0;
        q->next_tick = now + TICK_USEC;
        if (q->args.progress(q->args.userdata, atomic_load(&q->bytes)) != 0)
                return err_kind(reterr, ERR_CANCELLED, -ECANCELED, "Cancelled");
        return 0;
}

/* Returns with the lock held. */
static int wait_for(Records *q, const Record *rec, Err **reterr) {
        int r = 0;

        pthread_mutex_lock(&q->lock);
        if (!rec->done)
                pthread_cond_broadcast(&q->work);
        q->awaited = rec;
        while (!rec->done && r >= 0) {
                struct timespec until;

                clock_gettime(CLOCK_MONOTONIC, &until);
                until.tv_nsec += (long) (TICK_USEC * 1000);
                until.tv_sec += until.tv_nsec / 1000000000;
                until.tv_nsec %= 1000000000;
                if (pthread_cond_timedwait(&q->progress, &q->lock, &until) == ETIMEDOUT) {
                        pthread_mutex_unlock(&q->lock);
                        r = tick(q, reterr);
                        pthread_mutex_lock(&q->lock);
                }
        }
        q->awaited = NULL;
        return r;
}

/* The oldest record, when its content is known, goes into the sum. */
static int take(Records *q, Err **reterr) {
        Record *rec = &q->ring[q->taken % RING];
        int r = wait_for(q, rec, reterr);

        /* it needed no thread, and none has passed it yet: none may find its place emptied */
        if (q->begun == q->taken)
                q->begun++;
        pthread_mutex_unlock(&q->lock);
        if (r < 0)
                return r;
        if (rec->error < 0)
                return err_sys(reterr, rec->error, "read /%s", rec->path);
        if (EVP_DigestUpdate(q->all, rec->data, rec->size) != 1 ||
                        (rec->has_content && EVP_DigestUpdate(q->all, rec->content,
                                                             sizeof(rec->content)) != 1))
                return err_new(reterr, EIO, "compute SHA-256");
        if (rec->has_content && q->args.found &&
                        contents_add(q->args.found, rec->file.ino, rec->file.transid,
                                        rec->content) < 0)
                return err_new(reterr, ENOMEM, "out of memory");
        record_done(rec);
        q->taken++;
        return 0;
}

int records_add(Records *q, void *data, size_t size, RecordFile file, const char *path,
                Err **reterr) {
        Record rec = {.data = data,
                        .size = size,
                        .file = file,
                        .has_content = file.fd >= 0,
                        .done = file.fd < 0};
        int r = tick(q, reterr);

        if (r >= 0 && q->added - q->taken == RING) {
                /* most likely the last of those that must go: one wake-up instead of one for each */
                r = wait_for(q, &q->ring[(q->added - ROOM - 1) % RING], reterr);
                pthread_mutex_unlock(&q->lock);
                while (r >= 0 && q->added - q->taken > ROOM)
                        r = take(q, reterr);
        }
        if (r >= 0) {
                rec.path = strdup(path);
                if (!rec.path)
                        r = err_new(reterr, ENOMEM, "out of memory");
        }
        if (r < 0) {
                record_done(&rec);
                return r;
        }
        pthread_mutex_lock(&q->lock);
        q->ring[q->added++ % RING] = rec;
        if (q->added % WAKE == 0)
                pthread_cond_broadcast(&q->work);
        pthread_mutex_unlock(&q->lock);
        return 0;
}

int records_end(Records *q, uint8_t ret[static MANIFEST_DIGEST_SIZE], uint64_t *ret_bytes,
                Err **reterr) {
        unsigned n;
        int r = 0;

        while (r >= 0 && q->taken != q->added)
                r = take(q, reterr);
        if (r < 0)
                return r;
        if (EVP_DigestFinal_ex(q->all, ret, &n) != 1)
                return err_new(reterr, EIO, "compute SHA-256");
        *ret_bytes = atomic_load(&q->bytes);
        return 0;
}
