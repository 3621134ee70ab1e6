/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <blkid/blkid.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include "os/block-holders.h"
#include "os/block.h"
#include "os/btrfs-super.h"
#include "os/file.h"

/* More signatures than this on one device is a device that gives back what was taken off. */
enum { SIGNATURES_MAX = 64 };

static void probe_freep(blkid_probe *pr) {
        if (*pr)
                blkid_free_probe(*pr);
}

void block_device_done(BlockDevice *d) {
        free(d->path);
        *d = (BlockDevice){0};
}

/* Links that udev makes; what else it would have to escape is no name for a slot. */
static const struct {
        const char *prefix, *folder;
} tags[] = {
                {"PARTLABEL=", "dev/disk/by-partlabel/"},
                {"PARTUUID=", "dev/disk/by-partuuid/"},
};

bool block_spec_ok(const char *spec) {
        for (size_t i = 0; i < ARRAY_SIZE(tags); i++) {
                const char *name = str_after(spec, tags[i].prefix);

                if (name)
                        return name_ok(name);
        }
        return spec[0] == '/' && spec[1] && !strstr(spec, "..") && !strpbrk(spec, " \t\n,=:\"'\\");
}

static char *link_of(const char *spec) {
        for (size_t i = 0; i < ARRAY_SIZE(tags); i++) {
                const char *name = str_after(spec, tags[i].prefix);

                if (name)
                        return str_printf("%s%s", tags[i].folder, name);
        }
        return strdup(spec[0] == '/' ? spec + 1 : spec);
}

/* The kernel's own name: what is in DEV_INFO and in mountinfo. */
static int kernel_name(dev_t number, char **ret, Err **reterr) {
        _cleanup_(freep) char *path =
                        str_printf("/sys/dev/block/%u:%u/uevent", major(number), minor(number));
        _cleanup_(freep) char *text = NULL;
        const char *name;
        int r;

        if (!path)
                return err_new(reterr, ENOMEM, "out of memory");
        r = file_read_at(AT_FDCWD, path, 4096, &text, NULL, reterr);
        if (r < 0)
                return r;
        name = strstr(text, "DEVNAME=");
        if (!name)
                return err_new(reterr, ENODEV, "device %u:%u has no name", major(number),
                                minor(number));
        name += strlen("DEVNAME=");
        *ret = str_printf("/dev/%.*s", (int) strcspn(name, "\n"), name);
        return *ret ? 0 : err_new(reterr, ENOMEM, "out of memory");
}

/* A name that paths and map share may lead to either. */
static int follow_to_map(const char *spec, int *fd, dev_t *number, Err **reterr) {
        _cleanup_(fd_closep) int sys_fd = open(BLOCK_BY_NUMBER, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        dev_t map = sys_fd >= 0 ? block_map_of(sys_fd, *number) : 0;
        _cleanup_(freep) char *path = NULL;
        int map_fd, r;

        if (!map)
                return 0;
        r = kernel_name(map, &path, reterr);
        if (r < 0)
                return r;
        map_fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
        if (map_fd < 0)
                return err_sys(reterr, errno, "open %s, the map of %s", path, spec);
        close(*fd);
        *fd = map_fd;
        *number = map;
        return 0;
}

int block_find(int root_fd, const char *spec, BlockDevice *ret, Err **reterr) {
        _cleanup_(block_device_done) BlockDevice d = {0};
        _cleanup_(freep) char *link = link_of(spec);
        _cleanup_(fd_closep) int fd = -1, held = -1;
        struct stat st;
        int r;

        if (!link)
                return err_new(reterr, ENOMEM, "out of memory");
        fd = openat(root_fd, link, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
        if (fd < 0)
                return err_sys(reterr, errno == ENXIO ? ENOENT : errno, "find device %s", spec);
        if (fstat(fd, &st) < 0)
                return err_sys(reterr, errno, "find device %s", spec);
        if (!S_ISBLK(st.st_mode))
                return err_new(reterr, ENOTBLK, "%s is not a block device", spec);
        d.number = st.st_rdev;
        r = follow_to_map(spec, &fd, &d.number, reterr);
        if (r < 0)
                return err_add(reterr, r, "find device %s", spec);
        if (ioctl(fd, BLKGETSIZE64, &d.size) < 0)
                return err_sys(reterr, errno, "read the size of %s", spec);
        r = kernel_name(d.number, &d.path, reterr);
        if (r < 0)
                return err_add(reterr, r, "find device %s", spec);
        held = open(d.path, O_RDONLY | O_EXCL | O_CLOEXEC | O_NONBLOCK);
        d.busy = held < 0 && errno == EBUSY;
        *ret = d;
        d = (BlockDevice){0};
        return 0;
}

static int probe_open(int fd, blkid_probe *ret, Err **reterr) {
        _cleanup_(probe_freep) blkid_probe pr = blkid_new_probe();

        if (!pr)
                return err_new(reterr, ENOMEM, "out of memory");
        if (blkid_probe_set_device(pr, fd, 0, 0) != 0 ||
                        blkid_probe_enable_superblocks(pr, 1) != 0 ||
                        blkid_probe_set_superblocks_flags(
                                        pr, BLKID_SUBLKS_TYPE | BLKID_SUBLKS_MAGIC |
                                                            BLKID_SUBLKS_BADCSUM) != 0 ||
                        blkid_probe_enable_partitions(pr, 1) != 0 ||
                        blkid_probe_set_partitions_flags(pr, BLKID_PARTS_MAGIC) != 0)
                return err_new(reterr, EIO, "libblkid cannot look at it");
        *ret = MOVE(pr);
        return 0;
}

int block_content(const char *path, char **ret, Err **reterr) {
        _cleanup_(fd_closep) int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
        _cleanup_(probe_freep) blkid_probe pr = NULL;
        const char *type = NULL;
        int r;

        if (fd < 0)
                return err_sys(reterr, errno, "open %s", path);
        r = probe_open(fd, &pr, reterr);
        if (r < 0)
                return err_add(reterr, r, "look at %s", path);
        r = blkid_do_safeprobe(pr);
        if (r == -1)
                return err_new(reterr, EIO, "look at %s: it cannot be read", path);
        *ret = NULL;
        if (r == 1)
                return 0;
        if (r == -2)
                type = "several signatures";
        else if (blkid_probe_lookup_value(pr, "TYPE", &type, NULL) != 0 &&
                        blkid_probe_lookup_value(pr, "PTTYPE", &type, NULL) != 0)
                type = "something unknown";
        *ret = strdup(type);
        return *ret ? 0 : err_new(reterr, ENOMEM, "out of memory");
}

int block_wipe(const char *path, Err **reterr) {
        _cleanup_(fd_closep) int fd = open(path, O_RDWR | O_EXCL | O_CLOEXEC | O_NONBLOCK);
        _cleanup_(probe_freep) blkid_probe pr = NULL;
        int r;

        if (fd < 0)
                return err_sys(reterr, errno, "wipe %s", path);
        r = super_wipe(fd, reterr);
        if (r >= 0)
                r = probe_open(fd, &pr, reterr);
        if (r < 0)
                return err_add(reterr, r, "wipe %s", path);
        for (unsigned n = 0; (r = blkid_do_probe(pr)) == 0; n++)
                if (n > SIGNATURES_MAX || blkid_do_wipe(pr, /* dryrun= */ 0) != 0)
                        return err_new(reterr, EIO, "wipe %s: a signature does not go", path);
        if (r < 0)
                return err_new(reterr, EIO, "wipe %s: it cannot be read", path);
        if (fdatasync(fd) < 0)
                return err_sys(reterr, errno, "wipe %s", path);
        return 0;
}
