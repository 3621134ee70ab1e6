/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <fcntl.h>
#include <linux/btrfs.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/stat.h>

#include "os/btrfs.h"
#include "os/toplevel.h"

/* fsconfig(2) tells more in the context's log than errno can. */
static int context_error(int context, int code, const char *device, Err **reterr) {
        char line[256];
        ssize_t n = read(context, line, sizeof(line) - 1);

        if (n <= 2)
                return err_sys(reterr, code, "mount the top level of %s", device);
        line[n] = '\0';
        line[strcspn(line, "\n")] = '\0';
        return err_sys(reterr, code, "mount the top level of %s: %s", device, line + 2);
}

int toplevel_open_device(const char *device, int *ret, Err **reterr) {
        _cleanup_(fd_closep) int context = -1, tree = -1, fd = -1;

        context = fsopen("btrfs", FSOPEN_CLOEXEC);
        if (context < 0)
                return err_sys(reterr, errno, "mount the top level of %s", device);
        if (fsconfig(context, FSCONFIG_SET_STRING, "source", device, 0) < 0 ||
                        fsconfig(context, FSCONFIG_SET_STRING, "subvolid", "5", 0) < 0 ||
                        fsconfig(context, FSCONFIG_CMD_CREATE, NULL, NULL, 0) < 0)
                return context_error(context, errno, device, reterr);
        tree = fsmount(context, FSMOUNT_CLOEXEC,
                        MOUNT_ATTR_NODEV | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NOEXEC);
        if (tree < 0)
                return context_error(context, errno, device, reterr);

        /* what fsmount() gives is O_PATH: ioctls refuse it */
        fd = openat(tree, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (fd < 0)
                return err_sys(reterr, errno, "open the top level of %s", device);
        *ret = MOVE_FD(fd);
        return 0;
}

/* The path of a writable device of the file system. */
static int find_device(int root_fd, char **ret, Err **reterr) {
        struct btrfs_ioctl_fs_info_args fs = {0};

        if (ioctl(root_fd, BTRFS_IOC_FS_INFO, &fs) < 0)
                return err_sys(reterr, errno, "read file system");
        for (uint64_t id = 1; id <= fs.max_id; id++) {
                struct btrfs_ioctl_dev_info_args dev = {.devid = id};
                struct stat st;

                if (ioctl(root_fd, BTRFS_IOC_DEV_INFO, &dev) < 0 || dev.path[0] != '/')
                        continue;
                dev.path[sizeof(dev.path) - 1] = '\0';
                if (stat((char *) dev.path, &st) < 0 || !S_ISBLK(st.st_mode))
                        continue;
                *ret = strdup((char *) dev.path);
                return *ret ? 0 : err_new(reterr, ENOMEM, "out of memory");
        }
        return err_new(reterr, ENODEV,
                        "find the device of the root file system: none of its devices is in /dev");
}

int toplevel_open(int root_fd, int *ret, Err **reterr) {
        _cleanup_(freep) char *device = NULL;
        int r;

        if (!fs_is_btrfs(root_fd))
                return err_kind(reterr, ERR_NOT_BTRFS, EMEDIUMTYPE,
                                "the root file system is not Btrfs; this backend works on nothing "
                                "else");
        r = find_device(root_fd, &device, reterr);
        if (r < 0)
                return r;
        return toplevel_open_device(device, ret, reterr);
}
