/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* update/machine.h - one machine opened for one job: configuration, backends, journal, and the
 * facts read from them. */
#pragma once

#include <json-c/json.h>

#include "backends/boot-backend.h"
#include "update/journal.h"

typedef struct Machine {
        World world;
        char *root;
        int root_fd;
        Config *config;
        SlotBackend *slots;
        BootBackend *boot;
        Journal *journal; /* NULL where the backend keeps no state */
        int state_fd;
        int lock_fd; /* held: no other worker changes this machine */
        char *boot_id;
        char *healed; /* what recovery has put right of somebody else's doing, a sentence; or NULL */
} Machine;

/* Opens the machine below the path @root and takes its lock. Errors: ERR_BUSY while another
 * worker holds it, ERR_BAD_CONFIG, ERR_NOT_BTRFS, ... Changes nothing but the empty directories
 * of the layout. */
int machine_open(const char *root, Machine **ret, Err **reterr);
Machine *machine_free(Machine *m);
DEFINE_CLEANUP(Machine, machine_free)

/* What is true now. Nothing here is kept between jobs. */
typedef struct Facts {
        SlotList *slots;
        BootFacts boot;
        json_object *refused;
} Facts;

int facts_read(Machine *m, Facts *ret, Err **reterr);
void facts_done(Facts *f);

/* The slot that boots next, the booted one; NULL where it is none. */
Slot *facts_next(const Facts *f);
Slot *facts_booted(const Facts *f);

/* Is the slot on trial: armed or running, and not proven? */
bool facts_on_trial(const Facts *f, const Slot *s);

/* Why the slot may not be deleted, as a clause ("it is running"), and the kind of error; NULL:
 * it may. */
const char *facts_protects(const Facts *f, const Slot *s, ErrKind *ret_kind);

/* A slot by id, "" meaning the booted one. ERR_UNKNOWN_SLOT names those that are here. */
int facts_slot(const Facts *f, const char *id, Slot **ret, Err **reterr);

/* The next Blessed= number. */
uint64_t facts_next_blessing(const Facts *f);
