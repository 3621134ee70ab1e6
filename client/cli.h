/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* client/cli.h - a command line of verbs, run and explained from one table. Knows no verb. */
#pragma once

#include "client/client.h"

typedef struct Cli {
        const char *name;      /* as a person calls it */
        const char *about;     /* what it is for; sentences */
        const Verb *verbs;     /* the last row has no name */
        const Option *options; /* before and behind every verb */
        const char *usual;     /* the verb where none is given; NULL: one has to be */
} Cli;

/* Runs the verb that @argv names; returns the exit code. */
int cli_main(const Cli *cli, int argc, char *argv[]);
