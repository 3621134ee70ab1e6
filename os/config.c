/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <libeconf.h>
#include <libeconf_ext.h>
#include <sys/stat.h>

#include "base/enum.h"
#include "os/config-repeats.h"
#include "os/config.h"
#include "os/file.h"

#define MAIN_FILE "abupdated.conf"

static const char *const verification_names[_VERIFICATION_MAX] = {
                [VERIFICATION_SIGNATURE] = "signature",
                [VERIFICATION_NONE] = "none",
};
DEFINE_ENUM(verification, Verification, verification_names, _VERIFICATION_MAX,
                _VERIFICATION_INVALID)

static int strv_add(char ***strv, char *owned) {
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

/* Each parser takes the text of a value and says in @allowed what it takes; 0, -EINVAL or
 * -ENOMEM. */

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
        return parse_word(v, (const char *const[]){"snapshot", "none", NULL}, &c->backend);
}

static int parse_boot(Config *c, const char *v) {
        return parse_word(v, (const char *const[]){"default-subvolume", "none", NULL}, &c->boot);
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

static int parse_stall(Config *c, const char *v) {
        uint64_t seconds;

        if (parse_u64(v, &seconds) < 0 || seconds > 24 * 3600)
                return -EINVAL;
        c->stall_usec = seconds * USEC_PER_SEC;
        return 0;
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
                if (strv_add(&c->carry, strdup(w + 1)) < 0)
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

static int parse_tries(Config *c, const char *v) {
        uint64_t n;

        if (parse_u64(v, &n) < 0 || n < 1 || n > 99)
                return -EINVAL;
        c->tries = (unsigned) n;
        return 0;
}

static const struct {
        const char *section, *key;
        int (*parse)(Config *c, const char *value);
        const char *allowed;
} keys[] = {
                {"Update", "Compatible", parse_compatible, "a name for this kind of machine"},
                {"Update", "Backend", parse_backend, "snapshot or none"},
                {"Update", "Boot", parse_boot, "default-subvolume or none"},
                {"Update", "Verification", parse_verification, "signature or none"},
                {"Update", "Threshold", parse_threshold, "a number from 1 to 16"},
                {"Update", "Epoch", parse_epoch, "a number below 2^63"},
                {"Update", "StateDirectory", parse_state_directory,
                                "an absolute path without '..'"},
                {"Update", "StallTimeout", parse_stall, "seconds, at most 86400; 0 waits for ever"},
                {"Snapshot", "ReadOnly", parse_read_only, "yes or no"},
                {"Snapshot", "Keep", parse_keep, "a number from 1 to 1000"},
                {"Snapshot", "MinFree", parse_min_free, "bytes, with K, M, G or T behind"},
                {"Snapshot", "Carry", parse_carry,
                                "absolute paths without '..', separated by blanks"},
                {"Snapshot", "Subvolumes", parse_places,
                                "name:/path pairs separated by blanks, each name once"},
                {"Boot", "Tries", parse_tries, "a number from 1 to 99"},
};

const char *config_place(const Config *c, const char *name) {
        for (size_t i = 0; i < c->n_places; i++)
                if (str_eq(c->places[i].name, name))
                        return c->places[i].path;
        return NULL;
}

static void ext_freep(econf_ext_value **v) {
        if (*v)
                econf_freeExtValue(*v);
}

static void econf_arrayp(char ***a) {
        if (*a)
                econf_freeArray(*a);
}

static int load_key(
                Config *c, econf_file *file, const char *section, const char *key, Err **reterr) {
        _cleanup_(ext_freep) econf_ext_value *ext = NULL;
        _cleanup_(freep) char *value = NULL, *path = econf_getPath(file);
        uint64_t line;
        int r;

        if (econf_getStringValue(file, section, key, &value) != ECONF_SUCCESS || !value) {
                r = str_set(&value, "");
                if (r < 0)
                        return err_new(reterr, r, "out of memory");
        }
        line = econf_getExtValue(file, section, key, &ext) == ECONF_SUCCESS ? ext->line_number : 0;
        for (size_t i = 0; i < ARRAY_SIZE(keys); i++) {
                if (!str_eq(keys[i].section, section) || !str_eq(keys[i].key, key))
                        continue;
                r = keys[i].parse(c, value);
                if (r == -ENOMEM)
                        return err_new(reterr, r, "out of memory");
                if (r < 0)
                        return err_kind(reterr, ERR_BAD_CONFIG, EINVAL,
                                        "%s:%" PRIu64 ": %s=%s in [%s] is not valid; allowed is %s",
                                        path, line, key, value, section, keys[i].allowed);
                return 0;
        }
        r = strv_add(&c->warnings, str_printf("%s:%" PRIu64 ": unknown key %s= in [%s] is ignored",
                                                   path, line, key, str_or(section, "")));
        return r < 0 ? err_new(reterr, r, "out of memory") : 0;
}

static int load_section(Config *c, econf_file *file, const char *section, Err **reterr) {
        _cleanup_(econf_arrayp) char **names = NULL;
        size_t n = 0;
        int r;

        if (econf_getKeys(file, section, &n, &names) != ECONF_SUCCESS)
                return 0;
        for (size_t i = 0; i < n; i++) {
                r = load_key(c, file, section, names[i], reterr);
                if (r < 0)
                        return r;
        }
        return 0;
}

typedef struct Repeats {
        Config *config;
        const char *path;
} Repeats;

static int warn_repeat(void *userdata, unsigned line, const char *section, const char *key) {
        Repeats *r = userdata;

        return strv_add(&r->config->warnings,
                        str_printf("%s:%u: %s= in [%s] stands there a second time and is ignored",
                                        r->path, line, key, section));
}

static int load_file(Config *c, econf_file *file, Err **reterr) {
        _cleanup_(econf_arrayp) char **sections = NULL;
        _cleanup_(freep) char *path = econf_getPath(file);
        Repeats repeats = {c, path};
        size_t n = 0;
        int r;

        r = config_repeats(path, warn_repeat, &repeats);
        if (r < 0)
                return err_new(reterr, r, "out of memory");

        if (econf_getGroups(file, &n, &sections) != ECONF_SUCCESS)
                n = 0;
        r = load_section(c, file, NULL, reterr);
        for (size_t i = 0; i < n && r >= 0; i++)
                r = load_section(c, file, sections[i], reterr);
        return r;
}

static const char *file_name(const char *path) {
        const char *slash = strrchr(path, '/');

        return slash ? slash + 1 : path;
}

/* The main file first, then drop-ins by name, whichever directory they are in. */
static int compare_files(const void *a, const void *b) {
        _cleanup_(freep) char *one = econf_getPath(*(econf_file *const *) a);
        _cleanup_(freep) char *two = econf_getPath(*(econf_file *const *) b);
        bool main_one = str_eq(file_name(one), MAIN_FILE),
             main_two = str_eq(file_name(two), MAIN_FILE);

        return main_one != main_two ? main_two - main_one : strcmp(file_name(one), file_name(two));
}

/* A drop-in of the vendor gives way to one of the same name in etc, even to a link to nothing. */
static bool is_masked(econf_file *file, const char *vendor, const char *admin) {
        _cleanup_(freep) char *path = econf_getPath(file), *twin = NULL;
        struct stat st;

        if (!str_after(path, vendor) || str_eq(file_name(path), MAIN_FILE))
                return false;
        twin = str_printf("%s/" MAIN_FILE ".d/%s", admin, file_name(path));
        return twin && lstat(twin, &st) >= 0;
}

/* The files one by one, later ones win: a merged view would not know file and line any more. */
static int load_files(Config *c, const char *root, Err **reterr) {
        _cleanup_(freep) char *vendor = str_printf("%s/usr/lib/abupdate", root);
        _cleanup_(freep) char *admin = str_printf("%s/etc/abupdate", root);
        _cleanup_(freep) char *where = NULL;
        econf_file **files = NULL;
        uint64_t line = 0;
        size_t n = 0;
        econf_err e;
        int r = 0;

        if (!vendor || !admin)
                return err_new(reterr, ENOMEM, "out of memory");
        e = econf_readDirsHistory(&files, &n, vendor, admin, "abupdated", "conf", "=", "#");
        if (e == ECONF_NOFILE) {
                free(files); /* older libraries leave an empty list behind */
                return 0;
        }
        if (e == ECONF_NOMEM)
                return err_new(reterr, ENOMEM, "out of memory");
        if (e != ECONF_SUCCESS) {
                econf_errLocation(&where, &line);
                return err_kind(reterr, ERR_BAD_CONFIG, EINVAL, "%s:%" PRIu64 ": %s",
                                str_or(where, admin), line, econf_errString(e));
        }
        qsort(files, n, sizeof(*files), compare_files);
        for (size_t i = 0; i < n; i++) {
                if (r >= 0 && !is_masked(files[i], vendor, admin))
                        r = load_file(c, files[i], reterr);
                econf_freeFile(files[i]);
        }
        free(files);
        return r;
}

static int set_defaults(Config *c) {
        c->verification = VERIFICATION_SIGNATURE;
        c->stall_usec = 60 * USEC_PER_SEC;
        c->threshold = 1;
        c->keep = 2;
        c->tries = 3;
        c->min_free = UINT64_C(64) << 20;
        return str_set(&c->backend, "snapshot") < 0 || str_set(&c->boot, "default-subvolume") < 0
                               ? -ENOMEM
                               : 0;
}

int config_load(const char *root, Config **ret, Err **reterr) {
        _cleanup_(config_freep) Config *c = calloc(1, sizeof(*c));
        int r;

        if (!c || set_defaults(c) < 0)
                return err_new(reterr, ENOMEM, "out of memory");
        r = load_files(c, root, reterr);
        if (r < 0)
                return err_add(reterr, r, "read the configuration");
        *ret = MOVE(c);
        return 0;
}

Config *config_free(Config *c) {
        if (c) {
                places_clear(c);
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
