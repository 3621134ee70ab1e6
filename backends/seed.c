/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Versions are block devices. The running one is a sealed seed and never written to; a new version
 * is received onto a second device, the sprout, which takes every write and reads the rest from the
 * seed. Inside the sprout it lies as a slot in the layout lies in any file system. */
#include <fcntl.h>

#include "backends/boot-backend.h"
#include "backends/heal.h"
#include "backends/seed.h"
#include "os/boot-partition.h"
#include "os/file.h"
#include "os/proc.h"

static SlotBackend *seed_close(SlotBackend *b) {
        Seed *s = to_seed(b);

        layout_done(&s->layout);
        fd_close(s->state_fd);
        free(s);
        return NULL;
}

/* The running system may be read-only and the other one out of reach: the state of both is on the
 * boot partition, unless the administrator has a better place. */
static int open_state(Seed *s, Err **reterr) {
        const char *path = s->world->config->state_directory;
        _cleanup_(fd_closep) int boot_fd = -1, home_fd = -1;
        int r;

        if (path) {
                s->state_fd = r = dir_open_at(s->world->root_fd, path, reterr);
                return r < 0 ? err_add(reterr, r, "open StateDirectory=") : 0;
        }
        r = boot_partition_open(s->world->root_fd, &boot_fd, reterr);
        if (r >= 0)
                r = dir_make_at(boot_fd, "abupdate", 0700, reterr);
        if (r >= 0)
                home_fd = r = dir_open_at(boot_fd, "abupdate", reterr);
        if (r >= 0)
                r = dir_make_at(home_fd, "state", 0700, reterr);
        if (r >= 0)
                s->state_fd = r = dir_open_at(home_fd, "state", reterr);
        return r < 0 ? err_add(reterr, r, "open the state directory") : 0;
}

static int seed_open(const World *w, SlotBackend **ret, Err **reterr) {
        _cleanup_(slot_backend_closep) SlotBackend *b = NULL;
        Seed *s;
        int r;

        if (w->config->n_devices < 2)
                return err_kind(reterr, ERR_BAD_CONFIG, EINVAL,
                                "Backend=seed needs Slots= in [Seed]: two devices or more");
        if (str_eq(w->config->boot, default_subvolume_boot_ops.name))
                return err_kind(reterr, ERR_BAD_CONFIG, EINVAL,
                                "Boot=%s in [Update] chooses among subvolumes of one file system, "
                                "and "
                                "with Backend=seed each version has its own: set Boot=bls, grub, "
                                "uboot or exec",
                                w->config->boot);
        s = calloc(1, sizeof(*s));
        if (!s)
                return err_new(reterr, ENOMEM, "out of memory");
        *s = (Seed){.base = {&seed_slot_ops}, .world = w, .layout = LAYOUT_NONE, .state_fd = -1};
        b = &s->base;
        r = seed_reopen(s, reterr);
        if (r >= 0)
                r = open_state(s, reterr);
        if (r < 0)
                return r;
        *ret = MOVE(b);
        return 0;
}

static int seed_state_dir(SlotBackend *b, int *ret_fd, Err **reterr) {
        int fd = dir_open_at(to_seed(b)->state_fd, ".", reterr);

        if (fd < 0)
                return fd;
        *ret_fd = fd;
        return 0;
}

static int seed_find_base(SlotBackend *b, const uint8_t uuid[16], int *ret_fd, Err **reterr) {
        return layout_find_base(&to_seed(b)->layout, uuid, ret_fd, reterr);
}

/* A sealed root cannot be remounted writable: fstab must not ask for it. */
static int check_fstab(int root_fd, Err **reterr) {
        _cleanup_(freep) char *options = NULL, *value = NULL;
        int r = fstab_options(root_fd, "/", &options, reterr);

        if (r < 0 || !*options)
                return r;
        r = mount_option_get(options, "ro", &value);
        if (r < 0)
                return err_new(reterr, r, "out of memory");
        return value ? 0
                     : err_kind(reterr, ERR_WRONG_LAYOUT, EMEDIUMTYPE,
                                       "etc/fstab of the new version mounts / with '%s'; a sealed "
                                       "device is read-only, so it must say ro",
                                       options);
}

static int seed_build(SlotBackend *b, const char *job, const Slot *draft, int *ret_root_fd,
                Err **reterr) {
        _cleanup_(fd_closep) int root_fd = -1;
        int r = layout_build(&to_seed(b)->layout, job, draft, &root_fd, reterr);

        if (r >= 0)
                r = check_fstab(root_fd, reterr);
        if (r < 0)
                return r;
        *ret_root_fd = MOVE_FD(root_fd);
        return 0;
}

/* Until the record is there the slot is not: what a cut leaves is a sprout like any other. */
static int seed_place(SlotBackend *b, const char *job, const Slot *draft, Err **reterr) {
        Seed *s = to_seed(b);
        _cleanup_(device_list_done) DeviceList l = {0};
        char uuid[UUID_TEXT_SIZE];
        Slot slot = *draft;
        int r = layout_place(&s->layout, job, draft, reterr);

        if (r >= 0)
                r = device_list_read(s, &l, reterr);
        if (r < 0)
                return r;
        if (!l.sprout || !l.seed || !str_eq(l.sprout->config->id, draft->id))
                return err_kind(reterr, ERR_CONFLICT, EAGAIN, "the devices have changed meanwhile");
        slot.fsid = uuid_format(uuid, l.sprout->super.fsid);
        slot.depends = l.seed->config->id;
        return seed_record_write(s, &slot, reterr);
}

