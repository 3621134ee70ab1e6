/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <fcntl.h>
#include <linux/btrfs.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include "os/btrfs-device.h"
#include "os/btrfs-super.h"
#include "os/file.h"

void fs_devices_done(FsDevices *l) {
        for (size_t i = 0; i < l->n; i++)
                free(l->devices[i].path);
        free(l->devices);
        *l = (FsDevices){0};
}

/* The kernel reads the flag when it mounts and never again; from then on such a device is not
 * writable. */
static int read_sealed(const uint8_t fsid[16], FsDevice *d, Err **reterr) {
        _cleanup_(freep) char *path = NULL, *text = NULL;
        char uuid[UUID_TEXT_SIZE];
        BtrfsSuper super;
        int r;

        path = str_printf("/sys/fs/btrfs/%s/devinfo/%" PRIu64 "/writeable", uuid_format(uuid, fsid),
                        d->id);
        if (!path)
                return err_new(reterr, ENOMEM, "out of memory");
        r = file_read_if_at(AT_FDCWD, path, 64, &text, NULL, NULL);
        if (r == -ENOMEM)
                return err_new(reterr, r, "out of memory");
        d->sealed = r > 0 && text[0] == '0' && super_read(d->path, &super, NULL) >= 0 && super.seed;
        return 0;
}

/* Without an initrd the kernel has mounted /dev/root, which nobody has in /dev; without udev nobody has
 * told it a better name since. sysfs has the kernel's own names. */
static int find_by_uuid(const uint8_t fsid[16], const uint8_t uuid[16], char **ret) {
        _cleanup_(strv_freep) char **names = NULL;
        _cleanup_(freep) char *folder = NULL;
        _cleanup_(fd_closep) int fd = -1;
        char text[UUID_TEXT_SIZE];

        folder = str_printf("/sys/fs/btrfs/%s/devices", uuid_format(text, fsid));
        if (!folder)
                return -ENOMEM;
        fd = dir_open_at(AT_FDCWD, folder, NULL);
        if (fd < 0 || dir_names(fd, &names, NULL) < 0)
                return 0;
        for (char **n = names; *n; n++) {
                _cleanup_(freep) char *path = str_printf("/dev/%s", *n);
                BtrfsSuper super;

                if (!path)
                        return -ENOMEM;
                for (char *c = path; (c = strchr(c, '!'));) /* as sysfs writes a slash */
                        *c = '/';
                if (super_read(path, &super, NULL) < 0 || memcmp(super.device_uuid, uuid, 16) != 0)
                        continue;
                free(*ret);
                *ret = MOVE(path);
                return 1;
        }
        return 0;
}

static bool is_there(const char *path, struct stat *ret) {
        return path[0] == '/' && stat(path, ret) >= 0;
}

static int describe(struct btrfs_ioctl_dev_info_args *info, const uint8_t fsid[16], FsDevice *ret,
                Err **reterr) {
        struct stat st = {0};

        info->path[sizeof(info->path) - 1] = '\0';
        *ret = (FsDevice){
                        .id = info->devid,
                        .size = info->total_bytes,
                        .used = info->bytes_used,
                        .path = strdup((char *) info->path),
        };
        if (!ret->path)
                return err_new(reterr, ENOMEM, "out of memory");
        if (!is_there(ret->path, &st) && find_by_uuid(fsid, info->uuid, &ret->path) < 0)
                return err_new(reterr, ENOMEM, "out of memory");
        ret->missing = !is_there(ret->path, &st);
        ret->number = ret->missing ? 0 : st.st_rdev;
        /* "fsid" since Linux 6.3, where older headers have the first two words of "unused" */
        memcpy(ret->fsid, info->unused, 16);
        if (uuid_is_null(ret->fsid)) {
                BtrfsSuper super;

                if (ret->missing || super_read(ret->path, &super, NULL) < 0)
                        memcpy(ret->fsid, fsid, 16);
                else
                        memcpy(ret->fsid, super.fsid, 16);
        }
        ret->seed = memcmp(ret->fsid, fsid, 16) != 0;
        return read_sealed(fsid, ret, reterr);
}

