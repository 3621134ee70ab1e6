/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* From a spare device to the sprout that takes a new version. Everything that can be wrong is looked
 * for before the ioctl: the kernel asks little, and a device that is too small crashes it. */
#include <fcntl.h>

#include "backends/seed.h"
#include "os/file.h"
#include "os/toplevel.h"

#define MIN_SIZE (UINT64_C(1) << 30)

static uint64_t least_size(uint64_t used, uint64_t size) {
        uint64_t need = used + seed_slack(size);

        return need < MIN_SIZE ? MIN_SIZE : need;
}

static int check_size(Seed *s, const DeviceFacts *d, Err **reterr) {
        uint64_t need = 0;
        char text[2][16];
        int r = seed_bytes_used(s, &need, reterr);

        if (r < 0)
                return r;
        need = least_size(need, d->block.size);
        if (d->block.size < need)
                return err_kind(reterr, ERR_BAD_DEVICE, ENOSPC,
                                "device %s (%s) has %s, and %s are needed: what the running system "
                                "uses must fit on it when it is merged",
                                d->config->id, d->block.path, format_bytes(text[0], d->block.size),
                                format_bytes(text[1], need));
        return 0;
}

/* Before Linux 6.17 the kernel lets two file systems have one seed, and what the one does to it
 * surprises the other. */
static int check_holder(const DeviceFacts *seed, Err **reterr) {
        _cleanup_(fd_closep) int sys_fd = dir_open_at(AT_FDCWD, "/sys/fs/btrfs", reterr);
        _cleanup_(freep) char *uuid = NULL;
        int r = sys_fd < 0 ? sys_fd
                           : fs_find_holder(sys_fd, seed->block.number, seed->super.fsid, &uuid,
                                             reterr);

        if (r <= 0)
                return r;
        return err_kind(reterr, ERR_BAD_DEVICE, EBUSY,
                        "%s is held by another mounted file system, %s, which is a sprout of it: "
                        "unmount that first",
                        seed->block.path, uuid);
}

/* The seed must be the only one of its kind, and fit for it. */
static int check_seed(const DeviceFacts *seed, Err **reterr) {
        _cleanup_(freep) char *twin = NULL;
        int r;

        if (seed->super.renamed_fsid)
                return err_kind(reterr, ERR_NOT_SUPPORTED, EOPNOTSUPP,
                                "the file system on %s has had its id changed (metadata_uuid): it "
                                "cannot be a seed",
                                seed->block.path);
        r = super_find_twin(&seed->super, seed->block.number, &twin, reterr);
        if (r > 0)
                return err_kind(reterr, ERR_AMBIGUOUS_DEVICE, ENOTUNIQ,
                                "%s says that it is the same device as %s: detach the copy, or "
                                "wipe it",
                                twin, seed->block.path);
        return r < 0 ? r : check_holder(seed, reterr);
}

static int check_spare(Seed *s, const DeviceFacts *d, Err **reterr) {
        if (d->kind == DEVICE_MISSING || d->kind == DEVICE_FOREIGN)
                return err_kind(reterr, ERR_BAD_DEVICE, ENODEV,
                                "device %s cannot take a version: %s", d->config->id,
                                str_or(d->why, "it cannot be read"));
        if (d->block.busy)
                return err_kind(reterr, ERR_BAD_DEVICE, EBUSY,
                                "device %s (%s) is in use: mounted, or part of something else",
                                d->config->id, d->block.path);
        return check_size(s, d, reterr);
}

/* The less it is missed, the better it suits. What cannot be used comes last: it is taken only to say
 * why not. */
static int rank(const DeviceFacts *d, const Slot *slot, uint64_t used) {
        if (d->kind == DEVICE_MISSING || d->kind == DEVICE_FOREIGN)
                return 9;
        if (d->block.busy || d->block.size < least_size(used, d->block.size))
                return 8;
        switch (slot->state) {
        case SLOT_EMPTY: return 0;
        case SLOT_INCOMPLETE: return 1;
        case SLOT_BAD: return 2;
        case SLOT_STAGED: return 3;
        default: return 4;
        }
}

static bool depended_on(const SlotList *slots, const char *id) {
        slots_foreach (o, slots)
                if (str_eq(o->depends, id))
                        return true;
        return false;
}

