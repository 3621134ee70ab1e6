/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* daemon/rate.h - how fast something goes and when it will be done, smoothed over some ten seconds. */
#pragma once

#include "base/util.h"

typedef struct Rate {
        uint64_t last_time, last_done; /* of the last sample that counted; time 0: none yet */
        double per_usec;               /* 0.0: not known */
} Rate;

/* @done at the monotonic time @now (usec). Going backwards starts afresh. */
void rate_sample(Rate *r, uint64_t now, uint64_t done);

/* Microseconds until @total is reached, UINT64_MAX where that cannot be said. */
uint64_t rate_remaining(const Rate *r, uint64_t done, uint64_t total);
