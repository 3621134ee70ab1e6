/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* client/options.h - tables of options: parsed and printed from the same rows. Knows no verb. */
#pragma once

#include "client/client.h"

/* Rows of a table: a letter or 0, a name, the member of Options, the word for its value, the help. */
#define OPT(l, n, field, h)                                                                        \
        { .letter = l, .name = n, .help = h, .offset = offsetof(Options, field) }
#define OPT_ARG(l, n, field, a, h)                                                                 \
        { .letter = l, .name = n, .arg = a, .help = h, .offset = offsetof(Options, field) }

#define OPT_MANY(l, n, field, a, h)                                                                \
        {                                                                                          \
                .letter = l, .name = n, .arg = a, .help = h, .offset = offsetof(Options, field),   \
                .many = true                                                                       \
        }

/* Reads the options of @a and @b (NULL: none) out of argv[1..] into @ret. @stop: at the first argument that is no
 * option (it is the verb), else arguments and options may be mixed and the arguments end up behind the options.
 * Returns the index of the first argument, or -EINVAL with what is wrong. */
int options_parse(const Option *a, const Option *b, bool stop, int argc, char *argv[], Options *ret,
                Err **reterr);

/* Turns --json=, --progress= into enums. -EINVAL with the words that are allowed. */
int options_resolve(Client *c, Err **reterr);

/* One aligned line for every row. */
void options_print(const Option *table);

/* The nearest name in reach of a typing error, or NULL. @nth gives the candidates until NULL. */
const char *suggest(
                const char *word, const char *(*nth)(const void *data, size_t i), const void *data);
