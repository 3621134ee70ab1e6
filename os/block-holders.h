/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* os/block-holders.h - which block device stands on another one: a multipath map on its paths, a RAID on its members.
 * Reads sysfs; says nothing of file systems, which do not show there. */
#pragma once

#include <sys/types.h>

#include "base/util.h"

/* Where the kernel tells of devices by number: the @sys_fd of what is below. */
#define BLOCK_BY_NUMBER "/sys/dev/block"

/* Is @number, or the disk that it is a partition of, a part of another device? What can be read on it is on
 * that one, too, and only that one may be written to. */
bool block_is_part(int sys_fd, dev_t number);

/* The multipath map that @number is a path of; 0 where it is none. */
dev_t block_map_of(int sys_fd, dev_t number);
