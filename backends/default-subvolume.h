/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* backends/default-subvolume.h - the part of this boot backend that acts before the root is
 * mounted. */
#pragma once

#include "base/err.h"

enum {
        COUNT_NOTHING,      /* nothing is on trial */
        COUNT_TRY,          /* one try of the trial was taken off */
        COUNT_FELL_BACK,    /* none was left: the default is the fallback again */
        COUNT_OTHER_KERNEL, /* the same, and the fallback has no modules for the running kernel */
};

/* Takes one try off the slot on trial, or goes back. @device is a path that the caller trusts;
 * its file system is not mounted yet, and will be with @flags (rootflags=). @ret_text says what was
 * done, for the kernel log. To be called once a boot, after what is hibernated was woken up. Durable:
 * after a power cut the try has been counted or not, and the default is the old or the new one. Where
 * nothing is on trial, or @flags ask for a rescue, nothing is written to the device. Returns one of the
 * above or a negative errno; on an error nothing has changed and booting on is right. After
 * COUNT_OTHER_KERNEL a reboot is: the next call finds nothing on trial. */
int default_subvolume_count(const char *device, const char *flags, char **ret_text, Err **reterr);
