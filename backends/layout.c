/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <fcntl.h>
#include <sys/stat.h>

#include "backends/layout.h"
#include "os/file.h"

#define SLOT_CONF     "slot.conf"
#define SLOT_CONF_MAX (64 * 1024)
#define GONE          "gone-" /* in staging: a slot on its way out */

static int make_and_open(int parent_fd, const char *name, mode_t mode, Err **reterr) {
        int r = dir_make_at(parent_fd, name, mode, reterr);

        return r < 0 ? r : dir_open_at(parent_fd, name, reterr);
}

static int open_folder(int parent_fd, const char *name, bool read_only, Err **reterr) {
        return read_only ? dir_open_at(parent_fd, name, reterr)
                         : make_and_open(parent_fd, name, 0700, reterr);
}

int layout_open(const World *w, int top_fd, bool read_only, Layout *ret, Err **reterr) {
        _cleanup_(layout_done) Layout l = {w, top_fd, -1, -1};
        _cleanup_(fd_closep) int home = -1;
        int r;

        /* staging holds half-written systems, setuid programs among them: nobody but root looks
         * in */
        home = r = open_folder(top_fd, LAYOUT_HOME, read_only, reterr);
        if (r >= 0)
                l.slots_fd = r = open_folder(home, "slots", read_only, reterr);
        if (r >= 0)
                l.staging_fd = r = open_folder(home, "staging", read_only, reterr);
        if (r < 0)
                return err_add(reterr, r,
                                "open the slots in " LAYOUT_HOME " of the top-level subvolume");
        *ret = l;
        l = LAYOUT_NONE;
        return 0;
}

