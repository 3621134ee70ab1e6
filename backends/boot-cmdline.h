/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* backends/boot-cmdline.h - what the kernel of a slot is told. Knows no loader's words. */
#pragma once

#include "backends/slot-backend.h"

/* The kernel command line of a slot: what names its root, and the first of these that is: @rest, an
 * older line of the slot to go on with, or NULL; Cmdline= of the configuration; what the version brings
 * (Slot->cmdline); what the running kernel has in common with every slot and every boot. Mount options
 * but for subvol= stay in rootflags=. What a version brings is checked (ERR_WRONG_LAYOUT), and what it says
 * of devices is not taken. Changes nothing. */
int boot_cmdline_make(const World *w, const Slot *slot, const char *rest, char **ret, Err **reterr);
