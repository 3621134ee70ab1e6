/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* os/block.h - a block device by the name the configuration gives it, and what is on it. Knows
 * nothing of slots; what is inside a Btrfs is in btrfs-super.h. */
#pragma once

#include <sys/types.h>

#include "base/err.h"

typedef struct BlockDevice {
        char *path; /* "/dev/sda2", as the kernel calls it */
        dev_t number;
        uint64_t size; /* bytes */
        bool busy;     /* the kernel holds it: mounted, part of something, swap */
} BlockDevice;

void block_device_done(BlockDevice *d);

/* "PARTLABEL=os-a", "PARTUUID=...", or an absolute path, below @root_fd. -ENOENT where there is
 * no such device; links are followed, and from a path of a multipath map to the map. */
int block_find(int root_fd, const char *spec, BlockDevice *ret, Err **reterr);

/* Could @spec be one of the above? */
bool block_spec_ok(const char *spec);

/* What libblkid sees on it: NULL for nothing, "btrfs", "ext4", "dos" (a partition table), or
 * "several signatures". New string. */
int block_content(const char *path, char **ret, Err **reterr);

/* Takes off every signature, those of all superblock copies of Btrfs too. -EBUSY where the device
 * is in use. Durable; a power cut leaves it as before or without some of them. */
int block_wipe(const char *path, Err **reterr);
