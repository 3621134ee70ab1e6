/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Versions are subvolumes of the file system that / is on: slots with rising numbers in one
 * layout. */
#include <fcntl.h>

#include "backends/layout.h"
#include "os/file.h"
#include "os/toplevel.h"

typedef struct Snapshot {
        SlotBackend base; /* must stay first */
        Layout layout;
} Snapshot;

static Snapshot *to_snapshot(SlotBackend *b) {
        if (b->ops != &snapshot_slot_ops)
                abort();
        return (Snapshot *) b;
}

static SlotBackend *snapshot_close(SlotBackend *b) {
        layout_done(&to_snapshot(b)->layout);
        free(b);
        return NULL;
}

static int snapshot_open(const World *w, SlotBackend **ret, Err **reterr) {
        _cleanup_(slot_backend_closep) SlotBackend *b = NULL;
        Snapshot *s = calloc(1, sizeof(*s));
        int r, top_fd = -1;

        if (!s)
                return err_new(reterr, ENOMEM, "out of memory");
        *s = (Snapshot){{&snapshot_slot_ops}, LAYOUT_NONE};
        b = &s->base;
        r = toplevel_open(w->root_fd, /* read_only= */ false, &top_fd, reterr);
        if (r >= 0)
                r = layout_open(w, top_fd, /* read_only= */ false, &s->layout, reterr);
        if (r < 0)
                return r;
        *ret = MOVE(b);
        return 0;
}

static int name_for_boot(Slot *slot, const char *fsid) {
        slot->boot_options =
                        str_printf("root=UUID=%s rootflags=subvol=" LAYOUT_HOME "/slots/%s/root %s",
                                        fsid, slot->id, slot->read_only ? "ro" : "rw");
        return slot->boot_options ? 0 : -ENOMEM;
}

static int snapshot_list(SlotBackend *b, SlotList **ret, Err **reterr) {
        Snapshot *s = to_snapshot(b);
        _cleanup_(slot_list_freep) SlotList *l = calloc(1, sizeof(*l));
        _cleanup_(strv_freep) char **names = NULL;
        uint64_t booted_key, number;
        char fsid[UUID_TEXT_SIZE];
        uint8_t uuid[16];
        size_t n = 0;
        int r;

        if (!l)
                return err_new(reterr, ENOMEM, "out of memory");
        r = subvol_id(s->layout.world->root_fd, &booted_key, reterr);
        if (r >= 0)
                r = fs_id(s->layout.top_fd, uuid, reterr);
        if (r < 0)
                return err_add(reterr, r, "find the booted slot");
        r = dir_names(s->layout.slots_fd, &names, reterr);
        if (r < 0)
                return err_add(reterr, r, "list slots");
        uuid_format(fsid, uuid);
        while (names[n])
                n++;
        l->slots = calloc(n + 1, sizeof(*l->slots));
        if (!l->slots)
                return err_new(reterr, ENOMEM, "out of memory");
        for (char **name = names; *name; name++) {
                Slot *slot = &l->slots[l->n];

                if (parse_u64(*name, &number) < 0 || number == 0)
                        continue;
                r = layout_read_slot(&s->layout, *name, slot, reterr);
                if (r < 0)
                        return err_add(reterr, r, "read slot %s", *name);
                slot->booted = slot->boot_key != 0 && slot->boot_key == booted_key;
                l->n++;
                if (slot->boot_key != 0 && name_for_boot(slot, fsid) < 0)
                        return err_new(reterr, ENOMEM, "out of memory");
        }
        *ret = MOVE(l);
        return 0;
}

static int snapshot_state_dir(SlotBackend *b, int *ret_fd, Err **reterr) {
        Snapshot *s = to_snapshot(b);
        const char *path = s->layout.world->config->state_directory;
        _cleanup_(fd_closep) int home = -1;
        int fd;

        if (path)
                fd = dir_open_at(s->layout.world->root_fd, path, reterr);
        else {
                home = dir_open_at(s->layout.top_fd, LAYOUT_HOME, reterr);
                fd = home < 0 ? home : dir_make_at(home, "state", 0700, reterr);
                if (fd >= 0)
                        fd = dir_open_at(home, "state", reterr);
        }
        if (fd < 0)
                return err_add(reterr, fd, "open the state directory");
        *ret_fd = fd;
        return 0;
}

