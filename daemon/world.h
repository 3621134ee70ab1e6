/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* daemon/world.h - the machine as the last worker left it: parsed from its JSON, looked up, compared.
 * A copy of facts for readers of the bus; nothing is decided by it. No D-Bus in here. */
#pragma once

#include "daemon/fields.h"

#define WORLD_SIZE_MAX (16u * 1024 * 1024)
#define SLOTS_MAX      16384u
#define REFUSED_MAX    1024u
#define HISTORY_MAX    1024u

/* Strings are NULL where empty. */
typedef struct WorldSlot {
        char *id, *state, *version, *reason, *kernel_version, *device_kind, *depends;
        char **devices;
        uint64_t created, size, exclusive, device_size, to_merge;
        int pinned, read_only, tries_left, tries;
} WorldSlot;

typedef struct WorldRefused {
        char *version, *reason;
} WorldRefused;

typedef struct WorldEvent {
        uint64_t time, job;
        char *type, *slot, *version, *error, *message;
        int status;
} WorldEvent;

typedef struct World {
        char *backend, *boot_backend, *verification, *state, *reason, *version;
        char *booted, *next, *good, *transaction;
        char **capabilities, **problems;
        int reboot_required;

        WorldSlot *slots; /* in the order of strverscmp(3): 2 before 10 */
        size_t n_slots;
        WorldRefused *refused;
        size_t n_refused;
        WorldEvent *history; /* oldest first */
        size_t n_history;
} World;

/* @ret is written only on success; world_done() it. -EBADMSG where the text is not a world, -ENOMEM. */
int world_parse(const char *text, size_t size, World *ret, Err **reterr);

/* The same from a file (memfd) of at most WORLD_SIZE_MAX bytes, read from its start; borrowed. */
int world_read(int fd, World *ret, Err **reterr);
void world_done(World *w);

/* NULL where there is none of that name. */
WorldSlot *world_slot(const World *w, const char *id);

/* The fields of World and WorldSlot with their property names, for comparing. */
extern const Field world_fields[];
extern const Field slot_fields[];
extern const size_t n_world_fields, n_slot_fields;

bool world_refused_equal(const World *a, const World *b);
