/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Away from the seed: old subvolumes first, so that only what is needed is copied, then the kernel moves chunk by chunk, and
 * the device goes out of the file system. Nothing is ever written to it: it stays the bootable version that it was. */
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <time.h>

#include "backends/seed.h"
#include "os/file.h"

enum { LOOK_MSEC = 50, IDLE_PRIORITY = 3 << 13 /* IOPRIO_CLASS_IDLE, linux/ioprio.h */ };

/* The removal in a thread of its own: a signal that has a handler does not break it off, so somebody has to be there to ask
 * for that. */
typedef struct Move {
        int fd;
        uint64_t id;
        atomic_bool stop; /* before it has begun */
        pthread_mutex_t lock;
        pthread_cond_t ended;
        bool done;
        int r;
        Err *err;
} Move;

static void *run_move(void *userdata) {
        Move *m = userdata;
        Err *err = NULL;
        int r;

        (void) syscall(SYS_ioprio_set, /* IOPRIO_WHO_PROCESS */ 1, 0, IDLE_PRIORITY);
        r = atomic_load(&m->stop) ? -ECANCELED : fs_device_remove(m->fd, m->id, &err);
        pthread_mutex_lock(&m->lock);
        m->r = r;
        m->err = err;
        m->done = true;
        pthread_cond_signal(&m->ended);
        pthread_mutex_unlock(&m->lock);
        return NULL;
}

/* Has it ended, now or within a moment? */
static bool has_ended(Move *m) {
        struct timespec until;
        bool done;

        clock_gettime(CLOCK_REALTIME, &until);
        until.tv_nsec += LOOK_MSEC * 1000 * 1000;
        if (until.tv_nsec >= 1000 * 1000 * 1000) {
                until.tv_sec++;
                until.tv_nsec -= 1000 * 1000 * 1000;
        }
        pthread_mutex_lock(&m->lock);
        if (!m->done)
                (void) pthread_cond_timedwait(&m->ended, &m->lock, &until);
        done = m->done;
        pthread_mutex_unlock(&m->lock);
        return done;
}

static void stop_move(Move *m) {
        atomic_store(&m->stop, true);
        (void) fs_device_remove_cancel(m->fd, NULL);
}

typedef struct Merge {
        Seed *seed;
        const MergeArgs *args;
        uint64_t id; /* of the device that goes out */
        const BlockDevice *device;
        uint64_t total;
} Merge;

/* What was read from the device since it is there, the third number of its line: between two chunks
 * the only sign of life. */
static uint64_t bytes_read(const Merge *g) {
        _cleanup_(freep) char *path = NULL, *text = NULL;
        uint64_t sectors = 0;
        char *save = NULL;

        path = str_printf("/sys/dev/block/%u:%u/stat", major(g->device->number),
                        minor(g->device->number));
        if (!path || file_read_at(AT_FDCWD, path, 1024, &text, NULL, NULL) < 0)
                return 0;
        for (const char *w = strtok_r(text, " \n", &save), *n = "123"; w && *n;
                        w = strtok_r(NULL, " \n", &save), n++)
                if (*n == '3' && parse_u64(w, &sectors) < 0)
                        return 0;
        return sectors * 512;
}

/* Bytes by chunks that are still on it. */
static int left_on(const Merge *g, uint64_t *ret, Err **reterr) {
        _cleanup_(fs_devices_done) FsDevices fs = {0};
        int r = fs_devices(g->seed->layout.top_fd, &fs, reterr);

        if (r < 0)
                return r;
        *ret = 0;
        for (size_t i = 0; i < fs.n; i++)
                if (fs.devices[i].id == g->id)
                        *ret = fs.devices[i].used;
        return 0;
}

static int stopped(Err **reterr) {
        return err_kind(reterr, ERR_CANCELLED, ECANCELED,
                        "the merge was stopped; what has been moved stays moved, and 'abctl merge' "
                        "goes on from there");
}