int fs_devices(int fd, FsDevices *ret, Err **reterr) {
        struct btrfs_ioctl_fs_info_args fs = {0};
        _cleanup_(fs_devices_done) FsDevices l = {0};
        int r;

        if (ioctl(fd, BTRFS_IOC_FS_INFO, &fs) < 0)
                return err_sys(reterr, errno, "read file system");
        memcpy(l.fsid, fs.fsid, 16);
        /* the number that it tells leaves seeds out */
        for (uint64_t id = 1; id <= fs.max_id; id++) {
                struct btrfs_ioctl_dev_info_args info = {.devid = id};
                FsDevice *more;

                if (ioctl(fd, BTRFS_IOC_DEV_INFO, &info) < 0) {
                        if (errno == ENODEV)
                                continue;
                        return err_sys(reterr, errno, "read device %" PRIu64, id);
                }
                more = reallocarray(l.devices, l.n + 1, sizeof(*more));
                if (!more)
                        return err_new(reterr, ENOMEM, "out of memory");
                l.devices = more;
                r = describe(&info, l.fsid, &l.devices[l.n], reterr);
                if (r < 0)
                        return r;
                l.n++;
        }
        *ret = l;
        l = (FsDevices){0};
        return 0;
}

/* These ioctls tell some refusals by a positive number, and errno says nothing then. */
static int device_error(int r, Err **reterr, const char *what, const char *which) {
        static const char *const reasons[] = {
                        [BTRFS_ERROR_DEV_RAID1_MIN_NOT_MET] = "RAID 1 needs it",
                        [BTRFS_ERROR_DEV_RAID10_MIN_NOT_MET] = "RAID 10 needs it",
                        [BTRFS_ERROR_DEV_RAID5_MIN_NOT_MET] = "RAID 5 needs it",
                        [BTRFS_ERROR_DEV_RAID6_MIN_NOT_MET] = "RAID 6 needs it",
                        [BTRFS_ERROR_DEV_TGT_REPLACE] = "it is the target of a replacement",
                        [BTRFS_ERROR_DEV_MISSING_NOT_FOUND] = "it is missing",
                        [BTRFS_ERROR_DEV_ONLY_WRITABLE] = "it is the only writable device",
                        [BTRFS_ERROR_DEV_EXCL_RUN_IN_PROGRESS] =
                                        "another operation on devices runs",
        };

        if (r == 0)
                return 0;
        if (r < 0)
                return err_sys(reterr, errno, "%s %s", what, which);
        return err_new(reterr, r == BTRFS_ERROR_DEV_EXCL_RUN_IN_PROGRESS ? EBUSY : EIO, "%s %s: %s",
                        what, which,
                        (size_t) r < ARRAY_SIZE(reasons) && reasons[r] ? reasons[r] : "refused");
}

/* A seed is below each of its sprouts, too. */
static int has_device(int sys_fd, const char *uuid, dev_t device) {
        _cleanup_(freep) char *folder = str_printf("%s/devices", uuid);
        _cleanup_(strv_freep) char **names = NULL;
        _cleanup_(fd_closep) int fd = folder ? dir_open_at(sys_fd, folder, NULL) : -ENOMEM;
        char wanted[32];

        if (fd < 0) /* what stands beside the file systems there has none */
                return fd == -ENOMEM ? fd : 0;
        if (dir_names(fd, &names, NULL) < 0)
                return -EIO;
        snprintf(wanted, sizeof(wanted), "%u:%u", major(device), minor(device));
        for (char **n = names; *n; n++) {
                _cleanup_(freep) char *path = str_printf("%s/dev", *n), *text = NULL;

                if (!path)
                        return -ENOMEM;
                if (file_read_if_at(fd, path, 64, &text, NULL, NULL) <= 0)
                        continue;
                text[strcspn(text, "\n")] = '\0';
                if (str_eq(text, wanted))
                        return 1;
        }
        return 0;
}

int fs_find_holder(
                int sys_fd, dev_t device, const uint8_t fsid[16], char **ret_uuid, Err **reterr) {
        _cleanup_(strv_freep) char **names = NULL;
        char own[UUID_TEXT_SIZE];
        int r = dir_names(sys_fd, &names, reterr);

        if (r < 0)
                return err_add(reterr, r, "list file systems");
        uuid_format(own, fsid);
        for (char **n = names; *n; n++) {
                r = str_eq(*n, own) ? 0 : has_device(sys_fd, *n, device);
                if (r < 0)
                        return err_sys(reterr, r, "look at file system %s", *n);
                if (r > 0)
                        return str_set(ret_uuid, *n) < 0 ? err_new(reterr, ENOMEM, "out of memory")
                                                         : 1;
        }
        return 0;
}

