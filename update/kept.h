/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* update/kept.h - what an update that was cut off has received, for the next update with the same image.
 *
 * Beside the quarantines, which recovery empties as ever: read-only snapshots of the subvolumes as they were at one
 * checkpoint, and a record of that place. Of one image at a time. A hint like the journal: whatever it says, the tree
 * digest decides in the end whether there is a slot. */
#pragma once

#include "stream/receive.h"
#include "update/machine.h"

typedef struct Kept {
        const Manifest *manifest; /* borrowed */
        Machine *m;               /* NULL: nothing can be kept, now and later */
        int dir_fd;               /* -1: not there yet */
        uint64_t number;          /* of the checkpoint; 0: there is none yet */
        StreamPosition position;
} Kept;

#define KEPT_NONE ((Kept){.dir_fd = -1})

void kept_done(Kept *k);

/* What is kept of the image that @manifest describes. With ResumeUpdates=no, or where it cannot be kept: nothing. */
void kept_open(Machine *m, const Manifest *manifest, Kept *ret);

/* Is what is received going to be kept? */
bool kept_wanted(const Kept *k);

/* Where the update can go on; NULL: at the beginning. */
const StreamPosition *kept_position(const Kept *k);

/* The first bytes of the image that nobody needs to hand in again. */
uint64_t kept_bytes(const Kept *k);

/* Puts the subvolumes into @image_fd, of an empty quarantine, as they were. */
int kept_restore(const Kept *k, int image_fd, Err **reterr);

/* Keeps the subvolumes in @image_fd as they are now, at @p, in place of what was kept before. Durable; before the return a
 * power cut leaves the old or the new. Where it cannot be done, what there is goes, and the update goes on without. */
void kept_save(Kept *k, const StreamPosition *p, int image_fd);

/* Gives up all, of whatever image; *@ret_any, may be NULL: was there something? */
int kept_drop(Machine *m, bool *ret_any, Err **reterr);

/* For people: version and bytes of what is kept. False: nothing is. */
bool kept_tell(Machine *m, char **ret_version, uint64_t *ret_bytes);
