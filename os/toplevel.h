/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* os/toplevel.h - the top-level subvolume (id 5) of a file system as a descriptor, by a detached
 * mount: it is in nobody's mount table and gone with its last descriptor, so a crash leaks
 * nothing. */
#pragma once

#include "base/err.h"

/* Of the mounted Btrfs that @root_fd lies in. Errors: ERR_NOT_BTRFS, ERR_READ_ONLY where the
 * kernel has turned the file system read-only. Repeatable; needs CAP_SYS_ADMIN. A seed that is
 * not sprouted can be had @read_only alone. */
int toplevel_open(int root_fd, bool read_only, int *ret, Err **reterr);

/* Of the Btrfs on a block device, which need not be mounted. @device is a path that the caller
 * trusts. */
int toplevel_open_device(const char *device, bool read_only, int *ret, Err **reterr);

/* The same, writable, with those of @options, a comma-separated list, without which some file systems
 * do not mount: degraded, device=. */
int toplevel_open_with(const char *device, const char *options, int *ret, Err **reterr);

/* The same, read-only, as the last commit left it: nothing is written, no log is replayed. */
int toplevel_look_at(const char *device, const char *options, int *ret, Err **reterr);
