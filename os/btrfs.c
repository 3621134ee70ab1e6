/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <btrfsutil.h>
#include <fcntl.h>
#include <linux/btrfs.h>
#include <linux/btrfs_tree.h>
#include <linux/magic.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <time.h>

#include "os/btrfs.h"
#include "os/file.h"

/* The inode number of the top directory of every subvolume (fs_types.h of btrfs-progs:
 * BTRFS_FIRST_FREE_OBJECTID). */
#define SUBVOL_TOP_INODE 256

/* Between two looks at the cleaner, in nanoseconds. */
#define MAX_PAUSE (200 * 1000 * 1000)

typedef struct btrfs_util_subvolume_iterator Iterator;

static Iterator *iterator_free(Iterator *it) {
        if (it)
                btrfs_util_destroy_subvolume_iterator(it);
        return NULL;
}
DEFINE_CLEANUP(Iterator, iterator_free)

/* libbtrfsutil leaves the cause in errno; the few errors of its own are turned into one. */
static int util_errno(enum btrfs_util_error e) {
        switch (e) {
        case BTRFS_UTIL_OK: return 0;
        case BTRFS_UTIL_ERROR_NO_MEMORY: return -ENOMEM;
        case BTRFS_UTIL_ERROR_SUBVOLUME_NOT_FOUND: return -ENOENT;
        case BTRFS_UTIL_ERROR_NOT_BTRFS: return -ENOTTY;
        case BTRFS_UTIL_ERROR_NOT_SUBVOLUME: return -ENOTDIR;
        default: return errno > 0 ? -errno : -EIO;
        }
}

bool fs_is_btrfs(int fd) {
        struct statfs st;

        return fstatfs(fd, &st) >= 0 && st.f_type == BTRFS_SUPER_MAGIC;
}

int fs_id(int fd, uint8_t ret[16], Err **reterr) {
        struct btrfs_ioctl_fs_info_args fs = {0};

        if (ioctl(fd, BTRFS_IOC_FS_INFO, &fs) < 0)
                return err_sys(reterr, errno, "read file system");
        memcpy(ret, fs.fsid, 16);
        return 0;
}

int subvol_id(int fd, uint64_t *ret, Err **reterr) {
        int r = util_errno(btrfs_util_subvolume_id_fd(fd, ret));

        return r < 0 ? err_sys(reterr, r, "read subvolume id") : 0;
}

int subvol_path(int fd, uint64_t id, char **ret, Err **reterr) {
        int r = id == BTRFS_FS_TREE_OBJECTID
                                ? str_set(ret, "")
                                : util_errno(btrfs_util_subvolume_path_fd(fd, id, ret));

        return r < 0 ? err_sys(reterr, r, "find subvolume %" PRIu64, id) : 0;
}

int subvol_info(int fd, SubvolInfo *ret, Err **reterr) {
        struct btrfs_util_subvolume_info info;
        int r = util_errno(btrfs_util_subvolume_info_fd(fd, 0, &info));

        if (r < 0)
                return err_sys(reterr, r, "read subvolume");
        *ret = (SubvolInfo){
                        .id = info.id,
                        .generation = info.generation,
                        .ctransid = info.ctransid,
                        .read_only = info.flags & BTRFS_ROOT_SUBVOL_RDONLY,
        };
        memcpy(ret->uuid, info.uuid, 16);
        memcpy(ret->parent_uuid, info.parent_uuid, 16);
        memcpy(ret->received_uuid, info.received_uuid, 16);
        return 0;
}

