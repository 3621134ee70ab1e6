/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <fcntl.h>

#include "stream/apply-internal.h"
#include "stream/subvol.h"

int applier_new(const StreamArgs *args, int dest_fd, Applier **ret, Err **reterr) {
        _cleanup_(applier_freep) Applier *a = calloc(1, sizeof(*a));
        int r;

        if (!a)
                return err_sys(reterr, -ENOMEM, "Cannot apply the image");
        a->args = args;
        a->dest_fd = dest_fd;
        a->uid = geteuid();
        a->gid = getegid();
        a->umask = umask(0);
        a->source.fd = -1;
        tree_init(&a->tree, -1);
        a->cwd_fd = open(".", O_PATH | O_DIRECTORY | O_CLOEXEC);
        if (a->cwd_fd < 0)
                return err_sys(reterr, -errno, "Cannot open the working directory");
        if (times_init(&a->times) < 0)
                return err_sys(reterr, -ENOMEM, "Cannot apply the image");
        r = writer_new(&a->writer, reterr);
        if (r < 0)
                return r;

        *ret = MOVE(a);
        return 0;
}

Applier *applier_free(Applier *a) {
        if (!a)
                return NULL;
        a->writer = writer_free(a->writer);
        a->node.file = file_free(a->node.file);
        clone_source_done(&a->source);
        tree_done(&a->tree);
        times_done(&a->times);
        bases_done(&a->bases);
        fd_close(a->cwd_fd);
        umask(a->umask);
        free(a->frozen);
        free(a);
        return NULL;
}

void node_made(Applier *a, const char *path, NodeKind kind, File *file) {
        a->node.kind = kind;
        a->node.file = file;
        a->node.owner_known = false;
        a->node.parked[0] = '\0';
        memcpy(a->node.path, path, strlen(path) + 1);
}

int node_ready(Applier *a, Err **reterr) {
        File *f = a->node.file;
        int r;

        r = node_birth(a, reterr);
        if (r < 0 || !f)
                return r;
        if (f->busy) {
                r = writer_drain(a->writer, reterr);
                if (r < 0)
                        return r;
                f->busy = false;
        }
        return file_write_held(f, &f->held, reterr);
}

int node_drop(Applier *a, Err **reterr) {
        _cleanup_(file_freep) File *f = NULL;
        int r;

        r = node_birth(a, reterr);
        if (r < 0)
                return r;
        a->node.kind = NODE_NONE;
        f = MOVE(a->node.file);
        if (!f)
                return 0;
        if (!f->old || f->busy)
                return writer_submit(a->writer, MOVE(f), /* last= */ true, reterr);

        /* The next that was there before would wait for this one: quicker here. */
        r = file_write_held(f, &f->held, reterr);
        return r < 0 ? r : file_finish(f, reterr);
}

static NodeKind node_kind(mode_t mode) {
        switch (mode & S_IFMT) {
        case S_IFREG: return NODE_FILE;
        case S_IFDIR: return NODE_DIR;
        case S_IFLNK: return NODE_LINK;
        default: return NODE_OTHER;
        }
}

/* One that was there before. */
static int open_file(
                Applier *a, const char *path, const struct stat *st, File **ret, Err **reterr) {
        _cleanup_(file_freep) File *f = NULL;
        int r, fd;

        r = file_new(path, &f, reterr);
        if (r < 0)
                return r;
        r = tree_open_known_file(&a->tree, path, O_RDWR, &fd);
        if (r < 0)
                return apply_error(reterr, r, "open", path);
        r = file_opened(f, fd, st, reterr);
        if (r < 0)
                return r;
        *ret = MOVE(f);
        return 0;
}

int node_use(Applier *a, const char *path, Err **reterr) {
        struct stat st = {.st_mode = S_IFDIR};
        File *f = NULL;
        NodeKind kind;
        int r;

        if (a->node.kind != NODE_NONE && str_eq(a->node.path, path))
                return 0;
        r = node_drop(a, reterr);
        if (r < 0)
                return r;

        if (path[0]) {
                /* the writer may still work on it, under this or another name */
                r = writer_drain(a->writer, reterr);
                if (r < 0)
                        return r;
                r = tree_stat(&a->tree, path, &st);
                if (r < 0)
                        return apply_error(reterr, r, "find", path);
        }
        kind = node_kind(st.st_mode);
        if (kind == NODE_FILE) {
                r = open_file(a, path, &st, &f, reterr);
                if (r < 0)
                        return r;
        }
        node_made(a, path, kind, f);
        if (path[0] && kind != NODE_FILE) {
                a->node.owner_known = true;
                a->node.uid = st.st_uid;
                a->node.gid = st.st_gid;
        }
        return 0;
}

int apply_dir_times(Applier *a, bool at_end, Err **reterr) {
        const char *path = "";
        int r;

        do
                r = at_end ? times_finish(&a->times, &a->tree, &path)
                           : times_flush(&a->times, &a->tree, &path);
        while (r == -EPERM && apply_thaw(a, path));
        return r < 0 ? apply_error(reterr, r, "set the times of", path) : 0;
}

