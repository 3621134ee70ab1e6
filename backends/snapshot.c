/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <fcntl.h>
#include <sys/stat.h>

#include "backends/snapshot.h"
#include "os/file.h"
#include "os/toplevel.h"

#define HOME          "@abupdate"
#define SLOT_CONF     "slot.conf"
#define SLOT_CONF_MAX (64 * 1024)
#define GONE          "gone-" /* in staging: a slot on its way out */

static SlotBackend *snapshot_close(SlotBackend *b) {
        Snapshot *s = to_snapshot(b);

        fd_close(s->top_fd);
        fd_close(s->slots_fd);
        fd_close(s->staging_fd);
        free(s);
        return NULL;
}

static int make_and_open(int parent_fd, const char *name, mode_t mode, Err **reterr) {
        int r = dir_make_at(parent_fd, name, mode, reterr);

        return r < 0 ? r : dir_open_at(parent_fd, name, reterr);
}

static int snapshot_open(const World *w, SlotBackend **ret, Err **reterr) {
        _cleanup_(slot_backend_closep) SlotBackend *b = NULL;
        _cleanup_(fd_closep) int home = -1;
        Snapshot *s = calloc(1, sizeof(*s));
        int r;

        if (!s)
                return err_new(reterr, ENOMEM, "out of memory");
        *s = (Snapshot){{&snapshot_slot_ops}, w, -1, -1, -1};
        b = &s->base;

        r = toplevel_open(w->root_fd, &s->top_fd, reterr);
        if (r < 0)
                return r;
        /* staging holds half-written systems, setuid programs among them: nobody but root looks
         * in */
        home = r = make_and_open(s->top_fd, HOME, 0700, reterr);
        if (r >= 0)
                s->slots_fd = r = make_and_open(home, "slots", 0700, reterr);
        if (r >= 0)
                s->staging_fd = r = make_and_open(home, "staging", 0700, reterr);
        if (r < 0)
                return err_add(reterr, r, "open the slots in " HOME " of the top-level subvolume");
        *ret = MOVE(b);
        return 0;
}

/* A slot that lacks a part is listed too: people must see it to discard it. */
static int read_slot(int dir_fd, Slot *ret, Err **reterr) {
        _cleanup_(fd_closep) int root_fd = -1;
        _cleanup_(freep) char *text = NULL;
        SubvolInfo info;
        size_t size;
        int r;

        r = file_read_at(dir_fd, SLOT_CONF, SLOT_CONF_MAX, &text, &size, reterr);
        if (r < 0)
                return r;
        r = slot_parse(text, size, ret, reterr);
        if (r < 0)
                return err_add(reterr, r, SLOT_CONF);
        if (subvol_is_at(dir_fd, "root") <= 0)
                return err_new(reterr, ENOENT, "its root subvolume is missing");
        root_fd = dir_open_at(dir_fd, "root", reterr);
        if (root_fd < 0)
                return root_fd;
        r = subvol_info(root_fd, &info, reterr);
        if (r < 0)
                return r;
        ret->boot_key = info.id;
        ret->read_only = info.read_only;
        return 0;
}

static int list_one(Snapshot *s, const char *name, uint64_t booted_key, Slot *ret, Err **reterr) {
        _cleanup_(slot_done) Slot slot = {0};
        _cleanup_(err_freep) Err *why = NULL;
        _cleanup_(fd_closep) int dir_fd = -1;
        int r;

        dir_fd = dir_open_at(s->slots_fd, name, &why);
        r = dir_fd < 0 ? dir_fd : read_slot(dir_fd, &slot, &why);
        if (r == -ENOMEM)
                return err_new(reterr, r, "out of memory");
        if (r < 0) {
                slot.state = SLOT_INCOMPLETE;
                if (str_set(&slot.reason, err_text(why)) < 0 ||
                                (!slot.version && str_set(&slot.version, "?") < 0))
                        return err_new(reterr, ENOMEM, "out of memory");
        }
        if (str_set(&slot.id, name) < 0)
                return err_new(reterr, ENOMEM, "out of memory");
        slot.booted = slot.boot_key != 0 && slot.boot_key == booted_key;
        *ret = slot;
        slot = (Slot){0};
        return 0;
}

