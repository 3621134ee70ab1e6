/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* backends/snapshot.h - inside the snapshot backend: what its files share.
 * The layout on disk is in docs/backends.md. */
#pragma once

#include "backends/slot-backend.h"

typedef struct Snapshot {
        SlotBackend base; /* must stay first */
        const World *world;
        int top_fd; /* subvolume 5, by a detached mount */
        int slots_fd;
        int staging_fd;
} Snapshot;

static inline Snapshot *to_snapshot(SlotBackend *b) {
        if (b->ops != &snapshot_slot_ops)
                abort();
        return (Snapshot *) b;
}

/* One pair of slot.conf's Subvolumes=. */
typedef struct Part {
        char *name;
        char *place;
} Part;

typedef struct PartList {
        size_t n;
        Part *parts; /* a place comes before the places inside it */
} PartList;

void part_list_done(PartList *l);
int part_list_parse(const char *text, PartList *ret, Err **reterr);

int snapshot_find_base(SlotBackend *b, const uint8_t uuid[16], int *ret_fd, Err **reterr);
int snapshot_copy_booted(SlotBackend *b, const char *job, Err **reterr);
int snapshot_build(
                SlotBackend *b, const char *job, const Slot *draft, int *ret_root_fd, Err **reterr);
