/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* backends/heal.h - a sprout is mountable only while its seed's superblock is as it was; even a new
 * label on the seed ends that. Puts it back: abupdate-initrd before the mount that would fail, a
 * worker while the sprout runs. */
#pragma once

#include <sys/types.h>

#include "base/err.h"
#include "os/btrfs-super.h"

/* @device: what the root is mounted from, or going to be. @running_on: the seed that the kernel reads
 * below it where it is mounted, else 0. Returns 1 where it is a sprout, 0 where it is not.
 * *@ret_text is a sentence where something was put right, else NULL.
 * What goes back is what the sprout itself keeps, onto the one device that it was taken from. Not
 * mounted: only where the sprout cannot be mounted as things are; and where it or its seed could not
 * be afterwards, that is taken back. Mounted, where that cannot be tried: only over one transaction,
 * which has left the old trees whole; more is left to the next boot (-EUCLEAN). What a power cut
 * leaves is told at write_back(). */
int sprout_heal(const char *device, dev_t running_on, char **ret_text, Err **reterr);

/* Can the sprout on @device still be mounted where its seed is as @seed says, or perhaps be made to by the above, before
 * it is mounted? True also where the sprout does not tell what its seed was like. Changes nothing. */
bool sprout_fits(const char *device, const BtrfsSuper *seed);
