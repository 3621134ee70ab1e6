/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* client/client.h - what every verb gets: the options as the person gave them, and the bus. Knows no verb. */
#pragma once

#include <inttypes.h>
#include <systemd/sd-bus.h>

#include "base/err.h"

/* The promise of the man page; the kinds of base/err.h map to these. */
enum {
        EXIT_DONE = 0,
        EXIT_FAILED = 1,
        EXIT_WRONG_USE = 2,
        EXIT_NOTHING_TO_DO = 3,
        EXIT_REBOOT = 4, /* only with --exit-code */
        EXIT_BUSY = 5,
        EXIT_REFUSED = 6,
};

typedef enum JsonMode {
        JSON_OFF,
        JSON_SHORT,
        JSON_PRETTY,
        _JSON_MODE_MAX,
        _JSON_MODE_INVALID = -EINVAL,
} JsonMode;

typedef enum ProgressMode {
        PROGRESS_AUTO,
        PROGRESS_BAR,
        PROGRESS_LINES,
        PROGRESS_JSON,
        PROGRESS_NONE,
        _PROGRESS_MODE_MAX,
        _PROGRESS_MODE_INVALID = -EINVAL,
} ProgressMode;

/* The values of an option that may be given several times, in their order. */
#define OPTION_LIST_MAX 64
typedef struct OptionList {
        size_t n;
        const char *values[OPTION_LIST_MAX];
} OptionList;

/* Every option of every verb; the tables in main.c say which verb takes which. Strings are borrowed from argv. */
typedef struct Options {
        bool help, version, quiet, no_pager, no_ask_password, json_auto, offline;
        const char *json, *host, *root;

        bool dry_run, no_arm, reboot, detach, reinstall, exit_code, in_place;
        const char *accept, *as, *progress, *retries, *reason, *lines, *manifest;
        bool allow_downgrade, persist, go_on, forget;
        const char *sha256;
        bool scheduled, repair;

        /* image */
        bool passphrase;
        const char *output, *compress, *cert, *chain, *compatible, *image_version, *version_text,
                        *epoch, *valid_until, *allow, *min_daemon, *passphrase_file, *threshold;
        OptionList from, parent, key;
} Options;

typedef struct Client {
        Options opt;
        JsonMode json;
        ProgressMode progress; /* PROGRESS_AUTO is resolved when a job starts */
        const char *verb;
        sd_bus *bus; /* opened by the first bus_open() */
} Client;

/* One row of a table of options. @offset says where in Options the value goes: a bool where @arg is NULL, else a
 * string, or an OptionList where @many. The table ends with a row without help. */
typedef struct Option {
        char letter;
        const char *name, *arg, *help;
        size_t offset;
        bool many;
} Option;

/* One row of the table of verbs. run() gets what follows the verb and returns an exit code, or a negative errno with
 * the story in @reterr; main() prints the story and derives the exit code from its kind. */
typedef struct Verb {
        const char *group; /* headline in the help; NULL: as the row above */
        const char *name, *args, *help;
        int min, max; /* number of arguments; max -1: any */
        const Option *options;
        int (*run)(Client *c, int argc, char *argv[], Err **reterr);
        int (*offline)(Client *c, int argc, char *argv[],
                        Err **reterr); /* NULL: needs the daemon */
        const char *program;           /* that gets the rest of the command line instead */
} Verb;

const char *json_mode_to_string(JsonMode m);
JsonMode json_mode_from_string(const char *s);
const char *progress_mode_to_string(ProgressMode m);
ProgressMode progress_mode_from_string(const char *s);
