/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Inode flags. Immutable and append-only inodes can take no further command, so these two flags are set when all else
 * is done, and taken off inodes of the base that the stream changes. */
#include <fcntl.h>
#include <linux/btrfs.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/xattr.h>

#include "stream/apply-internal.h"

#define FROZEN_MAX 65536u
#define FROZEN     (FS_XFLAG_IMMUTABLE | FS_XFLAG_APPEND)

#define BTRFS_DIRSYNC (UINT64_C(1) << 10)

/* What FS_IOC_FSSETXATTR can say it is told by that: FS_IOC_SETFLAGS would set the compression of the inode anew. */
static const struct {
        uint64_t btrfs;
        uint32_t flag;
} flag_map[] = {
                {1 << 5, FS_XFLAG_SYNC},
                {1 << 6, FS_XFLAG_IMMUTABLE},
                {1 << 7, FS_XFLAG_APPEND},
                {1 << 8, FS_XFLAG_NODUMP},
                {1 << 9, FS_XFLAG_NOATIME},
};

static int set_flags(int fd, uint32_t on, uint32_t off) {
        struct fsxattr x;
        uint32_t had;

        if (ioctl(fd, FS_IOC_FSGETXATTR, &x) < 0)
                return -errno;
        had = x.fsx_xflags;
        x.fsx_xflags = (had & ~off) | on;
        return x.fsx_xflags != had && ioctl(fd, FS_IOC_FSSETXATTR, &x) < 0 ? -errno : 0;
}

/* Of a directory that is not frozen. Its compression is put back. */
static int set_dirsync(int fd, bool on) {
        char compression[16];
        int flags = 0;
        ssize_t n;

        if (ioctl(fd, FS_IOC_GETFLAGS, &flags) < 0)
                return -errno;
        if (on == !!(flags & FS_DIRSYNC_FL))
                return 0;
        flags ^= FS_DIRSYNC_FL;
        n = fgetxattr(fd, "btrfs.compression", compression, sizeof(compression));
        if (ioctl(fd, FS_IOC_SETFLAGS, &flags) < 0)
                return -errno;
        return n > 0 && fsetxattr(fd, "btrfs.compression", compression, (size_t) n, 0) < 0 ? -errno
                                                                                           : 0;
}

static int freeze_later(Applier *a, uint64_t ino, uint32_t flags, Err **reterr) {
        Frozen *items;
        size_t i = 0;

        while (i < a->frozen_count && a->frozen[i].ino != ino)
                i++;
        if (i == a->frozen_count) {
                if (flags == 0)
                        return 0;
                if (i >= FROZEN_MAX)
                        return err_kind(reterr, ERR_LIMIT_EXCEEDED, -E2BIG,
                                        "More than %u immutable or append-only files", FROZEN_MAX);
                if ((i & (i - 1)) == 0) {
                        items = reallocarray(a->frozen, i ? 2 * i : 1, sizeof(*items));
                        if (!items)
                                return err_sys(reterr, -ENOMEM, "Cannot remember a file");
                        a->frozen = items;
                }
                a->frozen_count++;
        }
        a->frozen[i] = (Frozen){ino, flags};
        return 0;
}

/* A descriptor that takes the flag calls, of a file or directory only. */
static int open_plain(Applier *a, const char *path, int *ret_fd, struct stat *ret_st) {
        Dir *d;
        int r;

        r = path[0] ? tree_stat(&a->tree, path, ret_st) : -EISDIR;
        if (r == 0 && S_ISREG(ret_st->st_mode))
                return tree_open_file(&a->tree, path, O_RDONLY, ret_fd, ret_st);
        if (r < 0 && path[0])
                return r;
        r = tree_dir(&a->tree, path, &d);
        if (r < 0)
                return r;
        *ret_fd = fcntl(d->fd, F_DUPFD_CLOEXEC, 3);
        return *ret_fd < 0 || fstat(*ret_fd, ret_st) < 0 ? -errno : 0;
}

int apply_fileattr(Applier *a, const Command *c, Err **reterr) {
        _cleanup_(fd_closep) int fd = -1;
        uint32_t on = 0, off = 0;
        struct stat st;
        int r;

        r = node_drop(a, reterr);
        if (r == 0)
                r = writer_drain(a->writer, reterr);
        if (r < 0)
                return r;
        for (size_t i = 0; i < ARRAY_SIZE(flag_map); i++)
                *(c->fileattr & flag_map[i].btrfs ? &on : &off) |= flag_map[i].flag;
        r = open_plain(a, c->path, &fd, &st);
        if (r >= 0)
                r = set_flags(fd, on & ~FROZEN, off | FROZEN);
        if (r >= 0 && S_ISDIR(st.st_mode))
                r = set_dirsync(fd, c->fileattr & BTRFS_DIRSYNC);
        if (r < 0)
                return apply_error(reterr, r, "set the flags of", c->path);
        return freeze_later(a, st.st_ino, on & FROZEN, reterr);
}

bool apply_thaw(Applier *a, const char *path) {
        _cleanup_(fd_closep) int fd = -1;
        struct fsxattr x;
        struct stat st;

        return open_plain(a, path, &fd, &st) >= 0 && ioctl(fd, FS_IOC_FSGETXATTR, &x) >= 0 &&
               x.fsx_xflags & FROZEN &&
               freeze_later(a, st.st_ino, x.fsx_xflags & FROZEN, /* reterr= */ NULL) >= 0 &&
               set_flags(fd, 0, FROZEN) >= 0;
}

bool apply_thaw_around(Applier *a, const char *path) {
        _cleanup_(freep) char *parent = strdup(path);
        char *slash = parent ? strrchr(parent, '/') : NULL;
        bool any;

        if (!parent)
                return false;
        *(slash ? slash : parent) = '\0';
        any = apply_thaw(a, path);
        return apply_thaw(a, parent) || any;
}

int apply_freeze(Applier *a, Err **reterr) {
        for (size_t i = 0; i < a->frozen_count; i++) {
                struct btrfs_ioctl_ino_lookup_args args = {.objectid = a->frozen[i].ino};
                _cleanup_(fd_closep) int fd = -1;
                struct stat st;
                size_t n;
                int r;

                if (a->frozen[i].flags == 0)
                        continue;
                if (ioctl(a->tree.root_fd, BTRFS_IOC_INO_LOOKUP, &args) < 0) {
                        if (errno == ENOENT)
                                continue; /* removed meanwhile */
                        return err_sys(reterr, -errno, "Cannot find an immutable file again");
                }
                args.name[sizeof(args.name) - 1] = '\0';
                n = strlen(args.name);
                if (n > 0 && args.name[n - 1] == '/')
                        args.name[n - 1] = '\0';
                r = open_plain(a, args.name, &fd, &st);
                if (r >= 0)
                        r = set_flags(fd, a->frozen[i].flags, 0);
                if (r < 0)
                        return apply_error(reterr, r, "set the flags of", args.name);
        }
        a->frozen_count = 0;
        return 0;
}
