/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Is the seed still what was written to it? A block that it has lost would end the merge, and later
 * be missing on both devices. Only before the sprout is there: with both the kernel takes good blocks for bad ones. */
#include "backends/seed.h"
#include "os/blocking.h"

typedef struct Scrub {
        int fd;
        uint64_t id;
        uint64_t total; /* bytes to read, about */
        const WorkArgs *args;
        bool ended; /* by wish */
        FsScrub found;
} Scrub;

static int run_scrub(void *userdata, Err **reterr) {
        Scrub *s = userdata;

        return fs_scrub(s->fd, s->id, &s->found, reterr);
}

static bool scrub_is_to_stop(void *userdata) {
        Scrub *s = userdata;
        FsScrub now = {0};

        if (fs_scrub_progress(s->fd, s->id, &now, NULL) >= 0 && now.bytes > s->total)
                s->total = now.bytes;
        s->ended |= s->args->progress(s->args->userdata, now.bytes, s->total) == WORK_ENDS;
        return s->ended;
}

static void stop_scrub(void *userdata) {
        (void) fs_scrub_cancel(((const Scrub *) userdata)->fd, NULL);
}

static int bytes_in_use(int fd, uint64_t *ret, Err **reterr) {
        FsSpace space;
        int r = fs_space(fd, &space, reterr);

        if (r >= 0)
                *ret = space.data_used * space.data_copies +
                       space.metadata_used * space.metadata_copies;
        return r;
}

static int explain(const Scrub *s, const DeviceFacts *seed, int r, Err **reterr) {
        if (r == -ECANCELED && s->ended) {
                if (reterr)
                        *reterr = err_free(*reterr);
                return err_kind(reterr, ERR_CANCELLED, ECANCELED,
                                "the job was cancelled; the machine is as it was before");
        }
        if (r == -EINPROGRESS) {
                if (reterr)
                        *reterr = err_free(*reterr);
                return err_kind(reterr, ERR_BUSY, EBUSY,
                                "%s is being scrubbed by somebody else: wait for its end, or stop "
                                "it with 'btrfs scrub cancel /'",
                                seed->block.path);
        }
        return err_add(reterr, r, "read device %s (%s) before it gets a sprout", seed->config->id,
                        seed->block.path);
}

/* Repeatable; a power cut leaves nothing: the device is only read. */
int seed_scrub(SlotBackend *b, const WorkArgs *args, Err **reterr) {
        Seed *s = to_seed(b);
        _cleanup_(device_list_done) DeviceList l = {0};
        Scrub scrub = {.fd = s->layout.top_fd, .args = args};
        const Blocking work = {&scrub, run_scrub, scrub_is_to_stop, stop_scrub};
        const DeviceFacts *seed = NULL;
        int r = s->world->config->scrub ? device_list_read(s, &l, reterr) : 0;

        for (size_t i = 0; i < l.n; i++)
                if (l.devices[i].here && l.devices[i].kind == DEVICE_SEALED)
                        seed = &l.devices[i];
        if (r < 0 || !seed || l.sprout)
                return r;
        scrub.id = seed->id;
        r = bytes_in_use(scrub.fd, &scrub.total, reterr);
        if (r < 0)
                return r;
        r = blocking_run(&work, reterr);
        if (r < 0)
                return explain(&scrub, seed, r, reterr);
        if (scrub.found.lost > 0)
                return err_kind(reterr, ERR_BAD_DEVICE, EIO,
                                "device %s (%s), which the new version would stand on, has lost "
                                "%" PRIu64 " block%s; the kernel log names the files. A full image "
                                "needs nothing of it",
                                seed->config->id, seed->block.path, scrub.found.lost,
                                scrub.found.lost == 1 ? "" : "s");
        return 0;
}
