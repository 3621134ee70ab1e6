/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* os/boot-partition.h - the partition from which a loader reads its entries and kernels. */
#pragma once

#include "base/err.h"

#define BOOT_ENTRIES "loader/entries" /* of the Boot Loader Specification */
#define BOOT_HOME    "abupdate"       /* what is ours */

/* The first of boot, efi, boot/efi below @root_fd that has one of these and is a file system of its
 * own. ERR_WRONG_LAYOUT where there is none. */
int boot_partition_open(int root_fd, int *ret_fd, Err **reterr);
