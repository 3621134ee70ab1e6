/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* os/boot-partition.h - the partition from which a loader by the Boot Loader Specification reads
 * its entries and kernels. */
#pragma once

#include "base/err.h"

#define BOOT_ENTRIES "loader/entries"

/* The first of boot, efi, boot/efi below @root_fd that has a loader/entries and is a file system of
 * its own. ERR_WRONG_LAYOUT where there is none. */
int boot_partition_open(int root_fd, int *ret_fd, Err **reterr);