/* Chunks count when they are gone, and then whole; in between what was read of the next one does. */
static uint64_t bytes_done(const Merge *g, uint64_t from) {
        uint64_t left = g->total, read = bytes_read(g) - from, gone;

        (void) left_on(g, &left, NULL);
        gone = g->total > left ? g->total - left : 0;
        return read > g->total ? g->total : read > gone ? read : gone;
}

static MergeWish tell(const Merge *g, uint64_t from) {
        return g->args->progress(g->args->userdata, bytes_done(g, from), g->total);
}

/* Until the device is gone, or somebody wishes something else: *@ret_wish. */
static int move_on(Merge *g, uint64_t from, MergeWish *ret_wish, Err **reterr) {
        Move m = {.fd = g->seed->layout.top_fd,
                        .id = g->id,
                        .lock = PTHREAD_MUTEX_INITIALIZER,
                        .ended = PTHREAD_COND_INITIALIZER};
        MergeWish wish = MERGE_GOES_ON;
        pthread_t thread;
        int r = pthread_create(&thread, NULL, run_move, &m);

        if (r != 0)
                return err_sys(reterr, r, "start to move data");
        while (!has_ended(&m)) {
                MergeWish now = tell(g, from);

                if (now > wish)
                        wish = now;
                if (wish != MERGE_GOES_ON)
                        stop_move(&m);
        }
        pthread_join(thread, NULL);
        *ret_wish = wish;
        if (m.r < 0 && reterr && (wish == MERGE_GOES_ON || m.r != -ECANCELED)) {
                err_free(*reterr);
                *reterr = MOVE(m.err);
        }
        err_free(m.err);
        return m.r;
}

/* A removal that was faster than the wish to stop it is the end of the merge. */
static int move(Merge *g, Err **reterr) {
        const uint64_t from = bytes_read(g);
        MergeWish wish = g->args->progress(g->args->userdata, 0, g->total);

        for (;;) {
                int r;

                while (wish == MERGE_WAITS) {
                        (void) usleep(LOOK_MSEC * 1000);
                        wish = tell(g, from);
                }
                if (wish == MERGE_ENDS)
                        return stopped(reterr);
                r = move_on(g, from, &wish, reterr);
                if (wish == MERGE_GOES_ON || r != -ECANCELED)
                        return r;
        }
}

static int explain(const Merge *g, int r, Err **reterr) {
        if (r == -ENOSPC)
                return err_add(reterr, r,
                                "what is on %s does not fit; the system works as before, delete "
                                "something, or give the device more room",
                                g->device->path);
        if (r == -EIO)
                return err_add(reterr, r,
                                "%s cannot be read in full: the kernel log names the file; replace "
                                "or delete it, then merge again",
                                g->device->path);
        return err_add(reterr, r, "merge %s", g->device->path);
}

/* Slots of other devices: on their own device they stay, here they only would be copied. */
static int drop_others(Seed *s, const char *booted, Err **reterr) {
        const Config *c = s->world->config;
        int r = 0;

        for (size_t i = 0; r >= 0 && i < c->n_devices; i++)
                if (!str_eq(c->devices[i].id, booted))
                        r = layout_discard(&s->layout,
                                        (const char *const[]){c->devices[i].id, NULL}, reterr);
        return r;
}

int seed_merge(SlotBackend *b, const MergeArgs *args, Err **reterr) {
        Seed *s = to_seed(b);
        Merge g = {.seed = s, .args = args};
        _cleanup_(device_list_done) DeviceList l = {0};
        int r = device_list_read(s, &l, reterr);

        if (r < 0 || !l.sprout || !l.seed)
                return r;
        g.id = l.seed->id;
        g.device = &l.seed->block;
        r = drop_others(s, l.sprout->config->id, reterr);
        if (r >= 0) /* what the cleaner has not taken yet would be copied; that is all */
                (void) subvol_wait_deleted(s->layout.top_fd, args->wait_usec, NULL);
        if (r >= 0)
                r = left_on(&g, &g.total, reterr);
        if (r >= 0)
                r = move(&g, reterr);
        return r == -ECANCELED || r >= 0 ? r : explain(&g, r, reterr);
}
