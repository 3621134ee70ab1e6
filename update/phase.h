/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* update/phase.h - where a job stands. The words are on the bus, in the journal and in the
 * history. */
#pragma once

#include "base/util.h"

typedef enum Phase {
        PHASE_IDLE,  /* no job: what the journal says between jobs */
        PHASE_CHECK, /* nothing is changed yet, nothing is recorded */
        PHASE_PREPARE,
        PHASE_WRITE,
        PHASE_VERIFY,
        PHASE_PLACE,
        PHASE_ARM, /* the next boot changes in here */
        PHASE_BLESS,
        PHASE_CONDEMN,
        PHASE_PRUNE,
        PHASE_RECORD, /* a fact of a slot is rewritten */
        PHASE_MERGE,  /* data moves from one device to another */
        _PHASE_MAX,
        _PHASE_INVALID = -EINVAL,
} Phase;

const char *phase_to_string(Phase p);
Phase phase_from_string(const char *s);