static int pick(Seed *s, const DeviceList *l, const SlotList *slots, const char *next,
                const DeviceFacts **ret, Err **reterr) {
        const DeviceFacts *best = NULL;
        const Slot *best_slot = NULL;
        uint64_t used = 0;
        int r = seed_bytes_used(s, &used, reterr);

        if (r < 0)
                return r;
        for (size_t i = 0; i < l->n; i++) {
                const DeviceFacts *d = &l->devices[i];
                const Slot *slot = slot_find(slots, d->config->id);

                if (!slot || slot->booted || slot->pinned || str_eq(d->config->id, next) ||
                                (d->here && d != l->sprout) || depended_on(slots, slot->id))
                        continue;
                r = best ? rank(d, slot, used) - rank(best, best_slot, used) : -1;
                if (r < 0 || (r == 0 && slot->blessed < best_slot->blessed)) {
                        best = d;
                        best_slot = slot;
                }
        }
        if (!best)
                return err_kind(reterr, ERR_BAD_DEVICE, ENODEV,
                                "no device is free for a new version: the others boot next, are "
                                "pinned, or another one builds on them");
        *ret = best;
        return 0;
}

/* What runs decides what is possible: a seed can be sprouted, a sprout that holds no version yet or
 * a given up one can be used again. */
static int check_running(Seed *s, const DeviceList *l, const SlotList *slots, const char *next,
                const DeviceFacts **ret, Err **reterr) {
        const Slot *booted = slot_booted(slots);
        const DeviceFacts *d = booted ? device_find(l, booted->id) : NULL;

        if (!d)
                return err_kind(reterr, ERR_WRONG_LAYOUT, EMEDIUMTYPE,
                                "the running system is not in a slot");
        if (l->sprout == d)
                return err_kind(reterr, ERR_NOT_SEALED, EBUSY,
                                "slot %s still builds on device %s: 'abctl merge' first",
                                d->config->id, l->seed ? l->seed->config->id : "?");
        if (d->kind != DEVICE_SEALED)
                return err_kind(reterr, ERR_NOT_SEALED, EBUSY,
                                "device %s is not sealed: reboot, and abupdate-initrd seals it "
                                "where SealAtBoot=yes is set and it is in the initrd",
                                d->config->id);
        if (!l->sprout)
                return pick(s, l, slots, next, ret, reterr);
        if (str_eq(l->sprout->config->id, next))
                return err_kind(reterr, ERR_CONFLICT, EBUSY,
                                "slot %s boots next and would be overwritten: 'abctl rollback' "
                                "takes that back",
                                next);
        *ret = l->sprout;
        return 0;
}

static char *note(const DeviceFacts *d, const Slot *slot, bool reused) {
        if (reused)
                return str_printf("device %s (%s) is the sprout of the running system already",
                                d->config->id, d->block.path);
        if (slot->state == SLOT_EMPTY || slot->state == SLOT_INCOMPLETE)
                return str_printf("device %s (%s) becomes the sprout of the running system",
                                d->config->id, d->block.path);
        return str_printf("device %s (%s) becomes the sprout of the running system; version %s "
                          "(%s) on it goes%s",
                        d->config->id, d->block.path, slot->version,
                        slot_state_to_string(slot->state),
                        slot->state == SLOT_BAD ? "" : ", and with it the way back to that");
}

int seed_target(SlotBackend *b, const SlotList *slots, const char *next, char **ret_id,
                char **ret_note, Err **reterr) {
        Seed *s = to_seed(b);
        _cleanup_(device_list_done) DeviceList l = {0};
        _cleanup_(freep) char *id = NULL, *text = NULL;
        const DeviceFacts *d = NULL;
        const Slot *booted;
        int r = seed_check_kernel(s, reterr);

        if (r >= 0)
                r = device_list_read(s, &l, reterr);
        if (r >= 0)
                r = check_running(s, &l, slots, next, &d, reterr);
        if (r >= 0 && d && d != l.sprout) {
                booted = slot_booted(slots);
                r = check_spare(s, d, reterr);
                if (r >= 0)
                        r = check_seed(device_find(&l, booted->id), reterr);
        }
        if (r < 0 || !d)
                return r;
        text = note(d, slot_find(slots, d->config->id), d == l.sprout);
        if (!text || str_set(&id, d->config->id) < 0)
                return err_new(reterr, ENOMEM, "out of memory");
        s->target = d->config;
        *ret_id = MOVE(id);
        *ret_note = MOVE(text);
        return 0;
}

/* A default subvolume cannot be deleted, and decides nothing here: the boot entry names the root. */
static int release_default(Seed *s, Err **reterr) {
        const uint64_t top = 5;
        uint64_t id;
        int r = default_subvol_get(s->layout.top_fd, &id, reterr);

        return r < 0 || id == top ? r : default_subvol_set(s->layout.top_fd, top, reterr);
}

int seed_reopen(Seed *s, Err **reterr) {
        _cleanup_(fs_devices_done) FsDevices fs = {0};
        int top_fd = -1, r = fs_devices(s->world->root_fd, &fs, reterr);

        if (r < 0)
                return r;
        s->sealed = false;
        for (size_t i = 0; i < fs.n; i++)
                s->sealed |= !fs.devices[i].seed && fs.devices[i].sealed;
        layout_done(&s->layout);
        r = toplevel_open(s->world->root_fd, s->sealed, &top_fd, reterr);
        if (r >= 0)
                r = layout_open(s->world, top_fd, s->sealed, &s->layout, reterr);
        return r < 0 || s->sealed ? r : release_default(s, reterr);
}

