/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <fcntl.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>

#include "stream/apply-internal.h"

/* The kernel's packing of a device number into 32 bits. */
static dev_t device_number(uint64_t rdev) {
        return makedev((unsigned) ((rdev & 0xfff00) >> 8),
                        (unsigned) ((rdev & 0xff) | ((rdev >> 12) & 0xfff00)));
}

/* Takes away what a new inode got from its directory: the stream says all that it shall have. */
static int disinherit(int fd) {
        static const char *const names[] = {
                        "system.posix_acl_access", "system.posix_acl_default", "btrfs.compression"};
        const int inherited = FS_NOCOW_FL | FS_COMPR_FL | FS_NOCOMP_FL;
        int flags = 0;

        if (ioctl(fd, FS_IOC_GETFLAGS, &flags) < 0)
                return -errno;
        if (flags & inherited) {
                flags &= ~inherited;
                if (ioctl(fd, FS_IOC_SETFLAGS, &flags) < 0)
                        return -errno;
        }
        for (size_t i = 0; i < ARRAY_SIZE(names); i++)
                if (fremovexattr(fd, names[i]) < 0 && errno != ENODATA && errno != EOPNOTSUPP &&
                                errno != EINVAL)
                        return -errno;
        return 0;
}

static int make_file(Dir *d, const char *name, mode_t mode, int *ret_fd) {
        _cleanup_(fd_closep) int fd = openat(
                        d->fd, name, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, mode);
        int r;

        if (fd < 0)
                return -errno;
        if (d->inherits) {
                r = disinherit(fd);
                if (r < 0)
                        return r;
        }
        *ret_fd = MOVE_FD(fd);
        return 0;
}

