/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* update/policy.h - may an image that somebody trusted has signed be installed on this machine, now? Plain data only. */
#pragma once

#include "stream/manifest.h"
#include "update/plan.h"

typedef struct PolicyFacts {
        uint64_t epoch; /* that this machine has reached */
        uint64_t now;   /* seconds since 1970 */
} PolicyFacts;

/* Whatever the caller may be allowed to ask for: ERR_NOT_COMPATIBLE, ERR_NOT_SUPPORTED (a newer abupdate is needed),
 * ERR_EXPIRED, ERR_DOWNGRADE for an earlier epoch. What he may lift: ERR_DOWNGRADE for an older version. */
int policy_check(const Config *config, const Facts *facts, const PolicyFacts *about,
                const Manifest *m, const UpdateOptions *options, Err **reterr);

/* The epoch that a machine has reached: what is stored, what the configuration demands, and the epochs of slots that have
 * proven themselves, in case the stored one is lost. */
uint64_t policy_epoch(const Config *config, const Facts *facts, uint64_t stored);
