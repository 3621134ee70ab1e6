/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <fcntl.h>
#include <linux/btrfs.h>
#include <sys/ioctl.h>

#include "stream/subvol.h"

int subvol_make(int dest_fd, const char *name, int base_fd, int *ret_fd, Err **reterr) {
        struct btrfs_ioctl_vol_args_v2 args = {.fd = base_fd >= 0 ? base_fd : 0};
        _cleanup_(freep) char *text = str_printable(name);
        size_t n = strlen(name);
        int fd;

        if (n >= sizeof(args.name))
                return err_kind(reterr, ERR_UNSAFE_PATH, -ENAMETOOLONG,
                                "The name of the subvolume is too long");
        memcpy(args.name, name, n);
        if (ioctl(dest_fd, base_fd >= 0 ? BTRFS_IOC_SNAP_CREATE_V2 : BTRFS_IOC_SUBVOL_CREATE_V2,
                            &args) < 0) {
                if (errno == ENOTTY)
                        return err_kind(reterr, ERR_NOT_BTRFS, -ENOTTY,
                                        "Cannot make a subvolume: the destination is not on Btrfs");
                return err_sys(reterr, -errno, "Cannot make the subvolume %s", str_or(text, "?"));
        }
        fd = openat(dest_fd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
        if (fd < 0)
                return err_sys(reterr, -errno, "Cannot open the subvolume %s", str_or(text, "?"));
        *ret_fd = fd;
        return 0;
}

int subvol_is(int fd, const uint8_t uuid[static 16], Err **reterr) {
        struct btrfs_ioctl_get_subvol_info_args info = {0};

        if (ioctl(fd, BTRFS_IOC_GET_SUBVOL_INFO, &info) < 0)
                return err_sys(reterr, -errno, "Cannot look at a base subvolume");
        if (!(info.flags & 1)) /* BTRFS_ROOT_SUBVOL_RDONLY as the tree stores it */
                return 0;
        return memcmp(info.received_uuid, uuid, 16) == 0 || memcmp(info.uuid, uuid, 16) == 0;
}

int subvol_seal(int fd, const uint8_t uuid[static 16], uint64_t ctransid, Err **reterr) {
        struct btrfs_ioctl_received_subvol_args args = {.stransid = ctransid};
        uint64_t flags = 0;

        if (syncfs(fd) < 0)
                return err_sys(reterr, -errno, "Cannot write the subvolume to the disk");
        memcpy(args.uuid, uuid, sizeof(args.uuid));
        if (ioctl(fd, BTRFS_IOC_SET_RECEIVED_SUBVOL, &args) < 0)
                return err_sys(reterr, -errno, "Cannot mark the subvolume as received");
        if (ioctl(fd, BTRFS_IOC_SUBVOL_GETFLAGS, &flags) < 0)
                return err_sys(reterr, -errno, "Cannot read the flags of the subvolume");
        flags |= BTRFS_SUBVOL_RDONLY;
        if (ioctl(fd, BTRFS_IOC_SUBVOL_SETFLAGS, &flags) < 0)
                return err_sys(reterr, -errno, "Cannot make the subvolume read-only");
        if (syncfs(fd) < 0)
                return err_sys(reterr, -errno, "Cannot write the subvolume to the disk");
        return 0;
}
