/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A version leaves the machine as its whole device, and comes back onto one that nobody needs. */
#include <fcntl.h>

#include "backends/seed.h"
#include "os/toplevel.h"

static int find(Seed *s, const char *id, DeviceList *l, const DeviceFacts **ret, Err **reterr) {
        int r = device_list_read(s, l, reterr);

        if (r < 0)
                return r;
        *ret = device_find(l, id);
        if (!*ret)
                return err_kind(reterr, ERR_UNKNOWN_SLOT, ENOENT, "there is no slot %s", id);
        if ((*ret)->kind == DEVICE_MISSING || (*ret)->kind == DEVICE_FOREIGN)
                return err_kind(reterr, ERR_BAD_DEVICE, ENODEV, "device %s cannot be used: %s", id,
                                str_or((*ret)->why, "it cannot be read"));
        return 0;
}

/* Past the cache: what the kernel has written as a file system is not in there. */
int seed_read_device(
                SlotBackend *b, const char *id, int *ret_fd, uint64_t *ret_size, Err **reterr) {
        Seed *s = to_seed(b);
        _cleanup_(device_list_done) DeviceList l = {0};
        const DeviceFacts *d = NULL;
        int fd, r = find(s, id, &l, &d, reterr);

        if (r < 0)
                return r;
        if (d->kind != DEVICE_SEALED)
                return err_kind(reterr, ERR_NOT_SEALED, EBUSY,
                                "device %s (%s) is not sealed, but %s: only what nobody writes to, "
                                "and what is complete by itself, can be copied as it is",
                                id, d->block.path, device_kind_to_string(d->kind));
        fd = open(d->block.path, O_RDONLY | O_DIRECT | O_CLOEXEC);
        if (fd < 0)
                return err_sys(reterr, errno, "open %s", d->block.path);
        *ret_fd = fd;
        *ret_size = d->block.size;
        return 0;
}

static int check_image(const DeviceFacts *d, const uint8_t *super, uint64_t size, BtrfsSuper *ret,
                Err **reterr) {
        char text[2][16];

        if (super_parse(super, ret, NULL) < 0 || !ret->seed || ret->num_devices != 1 ||
                        ret->log_tree || ret->renamed_fsid)
                return err_kind(reterr, ERR_BAD_IMAGE, EBADMSG,
                                "it is not the image of a sealed device");
        if (size < ret->total_bytes)
                size = ret->total_bytes;
        if (d->block.size < size)
                return err_kind(reterr, ERR_BAD_DEVICE, ENOSPC,
                                "device %s (%s) has %s, and the image needs %s", d->config->id,
                                d->block.path, format_bytes(text[0], d->block.size),
                                format_bytes(text[1], size));
        return 0;
}

static int check(Seed *s, const char *id, const uint8_t *super, uint64_t size, DeviceList *l,
                const DeviceFacts **ret, BtrfsSuper *ret_super, Err **reterr) {
        _cleanup_(freep) char *twin = NULL;
        const DeviceFacts *d = NULL;
        int r = find(s, id, l, &d, reterr);

        if (r < 0)
                return r;
        if (d->here || d->block.busy)
                return err_kind(reterr, ERR_BAD_DEVICE, EBUSY,
                                "device %s (%s) is in use: the running system reads it, or it is "
                                "mounted, or part of something else",
                                id, d->block.path);
        r = check_image(d, super, size, ret_super, reterr);
        if (r >= 0)
                r = super_find_fsid(ret_super->fsid, d->block.number, &twin, reterr);
        if (r > 0)
                return err_kind(reterr, ERR_AMBIGUOUS_DEVICE, ENOTUNIQ,
                                "%s holds the same file system as the image: there may be one of a "
                                "kind only; detach it, or wipe it",
                                twin);
        *ret = d;
        return r;
}

int seed_check_device(
                SlotBackend *b, const char *id, const uint8_t *super, uint64_t size, Err **reterr) {
        _cleanup_(device_list_done) DeviceList l = {0};
        const DeviceFacts *d = NULL;
        BtrfsSuper image;

        return check(to_seed(b), id, super, size, &l, &d, &image, reterr);
}

