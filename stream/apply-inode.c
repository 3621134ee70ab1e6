/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <fcntl.h>
#include <sys/xattr.h>

#include "stream/apply-internal.h"

/* Follows a last link, so ask the disk and not our memory whether there is one. */
static int chmod_other(Applier *a, const char *path, mode_t mode) {
        const char *name;
        struct stat st;
        Dir *d;
        int r;

        r = tree_parent(&a->tree, path, &d, &name);
        if (r < 0)
                return r;
        if (fstatat(d->fd, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
                return -errno;
        if (S_ISLNK(st.st_mode))
                return -ELOOP; /* links have no mode of their own */
        return fchmodat(d->fd, name, mode, 0) < 0 ? -errno : 0;
}

int apply_chmod(Applier *a, const Command *c, Err **reterr) {
        mode_t mode = (mode_t) c->mode;
        Dir *d;
        int r;

        r = node_use(a, c->path, reterr);
        if (r < 0)
                return r;
        switch (a->node.kind) {
        case NODE_FILE: file_chmod(a->node.file, mode); return 0;
        case NODE_DIR:
                r = tree_dir(&a->tree, c->path, &d);
                if (r == 0 && fchmod(d->fd, mode) < 0)
                        r = -errno;
                if (r == 0 && mode & S_ISGID)
                        tree_special(&a->tree, c->path);
                else if (r == 0)
                        d->setgid = false;
                break;
        default: r = chmod_other(a, c->path, mode); break;
        }
        return r < 0 ? apply_error(reterr, r, "set the mode of", c->path) : 0;
}

/* Links, devices and the like. A new owner takes the setuid bit of those as well. */
static int chown_other(Applier *a, const char *path, uid_t uid, gid_t gid) {
        const char *name;
        struct stat st;
        Dir *d;
        int r;

        r = tree_parent(&a->tree, path, &d, &name);
        if (r < 0)
                return r;
        if (fstatat(d->fd, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
                return -errno;
        if (fchownat(d->fd, name, uid, gid, AT_SYMLINK_NOFOLLOW) < 0)
                return -errno;
        if (!S_ISLNK(st.st_mode) && st.st_mode & (S_ISUID | S_ISGID) &&
                        fchmodat(d->fd, name, st.st_mode & 07777, 0) < 0)
                return -errno;
        return 0;
}

int apply_chown(Applier *a, const Command *c, Err **reterr) {
        uid_t uid = (uid_t) c->uid;
        gid_t gid = (gid_t) c->gid;
        Dir *d;
        int r;

        r = node_use(a, c->path, reterr);
        if (r < 0)
                return r;
        if (a->node.kind == NODE_FILE) {
                file_chown(a->node.file, uid, gid);
                return 0;
        }
        if (a->node.owner_known && a->node.uid == uid && a->node.gid == gid)
                return 0;

        if (a->node.kind == NODE_DIR) {
                r = tree_dir(&a->tree, c->path, &d);
                if (r == 0 && fchown(d->fd, uid, gid) < 0)
                        r = -errno;
                if (r == 0)
                        d->gid = gid;
        } else
                r = chown_other(a, c->path, uid, gid);
        if (r < 0)
                return apply_error(reterr, r, "set the owner of", c->path);
        a->node.owner_known = true;
        a->node.uid = uid;
        a->node.gid = gid;
        return 0;
}

static int add_dir_times(
                Applier *a, const char *path, const struct timespec times[static 2], Err **reterr) {
        int r;

        if (times_add(&a->times, path, times) == 0)
                return 0;
        r = apply_dir_times(a, /* at_end= */ false, reterr);
        if (r < 0)
                return r;
        (void) times_add(&a->times, path, times); /* an empty table has room for any path */
        return 0;
}

int apply_utimes(Applier *a, const Command *c, Err **reterr) {
        struct timespec times[2] = {c->atime, c->mtime};
        bool current = a->node.kind != NODE_NONE && str_eq(a->node.path, c->path);
        struct stat st = {.st_mode = 0};
        const char *name;
        Dir *d;
        int r;

        if (current && a->node.kind == NODE_FILE) {
                file_set_times(a->node.file, &times[0], &times[1]);
                return 0;
        }
        if (times_update(&a->times, c->path, times))
                return 0;
        if ((current && a->node.kind == NODE_DIR) || tree_has_dir(&a->tree, c->path))
                return add_dir_times(a, c->path, times, reterr);

        /* Not the current inode: do not leave that, its commands may go on. */
        r = tree_parent(&a->tree, c->path, &d, &name);
        if (r == 0 && !current && fstatat(d->fd, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
                r = -errno;
        if (r == 0 && S_ISDIR(st.st_mode))
                return add_dir_times(a, c->path, times, reterr);
        if (r == 0 && S_ISREG(st.st_mode)) {
                /* maybe another name of an inode that is being worked on */
                r = node_drop(a, reterr);
                if (r == 0)
                        r = writer_drain(a->writer, reterr);
                if (r < 0)
                        return r;
                r = tree_parent(&a->tree, c->path, &d, &name);
        }
        if (r == 0 && utimensat(d->fd, name, times, AT_SYMLINK_NOFOLLOW) < 0)
                r = -errno;
        return r < 0 ? apply_error(reterr, r, "set the times of", c->path) : 0;
}

/* What has no descriptor that takes the call is named from inside its directory, in one component that is not
 * followed. */
static int xattr_other(Applier *a, const Command *c) {
        const char *name;
        int r, q;
        Dir *d;

        r = tree_parent(&a->tree, c->path, &d, &name);
        if (r < 0)
                return r;
        if (fchdir(d->fd) < 0)
                return -errno;
        q = c->kind == CMD_SET_XATTR ? lsetxattr(name, c->xattr_name, c->data, c->data_size, 0)
                                     : lremovexattr(name, c->xattr_name);
        r = q < 0 ? -errno : 0;
        if (fchdir(a->cwd_fd) < 0 && r == 0)
                r = -errno;
        return r;
}

static int xattr_dir(Applier *a, const Command *c) {
        Dir *d;
        int r, q;

        r = tree_dir(&a->tree, c->path, &d);
        if (r < 0)
                return r;
        q = c->kind == CMD_SET_XATTR ? fsetxattr(d->fd, c->xattr_name, c->data, c->data_size, 0)
                                     : fremovexattr(d->fd, c->xattr_name);
        if (q < 0)
                return -errno;
        if (!str_after(c->xattr_name, "security.") && !str_after(c->xattr_name, "user."))
                tree_special(&a->tree, c->path); /* others may be inherited: look again */
        return 0;
}

int apply_xattr(Applier *a, const Command *c, Err **reterr) {
        bool set = c->kind == CMD_SET_XATTR;
        int r;

        r = node_use(a, c->path, reterr);
        if (r < 0)
                return r;
        r = node_ready(a, reterr);
        if (r < 0)
                return r;
        if (a->node.kind == NODE_FILE)
                return set ? file_set_xattr(a->node.file, c->xattr_name, c->data, c->data_size,
                                             reterr)
                           : file_remove_xattr(a->node.file, c->xattr_name, reterr);

        r = a->node.kind == NODE_DIR ? xattr_dir(a, c) : xattr_other(a, c);
        if (r == -ENODATA && !set)
                r = 0;
        return r < 0 ? apply_error(reterr, r,
                                       set ? "set an extended attribute of"
                                           : "remove an extended attribute of",
                                       c->path)
                     : 0;
}
