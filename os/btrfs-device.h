/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* os/btrfs-device.h - the devices of a mounted Btrfs: which there are, adding, removing. Thin over ioctls; all
 * refusals are the caller's (the kernel has few, and crashes on some mistakes). */
#pragma once

#include <sys/types.h>

#include "base/err.h"

typedef struct FsDevice {
        uint64_t id;
        uint64_t size, used; /* bytes; used: by chunks */
        uint8_t fsid[16];
        bool seed;    /* of another file system: read-only, below this one */
        bool missing; /* not there */
        bool sealed;  /* it was mounted with its seed flag set: what counts, not the flag now */
        dev_t number; /* 0 where it is missing */
        char *path;   /* one of its names: not that of block_find() where udev gave it several */
} FsDevice;

typedef struct FsDevices {
        uint8_t fsid[16];
        size_t n;
        FsDevice *devices; /* in rising order of id */
} FsDevices;

void fs_devices_done(FsDevices *l);

int fs_devices(int fd, FsDevices *ret, Err **reterr);

/* Does a mounted file system with another id than @fsid have the device, too? 1 and that id as text, or 0. @sys_fd:
 * /sys/fs/btrfs. */
int fs_find_holder(int sys_fd, dev_t device, const uint8_t fsid[16], char **ret_uuid, Err **reterr);

/* Adds a device; @fd is any descriptor of the file system. On a mounted seed this makes the sprout:
 * a new file system id from now on, committed on return. Nothing is checked, nothing is wiped. */
int fs_device_add(int fd, const char *path, Err **reterr);

/* Takes a device out, moving what is on it to the others. Blocks; -ECANCELED after
 * fs_device_remove_cancel(). @fd must be of a writable mount. Committed on return. */
int fs_device_remove(int fd, uint64_t id, Err **reterr);
int fs_device_remove_cancel(int fd, Err **reterr);

typedef struct FsScrub {
        uint64_t bytes; /* read, every copy counts */
        uint64_t lost;  /* blocks of which no copy is whole */
} FsScrub;

/* Reads all that is in use on a device, and compares it with its checksums; writes nothing, also where it finds a good copy.
 * Blocks; -ECANCELED after fs_scrub_cancel(), -EINPROGRESS where another one runs. The kernel log names the
 * files. A sprout and its seed must not be scrubbed while both are there: blocks of the seed are taken
 * for bad ones (Linux, fs/btrfs/scrub.c, compares the file system id of the whole). */
int fs_scrub(int fd, uint64_t id, FsScrub *ret, Err **reterr);
int fs_scrub_cancel(int fd, Err **reterr);

/* Where the one that runs is. -ENOTCONN: none does. */
int fs_scrub_progress(int fd, uint64_t id, FsScrub *ret, Err **reterr);

/* Makes a device known to the kernel, or forgets one that is not mounted. */
int btrfs_scan(const char *path, Err **reterr);
int btrfs_forget(const char *path, Err **reterr);
