/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* os/config.h - the administrator's configuration: etc/abupdate/abupdated.conf with vendor file
 * and drop-ins, below the machine's root. docs/abupdated.conf.5 explains every key. */
#pragma once

#include "base/err.h"

typedef enum Verification {
        VERIFICATION_SIGNATURE,
        VERIFICATION_NONE,
        _VERIFICATION_MAX,
        _VERIFICATION_INVALID = -EINVAL,
} Verification;

const char *verification_to_string(Verification v);
Verification verification_from_string(const char *s);

/* Where a subvolume of an image belongs in the slot. */
typedef struct Place {
        char *name; /* of the subvolume in the stream */
        char *path; /* absolute, normal form: "/", "/usr" */
} Place;

/* A device that holds one version at a time. */
typedef struct SeedDevice {
        char *id;   /* the slot */
        char *spec; /* how the device is found: block_find() */
} SeedDevice;

typedef struct Config {
        /* [Update] */
        char *compatible;
        char *backend;
        char *boot;
        Verification verification;
        unsigned threshold;    /* different keys that must have signed */
        uint64_t epoch;        /* no image of an earlier one is installed */
        char *state_directory; /* below the machine's root; NULL: where the backend keeps it */
        uint64_t stall_usec;   /* StallTimeout= */
        bool resume_updates;   /* what an update received is kept when it is cut off */
        /* [Snapshot] */
        bool read_only;
        unsigned keep; /* proven slots beside the booted one */
        uint64_t min_free;
        char **carry; /* paths below the root, no leading slash; NULL-terminated, or NULL */
        Place *places;
        size_t n_places;
        /* [Seed] */
        SeedDevice *devices;
        size_t n_devices;
        bool seal_at_boot;
        bool scrub;          /* the seed, before it gets a sprout */
        uint64_t merge_usec; /* MergeAfter=: from the blessing; UINT64_MAX: only by hand */
        /* [Boot] */
        unsigned tries;
        char *entry;         /* what the names of boot entries begin with */
        char *cmdline;       /* of a new slot; NULL: as the running system's */
        bool kernel_in_slot; /* KernelFrom=: the loader reads the kernel there, not from a copy */
        char *program;       /* of Boot=exec, below the machine's root, no leading slash; or NULL */
        /* [Health] */
        uint64_t health_usec; /* Timeout=: of a boot until it is complete; 0: none */
        uint64_t check_usec;  /* CheckTimeout=: of one check; 0: none */

        char **warnings; /* sentences: unknown keys; NULL-terminated, may be NULL */
} Config;

/* Reads vendor file and drop-ins from usr/lib/abupdate, then those of the administrator, below
 * @root (a path). No file is fine: then the defaults hold. Errors: ERR_BAD_CONFIG with file,
 * line and what is allowed. */
int config_load(const char *root, Config **ret, Err **reterr);
Config *config_free(Config *c);
DEFINE_CLEANUP(Config, config_free)

/* The place of the subvolume called @name, or NULL. */
const char *config_place(const Config *c, const char *name);
