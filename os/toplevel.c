/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <fcntl.h>
#include <sys/mount.h>
#include <sys/statvfs.h>

#include "os/btrfs-device.h"
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

typedef enum Access { ACCESS_WRITE, ACCESS_READ, ACCESS_LOOK } Access;

static int set_access(int context, Access access) {
        int r = access == ACCESS_WRITE ? 0 : fsconfig(context, FSCONFIG_SET_FLAG, "ro", NULL, 0);

        return r < 0 || access != ACCESS_LOOK
                               ? r
                               : fsconfig(context, FSCONFIG_SET_STRING, "rescue", "nologreplay", 0);
}

static int set_options(int context, const char *options) {
        _cleanup_(freep) char *copy = strdup(options);
        char *save = NULL;
        int r = copy ? 0 : -1;

        for (char *o = r == 0 ? strtok_r(copy, ",", &save) : NULL; r == 0 && o;
                        o = strtok_r(NULL, ",", &save)) {
                const char *device = str_after(o, "device=");

                if (device)
                        r = fsconfig(context, FSCONFIG_SET_STRING, "device", device, 0);
                else if (str_eq(o, "degraded"))
                        r = fsconfig(context, FSCONFIG_SET_FLAG, "degraded", NULL, 0);
        }
        return r;
}

static int open_device(
                const char *device, Access access, const char *options, int *ret, Err **reterr) {
        _cleanup_(fd_closep) int context = -1, tree = -1, fd = -1;

        context = fsopen("btrfs", FSOPEN_CLOEXEC);
        if (context < 0)
                return err_sys(reterr, errno, "mount the top level of %s", device);
        if (fsconfig(context, FSCONFIG_SET_STRING, "source", device, 0) < 0 ||
                        fsconfig(context, FSCONFIG_SET_STRING, "subvolid", "5", 0) < 0 ||
                        set_access(context, access) < 0 || set_options(context, options) < 0 ||
                        fsconfig(context, FSCONFIG_CMD_CREATE, NULL, NULL, 0) < 0)
                return context_error(context, errno, device, reterr);
        tree = fsmount(context, FSMOUNT_CLOEXEC,
                        MOUNT_ATTR_NODEV | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NOEXEC |
                                        (access == ACCESS_WRITE ? 0 : MOUNT_ATTR_RDONLY));
        if (tree < 0)
                return context_error(context, errno, device, reterr);

        /* what fsmount() gives is O_PATH: ioctls refuse it */
        fd = openat(tree, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (fd < 0)
                return err_sys(reterr, errno, "open the top level of %s", device);
        *ret = MOVE_FD(fd);
        return 0;
}

int toplevel_open_device(const char *device, bool read_only, int *ret, Err **reterr) {
        return open_device(device, read_only ? ACCESS_READ : ACCESS_WRITE, "", ret, reterr);
}

int toplevel_open_with(const char *device, const char *options, int *ret, Err **reterr) {
        return open_device(device, ACCESS_WRITE, options, ret, reterr);
}

int toplevel_look_at(const char *device, const char *options, int *ret, Err **reterr) {
        return open_device(device, ACCESS_LOOK, options, ret, reterr);
}

/* The path of a device of the file system itself: a seed below it would be another one. */
static int find_device(int root_fd, char **ret, Err **reterr) {
        _cleanup_(fs_devices_done) FsDevices l = {0};
        const char *gone = NULL;
        int r = fs_devices(root_fd, &l, reterr);

        if (r < 0)
                return r;
        for (size_t i = 0; i < l.n; i++) {
                if (!l.devices[i].seed && !l.devices[i].missing) {
                        *ret = MOVE(l.devices[i].path);
                        return 0;
                }
                if (!l.devices[i].seed)
                        gone = l.devices[i].path;
        }
        return err_kind(reterr, ERR_BAD_DEVICE, ENODEV,
                        "device %s, which the running system writes to, is gone; attach it, and "
                        "reboot",
                        gone && *gone ? gone : "?");
}

int toplevel_open(int root_fd, bool read_only, int *ret, Err **reterr) {
        _cleanup_(freep) char *device = NULL;
        _cleanup_(err_freep) Err *why = NULL;
        struct statvfs fs;
        int r;

        if (!fs_is_btrfs(root_fd))
                return err_kind(reterr, ERR_NOT_BTRFS, EMEDIUMTYPE,
                                "the root file system is not Btrfs; this backend works on nothing "
                                "else");
        r = find_device(root_fd, &device, reterr);
        if (r < 0)
                return r;
        r = toplevel_open_device(device, read_only, ret, &why);
        if (r == -EINVAL && !read_only && fstatvfs(root_fd, &fs) >= 0 && (fs.f_flag & ST_RDONLY))
                return err_kind(reterr, ERR_READ_ONLY, EROFS,
                                "the kernel has turned the file system read-only after an error; "
                                "its log tells which: see to the disk, then reboot");
        if (r < 0 && reterr)
                *reterr = MOVE(why);
        return r;
}
