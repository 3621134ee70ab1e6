/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* stream/subvol.h - the few Btrfs calls that turn an empty or a cloned subvolume into a received one. */
#pragma once

#include "base/err.h"

/* Makes an empty subvolume @name in @dest_fd, or with @base_fd >= 0 a writable snapshot of that one, and opens it.
 * Errors: -EEXIST and whatever the kernel says. */
int subvol_make(int dest_fd, const char *name, int base_fd, int *ret_fd, Err **reterr);

/* 1 if @fd is a read-only subvolume with @uuid as its received UUID or as its own, 0 if not. */
int subvol_is(int fd, const uint8_t uuid[static 16], Err **reterr);

/* Everything written so far reaches the disk; then the subvolume becomes a received one and read-only; then that
 * reaches the disk. A power cut before the last step leaves it writable or without received UUID, or it is complete. */
int subvol_seal(int fd, const uint8_t uuid[static 16], uint64_t ctransid, Err **reterr);
