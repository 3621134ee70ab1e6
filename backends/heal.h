/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* backends/heal.h - for abupdate-initrd: a sprout is mountable only while its seed's superblock is as
 * it was; even a new label on the seed ends that. Puts it back before the mount that would fail. */
#pragma once

#include "base/err.h"

/* @device: what the root is going to be mounted from; not mounted. Returns 1 where it is a sprout, 0 where
 * it is not. *@ret_text is a sentence where something was put right, else NULL. Writes only where the
 * sprout cannot be mounted as things are; and where it or its seed could not be afterwards, takes that back. After a power
 * cut the seed's copies are old or new, each valid, and the next call goes on. */
int sprout_heal(const char *device, char **ret_text, Err **reterr);
