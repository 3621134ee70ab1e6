/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Inode flags. Immutable and append-only inodes can take no further command, so these two flags are set when all else
 * is done, and taken off inodes of the base that the stream changes. */
#include <fcntl.h>
#include <linux/btrfs.h>
#include <linux/fs.h>
#include <sys/ioctl.h>

#include "stream/apply-internal.h"

#define FROZEN_MAX 65536u
#define FROZEN     (FS_IMMUTABLE_FL | FS_APPEND_FL)

static const struct {
        uint64_t btrfs;
        int fs;
} flag_map[] = {
                {1 << 5, FS_SYNC_FL},
                {1 << 6, FS_IMMUTABLE_FL},
                {1 << 7, FS_APPEND_FL},
                {1 << 8, FS_NODUMP_FL},
                {1 << 9, FS_NOATIME_FL},
                {1 << 10, FS_DIRSYNC_FL},
};

static int freeze_later(Applier *a, uint64_t ino, int flags, Err **reterr) {
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
        int r, had = 0, flags, frozen = 0;
        struct stat st;

        r = node_drop(a, reterr);
        if (r == 0)
                r = writer_drain(a->writer, reterr);
        if (r < 0)
                return r;
        r = open_plain(a, c->path, &fd, &st);
        if (r < 0 || ioctl(fd, FS_IOC_GETFLAGS, &had) < 0)
                return apply_error(reterr, r < 0 ? r : -errno, "set the flags of", c->path);

        flags = had;
        for (size_t i = 0; i < ARRAY_SIZE(flag_map); i++) {
                bool on = c->fileattr & flag_map[i].btrfs;

                if (flag_map[i].fs & FROZEN)
                        frozen |= on ? flag_map[i].fs : 0;
                else
                        flags = on ? flags | flag_map[i].fs : flags & ~flag_map[i].fs;
        }
        flags &= ~FROZEN;
        if (flags != had && ioctl(fd, FS_IOC_SETFLAGS, &flags) < 0)
                return apply_error(reterr, -errno, "set the flags of", c->path);
        return freeze_later(a, st.st_ino, frozen, reterr);
}

bool apply_thaw(Applier *a, const char *path) {
        _cleanup_(fd_closep) int fd = -1;
        struct stat st;
        int flags = 0;

        if (open_plain(a, path, &fd, &st) < 0 || ioctl(fd, FS_IOC_GETFLAGS, &flags) < 0 ||
                        !(flags & FROZEN))
                return false;
        if (freeze_later(a, st.st_ino, flags & FROZEN, /* reterr= */ NULL) < 0)
                return false;
        flags &= ~FROZEN;
        return ioctl(fd, FS_IOC_SETFLAGS, &flags) == 0;
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
                int r, flags = 0;
                size_t n;

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
                if (r < 0 || ioctl(fd, FS_IOC_GETFLAGS, &flags) < 0)
                        return apply_error(
                                        reterr, r < 0 ? r : -errno, "set the flags of", args.name);
                flags |= a->frozen[i].flags;
                if (ioctl(fd, FS_IOC_SETFLAGS, &flags) < 0)
                        return apply_error(reterr, -errno, "set the flags of", args.name);
        }
        a->frozen_count = 0;
        return 0;
}
