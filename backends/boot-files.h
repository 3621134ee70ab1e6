/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* backends/boot-files.h - what a slot consists of for a loader that does not read slots: kernel,
 * initrd and command line. Knows no loader's words. */
#pragma once

#include "backends/slot-backend.h"

/* Kernel and initrd (NULL: none) of the newest version in the tree that has modules, as paths in
 * it. ERR_WRONG_LAYOUT where it has no kernel. */
int boot_files_find(int root_fd, char **ret_kernel, char **ret_initrd, Err **reterr);

/* May the tree be booted by an entry that names its subvolume? ERR_WRONG_LAYOUT says why not: no
 * kernel, or an fstab that names another one. */
int boot_files_fit(int root_fd, Err **reterr);

/* Kernel and initrd of the tree go to abupdate/slot-<slot> of the boot partition, as linux and
 * initrd, in place of what was there. Durable. */
int boot_files_bring(int boot_fd, const char *slot, int root_fd, Err **reterr);

/* Takes that folder away again; absent is fine. */
int boot_files_drop(int boot_fd, const char *slot, Err **reterr);

/* The kernel command line of a slot: what names its root, then Cmdline=, else what the running
 * one has in common with every slot. @rest: an older line to go on with instead of both, or NULL. */
int boot_files_options(
                const World *w, const Slot *slot, const char *rest, char **ret, Err **reterr);
