/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* client/main.c - abctl: the table of verbs, from which the help is printed too. */
#include <locale.h>

#include "base/log.h"
#include "client/bus.h"
#include "client/offline.h"
#include "client/options.h"
#include "client/out.h"
#include "client/term.h"
#include "client/verbs.h"

#define OPT(l, n, field, h)                                                                        \
        { .letter = l, .name = n, .help = h, .offset = offsetof(Options, field) }
#define OPT_ARG(l, n, field, a, h)                                                                 \
        { .letter = l, .name = n, .arg = a, .help = h, .offset = offsetof(Options, field) }

#define OPT_MANY(l, n, field, a, h)                                                                \
        {                                                                                          \
                .letter = l, .name = n, .arg = a, .help = h, .offset = offsetof(Options, field),   \
                .many = true                                                                       \
        }

#define OPT_REBOOT   OPT(0, "reboot", reboot, "Reboot at once where that is what is left to do")
#define OPT_EXIT     OPT(0, "exit-code", exit_code, "Exit with 4 where a reboot is needed")
#define OPT_DETACH   OPT(0, "detach", detach, "Start the job and leave it alone")
#define OPT_PROGRESS OPT_ARG(0, "progress", progress, "MODE", "auto, bar, lines, json or none")
#define OPT_REASON   OPT_ARG(0, "reason", reason, "TEXT", "Why, for status and history")

static const Option global_options[] = {
                OPT('h', "help", help, "Show this help, or that of a verb"),
                OPT(0, "version", version, "Show the version of abctl"),
                OPT_ARG(0, "json", json, "MODE", "Print JSON: short, pretty or off"),
                OPT('j', NULL, json_auto, "Print JSON: pretty on a terminal, else short"),
                OPT_ARG('H', "host", host, "[USER@]HOST", "Talk to another machine, over ssh"),
                OPT(0, "offline", offline, "Do without daemon and bus: run the job from here"),
                OPT_ARG(0, "root", root, "DIR",
                                "The machine is what is below DIR; implies --offline"),
                OPT('q', "quiet", quiet, "Print errors only"),
                OPT(0, "no-pager", no_pager, "Do not page long output"),
                OPT(0, "no-ask-password", no_ask_password, "Never ask for a password"),
                {0},
};

static const Option status_options[] = {OPT_EXIT, {0}};
static const Option job_options[] = {OPT_PROGRESS, {0}};
static const Option reboot_options[] = {OPT_REBOOT, OPT_EXIT, OPT_PROGRESS, {0}};
static const Option mark_options[] = {OPT_REASON, OPT_PROGRESS, {0}};
static const Option begin_options[] = {
                OPT(0, "in-place", in_place,
                                "Change the running system; a copy is kept to go back to"),
                OPT_PROGRESS,
                {0},
};
static const Option history_options[] = {
                OPT_ARG('n', "lines", lines, "N", "At most the last N events (50)"),
                {0},
};
static const Option update_options[] = {
                OPT(0, "dry-run", dry_run, "Show the steps and sizes, change nothing"),
                OPT(0, "no-arm", no_arm, "Write the new slot, but do not boot it next"),
                OPT_REBOOT,
                OPT_DETACH,
                OPT_ARG(0, "accept", accept, "VERSION",
                                "Install VERSION although it was rolled back or condemned"),
                OPT(0, "allow-downgrade", allow_downgrade,
                                "Install although a newer version has proven itself"),
                OPT_ARG(0, "manifest", manifest, "FILE|URL",
                                "Who signed the image (IMAGE.manifest)"),
                OPT(0, "reinstall", reinstall, "Install although this version is here"),
                OPT_ARG(0, "as", as, "VERSION", "Name the version where the image does not"),
                OPT_ARG(0, "retries", retries, "N", "Continue a broken download N times (5)"),
                OPT_EXIT,
                OPT_PROGRESS,
                {0},
};

