/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What each key may say, and what holds where it is not set. */
#include "os/config-keys.h"
#include "base/enum.h"
#include "os/block.h"
#include "os/file.h"

static const char *const verification_names[_VERIFICATION_MAX] = {
                [VERIFICATION_SIGNATURE] = "signature",
                [VERIFICATION_NONE] = "none",
};
DEFINE_ENUM(verification, Verification, verification_names, _VERIFICATION_MAX,
                _VERIFICATION_INVALID)

static int parse_word(const char *value, const char *const words[], char **ret) {
        for (; *words; words++)
                if (str_eq(*words, value))
                        return str_set(ret, value);
        return -EINVAL;
}

/* "/usr/lib" is; "usr", "/usr/", "/a/../b" and "/a//b" are not. */
static bool path_normal(const char *path) {
        if (path[0] != '/')
                return false;
        for (const char *p = path; *p;) {
                size_t n = strcspn(++p, "/");

                if (n == 0)
                        return str_eq(path, "/");
                if ((n == 1 && p[0] == '.') || (n == 2 && p[0] == '.' && p[1] == '.'))
                        return false;
                p += n;
        }
        return true;
}

static int parse_compatible(Config *c, const char *v) {
        return *v ? str_set(&c->compatible, v) : -EINVAL;
}

static int parse_backend(Config *c, const char *v) {
        return parse_word(v, (const char *const[]){"snapshot", "seed", "none", NULL}, &c->backend);
}

static int parse_boot(Config *c, const char *v) {
        return parse_word(v,
                        (const char *const[]){"default-subvolume", "bls", "grub", "uboot", "exec",
                                        "none", NULL},
                        &c->boot);
}

static int parse_verification(Config *c, const char *v) {
        Verification x = verification_from_string(v);

        if (x < 0)
                return -EINVAL;
        c->verification = x;
        return 0;
}

static int parse_threshold(Config *c, const char *v) {
        uint64_t n;

        if (parse_u64(v, &n) < 0 || n < 1 || n > 16)
                return -EINVAL;
        c->threshold = (unsigned) n;
        return 0;
}

static int parse_epoch(Config *c, const char *v) {
        return parse_u64(v, &c->epoch) < 0 || c->epoch > INT64_MAX ? -EINVAL : 0;
}

static int parse_state_directory(Config *c, const char *v) {
        return path_normal(v) && v[1] ? str_set(&c->state_directory, v + 1) : -EINVAL;
}

static int parse_seconds(const char *v, uint64_t *ret_usec) {
        uint64_t seconds;

        if (parse_u64(v, &seconds) < 0 || seconds > 24 * 3600)
                return -EINVAL;
        *ret_usec = seconds * USEC_PER_SEC;
        return 0;
}

static int parse_stall(Config *c, const char *v) {
        return parse_seconds(v, &c->stall_usec);
}

static int parse_resume(Config *c, const char *v) {
        return parse_bool(v, &c->resume_updates);
}

static int parse_read_only(Config *c, const char *v) {
        return parse_bool(v, &c->read_only);
}

static int parse_keep(Config *c, const char *v) {
        uint64_t n;

        if (parse_u64(v, &n) < 0 || n < 1 || n > 1000)
                return -EINVAL;
        c->keep = (unsigned) n;
        return 0;
}

static int parse_min_free(Config *c, const char *v) {
        return parse_size(v, &c->min_free) < 0 ? -EINVAL : 0;
}

static int parse_carry(Config *c, const char *v) {
        _cleanup_(freep) char *copy = strdup(v);
        char *save = NULL;

        if (!copy)
                return -ENOMEM;
        c->carry = strv_free(c->carry);
        for (char *w = strtok_r(copy, " \t", &save); w; w = strtok_r(NULL, " \t", &save)) {
                if (!path_normal(w) || !w[1])
                        return -EINVAL;
                if (config_add(&c->carry, strdup(w + 1)) < 0)
                        return -ENOMEM;
        }
        return 0;
}

static void places_clear(Config *c) {
        for (size_t i = 0; i < c->n_places; i++) {
                free(c->places[i].name);
                free(c->places[i].path);
        }
        free(MOVE(c->places));
        c->n_places = 0;
}