static int snapshot_space(SlotBackend *b, bool alone _unused_, FsSpace *ret, char **ret_exclusive,
                Err **reterr) {
        int top_fd = to_snapshot(b)->layout.top_fd;
        int r = fs_exclusive_operation(top_fd, ret_exclusive, reterr);

        return r < 0 ? r : fs_space(top_fd, ret, reterr);
}

static int snapshot_prepare(SlotBackend *b, const char *job, int *ret_fd, Err **reterr) {
        return layout_prepare(&to_snapshot(b)->layout, job, ret_fd, reterr);
}

static int snapshot_find_base(SlotBackend *b, const uint8_t uuid[16], int *ret_fd, Err **reterr) {
        return layout_find_base(&to_snapshot(b)->layout, uuid, ret_fd, reterr);
}

static int snapshot_kept(SlotBackend *b, bool make, int *ret_fd, Err **reterr) {
        return layout_kept(&to_snapshot(b)->layout, make, ret_fd, reterr);
}

static int snapshot_copy_booted(SlotBackend *b, const char *job, Err **reterr) {
        _cleanup_(slot_list_freep) SlotList *list = NULL;
        _cleanup_(fd_closep) int image_fd = -1;
        const Slot *booted;
        int r = snapshot_list(b, &list, reterr);

        if (r < 0)
                return r;
        booted = slot_booted(list);
        if (!booted)
                return err_kind(reterr, ERR_WRONG_LAYOUT, EMEDIUMTYPE,
                                "the running system is not in a slot");
        r = snapshot_prepare(b, job, &image_fd, reterr);
        if (r >= 0)
                r = layout_copy(&to_snapshot(b)->layout, booted, image_fd, reterr);
        return r < 0 ? err_add(reterr, r, "copy the booted slot") : 0;
}

static int snapshot_build(SlotBackend *b, const char *job, const Slot *draft, int *ret_root_fd,
                Err **reterr) {
        return layout_build(&to_snapshot(b)->layout, job, draft, ret_root_fd, reterr);
}

static int snapshot_place(SlotBackend *b, const char *job, const Slot *draft, Err **reterr) {
        return layout_place(&to_snapshot(b)->layout, job, draft, reterr);
}

static int snapshot_open_root(SlotBackend *b, const Slot *slot, int *ret_fd, Err **reterr) {
        _cleanup_(freep) char *path = str_printf("%s/root", slot->id);
        int fd = path ? dir_open_at(to_snapshot(b)->layout.slots_fd, path, reterr)
                      : err_new(reterr, ENOMEM, "out of memory");

        if (fd < 0)
                return fd;
        *ret_fd = fd;
        return 0;
}

/* The copy that begin() made. */
static int snapshot_open_before(SlotBackend *b, const Slot *booted, int *ret_fd, Err **reterr) {
        const Slot copy = {.id = booted->fallback};

        return copy.id ? snapshot_open_root(b, &copy, ret_fd, reterr)
                       : err_kind(reterr, ERR_NO_TRANSACTION, ENOENT, "no transaction is open");
}

static int snapshot_record(SlotBackend *b, const Slot *slot, Err **reterr) {
        return layout_record(&to_snapshot(b)->layout, slot, reterr);
}

static int snapshot_discard(SlotBackend *b, const char *const ids[], Err **reterr) {
        return layout_discard(&to_snapshot(b)->layout, ids, reterr);
}

static int snapshot_clean(SlotBackend *b, unsigned *ret_count, Err **reterr) {
        return layout_clean(&to_snapshot(b)->layout, ret_count, reterr);
}

static int snapshot_reclaim(SlotBackend *b, uint64_t usec, Err **reterr) {
        return subvol_wait_deleted(to_snapshot(b)->layout.top_fd, usec, reterr);
}

const SlotOps snapshot_slot_ops = {
                .name = "snapshot",
                .open = snapshot_open,
                .close = snapshot_close,
                .list = snapshot_list,
                .state_dir = snapshot_state_dir,
                .space = snapshot_space,
                .prepare = snapshot_prepare,
                .find_base = snapshot_find_base,
                .kept = snapshot_kept,
                .copy_booted = snapshot_copy_booted,
                .build = snapshot_build,
                .place = snapshot_place,
                .open_root = snapshot_open_root,
                .open_before = snapshot_open_before,
                .record = snapshot_record,
                .discard = snapshot_discard,
                .clean = snapshot_clean,
                .reclaim = snapshot_reclaim,
};