static const Option image_options[] = {
                OPT_MANY(0, "from", from, "SUBVOL[:PATH]",
                                "create: a read-only subvolume, and its place"),
                OPT_MANY(0, "parent", parent, "SUBVOL", "create: what that one builds on"),
                OPT_ARG('o', "output", output, "FILE",
                                "create: the image; the manifest lies beside it"),
                OPT_ARG(0, "compress", compress, "zstd[:LEVEL]", "create: pack the image"),
                OPT_ARG(0, "version", image_version, "VERSION", "create: its version"),
                OPT_ARG(0, "version-text", version_text, "TEXT", "create: its version, for people"),
                OPT_ARG(0, "compatible", compatible, "NAME",
                                "create: the kind of machine it is for"),
                OPT_ARG(0, "epoch", epoch, "N", "create: never go back behind this (0)"),
                OPT_ARG(0, "valid-until", valid_until, "TIME",
                                "create: DATE, DATE TIME (UTC) or @SECONDS"),
                OPT_ARG(0, "allow", allow, "WORDS", "create: devices, setuid, xattrs, with commas"),
                OPT_ARG(0, "min-daemon", min_daemon, "VERSION",
                                "create: the abupdate that it needs"),
                OPT_MANY(0, "key", key, "FILE|URI",
                                "create, sign: private key; verify, info: public keys"),
                OPT_ARG(0, "cert", cert, "FILE", "create, sign: certificate of the key, for CMS"),
                OPT_ARG(0, "chain", chain, "FILE", "create, sign: certificates above that one"),
                OPT(0, "passphrase", passphrase, "keygen: ask for a passphrase"),
                OPT_ARG(0, "passphrase-file", passphrase_file, "FILE",
                                "keygen, create, sign: it is in there"),
                OPT_ARG(0, "manifest", manifest, "FILE", "verify: not IMAGE.manifest, but this"),
                {0},
};

static const Verb verbs[] = {
                {"Look", "status", "", "Show the machine: slots, next boot, problems", 0, 0,
                                status_options, verb_status, offline_status},
                {NULL, "list", "", "List the slots", 0, 0, NULL, verb_list, offline_list},
                {NULL, "jobs", "", "List the running jobs", 0, 0, NULL, verb_jobs, NULL},
                {NULL, "history", "", "Show what was done, and how it ended", 0, 0, history_options,
                                verb_history, offline_history},
                {NULL, "monitor", "", "Follow what happens until Ctrl-C", 0, 0, NULL, verb_monitor,
                                NULL},
                {NULL, "check", "", "Look for problems, and say what to do about them", 0, 0, NULL,
                                verb_check, offline_check},
                {"Update", "update", "IMAGE|-|URL", "Install an image as a new slot, boot it next",
                                1, 1, update_options, verb_update, offline_update},
                {NULL, "rollback", "[SLOT]", "Go back to the last good slot, or to SLOT", 0, 1,
                                reboot_options, verb_rollback, offline_rollback},
                {NULL, "mark", "good|bad [SLOT]", "Give the verdict on the booted slot, or on SLOT",
                                1, 2, mark_options, verb_mark, offline_mark},
                {NULL, "cancel", "[JOB]", "Stop the running job", 0, 1, NULL, verb_cancel, NULL},
                {"Slots", "prune", "", "Delete old slots, as the configuration says", 0, 0,
                                job_options, verb_prune, offline_prune},
                {NULL, "discard", "SLOT...", "Delete slots", 1, -1, job_options, verb_discard,
                                offline_discard},
                {NULL, "pin", "SLOT...", "Keep slots whatever their age", 1, -1, job_options,
                                verb_pin, offline_pin},
                {NULL, "unpin", "SLOT...", "Let slots grow old again", 1, -1, job_options,
                                verb_unpin, offline_unpin},
                {"Transactions", "begin", "", "Open a new slot for a package manager", 0, 0,
                                begin_options, verb_begin, offline_begin},
                {NULL, "commit", "[TRANSACTION]", "Close it, and boot it next", 0, 1,
                                reboot_options, verb_commit, offline_commit},
                {NULL, "abort", "[TRANSACTION]", "Drop it", 0, 1, job_options, verb_abort,
                                offline_abort},
                {"Images", "image", "create|sign|info|verify|keygen [FILE]",
                                "Make, sign, show and check images", 1, 2, image_options,
                                verb_image, verb_image},
};

static const char *nth_verb(const void *data _unused_, size_t i) {
        return i < ARRAY_SIZE(verbs) ? verbs[i].name : NULL;
}

static const Verb *find_verb(const char *name) {
        for (size_t i = 0; i < ARRAY_SIZE(verbs); i++)
                if (str_eq(verbs[i].name, name))
                        return &verbs[i];
        return NULL;
}