static int snapshot_list(SlotBackend *b, SlotList **ret, Err **reterr) {
        Snapshot *s = to_snapshot(b);
        _cleanup_(slot_list_freep) SlotList *l = calloc(1, sizeof(*l));
        _cleanup_(strv_freep) char **names = NULL;
        uint64_t booted_key, number;
        size_t n = 0;
        int r;

        if (!l)
                return err_new(reterr, ENOMEM, "out of memory");
        r = subvol_id(s->world->root_fd, &booted_key, reterr);
        if (r < 0)
                return err_add(reterr, r, "find the booted slot");
        r = dir_names(s->slots_fd, &names, reterr);
        if (r < 0)
                return err_add(reterr, r, "list slots");
        while (names[n])
                n++;
        l->slots = calloc(n + 1, sizeof(*l->slots));
        if (!l->slots)
                return err_new(reterr, ENOMEM, "out of memory");
        for (char **name = names; *name; name++) {
                if (parse_u64(*name, &number) < 0 || number == 0)
                        continue;
                r = list_one(s, *name, booted_key, &l->slots[l->n], reterr);
                if (r < 0)
                        return err_add(reterr, r, "read slot %s", *name);
                l->n++;
        }
        *ret = MOVE(l);
        return 0;
}

static int snapshot_state_dir(SlotBackend *b, int *ret_fd, Err **reterr) {
        Snapshot *s = to_snapshot(b);
        const char *path = s->world->config->state_directory;
        _cleanup_(fd_closep) int home = -1;
        int fd;

        if (path)
                fd = dir_open_at(s->world->root_fd, path, reterr);
        else {
                home = dir_open_at(s->top_fd, HOME, reterr);
                fd = home < 0 ? home : make_and_open(home, "state", 0700, reterr);
        }
        if (fd < 0)
                return err_add(reterr, fd, "open the state directory");
        *ret_fd = fd;
        return 0;
}

static int snapshot_space(SlotBackend *b, FsSpace *ret, char **ret_exclusive, Err **reterr) {
        Snapshot *s = to_snapshot(b);
        int r = fs_exclusive_operation(s->top_fd, ret_exclusive, reterr);

        return r < 0 ? r : fs_space(s->top_fd, ret, reterr);
}