/* The kernel took it for a seed: the file system has another id now. Else it made an ordinary file
 * system of two devices, which is taken back at once. */
static int check_sprouted(Seed *s, const uint8_t seed_fsid[16], dev_t number, Err **reterr) {
        _cleanup_(fs_devices_done) FsDevices fs = {0};
        int r = fs_devices(s->world->root_fd, &fs, reterr);

        if (r < 0 || memcmp(fs.fsid, seed_fsid, 16) != 0)
                return r;
        for (size_t i = 0; i < fs.n; i++)
                if (fs.devices[i].number == number)
                        (void) fs_device_remove(s->world->root_fd, fs.devices[i].id, NULL);
        return err_kind(reterr, ERR_NOT_SEALED, EIO,
                        "the kernel does not take the running device for a seed; reboot");
}

/* Until there is a version on it, it is a spare: known by its own id, and by nothing else. */
static int claim_sprout(Seed *s, const DeviceFacts *d, Err **reterr) {
        DeviceFacts now = *d;
        int r = super_read(d->block.path, &now.super, reterr);

        now.has_super = true;
        return r < 0 ? r : seed_claim(s, &now, NULL, reterr);
}

/* A cut before the end of the ioctl leaves a device without anything, or with a Btrfs that the claim
 * tells us is ours; the seed is not written to in any case. */
static int sprout(Seed *s, const DeviceFacts *seed, const DeviceFacts *d, Err **reterr) {
        _cleanup_(freep) char *name = str_printf("supers-%s", seed->config->id);
        const char *path = d->block.path;
        SuperCopies copies;
        int r;

        if (!name)
                return err_new(reterr, ENOMEM, "out of memory");
        r = super_save(seed->block.path, s->state_fd, name, reterr);
        if (r >= 0)
                r = seed_claim(s, d, &seed->super, reterr);
        if (r >= 0)
                r = seed_record_remove(s, d->config->id, reterr);
        if (r >= 0)
                r = block_wipe(path, reterr);
        if (r >= 0)
                r = super_copies_read(seed->block.path, &copies, reterr);
        if (r >= 0) /* for the initrd, which has no boot partition */
                r = super_stash(path, &copies, reterr);
        if (r < 0)
                return r;
        (void) btrfs_forget(path, NULL); /* what was on it before, if it was ever looked at */
        r = fs_device_add(s->world->root_fd, path, reterr);
        if (r >= 0)
                r = check_sprouted(s, seed->super.fsid, d->block.number, reterr);
        return r < 0 ? r : claim_sprout(s, d, reterr);
}

static int make_sprout(Seed *s, const DeviceList *l, Err **reterr) {
        _cleanup_(slot_list_freep) SlotList *slots = NULL;
        const DeviceFacts *d = device_find(l, s->target->id), *seed = NULL;
        const Slot *booted;
        int r = seed_list(&s->base, &slots, reterr);

        if (r < 0)
                return r;
        booted = slot_booted(slots);
        seed = booted ? device_find(l, booted->id) : NULL;
        if (!d || !seed || seed->kind != DEVICE_SEALED || d->here)
                return err_kind(reterr, ERR_CONFLICT, EAGAIN, "the devices have changed meanwhile");
        /* once more, in the moment before: between look and deed somebody may have mounted it */
        r = check_spare(s, d, reterr);
        if (r >= 0)
                r = check_seed(seed, reterr);
        if (r >= 0)
                r = sprout(s, seed, d, reterr);
        return r;
}

int seed_prepare(SlotBackend *b, const char *job, int *ret_fd, Err **reterr) {
        Seed *s = to_seed(b);
        _cleanup_(device_list_done) DeviceList l = {0};
        int r;

        if (!s->target)
                return err_new(reterr, EINVAL, "no device was chosen");
        r = device_list_read(s, &l, reterr);
        if (r >= 0)
                r = l.sprout ? claim_sprout(s, l.sprout, reterr) : make_sprout(s, &l, reterr);
        if (r >= 0)
                r = seed_reopen(s, reterr);
        if (r >= 0) /* a version that was here before and was given up */
                r = seed_record_remove(s, s->target->id, reterr);
        if (r >= 0)
                r = layout_discard(&s->layout, (const char *const[]){s->target->id, NULL}, reterr);
        if (r >= 0)
                r = layout_prepare(&s->layout, job, ret_fd, reterr);
        return r < 0 ? err_add(reterr, r, "make device %s the sprout", s->target->id) : 0;
}