/* After a cut: before the wipe, the device with what was on it, claimed; then nothing on it that
 * anybody knows; after the superblocks are written, the file system of the image, claimed. A spare
 * in each case. */
int seed_claim_device(SlotBackend *b, const char *id, const uint8_t *super, int *ret_fd,
                uint64_t *ret_size, Err **reterr) {
        Seed *s = to_seed(b);
        _cleanup_(device_list_done) DeviceList l = {0};
        const DeviceFacts *d = NULL;
        DeviceFacts then;
        BtrfsSuper image;
        int fd, r = check(s, id, super, 0, &l, &d, &image, reterr);

        if (r >= 0 && d->has_super)
                r = seed_claim(s, d, NULL, reterr);
        if (r >= 0)
                r = seed_record_remove(s, id, reterr);
        if (r >= 0)
                r = block_wipe(d->block.path, reterr);
        if (r < 0)
                return r;
        (void) btrfs_forget(d->block.path, NULL);
        then = *d;
        then.super = image;
        then.has_super = true;
        r = seed_claim(s, &then, NULL, reterr);
        if (r < 0)
                return r;
        fd = open(d->block.path, O_RDWR | O_EXCL | O_CLOEXEC);
        if (fd < 0)
                return err_sys(reterr, errno, "open %s", d->block.path);
        *ret_fd = fd;
        *ret_size = d->block.size;
        return 0;
}

static int open_root(const Layout *inside, const char *id, int *ret, Err **reterr) {
        _cleanup_(freep) char *path = str_printf("%s/root", id);

        if (!path)
                return err_new(reterr, ENOMEM, "out of memory");
        *ret = openat(inside->slots_fd, path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        return *ret < 0 ? err_sys(reterr, errno, "open %s", path) : 0;
}

/* The names of its slots are in the file system, and its boot entry will name one. */
static int read_slot(
                const Layout *inside, const char *id, Slot *ret, int *ret_root_fd, Err **reterr) {
        _cleanup_(slot_done) Slot slot = {0};
        int r = layout_read_slot(inside, id, &slot, reterr);

        if (r >= 0 && slot.state == SLOT_INCOMPLETE)
                r = err_kind(reterr, ERR_BAD_IMAGE, EBADMSG,
                                "the image holds no version for slot %s (%s); an image goes back "
                                "to the slot that it was taken from",
                                id, str_or(slot.reason, "?"));
        if (r >= 0)
                r = open_root(inside, id, ret_root_fd, reterr);
        if (r < 0)
                return r;
        *ret = slot;
        slot = (Slot){0};
        return 0;
}

int seed_open_device(SlotBackend *b, const char *id, Slot *ret, int *ret_root_fd, Err **reterr) {
        Seed *s = to_seed(b);
        _cleanup_(device_list_done) DeviceList l = {0};
        _cleanup_(layout_done) Layout inside = LAYOUT_NONE;
        _cleanup_(fd_closep) int root_fd = -1;
        _cleanup_(slot_done) Slot slot = {0};
        const DeviceFacts *d = NULL;
        char uuid[UUID_TEXT_SIZE];
        int top_fd = -1, r = find(s, id, &l, &d, reterr);

        if (r >= 0 && (d->here || !d->has_super))
                r = err_kind(reterr, ERR_CONFLICT, EAGAIN, "the devices have changed meanwhile");
        if (r >= 0)
                r = toplevel_open_device(d->block.path, /* read_only= */ true, &top_fd, reterr);
        if (r >= 0)
                r = layout_open(s->world, top_fd, /* read_only= */ true, &inside, reterr);
        if (r >= 0)
                r = read_slot(&inside, id, &slot, &root_fd, reterr);
        if (r < 0)
                return r;
        if (str_set(&slot.fsid, uuid_format(uuid, d->super.fsid)) < 0 ||
                        str_set(&slot.depends, NULL) < 0)
                return err_new(reterr, ENOMEM, "out of memory");
        *ret_root_fd = MOVE_FD(root_fd);
        *ret = slot;
        slot = (Slot){0};
        return 0;
}
