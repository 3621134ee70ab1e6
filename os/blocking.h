/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* os/blocking.h - one long operation of the kernel that only another call can stop, as some ioctls of Btrfs are: a signal
 * that has a handler does not break them off. Knows no ioctl, and no reason to stop. */
#pragma once

#include "base/err.h"

typedef struct Blocking {
        void *userdata;
        /* In a thread of its own, with idle I/O priority; the only call that is. */
        int (*run)(void *userdata, Err **reterr);
        /* Many times a second while run() is at work. True: it is to be stopped. */
        bool (*stop)(void *userdata);
        /* Asks the kernel to end run(), until it has ended: it may have just begun. */
        void (*cancel)(void *userdata);
} Blocking;

/* What run() returned; -ECANCELED where it was stopped before it began. After the return no thread is left. */
int blocking_run(const Blocking *b, Err **reterr);
