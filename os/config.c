/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <libeconf.h>
#include <libeconf_ext.h>
#include <sys/stat.h>

#include "os/config-keys.h"
#include "os/config-repeats.h"
#include "os/file.h"

#define MAIN_FILE "abupdated.conf"

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
        const ConfigKey *k = config_key(section, key);
        uint64_t line;
        int r;

        if (econf_getStringValue(file, section, key, &value) != ECONF_SUCCESS || !value) {
                r = str_set(&value, "");
                if (r < 0)
                        return err_new(reterr, r, "out of memory");
        }
        line = econf_getExtValue(file, section, key, &ext) == ECONF_SUCCESS ? ext->line_number : 0;
        if (!k) {
                r = config_add(&c->warnings,
                                str_printf("%s:%" PRIu64 ": unknown key %s= in [%s] is ignored",
                                                path, line, key, str_or(section, "")));
                return r < 0 ? err_new(reterr, r, "out of memory") : 0;
        }
        r = k->parse(c, value);
        if (r == -ENOMEM)
                return err_new(reterr, r, "out of memory");
        if (r < 0)
                return err_kind(reterr, ERR_BAD_CONFIG, EINVAL,
                                "%s:%" PRIu64 ": %s=%s in [%s] is not valid; allowed is %s", path,
                                line, key, value, section, k->allowed);
        return 0;
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

        return config_add(&r->config->warnings,
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

int config_load(const char *root, Config **ret, Err **reterr) {
        _cleanup_(config_freep) Config *c = calloc(1, sizeof(*c));
        int r;

        if (!c || config_defaults(c) < 0)
                return err_new(reterr, ENOMEM, "out of memory");
        r = load_files(c, root, reterr);
        if (r < 0)
                return err_add(reterr, r, "read the configuration");
        *ret = MOVE(c);
        return 0;
}
