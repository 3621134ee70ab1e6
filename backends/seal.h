/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* backends/seal.h - for abupdate-initrd: make a device a seed before it is mounted. */
#pragma once

#include "base/err.h"

/* Sets the seed flag, after a log that a crash has left was replayed. 1 and a sentence where
 * something was done, 0 where the device is sealed already. The device must not be mounted. After a
 * power cut it is sealed or not, and complete. */
int seed_seal(const char *device, char **ret_text, Err **reterr);