static int parse_places(Config *c, const char *v) {
        _cleanup_(freep) char *copy = strdup(v);
        char *save = NULL;

        if (!copy)
                return -ENOMEM;
        places_clear(c);
        for (char *w = strtok_r(copy, " \t", &save); w; w = strtok_r(NULL, " \t", &save)) {
                char *colon = strchr(w, ':');
                Place *more, *p;

                if (!colon || !path_normal(colon + 1))
                        return -EINVAL;
                *colon = '\0';
                if (!name_ok(w) || config_place(c, w))
                        return -EINVAL;
                more = reallocarray(c->places, c->n_places + 1, sizeof(*more));
                if (!more)
                        return -ENOMEM;
                c->places = more;
                p = &c->places[c->n_places++];
                *p = (Place){.name = strdup(w), .path = strdup(colon + 1)};
                if (!p->name || !p->path)
                        return -ENOMEM;
        }
        return 0;
}

static void devices_clear(Config *c) {
        for (size_t i = 0; i < c->n_devices; i++) {
                free(c->devices[i].id);
                free(c->devices[i].spec);
        }
        free(MOVE(c->devices));
        c->n_devices = 0;
}

/* Names of slots become names of files on a FAT: no two that differ in case alone. */
static bool device_id_ok(const Config *c, const char *id) {
        for (size_t i = 0; i < c->n_devices; i++)
                if (strcasecmp(c->devices[i].id, id) == 0)
                        return false;
        return name_ok(id) && strlen(id) <= 16 && !strpbrk(id, "+.");
}

static int parse_devices(Config *c, const char *v) {
        _cleanup_(freep) char *copy = strdup(v);
        char *save = NULL;

        if (!copy)
                return -ENOMEM;
        devices_clear(c);
        for (char *w = strtok_r(copy, " \t", &save); w; w = strtok_r(NULL, " \t", &save)) {
                char *equals = strchr(w, '=');
                SeedDevice *more, *d;

                if (!equals || !block_spec_ok(equals + 1))
                        return -EINVAL;
                *equals = '\0';
                if (!device_id_ok(c, w))
                        return -EINVAL;
                for (size_t i = 0; i < c->n_devices; i++)
                        if (str_eq(c->devices[i].spec, equals + 1))
                                return -EINVAL;
                more = reallocarray(c->devices, c->n_devices + 1, sizeof(*more));
                if (!more)
                        return -ENOMEM;
                c->devices = more;
                d = &c->devices[c->n_devices++];
                *d = (SeedDevice){.id = strdup(w), .spec = strdup(equals + 1)};
                if (!d->id || !d->spec)
                        return -ENOMEM;
        }
        return c->n_devices == 0 || c->n_devices >= 2 ? 0 : -EINVAL;
}

static int parse_seal(Config *c, const char *v) {
        return parse_bool(v, &c->seal_at_boot);
}

static int parse_scrub(Config *c, const char *v) {
        return parse_bool(v, &c->scrub);
}

static int parse_merge(Config *c, const char *v) {
        uint64_t seconds = 0;

        if (str_eq(v, "never")) {
                c->merge_usec = UINT64_MAX;
                return 0;
        }
        if (parse_u64(v, &seconds) < 0 || seconds > 366 * 24 * 3600)
                return -EINVAL;
        c->merge_usec = seconds * USEC_PER_SEC;
        return 0;
}

static int parse_entry(Config *c, const char *v) {
        return name_ok(v) && strlen(v) <= 32 && !strpbrk(v, "+.") ? str_set(&c->entry, v) : -EINVAL;
}

static int parse_cmdline(Config *c, const char *v) {
        return str_set(&c->cmdline, v);
}

static int parse_kernel_from(Config *c, const char *v) {
        c->kernel_in_slot = str_eq(v, "slot");
        return c->kernel_in_slot || str_eq(v, "partition") ? 0 : -EINVAL;
}

static int parse_program(Config *c, const char *v) {
        return path_normal(v) && v[1] ? str_set(&c->program, v + 1) : -EINVAL;
}

static int parse_tries(Config *c, const char *v) {
        uint64_t n;

        if (parse_u64(v, &n) < 0 || n < 1 || n > 99)
                return -EINVAL;
        c->tries = (unsigned) n;
        return 0;
}

static int parse_health(Config *c, const char *v) {
        return parse_seconds(v, &c->health_usec);
}

static int parse_check(Config *c, const char *v) {
        return parse_seconds(v, &c->check_usec);
}

