/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* backends/boot-cmdline.h - what the kernel of a slot is told. Knows no loader's words. */
#pragma once

#include "backends/slot-backend.h"

/* The kernel command line of a slot: what names its root, then Cmdline=, else what the running
 * one has in common with every slot and every boot; mount options but for subvol= stay in
 * rootflags=. @rest: an older line of the slot to go on with instead of both, or NULL. */
int boot_cmdline_make(const World *w, const Slot *slot, const char *rest, char **ret, Err **reterr);