static int unknown_verb(const char *name, Err **reterr) {
        const char *near = suggest(name, nth_verb, NULL);

        if (near)
                return err_kind(reterr, ERR_INVALID_ARGUMENT, EINVAL,
                                "Unknown verb '%s': did you mean '%s'?", name, near);
        return err_kind(reterr, ERR_INVALID_ARGUMENT, EINVAL,
                        "Unknown verb '%s': 'abctl --help' lists them", name);
}

static void help(void) {
        printf("Usage: abctl [OPTION...] [VERB [ARGUMENT...]]\n\n"
               "Update this machine, and go back where an update does not hold.\n"
               "Without a verb, show the status.\n");
        for (size_t i = 0; i < ARRAY_SIZE(verbs); i++) {
                if (verbs[i].group)
                        printf("\n%s:\n", verbs[i].group);
                printf("  %-8s %-19s %s\n", verbs[i].name, verbs[i].args, verbs[i].help);
        }
        printf("\nOptions:\n");
        options_print(global_options);
        printf("\n'abctl VERB --help' shows the options of a verb. See abctl(1).\n");
}

static void help_verb(const Verb *v) {
        printf("Usage: abctl %s%s%s%s\n\n%s.\n", v->name, v->options ? " [OPTION...]" : "",
                        *v->args ? " " : "", v->args, v->help);
        if (v->options) {
                printf("\nOptions:\n");
                options_print(v->options);
        }
        printf("\nGlobal options:\n");
        options_print(global_options);
}

/* "abctl help update" is "abctl update --help". */
static int show_help(const char *name, Err **reterr) {
        const Verb *v = name ? find_verb(name) : NULL;

        if (name && !v)
                return unknown_verb(name, reterr);
        if (v)
                help_verb(v);
        else
                help();
        return EXIT_DONE;
}

static int check_arguments(const Verb *v, int n, char *argv[], Err **reterr) {
        if (n < v->min)
                return err_kind(reterr, ERR_INVALID_ARGUMENT, EINVAL,
                                "'abctl %s' needs %s: see 'abctl %s --help'", v->name, v->args,
                                v->name);
        if (v->max >= 0 && n > v->max)
                return err_kind(reterr, ERR_INVALID_ARGUMENT, EINVAL,
                                "'abctl %s' does not know what to do with '%s': see 'abctl %s "
                                "--help'",
                                v->name, argv[v->max], v->name);
        return 0;
}

static int run(Client *c, int argc, char *argv[], Err **reterr) {
        static char *no_verb[] = {(char *) "status", NULL};
        const Verb *v;
        int r;

        r = options_parse(global_options, NULL, /* stop= */ true, argc, argv, &c->opt, reterr);
        if (r < 0)
                return r;
        argc -= r;
        argv += r;
        if (c->opt.version) {
                printf("abctl %s\n", ABUPDATE_VERSION);
                return EXIT_DONE;
        }
        if (argc > 0 && str_eq(argv[0], "help"))
                return show_help(argv[1], reterr);
        if (c->opt.help)
                return show_help(argc > 0 ? argv[0] : NULL, reterr);
        if (argc == 0) {
                argc = 1;
                argv = no_verb;
        }

        v = find_verb(argv[0]);
        if (!v)
                return unknown_verb(argv[0], reterr);
        c->verb = v->name;
        r = options_parse(
                        v->options, global_options, /* stop= */ false, argc, argv, &c->opt, reterr);
        if (r < 0)
                return err_add(reterr, r, "abctl %s", v->name);
        argc -= r;
        argv += r;
        if (c->opt.help)
                return show_help(v->name, reterr);
        r = options_resolve(c, reterr);
        if (r >= 0)
                r = check_arguments(v, argc, argv, reterr);
        if (r < 0)
                return r;
        if (!c->opt.offline)
                return v->run(c, argc, argv, reterr);
        if (!v->offline)
                return err_kind(reterr, ERR_NOT_SUPPORTED, ENOTSUP,
                                "'abctl %s' asks the daemon, and --offline is to do without it",
                                v->name);
        return v->offline(c, argc, argv, reterr);
}

int main(int argc, char *argv[]) {
        _cleanup_(err_freep) Err *e = NULL;
        Client c = {.progress = PROGRESS_AUTO};
        int r;

        setlocale(LC_ALL, "");
        log_open("abctl");
        term_open();

        r = run(&c, argc, argv, &e);
        if (r < 0) {
                out_error(&c, e);
                r = err_kind_exit(err_kind_of(e));
        }
        term_close();
        bus_close(&c);
        return r;
}
