/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* health/trial.h - is the running slot on trial, as the daemon sees it, and what to tell the
 * daemon. Speaks to it through abctl, with the bus or, where that is not there, without. */
#pragma once

#include "base/err.h"

typedef struct Trial {
        bool running;   /* the booted slot is next and on trial */
        int tries_left; /* of it */
        int tries;      /* that it was given, at most 0 where that is not known */
} Trial;

/* Reads the status that abctl prints as JSON. -EBADMSG where it is something else, -EAGAIN where it says
 * that the machine is not known, or not yet. */
int trial_parse(const char *json, Trial *ret, Err **reterr);

/* Waits a minute where the machine is not known. */
int trial_read(Trial *ret, Err **reterr);

/* The verdict on the running slot: "good", or "bad" with a reason. Fine where it has that verdict
 * already. While a job runs it is waited for, at most @patience_usec. */
int trial_mark(const char *verdict, const char *reason, uint64_t patience_usec, Err **reterr);
