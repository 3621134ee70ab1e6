/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* How much there is to be had for a new version, so that the merge that follows succeeds. */
#include "backends/seed.h"
#include "os/file.h"

#define MIB UINT64_C(1048576)
#define GIB (1024 * MIB)

/* What Btrfs takes for itself, as it gives out space: in chunks of a tenth of the device, of at most 1 GiB for data and 256 MiB
 * for metadata (1 GiB above 50 GiB), and metadata and system chunks twice. The last chunk of data is never full, and while
 * metadata moves there is a second chunk of it. */
uint64_t seed_slack(uint64_t size) {
        uint64_t tenth = size / 10, meta = size > 50 * GIB ? GIB : 256 * MIB;

        if (meta > tenth)
                meta = tenth;
        return 2 * 32 * MIB + 2 * 2 * meta + (tenth < GIB ? tenth : GIB);
}

int seed_bytes_used(Seed *s, uint64_t *ret, Err **reterr) {
        FsSpace space;
        int r = fs_space(s->layout.top_fd, &space, reterr);

        if (r >= 0)
                *ret = space.data_used * space.data_copies + space.metadata_used * 2;
        return r;
}

/* Is there nothing but slots? A merge deletes those of other devices, and copies all the rest. */
static int only_slots(const Seed *s, Err **reterr) {
        _cleanup_(strv_freep) char **names = NULL;
        int r = dir_names(s->layout.top_fd, &names, reterr);

        if (r < 0)
                return r;
        for (char **name = names; *name; name++)
                if (!str_eq(*name, LAYOUT_HOME))
                        return false;
        return true;
}

/* Of the device @d, what is not there for a version that shares nothing with the one that runs. */
static uint64_t taken(const DeviceFacts *d, const DeviceList *l, uint64_t used, bool alone) {
        uint64_t slack = seed_slack(d->block.size), least = d == l->sprout ? d->used : slack;

        used += d == l->sprout ? 0 : slack;
        return alone && least < used ? least : used;
}

int seed_space(SlotBackend *b, bool alone, FsSpace *ret, char **ret_exclusive, Err **reterr) {
        Seed *s = to_seed(b);
        _cleanup_(device_list_done) DeviceList l = {0};
        _cleanup_(freep) char *exclusive = NULL;
        const DeviceFacts *d = NULL;
        uint64_t used = 0;
        FsSpace space;
        int only, r = fs_exclusive_operation(s->layout.top_fd, &exclusive, reterr);

        if (r >= 0)
                r = fs_space(s->layout.top_fd, &space, reterr);
        if (r >= 0)
                r = seed_bytes_used(s, &used, reterr);
        if (r >= 0)
                r = device_list_read(s, &l, reterr);
        if (r >= 0)
                only = r = only_slots(s, reterr);
        if (r < 0)
                return r;
        d = l.sprout ? l.sprout : s->target ? device_find(&l, s->target->id) : NULL;
        if (d) {
                used = taken(d, &l, used, alone && only);
                space.data_free = space.metadata_free = 0;
                space.unallocated = d->block.size > used ? d->block.size - used : 0;
                space.total = d->block.size;
        }
        *ret = space;
        *ret_exclusive = MOVE(exclusive);
        return 0;
}