int fs_device_add(int fd, const char *path, Err **reterr) {
        struct btrfs_ioctl_vol_args args = {0};

        if (strlen(path) >= sizeof(args.name))
                return err_new(reterr, ENAMETOOLONG, "add device %s", path);
        strcpy(args.name, path);
        return device_error(ioctl(fd, BTRFS_IOC_ADD_DEV, &args), reterr, "add device", path);
}

int fs_device_remove(int fd, uint64_t id, Err **reterr) {
        struct btrfs_ioctl_vol_args_v2 args = {.flags = BTRFS_DEVICE_SPEC_BY_ID, .devid = id};
        char which[24];

        snprintf(which, sizeof(which), "%" PRIu64, id);
        return device_error(ioctl(fd, BTRFS_IOC_RM_DEV_V2, &args), reterr, "remove device", which);
}

int fs_device_remove_cancel(int fd, Err **reterr) {
        struct btrfs_ioctl_vol_args_v2 args = {.name = "cancel"};
        int r = ioctl(fd, BTRFS_IOC_RM_DEV_V2, &args);

        /* it says ECANCELED when it was done, ENOTCONN when there was nothing to do */
        if (r < 0 && (errno == ECANCELED || errno == ENOTCONN))
                return 0;
        return device_error(r, reterr, "stop the removal of", "a device");
}

static void scrub_read(const struct btrfs_scrub_progress *p, FsScrub *ret) {
        ret->bytes = p->data_bytes_scrubbed + p->tree_bytes_scrubbed;
        ret->lost = p->uncorrectable_errors;
}

static int scrub_error(Err **reterr, const char *what, uint64_t id) {
        return err_sys(reterr, errno, "%s device %" PRIu64, what, id);
}

int fs_scrub(int fd, uint64_t id, FsScrub *ret, Err **reterr) {
        struct btrfs_ioctl_scrub_args args = {
                        .devid = id, .end = UINT64_MAX, .flags = BTRFS_SCRUB_READONLY};

        if (ioctl(fd, BTRFS_IOC_SCRUB, &args) < 0)
                return scrub_error(reterr, "scrub", id);
        if (args.progress.malloc_errors > 0)
                return err_new(reterr, ENOMEM, "scrub device %" PRIu64 ": out of memory", id);
        scrub_read(&args.progress, ret);
        return 0;
}

int fs_scrub_progress(int fd, uint64_t id, FsScrub *ret, Err **reterr) {
        struct btrfs_ioctl_scrub_args args = {.devid = id};

        if (ioctl(fd, BTRFS_IOC_SCRUB_PROGRESS, &args) < 0)
                return scrub_error(reterr, "progress of a scrub of", id);
        scrub_read(&args.progress, ret);
        return 0;
}

int fs_scrub_cancel(int fd, Err **reterr) {
        if (ioctl(fd, BTRFS_IOC_SCRUB_CANCEL) < 0 && errno != ENOTCONN)
                return err_sys(reterr, errno, "stop a scrub");
        return 0;
}

static int control(unsigned long request, const char *path, const char *what, Err **reterr) {
        _cleanup_(fd_closep) int fd = open("/dev/btrfs-control", O_RDWR | O_CLOEXEC);
        struct btrfs_ioctl_vol_args args = {0};

        if (fd < 0)
                return err_sys(reterr, errno, "open /dev/btrfs-control");
        if (strlen(path) >= sizeof(args.name))
                return err_new(reterr, ENAMETOOLONG, "%s %s", what, path);
        strcpy(args.name, path);
        return ioctl(fd, request, &args) < 0 ? err_sys(reterr, errno, "%s %s", what, path) : 0;
}

int btrfs_scan(const char *path, Err **reterr) {
        return control(BTRFS_IOC_SCAN_DEV, path, "scan", reterr);
}

int btrfs_forget(const char *path, Err **reterr) {
        return control(BTRFS_IOC_FORGET_DEV, path, "forget", reterr);
}