/* Subvolumes, directories and files below @name, and @name. */
static int remove_tree(int parent_fd, const char *name, unsigned depth, Err **reterr) {
        _cleanup_(strv_freep) char **names = NULL;
        _cleanup_(fd_closep) int fd = -1;
        struct stat st;
        int r;

        if (fstatat(parent_fd, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
                return errno == ENOENT ? 0 : err_sys(reterr, errno, "remove %s", name);
        if (!S_ISDIR(st.st_mode))
                return unlinkat(parent_fd, name, 0) < 0 ? err_sys(reterr, errno, "remove %s", name)
                                                        : 0;
        r = subvol_is_at(parent_fd, name);
        if (r < 0)
                return err_sys(reterr, r, "remove %s", name);
        if (r > 0)
                return subvol_delete_at(parent_fd, name, reterr);
        if (depth == 0)
                return err_new(reterr, ELOOP, "remove %s: deeper than anything we put there", name);
        fd = dir_open_at(parent_fd, name, reterr);
        if (fd < 0)
                return fd;
        r = dir_names(fd, &names, reterr);
        for (char **n = names; r >= 0 && *n; n++)
                r = remove_tree(fd, *n, depth - 1, reterr);
        if (r < 0)
                return r;
        if (unlinkat(parent_fd, name, AT_REMOVEDIR) < 0)
                return err_sys(reterr, errno, "remove directory %s", name);
        return 0;
}

enum { QUARANTINE_DEPTH = 8 };

static int snapshot_prepare(SlotBackend *b, const char *job, int *ret_fd, Err **reterr) {
        Snapshot *s = to_snapshot(b);
        _cleanup_(fd_closep) int dir_fd = -1;
        int r;

        r = remove_tree(s->staging_fd, job, QUARANTINE_DEPTH, reterr);
        if (r >= 0)
                dir_fd = r = make_and_open(s->staging_fd, job, 0700, reterr);
        if (r >= 0)
                r = make_and_open(dir_fd, "image", 0700, reterr);
        if (r < 0)
                return err_add(reterr, r, "prepare the quarantine");
        *ret_fd = r;
        return 0;
}

static int write_conf(int dir_fd, const Slot *slot, Err **reterr) {
        _cleanup_(freep) char *text = NULL;
        int r = slot_format(slot, &text);

        if (r < 0)
                return err_sys(reterr, r, "write " SLOT_CONF);
        return file_write_at(dir_fd, SLOT_CONF, text, strlen(text), reterr);
}

static int snapshot_place(SlotBackend *b, const char *job, const Slot *draft, Err **reterr) {
        Snapshot *s = to_snapshot(b);
        _cleanup_(fd_closep) int dir_fd = dir_open_at(s->staging_fd, job, reterr);
        int r;

        if (dir_fd < 0)
                return err_add(reterr, dir_fd, "place slot %s", draft->id);
        r = write_conf(dir_fd, draft, reterr);
        if (r >= 0)
                r = fs_sync(s->top_fd, reterr);
        if (r < 0)
                return err_add(reterr, r, "place slot %s", draft->id);

        /* One rename brings the whole slot; before it the quarantine is all there is, and may
         * go. */
        if (renameat2(s->staging_fd, job, s->slots_fd, draft->id, RENAME_NOREPLACE) < 0)
                return err_sys(reterr, errno, "place slot %s", draft->id);
        r = fs_sync(s->top_fd, reterr);
        return r < 0 ? err_add(reterr, r, "place slot %s", draft->id) : 0;
}

static int snapshot_record(SlotBackend *b, const Slot *slot, Err **reterr) {
        Snapshot *s = to_snapshot(b);
        _cleanup_(fd_closep) int dir_fd = dir_open_at(s->slots_fd, slot->id, reterr);
        int r = dir_fd < 0 ? dir_fd : write_conf(dir_fd, slot, reterr);

        return r < 0 ? err_add(reterr, r, "record slot %s", slot->id) : 0;
}

static int discard_one(Snapshot *s, const char *id, Err **reterr) {
        _cleanup_(freep) char *gone = str_printf(GONE "%s", id);
        int r;

        if (!gone)
                return err_new(reterr, ENOMEM, "out of memory");
        /* A slot is there whole or not at all: first out of slots/, then to pieces. Transactions
         * of Btrfs are ordered, so no cut shows the pieces in slots/. */
        if (renameat2(s->slots_fd, id, s->staging_fd, gone, RENAME_NOREPLACE) < 0 &&
                        errno != ENOENT)
                return err_sys(reterr, errno, "discard slot %s", id);
        r = remove_tree(s->staging_fd, gone, QUARANTINE_DEPTH, reterr);
        return r < 0 ? err_add(reterr, r, "discard slot %s", id) : 0;
}

static int snapshot_discard(SlotBackend *b, const char *const ids[], Err **reterr) {
        Snapshot *s = to_snapshot(b);
        int r = 0;

        for (; r >= 0 && *ids; ids++)
                r = discard_one(s, *ids, reterr);
        return r < 0 ? r : fs_sync(s->top_fd, reterr);
}

static int snapshot_clean(SlotBackend *b, unsigned *ret_count, Err **reterr) {
        Snapshot *s = to_snapshot(b);
        _cleanup_(strv_freep) char **names = NULL;
        unsigned count = 0;
        int r = dir_names(s->staging_fd, &names, reterr);

        for (char **n = names; r >= 0 && *n; n++, count++)
                r = remove_tree(s->staging_fd, *n, QUARANTINE_DEPTH, reterr);
        if (r >= 0 && count > 0)
                r = fs_sync(s->top_fd, reterr);
        if (r < 0)
                return err_add(reterr, r, "empty the quarantine");
        if (ret_count)
                *ret_count = count;
        return 0;
}

static int snapshot_reclaim(SlotBackend *b, uint64_t usec, Err **reterr) {
        return subvol_wait_deleted(to_snapshot(b)->top_fd, usec, reterr);
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
                .copy_booted = snapshot_copy_booted,
                .build = snapshot_build,
                .place = snapshot_place,
                .record = snapshot_record,
                .discard = snapshot_discard,
                .clean = snapshot_clean,
                .reclaim = snapshot_reclaim,
};