int subvol_is_at(int parent_fd, const char *name) {
        struct stat st, parent;

        if (fstatat(parent_fd, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
                return errno == ENOENT ? 0 : -errno;
        if (fstat(parent_fd, &parent) < 0)
                return -errno;
        return S_ISDIR(st.st_mode) && st.st_ino == SUBVOL_TOP_INODE && st.st_dev != parent.st_dev;
}

int subvol_snapshot(int source_fd, int parent_fd, const char *name, bool read_only, Err **reterr) {
        int r = util_errno(btrfs_util_create_snapshot_fd2(source_fd, parent_fd, name,
                        read_only ? BTRFS_UTIL_CREATE_SNAPSHOT_READ_ONLY : 0,
                        /* unused= */ NULL, /* qgroup_inherit= */ NULL));

        return r < 0 ? err_sys(reterr, r, "make snapshot %s", name) : 0;
}

int subvol_set_read_only(int fd, bool read_only, Err **reterr) {
        int r = util_errno(btrfs_util_set_subvolume_read_only_fd(fd, read_only));

        return r < 0 ? err_sys(reterr, r, "make subvolume %s", read_only ? "read-only" : "writable")
                     : 0;
}

/* A subvolume inside a read-only one cannot be deleted: EROFS. */
static int make_inside_deletable(int top_fd, Err **reterr) {
        _cleanup_(iterator_freep) Iterator *it = NULL;
        bool any = false;
        int r;

        r = util_errno(btrfs_util_create_subvolume_iterator_fd(top_fd, 0, 0, &it));
        if (r < 0)
                return err_sys(reterr, r, "list the subvolumes inside");
        for (;;) {
                _cleanup_(freep) char *path = NULL;
                _cleanup_(fd_closep) int fd = -1;
                enum btrfs_util_error e = btrfs_util_subvolume_iterator_next(it, &path, NULL);

                if (e == BTRFS_UTIL_ERROR_STOP_ITERATION)
                        break;
                r = util_errno(e);
                if (r < 0)
                        return err_sys(reterr, r, "list the subvolumes inside");
                any = true;
                fd = dir_open_at(top_fd, path, reterr);
                if (fd < 0)
                        return fd;
                r = subvol_set_read_only(fd, false, reterr);
                if (r < 0)
                        return r;
        }
        return any ? subvol_set_read_only(top_fd, false, reterr) : 0;
}

int subvol_delete_at(int parent_fd, const char *name, Err **reterr) {
        _cleanup_(fd_closep) int fd = -1;
        int r;

        r = subvol_is_at(parent_fd, name);
        if (r < 0)
                return err_sys(reterr, r, "delete subvolume %s", name);
        if (r == 0)
                return 0;
        fd = dir_open_at(parent_fd, name, reterr);
        if (fd < 0)
                return err_add(reterr, fd, "delete subvolume %s", name);
        r = make_inside_deletable(fd, reterr);
        if (r < 0)
                return err_add(reterr, r, "delete subvolume %s", name);
        r = util_errno(btrfs_util_delete_subvolume_fd(
                        parent_fd, name, BTRFS_UTIL_DELETE_SUBVOLUME_RECURSIVE));
        return r < 0 && r != -ENOENT ? err_sys(reterr, r, "delete subvolume %s", name) : 0;
}

int subvol_wait_deleted(int fd, uint64_t usec, Err **reterr) {
        uint64_t end = now_monotonic() + usec;
        long pause = 5 * 1000 * 1000;

        for (;; pause = pause < MAX_PAUSE ? pause * 2 : pause) {
                _cleanup_(freep) uint64_t *ids = NULL;
                size_t n = 0;
                int r = util_errno(btrfs_util_deleted_subvolumes_fd(fd, &ids, &n));

                if (r < 0)
                        return err_sys(reterr, r, "list deleted subvolumes");
                if (n == 0) /* their extents are free once this transaction is committed */
                        return fs_sync(fd, reterr);
                if (now_monotonic() > end)
                        return err_new(reterr, ETIMEDOUT,
                                        "%zu deleted subvolumes still hold their space", n);

                /* the cleaner sleeps until a commit unless BTRFS_IOC_SYNC wakes it */
                r = util_errno(btrfs_util_sync_fd(fd));
                if (r < 0)
                        return err_sys(reterr, r, "wake the cleaner");
                nanosleep(&(struct timespec){.tv_nsec = pause}, NULL);
        }
}

int default_subvol_get(int fd, uint64_t *ret, Err **reterr) {
        int r = util_errno(btrfs_util_get_default_subvolume_fd(fd, ret));

        return r < 0 ? err_sys(reterr, r, "read the default subvolume") : 0;
}

int default_subvol_set(int fd, uint64_t id, Err **reterr) {
        int r = util_errno(btrfs_util_set_default_subvolume_fd(fd, id));

        return r < 0 ? err_sys(reterr, r, "make subvolume %" PRIu64 " the default", id) : 0;
}

static int device_space(int fd, FsSpace *s, Err **reterr) {
        struct btrfs_ioctl_fs_info_args fs = {0};

        if (ioctl(fd, BTRFS_IOC_FS_INFO, &fs) < 0)
                return err_sys(reterr, errno, "read file system");
        for (uint64_t id = 1; id <= fs.max_id; id++) {
                struct btrfs_ioctl_dev_info_args dev = {.devid = id};

                if (ioctl(fd, BTRFS_IOC_DEV_INFO, &dev) < 0) {
                        if (errno == ENODEV)
                                continue;
                        return err_sys(reterr, errno, "read device %" PRIu64, id);
                }
                s->total += dev.total_bytes;
                s->unallocated += dev.total_bytes - dev.bytes_used;
        }
        return 0;
}

static unsigned profile_copies(uint64_t flags) {
        if (flags & BTRFS_BLOCK_GROUP_RAID1C4)
                return 4;
        if (flags & BTRFS_BLOCK_GROUP_RAID1C3)
                return 3;
        if (flags & (BTRFS_BLOCK_GROUP_DUP | BTRFS_BLOCK_GROUP_RAID1 | BTRFS_BLOCK_GROUP_RAID10))
                return 2;
        return 1;
}

int fs_space(int fd, FsSpace *ret, Err **reterr) {
        FsSpace s = {.data_copies = 1, .metadata_copies = 1};
        _cleanup_(freep) struct btrfs_ioctl_space_args *args = NULL;
        const size_t slots = 64;
        int r;

        args = calloc(1, sizeof(*args) + slots * sizeof(args->spaces[0]));
        if (!args)
                return err_new(reterr, ENOMEM, "out of memory");
        args->space_slots = slots;
        if (ioctl(fd, BTRFS_IOC_SPACE_INFO, args) < 0)
                return err_sys(reterr, errno, "read the use of space");

        for (uint64_t i = 0; i < args->total_spaces && i < slots; i++) {
                uint64_t flags = args->spaces[i].flags;
                uint64_t room = args->spaces[i].total_bytes - args->spaces[i].used_bytes;

                if (flags & BTRFS_SPACE_INFO_GLOBAL_RSV)
                        s.reserve = room;
                else if (flags & BTRFS_BLOCK_GROUP_DATA) { /* mixed groups too */
                        s.data_free += room;
                        s.data_used += args->spaces[i].used_bytes;
                        s.data_copies = profile_copies(flags);
                        if (flags & BTRFS_BLOCK_GROUP_METADATA)
                                s.metadata_copies = s.data_copies;
                } else if (flags & BTRFS_BLOCK_GROUP_METADATA) {
                        s.metadata_free += room;
                        s.metadata_used += args->spaces[i].used_bytes;
                        s.metadata_copies = profile_copies(flags);
                }
        }
        s.metadata_free -= s.metadata_free < s.reserve ? s.metadata_free : s.reserve;
        r = device_space(fd, &s, reterr);
        if (r < 0)
                return r;
        *ret = s;
        return 0;
}

int fs_exclusive_operation(int fd, char **ret, Err **reterr) {
        struct btrfs_ioctl_fs_info_args fs = {0};
        _cleanup_(freep) char *path = NULL, *text = NULL;
        char uuid[UUID_TEXT_SIZE];
        int r;

        if (ioctl(fd, BTRFS_IOC_FS_INFO, &fs) < 0)
                return err_sys(reterr, errno, "read file system");
        path = str_printf("/sys/fs/btrfs/%s/exclusive_operation", uuid_format(uuid, fs.fsid));
        if (!path)
                return err_new(reterr, ENOMEM, "out of memory");
        r = file_read_at(AT_FDCWD, path, 64, &text, NULL, reterr);
        if (r < 0)
                return r;
        text[strcspn(text, "\n")] = '\0';
        if (str_eq(text, "none"))
                text[0] = '\0';
        *ret = MOVE(text);
        return 0;
}
