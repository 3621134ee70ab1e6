/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/rate.h"

#define SAMPLE_MIN    (USEC_PER_SEC / 4)
#define HORIZON       ((double) (10 * USEC_PER_SEC))
#define REMAINING_MAX ((double) (365 * 24 * 3600 * USEC_PER_SEC))

void rate_sample(Rate *r, uint64_t now, uint64_t done) {
        double span, rate, weight;

        if (r->last_time == 0 || done < r->last_done || now < r->last_time) {
                *r = (Rate){.last_time = now, .last_done = done};
                return;
        }
        if (now - r->last_time < SAMPLE_MIN)
                return;

        /* Exponential smoothing for samples at uneven distances: the older the last sample, the less the past counts. */
        span = (double) (now - r->last_time);
        rate = (double) (done - r->last_done) / span;
        weight = r->per_usec > 0 ? span / (span + HORIZON) : 1.0;
        r->per_usec += weight * (rate - r->per_usec);
        r->last_time = now;
        r->last_done = done;
}

uint64_t rate_remaining(const Rate *r, uint64_t done, uint64_t total) {
        double usec;

        if (total == 0 || done > total || r->per_usec <= 0)
                return UINT64_MAX;
        usec = (double) (total - done) / r->per_usec;
        return usec < REMAINING_MAX ? (uint64_t) usec : UINT64_MAX;
}