static const ConfigKey keys[] = {
                {"Update", "Compatible", parse_compatible, "a name for this kind of machine"},
                {"Update", "Backend", parse_backend, "snapshot, seed or none"},
                {"Update", "Boot", parse_boot, "default-subvolume, bls, grub, uboot, exec or none"},
                {"Update", "Verification", parse_verification, "signature or none"},
                {"Update", "Threshold", parse_threshold, "a number from 1 to 16"},
                {"Update", "Epoch", parse_epoch, "a number below 2^63"},
                {"Update", "StateDirectory", parse_state_directory,
                                "an absolute path without '..'"},
                {"Update", "StallTimeout", parse_stall, "seconds, at most 86400; 0 waits for ever"},
                {"Update", "ResumeUpdates", parse_resume, "yes or no"},
                {"Snapshot", "ReadOnly", parse_read_only, "yes or no"},
                {"Snapshot", "Keep", parse_keep, "a number from 1 to 1000"},
                {"Snapshot", "MinFree", parse_min_free, "bytes, with K, M, G or T behind"},
                {"Snapshot", "Carry", parse_carry,
                                "absolute paths without '..', separated by blanks"},
                {"Snapshot", "Subvolumes", parse_places,
                                "name:/path pairs separated by blanks, each name once"},
                {"Seed", "Slots", parse_devices,
                                "two or more name=device pairs separated by blanks, each name and "
                                "device once; a device is PARTLABEL=, PARTUUID= or a path"},
                {"Seed", "SealAtBoot", parse_seal, "yes or no"},
                {"Seed", "Scrub", parse_scrub, "yes or no"},
                {"Seed", "MergeAfter", parse_merge, "seconds, at most a year, or never"},
                {"Boot", "Tries", parse_tries, "a number from 1 to 99"},
                {"Boot", "Entry", parse_entry, "a name of letters, digits, '-' and '_'"},
                {"Boot", "Cmdline", parse_cmdline, "options for the kernel"},
                {"Boot", "KernelFrom", parse_kernel_from, "partition or slot"},
                {"Boot", "Program", parse_program, "an absolute path without '..'"},
                {"Health", "Timeout", parse_health, "seconds, at most 86400; 0 waits for ever"},
                {"Health", "CheckTimeout", parse_check, "seconds, at most 86400; 0 waits for ever"},
};

const ConfigKey *config_key(const char *section, const char *key) {
        for (size_t i = 0; i < ARRAY_SIZE(keys); i++)
                if (str_eq(keys[i].section, section) && str_eq(keys[i].key, key))
                        return &keys[i];
        return NULL;
}

const char *config_place(const Config *c, const char *name) {
        for (size_t i = 0; i < c->n_places; i++)
                if (str_eq(c->places[i].name, name))
                        return c->places[i].path;
        return NULL;
}

int config_add(char ***strv, char *owned) {
        size_t n = 0;
        char **more;

        while (*strv && (*strv)[n])
                n++;
        more = owned ? reallocarray(*strv, n + 2, sizeof(*more)) : NULL;
        if (!more) {
                free(owned);
                return -ENOMEM;
        }
        more[n] = owned;
        more[n + 1] = NULL;
        *strv = more;
        return 0;
}

int config_defaults(Config *c) {
        c->verification = VERIFICATION_SIGNATURE;
        c->stall_usec = 60 * USEC_PER_SEC;
        c->resume_updates = true;
        c->threshold = 1;
        c->keep = 2;
        c->tries = 3;
        c->health_usec = 300 * USEC_PER_SEC;
        c->check_usec = 60 * USEC_PER_SEC;
        c->min_free = UINT64_C(64) << 20;
        c->seal_at_boot = true;
        c->merge_usec = 3600 * USEC_PER_SEC;
        return str_set(&c->backend, "snapshot") < 0 || str_set(&c->boot, "default-subvolume") < 0 ||
                                               str_set(&c->entry, "abupdate") < 0
                               ? -ENOMEM
                               : 0;
}

Config *config_free(Config *c) {
        if (c) {
                places_clear(c);
                devices_clear(c);
                free(c->entry);
                free(c->cmdline);
                free(c->program);
                free(c->compatible);
                free(c->backend);
                free(c->boot);
                free(c->state_directory);
                strv_free(c->carry);
                strv_free(c->warnings);
                free(c);
        }
        return NULL;
}
