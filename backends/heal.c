/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <sys/stat.h>

#include "backends/heal.h"
#include "os/btrfs-device.h"
#include "os/btrfs-super.h"
#include "os/toplevel.h"

/* A label, a flag set again: each is one transaction. Space that one frees is not written to before the
 * next; somebody who has used the device as a file system of its own has needed more than these, and
 * would lose what was written. While the sprout runs nothing can be mounted to see whether it still
 * can be: then one, which writes to nothing that was in use before it. */
enum { TRANSACTIONS_MAX = 3, TRANSACTIONS_RUNNING = 1 };

static bool mounts(const char *device) {
        int fd = -1, r = toplevel_open_device(device, /* read_only= */ true, &fd, NULL);

        fd_close(fd);
        return r >= 0;
}

/* The kernel may know either as it was. */
static void know(const char *device, const char *seed) {
        (void) btrfs_forget(device, NULL);
        (void) btrfs_forget(seed, NULL);
        (void) btrfs_scan(seed, NULL);
}

static bool sprout_mounts(const char *device, const char *seed) {
        know(device, seed);
        return mounts(device);
}

/* What was written in two transactions may lie where the trees of the saved superblock were: then the
 * old version would be lost for the new one. */
static bool both_mount(const char *device, const char *seed) {
        know(device, seed);
        return mounts(seed) && sprout_mounts(device, seed);
}

/* @below: the only one that it may be, 0 where any may. */
static int find_seed(
                const char *device, const BtrfsSuper *seed, dev_t below, char **ret, Err **reterr) {
        _cleanup_(freep) char *path = NULL, *twin = NULL;
        struct stat st;
        int r;

        if (stat(device, &st) < 0)
                return err_sys(reterr, errno, "look at %s", device);
        r = super_find_twin(seed, st.st_rdev, &path, reterr);
        if (r <= 0)
                return r < 0 ? r : err_new(reterr, ENODEV, "the device it builds on is not there");
        if (stat(path, &st) < 0)
                return err_sys(reterr, errno, "look at %s", path);
        r = super_find_twin(seed, st.st_rdev, &twin, reterr);
        if (r > 0)
                return err_new(reterr, ENOTUNIQ, "%s and %s say that they are the same device",
                                path, twin);
        if (r >= 0 && below && st.st_rdev != below)
                return err_new(reterr, EUCLEAN, "%s is not the device that it runs on", path);
        *ret = MOVE(path);
        return r;
}

static bool same(const SuperCopies *a, const SuperCopies *b) {
        return a->n == b->n && memcmp(a->blocks, b->blocks, a->n * SUPER_SIZE) == 0;
}

/* While the sprout runs nobody else can mount the seed, whatever its flag says now. */
static bool may_go_back(const BtrfsSuper *now, const BtrfsSuper *then, bool running) {
        uint64_t most = running ? TRANSACTIONS_RUNNING : TRANSACTIONS_MAX;

        return (now->seed || running) && memcmp(now->device_uuid, then->device_uuid, 16) == 0 &&
               now->generation >= then->generation && now->generation - then->generation <= most;
}

/* The one place where superblocks of a seed are written back. The first one decides a mount; the others
 * keep what was there until both devices have been mounted. A cut leaves each copy old or new, both
 * valid, and the next call sees by the others that it has to look, and what to take back. */
static int write_back(const char *device, const char *seed, const SuperCopies *now,
                const SuperCopies *then, bool running, Err **reterr) {
        SuperCopies first = *then;
        int r;

        first.n = 1;
        r = super_copies_write(seed, &first, reterr);
        if (r < 0)
                return r;
        if (running || both_mount(device, seed))
                return super_copies_write(seed, then, reterr);
        r = super_copies_write(seed, now, reterr);
        return r < 0 ? r
                     : err_new(reterr, EIO,
                                       "the superblocks of %s were changed by somebody, and to put "
                                       "them back does not help",
                                       seed);
}

/* Has a cut come between the first copy and the others? Then @now becomes what it was before. */
static bool undo_cut(SuperCopies *now, const SuperCopies *then) {
        return now->n > 1 && memcmp(now->blocks[0], then->blocks[0], SUPER_SIZE) == 0 &&
               super_first_of(now->blocks[1], now->blocks[0], NULL) >= 0;
}

static int put_back(const char *device, const char *seed, const SuperCopies *then, bool running,
                char **ret_text, Err **reterr) {
        SuperCopies now;
        BtrfsSuper a, b;
        bool cut;
        int r = super_copies_read(seed, &now, reterr);

        if (r < 0 || same(&now, then))
                return r;
        cut = !running && undo_cut(&now, then);
        r = super_parse(now.blocks[0], &a, reterr);
        if (r >= 0)
                r = super_parse(then->blocks[0], &b, reterr);
        if (r < 0 || (!running && !cut && sprout_mounts(device, seed)))
                return r;
        if (!may_go_back(&a, &b, running))
                return err_new(reterr, EUCLEAN,
                                "%s was changed by somebody, too much to take it back%s", seed,
                                running ? " while the system runs" : "");
        r = write_back(device, seed, &now, then, running, reterr);
        if (r < 0)
                return r;
        *ret_text = str_printf("the superblocks of %s were changed by somebody, and the system "
                               "would not have booted%s: they are as before",
                        seed, running ? " again" : "");
        return *ret_text ? 0 : err_new(reterr, ENOMEM, "out of memory");
}

int sprout_heal(const char *device, dev_t running_on, char **ret_text, Err **reterr) {
        _cleanup_(freep) char *seed = NULL;
        SuperCopies then;
        BtrfsSuper super, below;
        int r = super_read(device, &super, reterr);

        if (r < 0)
                return r;
        /* a merged one counts itself only; what it keeps is of the past */
        if (super.num_devices != 2 || super_stash_read(device, &then, NULL) < 0 ||
                        super_parse(then.blocks[0], &below, NULL) < 0 ||
                        memcmp(below.fsid, super.fsid, 16) == 0)
                return 0;
        r = find_seed(device, &below, running_on, &seed, reterr);
        if (r >= 0)
                r = put_back(device, seed, &then, running_on != 0, ret_text, reterr);
        return r < 0 ? err_add(reterr, r, "sprout %s", device) : 1;
}

bool sprout_fits(const char *device, const BtrfsSuper *seed) {
        SuperCopies kept;
        BtrfsSuper then;

        return super_stash_read(device, &kept, NULL) < 0 ||
               super_parse(kept.blocks[0], &then, NULL) < 0 ||
               may_go_back(seed, &then, /* running= */ false);
}
