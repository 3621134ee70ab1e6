/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* backends/seal.h - for abupdate-initrd: make a device a seed before it is mounted, and take that back. */
#pragma once

#include "base/err.h"

/* Sets the seed flag, after a log that a crash has left was replayed. 1 and a sentence where
 * something was done, 0 where the device is sealed already. The device must not be mounted. After a
 * power cut it is sealed or not, and complete. Where a sprout builds on it, nothing but the flag
 * changes. */
int seed_seal(const char *device, char **ret_text, Err **reterr);

/* Clears the flag, and nothing else: its sprouts can be mounted once it is sealed again, unless it was
 * written to meanwhile. 1 and a sentence, which names a sprout that is there; 0 where it is no seed.
 * -EBUSY where it is mounted, or a sprout on it is. After a power cut it is sealed or not. */
int seed_unseal(const char *device, char **ret_text, Err **reterr);