static int make_dir(Dir *d, const char *name) {
        _cleanup_(fd_closep) int fd = -1;

        if (mkdirat(d->fd, name, 0700) < 0)
                return -errno;
        if (!d->inherits)
                return 0;
        fd = openat(d->fd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
        return fd < 0 ? -errno : disinherit(fd);
}

static int make_node(Applier *a, Dir *d, const char *name) {
        const Pending *p = &a->pending;
        dev_t dev = p->kind == CMD_MKNOD ? device_number(p->rdev) : 0;
        int r = 0;

        if (mknodat(d->fd, name, (mode_t) p->mode, dev) < 0)
                return -errno;
        if (!d->inherits)
                return 0;
        /* No descriptor of a device or fifo takes this call. */
        if (fchdir(d->fd) < 0)
                return -errno;
        if (lremovexattr(name, "system.posix_acl_access") < 0 && errno != ENODATA &&
                        errno != EOPNOTSUPP)
                r = -errno;
        if (fchdir(a->cwd_fd) < 0 && r == 0)
                r = -errno;
        return r;
}

static int birth_at(Applier *a, File *f, const char *path) {
        mode_t mode = f->mode_due ? f->want_mode & 0777 : 0600;
        const char *name;
        Dir *d;
        int r, fd = -1;

        r = tree_maker(&a->tree, path, &d, &name);
        if (r < 0)
                return r;
        r = make_file(d, name, mode, &fd);
        if (r < 0)
                return r;
        file_made(f, fd, a->uid, d->setgid ? d->gid : a->gid, d->inherits ? -1 : (int) mode);
        return 0;
}

int node_birth(Applier *a, Err **reterr) {
        File *f = a->node.file;
        const char *name, *parked;
        Dir *d, *e;
        int r;

        if (a->node.kind != NODE_FILE || f->fd >= 0)
                return 0;

        r = birth_at(a, f, a->node.path);
        if (r == -EEXIST && a->node.parked[0]) {
                /* It replaces something: go the way that the stream described. */
                r = birth_at(a, f, a->node.parked);
                if (r == 0)
                        r = tree_parent(&a->tree, a->node.parked, &d, &parked);
                if (r == 0)
                        r = tree_parent(&a->tree, a->node.path, &e, &name);
                if (r == 0 && renameat(d->fd, parked, e->fd, name) < 0)
                        r = -errno;
                tree_forget(&a->tree, a->node.path);
        }
        return r < 0 ? apply_error(reterr, r, "create", a->node.path) : 0;
}

/* Files are only noted: they are made when their mode is known, or when something else is done to them. */
static int note_file(Applier *a, const char *path, Err **reterr) {
        _cleanup_(file_freep) File *f = NULL;
        int r;

        r = file_new(path, &f, reterr);
        if (r < 0)
                return r;
        node_made(a, path, NODE_FILE, MOVE(f));
        if (!str_eq(path, a->pending.path))
                memcpy(a->node.parked, a->pending.path, strlen(a->pending.path) + 1);
        a->pending.kind = 0;
        return 0;
}

/* What is no file. Without a story: -EEXIST is an answer. */
static int make_at(Applier *a, const char *path) {
        NodeKind kind = NODE_OTHER;
        const char *name;
        Dir *d;
        int r;

        r = tree_maker(&a->tree, path, &d, &name);
        if (r < 0)
                return r;
        switch (a->pending.kind) {
        case CMD_MKDIR:
                kind = NODE_DIR;
                r = make_dir(d, name);
                break;
        case CMD_SYMLINK:
                kind = NODE_LINK;
                r = symlinkat(a->pending.target, d->fd, name) < 0 ? -errno : 0;
                break;
        default: r = make_node(a, d, name); break;
        }
        if (r < 0)
                return r;

        a->pending.kind = 0;
        node_made(a, path, kind, NULL);
        a->node.owner_known = true;
        a->node.uid = a->uid;
        a->node.gid = d->setgid ? d->gid : a->gid;
        return 0;
}

int pending_make(Applier *a, const char *path, Err **reterr) {
        int r;

        r = node_drop(a, reterr);
        if (r < 0)
                return r;
        if (a->pending.kind == CMD_MKFILE)
                return note_file(a, path, reterr);
        r = make_at(a, path);
        return r < 0 ? apply_error(reterr, r, "create", path) : 0;
}

/* Before a name at or above what is kept in memory changes its meaning. */
static int settle_node(Applier *a, const char *path, Err **reterr) {
        clone_source_done(&a->source);
        return a->node.kind != NODE_NONE && path_is_below(a->node.path, path) ? node_drop(a, reterr)
                                                                              : 0;
}

static int settle(Applier *a, const char *path, Err **reterr) {
        int r;

        r = settle_node(a, path, reterr);
        if (r < 0 || !times_has_below(&a->times, path))
                return r;
        return apply_dir_times(a, /* at_end= */ false, reterr);
}

static int rename_now(Applier *a, const Command *c, Err **reterr) {
        const char *from, *to;
        Dir *d, *e;
        int r;

        r = settle(a, c->path, reterr);
        if (r == 0)
                r = settle(a, c->path_to, reterr);
        if (r < 0)
                return r;
        r = tree_parent(&a->tree, c->path, &d, &from);
        if (r == 0)
                r = tree_parent(&a->tree, c->path_to, &e, &to);
        if (r == 0 && renameat(d->fd, from, e->fd, to) < 0)
                r = -errno;
        if (r < 0)
                return apply_error(reterr, r, "rename", c->path);
        tree_forget(&a->tree, c->path);
        tree_forget(&a->tree, c->path_to);
        return 0;
}

int apply_rename(Applier *a, const Command *c, Err **reterr) {
        int r;

        if (!a->pending.kind)
                return rename_now(a, c, reterr);

        /* The name that waits was never made: make the inode where it goes. */
        r = node_drop(a, reterr);
        if (r < 0)
                return r;
        if (a->pending.kind == CMD_MKFILE)
                return note_file(a, c->path_to, reterr);
        r = make_at(a, c->path_to);
        if (r == -EEXIST) {
                r = pending_make(a, c->path, reterr);
                return r < 0 ? r : rename_now(a, c, reterr);
        }
        return r < 0 ? apply_error(reterr, r, "create", c->path_to) : 0;
}

int apply_link(Applier *a, const Command *c, Err **reterr) {
        const char *from, *to;
        Dir *d, *e;
        int r;

        r = node_birth(a, reterr);
        if (r < 0)
                return r;
        r = tree_parent(&a->tree, c->path_to, &d, &from);
        if (r == 0)
                r = tree_parent(&a->tree, c->path, &e, &to);
        if (r == 0 && linkat(d->fd, from, e->fd, to, 0) < 0)
                r = -errno;
        return r < 0 ? apply_error(reterr, r, "link", c->path) : 0;
}

int apply_remove(Applier *a, const Command *c, Err **reterr) {
        bool dir = c->kind == CMD_RMDIR;
        const char *name;
        Dir *d;
        int r;

        /* what is no directory is none of those whose times are kept */
        r = dir ? settle(a, c->path, reterr) : settle_node(a, c->path, reterr);
        if (r < 0)
                return r;
        r = tree_parent(&a->tree, c->path, &d, &name);
        if (r == 0 && unlinkat(d->fd, name, dir ? AT_REMOVEDIR : 0) < 0)
                r = -errno;
        if (r < 0)
                return apply_error(reterr, r, "remove", c->path);
        if (dir)
                tree_forget(&a->tree, c->path);
        return 0;
}
