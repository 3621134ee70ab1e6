/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* backends/layout.h - slots inside one Btrfs file system: what is below @abupdate of its top-level
 * subvolume, for the slot backends. Knows neither devices nor loaders. docs/backends.md has the
 * picture. */
#pragma once

#include "backends/slot-backend.h"

typedef struct Layout {
        const World *world;
        int top_fd; /* subvolume 5, by a detached mount; owned */
        int slots_fd;
        int staging_fd;
} Layout;

#define LAYOUT_HOME "@abupdate"
#define LAYOUT_NONE ((Layout){NULL, -1, -1, -1})

/* Takes over @top_fd, on failure too. Makes the empty directories of the layout, unless @read_only:
 * then one that is missing is an error. */
int layout_open(const World *w, int top_fd, bool read_only, Layout *ret, Err **reterr);
void layout_done(Layout *l);

/* What the directory of slot @id says: its slot.conf, key and kind of its root. A slot that lacks a
 * part is SLOT_INCOMPLETE with a reason. */
int layout_read_slot(const Layout *l, const char *id, Slot *ret, Err **reterr);

/* The contract of the verbs of the same name is in slot-backend.h. */
int layout_prepare(const Layout *l, const char *job, int *ret_fd, Err **reterr);
int layout_find_base(const Layout *l, const uint8_t uuid[16], int *ret_fd, Err **reterr);

/* Read-only snapshots of every part of a slot into @image_fd. */
int layout_copy(const Layout *l, const Slot *source, int image_fd, Err **reterr);

int layout_build(const Layout *l, const char *job, const Slot *draft, int *ret_root_fd,
                Err **reterr);
int layout_place(const Layout *l, const char *job, const Slot *draft, Err **reterr);
int layout_record(const Layout *l, const Slot *slot, Err **reterr);
int layout_discard(const Layout *l, const char *const ids[], Err **reterr);
int layout_kept(const Layout *l, bool make, int *ret_fd, Err **reterr);
/* Empties the quarantine. What cannot be deleted now, because it is being sent or holds a swap file in
 * use, stays for the next time. */
int layout_clean(const Layout *l, unsigned *ret_count, Err **reterr);
