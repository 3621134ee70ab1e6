/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <locale.h>

#include "base/log.h"
#include "client/bus.h"
#include "client/cli.h"
#include "client/options.h"
#include "client/out.h"
#include "client/term.h"

static const char *nth_verb(const void *data, size_t i) {
        return ((const Verb *) data)[i].name;
}

static const Verb *find_verb(const Cli *cli, const char *name) {
        for (const Verb *v = cli->verbs; v->name; v++)
                if (str_eq(v->name, name))
                        return v;
        return NULL;
}

static int unknown_verb(const Cli *cli, const char *name, Err **reterr) {
        const char *near = suggest(name, nth_verb, cli->verbs);

        if (near)
                return err_kind(reterr, ERR_INVALID_ARGUMENT, EINVAL,
                                "Unknown verb '%s': did you mean '%s'?", name, near);
        return err_kind(reterr, ERR_INVALID_ARGUMENT, EINVAL,
                        "Unknown verb '%s': '%s --help' lists them", name, cli->name);
}

static void help(const Cli *cli) {
        printf(cli->usual ? "Usage: %s [OPTION...] [VERB [ARGUMENT...]]\n\n%s\n"
                          : "Usage: %s [OPTION...] VERB [ARGUMENT...]\n\n%s\n",
                        cli->name, cli->about);
        for (const Verb *v = cli->verbs; v->name; v++) {
                if (v->group)
                        printf("\n%s:\n", v->group);
                printf("  %-8s %-19s %s\n", v->name, v->args, v->help);
        }
        printf("\nOptions:\n");
        options_print(cli->options);
        printf("\n'%s VERB --help' shows the options of a verb. See abctl(1).\n", cli->name);
}

static void help_verb(const Cli *cli, const Verb *v) {
        printf("Usage: %s %s%s%s%s\n\n%s.\n", cli->name, v->name, v->options ? " [OPTION...]" : "",
                        *v->args ? " " : "", v->args, v->help);
        if (v->options) {
                printf("\nOptions:\n");
                options_print(v->options);
        }
        printf("\nGlobal options:\n");
        options_print(cli->options);
}

static int become(const Verb *v, char *argv[], Err **reterr) {
        char path[4096];
        ssize_t n = readlink("/proc/self/exe", path, sizeof(path) - strlen(v->program) - 1);
        char *slash;

        path[n > 0 ? n : 0] = '\0';
        slash = strrchr(path, '/');
        if (slash) {
                /* beside abctl: a build tree */
                strcpy(slash + 1, v->program);
                execv(path, argv);
        }
        snprintf(path, sizeof(path), ABUPDATE_LIBEXECDIR "/%s", v->program);
        execv(path, argv);
        return err_sys(reterr, errno, "Cannot start %s", path);
}

/* "abctl help update" is "abctl update --help". */
static int show_help(const Cli *cli, const char *name, Err **reterr) {
        const Verb *v = name ? find_verb(cli, name) : NULL;

        if (name && !v)
                return unknown_verb(cli, name, reterr);
        if (v && v->program)
                return become(v, (char *[]){(char *) v->program, (char *) "--help", NULL}, reterr);
        if (v)
                help_verb(cli, v);
        else
                help(cli);
        return EXIT_DONE;
}

static int check_arguments(const Cli *cli, const Verb *v, int n, char *argv[], Err **reterr) {
        if (n < v->min)
                return err_kind(reterr, ERR_INVALID_ARGUMENT, EINVAL,
                                "'%s %s' needs %s: see '%s %s --help'", cli->name, v->name, v->args,
                                cli->name, v->name);
        if (v->max >= 0 && n > v->max)
                return err_kind(reterr, ERR_INVALID_ARGUMENT, EINVAL,
                                "'%s %s' does not know what to do with '%s': see '%s %s --help'",
                                cli->name, v->name, argv[v->max], cli->name, v->name);
        return 0;
}

static int run(const Cli *cli, Client *c, int argc, char *argv[], Err **reterr) {
        char *usual[] = {(char *) cli->usual, NULL}, **all = argv;
        const Verb *v;
        int r;

        r = options_parse(cli->options, NULL, /* stop= */ true, argc, argv, &c->opt, reterr);
        if (r < 0)
                return r;
        argc -= r;
        argv += r;
        if (c->opt.version) {
                printf("abctl %s\n", ABUPDATE_VERSION);
                return EXIT_DONE;
        }
        if (argc > 0 && str_eq(argv[0], "help"))
                return show_help(cli, argv[1], reterr);
        if (c->opt.help)
                return show_help(cli, argc > 0 ? argv[0] : NULL, reterr);
        if (argc == 0 && !cli->usual) {
                help(cli);
                return EXIT_WRONG_USE;
        }
        if (argc == 0) {
                argc = 1;
                argv = usual;
        }

        v = find_verb(cli, argv[0]);
        if (!v)
                return unknown_verb(cli, argv[0], reterr);
        if (v->program) {
                /* options that stand before the verb go along */
                for (char **a = argv; *a; a++)
                        *a = a[1];
                return become(v, all, reterr);
        }
        c->verb = v->name;
        r = options_parse(v->options, cli->options, /* stop= */ false, argc, argv, &c->opt, reterr);
        if (r < 0)
                return err_add(reterr, r, "%s %s", cli->name, v->name);
        argc -= r;
        argv += r;
        if (c->opt.help)
                return show_help(cli, v->name, reterr);
        r = options_resolve(c, reterr);
        if (r >= 0)
                r = check_arguments(cli, v, argc, argv, reterr);
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

int cli_main(const Cli *cli, int argc, char *argv[]) {
        _cleanup_(err_freep) Err *e = NULL;
        Client c = {.progress = PROGRESS_AUTO};
        int r;

        setlocale(LC_ALL, "");
        log_open("abctl");
        term_open();

        r = run(cli, &c, argc, argv, &e);
        if (r < 0) {
                out_error(&c, e);
                r = err_kind_exit(err_kind_of(e));
        }
        term_close();
        bus_close(&c);
        return r;
}