static int seed_record(SlotBackend *b, const Slot *slot, Err **reterr) {
        if (slot->state == SLOT_EMPTY || slot->state == SLOT_INCOMPLETE || !slot->fsid)
                return err_kind(reterr, ERR_INVALID_ARGUMENT, EINVAL, "there is nothing in slot %s",
                                slot->id);
        return seed_record_write(to_seed(b), slot, reterr);
}

/* The sprout of the running system stays what it is until the reboot; another device is a spare
 * afterwards. What is not ours is left alone. */
static int discard_one(Seed *s, const DeviceList *l, const char *id, Err **reterr) {
        const DeviceFacts *d = device_find(l, id);
        int r = 0;

        if (!d || !d->record.id)
                return 0;
        if (d->here && d != l->sprout)
                return err_kind(reterr, ERR_SLOT_IN_USE, EBUSY,
                                "the running system reads device %s", id);
        if (d->has_super && d->kind != DEVICE_FOREIGN)
                r = seed_claim(s, d, NULL, reterr);
        if (r >= 0)
                r = seed_record_remove(s, id, reterr);
        if (r < 0)
                return r;
        if (d == l->sprout)
                return layout_discard(&s->layout, (const char *const[]){id, NULL}, reterr);
        return d->has_super && d->kind != DEVICE_FOREIGN ? block_wipe(d->block.path, reterr) : 0;
}

static int seed_discard(SlotBackend *b, const char *const ids[], Err **reterr) {
        Seed *s = to_seed(b);
        _cleanup_(device_list_done) DeviceList l = {0};
        int r = device_list_read(s, &l, reterr);

        for (; r >= 0 && *ids; ids++) {
                r = discard_one(s, &l, *ids, reterr);
                if (r < 0)
                        r = err_add(reterr, r, "discard slot %s", *ids);
        }
        return r;
}

/* What the installer wrote beside the root moves to where both systems see it; and once the seed is
 * merged away the record must not say that it is needed. */
static int correct_record(Seed *s, const SlotList *slots, Err **reterr) {
        _cleanup_(slot_done) Slot record = {0};
        const Slot *booted = slot_booted(slots);
        int r = booted ? seed_record_read(s, booted->id, &record, reterr) : 0;

        if (r < 0 || !booted || !booted->fsid)
                return r;
        if (r > 0 && str_eq(record.fsid, booted->fsid) && str_eq(record.depends, booted->depends))
                return 0;
        return seed_record_write(s, booted, reterr);
}

/* A version that was put in its place, but never recorded. */
static int drop_unrecorded(Seed *s, const SlotList *slots, unsigned *count, Err **reterr) {
        slots_foreach (slot, slots) {
                int r;

                if (slot->state != SLOT_EMPTY ||
                                faccessat(s->layout.slots_fd, slot->id, F_OK, 0) < 0)
                        continue;
                r = layout_discard(&s->layout, (const char *const[]){slot->id, NULL}, reterr);
                if (r < 0)
                        return r;
                (*count)++;
        }
        return 0;
}

static int seed_clean(SlotBackend *b, unsigned *ret_count, Err **reterr) {
        Seed *s = to_seed(b);
        _cleanup_(slot_list_freep) SlotList *slots = NULL;
        unsigned count = 0;
        int r = seed_list(b, &slots, reterr);

        if (r >= 0)
                r = correct_record(s, slots, reterr);
        if (r >= 0 && !s->sealed)
                r = layout_clean(&s->layout, &count, reterr);
        if (r >= 0 && !s->sealed)
                r = drop_unrecorded(s, slots, &count, reterr);
        if (r >= 0 && ret_count)
                *ret_count = count;
        return r < 0 ? r : 0;
}

static int seed_heal(SlotBackend *b, char **ret_text, Err **reterr) {
        _cleanup_(device_list_done) DeviceList l = {0};
        int r = device_list_read(to_seed(b), &l, reterr);

        if (r < 0 || !l.sprout || !l.seed)
                return r;
        r = sprout_heal(l.sprout->block.path, l.seed->block.number, ret_text, reterr);
        return r < 0 ? r : *ret_text != NULL;
}

static int seed_reclaim(SlotBackend *b, uint64_t usec, Err **reterr) {
        Seed *s = to_seed(b);

        return s->sealed ? 0 : subvol_wait_deleted(s->layout.top_fd, usec, reterr);
}

const SlotOps seed_slot_ops = {
                .name = "seed",
                .open = seed_open,
                .close = seed_close,
                .list = seed_list,
                .target = seed_target,
                .state_dir = seed_state_dir,
                .space = seed_space,
                .scrub = seed_scrub,
                .prepare = seed_prepare,
                .find_base = seed_find_base,
                .copy_booted = seed_copy_booted,
                .in_place = seed_in_place,
                .build = seed_build,
                .open_before = seed_open_before,
                .place = seed_place,
                .record = seed_record,
                .discard = seed_discard,
                .clean = seed_clean,
                .merge = seed_merge,
                .heal = seed_heal,
                .hazard = seed_hazard,
                .lost = seed_lost,
                .read_device = seed_read_device,
                .check_device = seed_check_device,
                .claim_device = seed_claim_device,
                .open_device = seed_open_device,
                .reclaim = seed_reclaim,
};
