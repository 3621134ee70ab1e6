/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Away from the seed: old subvolumes first, so that only what is needed is copied, then the kernel moves chunk by chunk, and
 * the device goes out of the file system. Nothing is ever written to it: it stays the bootable version that it was. */
#include <fcntl.h>
#include <time.h>

#include "backends/seed.h"
#include "os/blocking.h"
#include "os/file.h"
#include "os/unreadable.h"

#define CHUNK_MAX (UINT64_C(1) << 30)

enum { LOOK_MSEC = 50, NAMES_MAX = 5 };

typedef struct Merge {
        Seed *seed;
        const WorkArgs *args;
        uint64_t id; /* of the device that goes out */
        const BlockDevice *device;
        const char *booted; /* the slot that stays */
        MergeProgress progress;
        WorkWish wish;
} Merge;

/* What the kernel has read for this process, which is for the removal: between two chunks the only sign of
 * life. What the running system reads from the same device is not in it. */
static uint64_t bytes_read(void) {
        static const char key[] = "\nread_bytes: ";
        _cleanup_(freep) char *text = NULL;
        const char *value;

        if (file_read_at(AT_FDCWD, "/proc/self/io", 4096, &text, NULL, NULL) < 0)
                return 0;
        value = strstr(text, key);
        return value ? strtoull(value + strlen(key), NULL, 10) : 0;
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

uint64_t seed_merge_done(MergeProgress *p, uint64_t left, uint64_t read) {
        uint64_t moved, done;

        if (left < p->left) {
                p->left = left;
                p->from = read;
        }
        moved = read > p->from ? read - p->from : 0;
        moved = moved < p->chunk ? moved : p->chunk;
        done = p->total - p->left + (moved < p->left ? moved : p->left);
        p->told = done > p->told ? done : p->told;
        return p->told;
}

static WorkWish tell(Merge *g) {
        uint64_t left = g->progress.left;

        (void) left_on(g, &left, NULL);
        return g->args->progress(g->args->userdata,
                        seed_merge_done(&g->progress, left, bytes_read()), g->progress.total);
}

/* A data chunk has a tenth of the device at most, and no more than 1 GiB. */
static void begin(Merge *g, uint64_t total) {
        const uint64_t tenth = g->device->size / 10;

        g->progress = (MergeProgress){
                        .total = total,
                        .left = total,
                        .from = bytes_read(),
                        .chunk = tenth < CHUNK_MAX ? tenth : CHUNK_MAX,
        };
        g->wish = g->args->progress(g->args->userdata, 0, total);
}

static int remove_device(void *userdata, Err **reterr) {
        const Merge *g = userdata;

        return fs_device_remove(g->seed->layout.top_fd, g->id, reterr);
}

/* A wish to wait or to end stays one until the removal has stopped. */
static bool removal_is_to_stop(void *userdata) {
        Merge *g = userdata;
        WorkWish now = tell(g);

        if (now > g->wish)
                g->wish = now;
        return g->wish != WORK_GOES_ON;
}

static void stop_removal(void *userdata) {
        (void) fs_device_remove_cancel(((const Merge *) userdata)->seed->layout.top_fd, NULL);
}

/* A removal that was faster than the wish to stop it is the end of the merge. */
static int move(Merge *g, Err **reterr) {
        const Blocking removal = {g, remove_device, removal_is_to_stop, stop_removal};

        for (;;) {
                _cleanup_(err_freep) Err *why = NULL;
                int r;

                while (g->wish == WORK_WAITS) {
                        (void) usleep(LOOK_MSEC * 1000);
                        g->wish = tell(g);
                }
                if (g->wish == WORK_ENDS)
                        return stopped(reterr);
                r = blocking_run(&removal, &why);
                if (r == -ECANCELED && g->wish != WORK_GOES_ON)
                        continue;
                if (r < 0 && reterr)
                        *reterr = MOVE(why);
                return r;
        }
}

typedef struct Lost {
        Merge *merge;
        atomic_bool stop;
        char **files;
} Lost;

static int find_lost(void *userdata, Err **reterr) {
        Lost *l = userdata;

        return unreadable_files(
                        l->merge->seed->layout.top_fd, NAMES_MAX, &l->stop, &l->files, reterr);
}

static bool search_is_to_stop(void *userdata) {
        return tell(((Lost *) userdata)->merge) == WORK_ENDS;
}

static void stop_search(void *userdata) {
        atomic_store(&((Lost *) userdata)->stop, true);
}

/* As whoever is going to replace them finds them: what runs from "/", all else from the top of the file system. */
static char *list_lost(const Merge *g, char *const *files) {
        _cleanup_(freep) char *root = str_printf(LAYOUT_HOME "/slots/%s/root/", g->booted);
        char *text = NULL;

        for (size_t i = 0; root && files[i]; i++) {
                _cleanup_(freep) char *before = text;
                const bool runs = strncmp(files[i], root, strlen(root)) == 0;

                text = str_printf("%s%s%s", str_or(before, ""), before ? ", " : "",
                                runs ? files[i] + strlen(root) - 1 : files[i]);
                if (!text)
                        return NULL;
        }
        return text;
}

/* The kernel tells its log alone which file it could not move; so all of them are read, until somebody does not want to
 * wait for that. */
static int explain_lost(Merge *g, int r, Err **reterr) {
        _cleanup_(strv_freep) char **files = NULL;
        _cleanup_(freep) char *names = NULL;
        Lost lost = {.merge = g};
        const Blocking work = {&lost, find_lost, search_is_to_stop, stop_search};

        if (blocking_run(&work, NULL) >= 0)
                files = lost.files;
        names = files ? list_lost(g, files) : NULL;
        if (!names)
                return err_add(reterr, r,
                                "%s cannot be read in full: the kernel log names the file; replace "
                                "or delete it, then merge again",
                                g->device->path);
        return err_add(reterr, r,
                        "%s cannot be read in full, it has lost parts of these files: %s%s; "
                        "replace or "
                        "delete each of them, then merge again",
                        g->device->path, names, files[NAMES_MAX - 1] ? " and maybe more" : "");
}

static int explain(Merge *g, int r, Err **reterr) {
        if (r == -ENOSPC)
                return err_add(reterr, r,
                                "what is on %s does not fit; the system works as before, delete "
                                "something, or give the device more room",
                                g->device->path);
        if (r == -EIO)
                return explain_lost(g, r, reterr);
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

int seed_merge(SlotBackend *b, const WorkArgs *args, Err **reterr) {
        Seed *s = to_seed(b);
        Merge g = {.seed = s, .args = args};
        _cleanup_(device_list_done) DeviceList l = {0};
        uint64_t total = 0;
        int r = device_list_read(s, &l, reterr);

        if (r < 0 || !l.sprout || !l.seed)
                return r;
        g.id = l.seed->id;
        g.device = &l.seed->block;
        g.booted = l.sprout->config->id;
        r = drop_others(s, g.booted, reterr);
        if (r >= 0) /* what the cleaner has not taken yet would be copied; that is all */
                (void) subvol_wait_deleted(s->layout.top_fd, args->wait_usec, NULL);
        if (r >= 0)
                r = left_on(&g, &total, reterr);
        if (r >= 0) {
                begin(&g, total);
                r = move(&g, reterr);
        }
        return r == -ECANCELED || r >= 0 ? r : explain(&g, r, reterr);
}