static int begin(Applier *a, const Command *c, Err **reterr) {
        int r, base_fd = -1, fd;

        if (c->kind == CMD_SNAPSHOT) {
                r = bases_find(&a->bases, a->args, c->clone_uuid, c->clone_ctransid, &base_fd,
                                reterr);
                if (r < 0)
                        return r;
        }
        r = subvol_make(a->dest_fd, c->path, base_fd, &fd, reterr);
        if (r < 0)
                return r;

        tree_init(&a->tree, fd);
        if (base_fd < 0) {
                r = tree_begin_new(&a->tree);
                if (r < 0)
                        return err_sys(reterr, r, "Cannot look at the subvolume");
        } else {
                /* Names that the kernel parks in the root change its times, which it then does not send. */
                struct stat st;

                if (fstat(fd, &st) < 0)
                        return err_sys(reterr, -errno, "Cannot look at the subvolume");
                times_update(&a->times, "", (struct timespec[]){st.st_atim, st.st_mtim});
        }
        memcpy(a->uuid, c->uuid, sizeof(a->uuid));
        a->ctransid = c->ctransid;
        a->open = true;
        return 0;
}

static int finish(Applier *a, Err **reterr) {
        int r, fd;

        r = node_drop(a, reterr);
        if (r < 0)
                return r;
        r = writer_drain(a->writer, reterr);
        if (r < 0)
                return r;
        r = apply_dir_times(a, /* at_end= */ true, reterr);
        if (r < 0)
                return r;
        clone_source_done(&a->source);
        r = apply_freeze(a, reterr);
        if (r < 0)
                return r;

        r = subvol_seal(a->tree.root_fd, a->uuid, a->ctransid, reterr);
        if (r < 0)
                return r;
        fd = MOVE_FD(a->tree.root_fd);
        tree_done(&a->tree);
        a->open = false;
        return bases_add(&a->bases, a->uuid, fd, reterr);
}

static int hold_create(Applier *a, const Command *c) {
        Pending *p = &a->pending;

        p->kind = c->kind;
        p->mode = c->mode;
        p->rdev = c->rdev;
        memcpy(p->path, c->path, strlen(c->path) + 1);
        if (c->kind == CMD_SYMLINK)
                memcpy(p->target, c->path_to, strlen(c->path_to) + 1);
        return 0;
}

static int apply(Applier *a, const Command *c, Err **reterr) {
        int r;

        if (a->pending.kind && !(c->kind == CMD_RENAME && str_eq(c->path, a->pending.path))) {
                r = pending_make(a, a->pending.path, reterr);
                if (r < 0)
                        return r;
        }

        switch (c->kind) {
        case CMD_SUBVOL:
        case CMD_SNAPSHOT: return begin(a, c, reterr);
        case CMD_MKFILE:
        case CMD_MKDIR:
        case CMD_MKNOD:
        case CMD_MKFIFO:
        case CMD_MKSOCK:
        case CMD_SYMLINK: return hold_create(a, c);
        case CMD_RENAME: return apply_rename(a, c, reterr);
        case CMD_LINK: return apply_link(a, c, reterr);
        case CMD_UNLINK:
        case CMD_RMDIR: return apply_remove(a, c, reterr);
        case CMD_SET_XATTR:
        case CMD_REMOVE_XATTR: return apply_xattr(a, c, reterr);
        case CMD_WRITE:
        case CMD_ENCODED_WRITE:
        case CMD_TRUNCATE:
        case CMD_FALLOCATE: return apply_data(a, c, reterr);
        case CMD_CLONE: return apply_clone(a, c, reterr);
        case CMD_CHMOD: return apply_chmod(a, c, reterr);
        case CMD_CHOWN: return apply_chown(a, c, reterr);
        case CMD_UTIMES: return apply_utimes(a, c, reterr);
        case CMD_FILEATTR: return apply_fileattr(a, c, reterr);
        case CMD_END: return finish(a, reterr);
        default: return err_new(reterr, -EOPNOTSUPP, "Cannot apply the command %u", c->kind);
        }
}

int applier_apply(Applier *a, const Command *c, Err **reterr) {
        bool thawed = false;
        int r;

        r = apply(a, c, reterr);
        if (r != -EPERM || !a->open)
                return r;

        /* The base may hold immutable inodes. A command that fails for that has changed nothing yet. */
        if (a->node.kind == NODE_FILE)
                thawed = apply_thaw_around(a, a->node.path);
        if (command_has(c, ATTR_PATH))
                thawed = apply_thaw_around(a, c->path) || thawed;
        if (command_has(c, ATTR_PATH_TO) || c->kind == CMD_LINK)
                thawed = apply_thaw_around(a, c->path_to) || thawed;
        if (!thawed)
                return r;
        if (reterr)
                *reterr = err_free(*reterr);
        return apply(a, c, reterr);
}

void applier_wait(Applier *a) {
        writer_kick(a->writer);
}
