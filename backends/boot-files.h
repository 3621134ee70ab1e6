/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* backends/boot-files.h - what a slot consists of for a loader that does not read slots: kernel and
 * initrd. Knows no loader's words. */
#pragma once

#include "backends/slot-backend.h"

/* Kernel (by one of kernel_names) and initrd (NULL: none) of the newest version in the tree that has
 * modules and a kernel, as paths in it. ERR_WRONG_LAYOUT where it has none. Changes nothing. */
int boot_files_find(int root_fd, char **ret_kernel, char **ret_initrd, Err **reterr);

/* Opens a file of the tree: links inside it are fine, out of it never. Negative errno on failure. */
int boot_files_open(int root_fd, const char *path);

/* Does the fstab of the tree leave the root, and what else a version consists of, to the slot?
 * ERR_WRONG_LAYOUT: it names subvolumes for them. */
int boot_fstab_fit(int root_fd, Err **reterr);

/* The same, and has the tree a kernel? */
int boot_files_fit(int root_fd, Err **reterr);
