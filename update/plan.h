/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* update/plan.h - decide first, act later: what an update will do, as plain data, from plain
 * data. No system call in here. */
#pragma once

#include "update/machine.h"

typedef struct UpdateOptions {
        const char *name;    /* of the image, for people */
        uint64_t size;       /* of the image in bytes, 0: not known */
        uint64_t offset;     /* the byte of the image that was handed in first */
        const char *version; /* instead of what the image says; NULL: what it says */
        const char *accept;  /* this version although it is refused; may be NULL */
        const char *slot;    /* which slot takes it; NULL: one with a new number */
        const char *note;    /* what happens to that one, a clause */
        bool arm;
        bool reinstall;       /* although this version is here */
        bool allow_downgrade; /* although a newer one has proven itself */
} UpdateOptions;

/* What the head of the image says. */
typedef struct ImageFacts {
        const char *subvolume; /* name of the first */
        bool incremental;
        bool scrub;     /* what it stands on is read first */
        uint64_t bytes; /* of file data that it brings; 0: not known, at most the size of the image */
} ImageFacts;

typedef struct PlanStep {
        Phase phase;
        char *text;
        uint64_t bytes;
} PlanStep;

typedef struct Plan {
        char *version;  /* NULL: known only when the image has been read */
        char *slot;     /* the id it will have */
        char *fallback; /* slot to go back to, NULL: what is the default now */
        char *next;     /* what booted next when this was decided, NULL: no slot */
        size_t n_steps;
        PlanStep steps[8];
} Plan;

void plan_done(Plan *p);

/* Free bytes as the preflight counts them. */
typedef struct SpaceNeed {
        uint64_t data, metadata; /* wanted, as files see it */
        uint64_t short_of;       /* 0: enough */
} SpaceNeed;

/* Room for @image_bytes more with @min_free left over. Data and metadata may both take from the
 * unallocated space. */
SpaceNeed plan_space(const FsSpace *space, uint64_t image_bytes, uint64_t min_free);

/* ERR_BUSY where an exclusive operation of the file system runs; "" is none. */
int plan_check_exclusive(const char *exclusive, Err **reterr);

/* The number for a new slot: one more than every number that was ever used. */
uint64_t plan_slot_number(const SlotList *slots, uint64_t last_slot);

/* May this version be installed? ERR_ALREADY_INSTALLED, ERR_REFUSED. */
int plan_check_version(const Facts *facts, const char *version, const UpdateOptions *options,
                Err **reterr);

/* Refusals: ERR_ALREADY_INSTALLED, ERR_REFUSED, ERR_NO_SPACE (bytes that are short), ERR_BUSY
 * (exclusive operation), ERR_CONFLICT (the running system is on trial), ERR_TRANSACTION_OPEN. */
int plan_update(const Config *config, const Facts *facts, uint64_t last_slot, const FsSpace *space,
                const char *exclusive, const ImageFacts *image, const UpdateOptions *options,
                Plan *ret, Err **reterr);
