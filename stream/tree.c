/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <fcntl.h>
#include <linux/fs.h>
#include <linux/openat2.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <sys/xattr.h>

#include "stream/tree.h"

static int open_beneath(int root_fd, const char *path, int flags) {
        struct open_how how = {
                        .flags = (uint64_t) (flags | O_CLOEXEC),
                        .resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS |
                                   RESOLVE_NO_XDEV,
        };
        int fd;

        do
                fd = (int) syscall(SYS_openat2, root_fd, path, &how, sizeof(how));
        while (fd < 0 && (errno == EINTR || errno == EAGAIN));
        return fd < 0 ? -errno : fd;
}

static uint32_t path_hash(const char *s, size_t n) {
        uint32_t h = 2166136261u;

        for (size_t i = 0; i < n; i++)
                h = (h ^ (uint8_t) s[i]) * 16777619u;
        return h;
}

static void dir_done(Dir *d) {
        free(d->path);
        fd_close(d->fd);
        *d = (Dir){.fd = -1};
}

void tree_init(Tree *t, int root_fd) {
        *t = (Tree){.root_fd = root_fd};
        for (size_t i = 0; i < TREE_DIRS; i++)
                t->dirs[i].fd = -1;
}

void tree_done(Tree *t) {
        for (size_t i = 0; i < TREE_DIRS; i++)
                dir_done(&t->dirs[i]);
        t->root_fd = fd_close(t->root_fd);
}

/* What new inodes would take over from their directory. */
static int dir_look(Dir *d) {
        struct stat st;
        int flags = 0;

        if (fstat(d->fd, &st) < 0)
                return -errno;
        d->setgid = st.st_mode & S_ISGID;
        d->gid = st.st_gid;
        d->looked = true;
        if (ioctl(d->fd, FS_IOC_GETFLAGS, &flags) < 0 && errno != ENOTTY && errno != EOPNOTSUPP)
                return -errno;
        d->inherits = flags & (FS_NOCOW_FL | FS_COMPR_FL | FS_NOCOMP_FL);
        if (!d->inherits) {
                if (fgetxattr(d->fd, "system.posix_acl_default", NULL, 0) >= 0)
                        d->inherits = true;
                else if (errno != ENODATA && errno != EOPNOTSUPP)
                        return -errno;
        }
        return 0;
}

static bool dir_is(const Dir *d, uint32_t hash, const char *path, size_t n) {
        return d->hash == hash && d->path && strncmp(d->path, path, n) == 0 && !d->path[n];
}

static int tree_dir_n(Tree *t, const char *path, size_t n, Dir **ret) {
        uint32_t hash = path_hash(path, n);
        Dir *d = &t->dirs[t->last], *oldest = t->dirs;
        Dir fresh = {.hash = hash};

        if (!dir_is(d, hash, path, n))
                for (d = t->dirs; d < t->dirs + TREE_DIRS && !dir_is(d, hash, path, n); d++)
                        if (d->used < oldest->used)
                                oldest = d;
        if (d == t->dirs + TREE_DIRS) {
                fresh.path = strndup(path, n);
                if (!fresh.path)
                        return -ENOMEM;
                fresh.fd = open_beneath(
                                t->root_fd, n == 0 ? "." : fresh.path, O_RDONLY | O_DIRECTORY);
                if (fresh.fd < 0) {
                        free(fresh.path);
                        return fresh.fd;
                }
                fresh.looked = t->plain;
                d = oldest;
                dir_done(d);
                *d = fresh;
        }
        d->used = ++t->clock;
        t->last = (size_t) (d - t->dirs);
        *ret = d;
        return 0;
}

int tree_dir(Tree *t, const char *path, Dir **ret) {
        return tree_dir_n(t, path, strlen(path), ret);
}

int tree_parent(Tree *t, const char *path, Dir **ret, const char **ret_name) {
        const char *slash = strrchr(path, '/');
        int r;

        r = tree_dir_n(t, path, slash ? (size_t) (slash - path) : 0, ret);
        if (r < 0)
                return r;
        *ret_name = slash ? slash + 1 : path;
        return 0;
}

int tree_maker(Tree *t, const char *path, Dir **ret, const char **ret_name) {
        int r;

        r = tree_parent(t, path, ret, ret_name);
        return r < 0 || (*ret)->looked ? r : dir_look(*ret);
}

int tree_begin_new(Tree *t) {
        Dir *d;
        int r;

        r = tree_dir(t, "", &d);
        if (r == 0)
                r = dir_look(d);
        if (r == 0)
                t->plain = !d->setgid && !d->inherits;
        return r;
}

void tree_special(Tree *t, const char *path) {
        t->plain = false;
        for (size_t i = 0; i < TREE_DIRS; i++)
                if (t->dirs[i].path && str_eq(t->dirs[i].path, path))
                        t->dirs[i].looked = false;
}

bool tree_has_dir(const Tree *t, const char *path) {
        size_t n = strlen(path);
        uint32_t hash = path_hash(path, n);

        for (size_t i = 0; i < TREE_DIRS; i++)
                if (dir_is(&t->dirs[i], hash, path, n))
                        return true;
        return false;
}

bool path_is_below(const char *path, const char *top) {
        size_t n = strlen(top);

        return n == 0 || (strncmp(path, top, n) == 0 && (path[n] == '\0' || path[n] == '/'));
}

void tree_forget(Tree *t, const char *path) {
        for (size_t i = 0; i < TREE_DIRS; i++)
                if (t->dirs[i].path && path_is_below(t->dirs[i].path, path))
                        dir_done(&t->dirs[i]);
}

int tree_stat(Tree *t, const char *path, struct stat *ret) {
        const char *name;
        Dir *d;
        int r;

        r = tree_parent(t, path, &d, &name);
        if (r < 0)
                return r;
        return fstatat(d->fd, name, ret, AT_SYMLINK_NOFOLLOW) < 0 ? -errno : 0;
}

static int refuse_kind(mode_t mode) {
        return S_ISREG(mode) ? 0 : S_ISDIR(mode) ? -EISDIR : S_ISLNK(mode) ? -ELOOP : -EINVAL;
}

int tree_open_file(Tree *t, const char *path, int flags, int *ret_fd, struct stat *ret_st) {
        struct stat st;
        int r;

        /* To open a device or a fifo has effects of its own: look before. */
        r = tree_stat(t, path, &st);
        if (r == 0)
                r = refuse_kind(st.st_mode);
        if (r == 0)
                r = tree_open_known_file(t, path, flags, ret_fd);
        if (r < 0)
                return r;
        *ret_st = st;
        return 0;
}

int tree_open_known_file(Tree *t, const char *path, int flags, int *ret_fd) {
        const char *name;
        Dir *d;
        int r, fd;

        r = tree_parent(t, path, &d, &name);
        if (r < 0)
                return r;
        fd = openat(d->fd, name, flags | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY);
        if (fd < 0)
                return -errno;
        *ret_fd = fd;
        return 0;
}

int open_file_beneath(int root_fd, const char *path, int *ret_fd, struct stat *ret_st) {
        _cleanup_(fd_closep) int look = open_beneath(root_fd, path, O_PATH);
        struct stat st;
        int r, fd;

        if (look < 0)
                return look;
        if (fstat(look, &st) < 0)
                return -errno;
        r = refuse_kind(st.st_mode);
        if (r < 0)
                return r;
        fd = open_beneath(root_fd, path, O_RDONLY | O_NONBLOCK | O_NOCTTY);
        if (fd < 0)
                return fd;
        *ret_st = st;
        *ret_fd = fd;
        return 0;
}