void layout_done(Layout *l) {
        fd_close(l->top_fd);
        fd_close(l->slots_fd);
        fd_close(l->staging_fd);
        *l = LAYOUT_NONE;
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

int layout_read_slot(const Layout *l, const char *id, Slot *ret, Err **reterr) {
        _cleanup_(slot_done) Slot slot = {0};
        _cleanup_(err_freep) Err *why = NULL;
        _cleanup_(fd_closep) int dir_fd = -1;
        int r;

        dir_fd = dir_open_at(l->slots_fd, id, &why);
        r = dir_fd < 0 ? dir_fd : read_slot(dir_fd, &slot, &why);
        if (r == -ENOMEM)
                return err_new(reterr, r, "out of memory");
        if (r < 0) {
                slot.state = SLOT_INCOMPLETE;
                if (str_set(&slot.reason, err_text(why)) < 0 ||
                                (!slot.version && str_set(&slot.version, "?") < 0))
                        return err_new(reterr, ENOMEM, "out of memory");
        }
        if (str_set(&slot.id, id) < 0)
                return err_new(reterr, ENOMEM, "out of memory");
        *ret = slot;
        slot = (Slot){0};
        return 0;
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

int layout_prepare(const Layout *l, const char *job, int *ret_fd, Err **reterr) {
        _cleanup_(fd_closep) int dir_fd = -1;
        int r;

        r = remove_tree(l->staging_fd, job, QUARANTINE_DEPTH, reterr);
        if (r >= 0)
                dir_fd = r = make_and_open(l->staging_fd, job, 0700, reterr);
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

int layout_place(const Layout *l, const char *job, const Slot *draft, Err **reterr) {
        _cleanup_(fd_closep) int dir_fd = dir_open_at(l->staging_fd, job, reterr);
        int r;

        if (dir_fd < 0)
                return err_add(reterr, dir_fd, "place slot %s", draft->id);
        r = write_conf(dir_fd, draft, reterr);
        if (r >= 0)
                r = fs_sync(l->top_fd, reterr);
        if (r < 0)
                return err_add(reterr, r, "place slot %s", draft->id);

        /* One rename brings the whole slot; before it the quarantine is all there is, and may
         * go. */
        if (renameat2(l->staging_fd, job, l->slots_fd, draft->id, RENAME_NOREPLACE) < 0)
                return err_sys(reterr, errno, "place slot %s", draft->id);
        r = fs_sync(l->top_fd, reterr);
        return r < 0 ? err_add(reterr, r, "place slot %s", draft->id) : 0;
}

int layout_record(const Layout *l, const Slot *slot, Err **reterr) {
        _cleanup_(fd_closep) int dir_fd = dir_open_at(l->slots_fd, slot->id, reterr);
        int r = dir_fd < 0 ? dir_fd : write_conf(dir_fd, slot, reterr);

        return r < 0 ? err_add(reterr, r, "record slot %s", slot->id) : 0;
}

/* The default subvolume cannot be deleted. Where the boot entry names the root it may be that of a slot
 * which is going: then what runs takes its place. */
static void release_default(const Layout *l) {
        _cleanup_(freep) char *path = NULL;
        uint64_t id, booted;

        if (!str_eq(l->world->config->boot, "default-subvolume") &&
                        default_subvol_get(l->top_fd, &id, NULL) >= 0 &&
                        subvol_path(l->top_fd, id, &path, NULL) >= 0 &&
                        str_after(path, LAYOUT_HOME "/staging/") &&
                        subvol_id(l->world->root_fd, &booted, NULL) >= 0)
                (void) default_subvol_set(l->top_fd, booted, NULL);
}

static int discard_one(const Layout *l, const char *id, Err **reterr) {
        _cleanup_(freep) char *gone = str_printf(GONE "%s", id);
        int r;

        if (!gone)
                return err_new(reterr, ENOMEM, "out of memory");
        /* A slot is there whole or not at all: first out of slots/, then to pieces. Transactions
         * of Btrfs are ordered, so no cut shows the pieces in slots/. */
        if (renameat2(l->slots_fd, id, l->staging_fd, gone, RENAME_NOREPLACE) < 0 &&
                        errno != ENOENT)
                return err_sys(reterr, errno, "discard slot %s", id);
        release_default(l);
        r = remove_tree(l->staging_fd, gone, QUARANTINE_DEPTH, reterr);
        return r < 0 ? err_add(reterr, r, "discard slot %s", id) : 0;
}

int layout_discard(const Layout *l, const char *const ids[], Err **reterr) {
        int r = 0;

        for (; r >= 0 && *ids; ids++)
                r = discard_one(l, *ids, reterr);
        return r < 0 ? r : fs_sync(l->top_fd, reterr);
}

int layout_kept(const Layout *l, bool make, int *ret_fd, Err **reterr) {
        _cleanup_(fd_closep) int home = dir_open_at(l->top_fd, LAYOUT_HOME, reterr);
        int r = home;

        if (r >= 0)
                r = make ? make_and_open(home, "kept", 0700, reterr)
                         : dir_open_at(home, "kept", reterr);
        if (r < 0)
                return err_add(reterr, r, "open what was received before");
        *ret_fd = r;
        return 0;
}

/* EPERM: it is being sent, a swap file in it is in use, or it is the default; it goes when that has
 * ended. Until then it takes room, and keeps no job from being done. */
static int clean_one(const Layout *l, const char *name, Err **reterr) {
        _cleanup_(err_freep) Err *why = NULL;
        int r = remove_tree(l->staging_fd, name, QUARANTINE_DEPTH, &why);

        if (r == -EPERM || r == -EBUSY)
                return 0;
        if (r < 0 && reterr)
                *reterr = MOVE(why);
        return r < 0 ? r : 1;
}

int layout_clean(const Layout *l, unsigned *ret_count, Err **reterr) {
        _cleanup_(strv_freep) char **names = NULL;
        unsigned count = 0;
        int r = dir_names(l->staging_fd, &names, reterr);

        if (r >= 0 && *names)
                release_default(l);
        for (char **n = names; r >= 0 && *n; n++) {
                r = clean_one(l, *n, reterr);
                count += r > 0;
        }
        if (r >= 0 && count > 0)
                r = fs_sync(l->top_fd, reterr);
        if (r < 0)
                return err_add(reterr, r, "empty the quarantine");
        if (ret_count)
                *ret_count = count;
        return 0;
}
