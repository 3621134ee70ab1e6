/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <getopt.h>

#include "base/enum.h"
#include "client/options.h"

#define ROWS_MAX 32

static const char *const json_modes[_JSON_MODE_MAX] = {
                [JSON_OFF] = "off",
                [JSON_SHORT] = "short",
                [JSON_PRETTY] = "pretty",
};
DEFINE_ENUM(json_mode, JsonMode, json_modes, _JSON_MODE_MAX, _JSON_MODE_INVALID)

static const char *const progress_modes[_PROGRESS_MODE_MAX] = {
                [PROGRESS_AUTO] = "auto",
                [PROGRESS_BAR] = "bar",
                [PROGRESS_LINES] = "lines",
                [PROGRESS_JSON] = "json",
                [PROGRESS_NONE] = "none",
};
DEFINE_ENUM(progress_mode, ProgressMode, progress_modes, _PROGRESS_MODE_MAX, _PROGRESS_MODE_INVALID)

/* The two tables as getopt wants them; row i has the value 256 + i. */
typedef struct Rows {
        const Option *row[ROWS_MAX];
        struct option longs[ROWS_MAX + 1];
        char letters[2 * ROWS_MAX + 3];
        size_t n, n_longs;
} Rows;

static void rows_add(Rows *rows, const Option *table) {
        for (const Option *o = table; o && o->help && rows->n < ROWS_MAX; o++) {
                size_t end = strlen(rows->letters);

                if (o->name)
                        rows->longs[rows->n_longs++] = (struct option){
                                        .name = o->name,
                                        .has_arg = o->arg ? required_argument : no_argument,
                                        .val = 256 + (int) rows->n,
                        };
                rows->row[rows->n++] = o;
                if (o->letter) {
                        rows->letters[end++] = o->letter;
                        if (o->arg)
                                rows->letters[end++] = ':';
                        rows->letters[end] = '\0';
                }
        }
}

static const Option *rows_find(const Rows *rows, int val) {
        if (val >= 256)
                return (size_t) val - 256 < rows->n ? rows->row[val - 256] : NULL;
        for (size_t i = 0; i < rows->n; i++)
                if (rows->row[i]->letter == val)
                        return rows->row[i];
        return NULL;
}

static const char *nth_option(const void *data, size_t i) {
        const Rows *rows = data;

        return i < rows->n_longs ? rows->longs[i].name : NULL;
}

static int wrong_option(const Rows *rows, const char *word, int code, Err **reterr) {
        _cleanup_(freep) char *name = NULL;
        const char *near = NULL;

        if (code == ':')
                return err_kind(reterr, ERR_INVALID_ARGUMENT, EINVAL, "Option %s needs a value",
                                word);
        if (strncmp(word, "--", 2) == 0) {
                name = strndup(word + 2, strcspn(word + 2, "="));
                if (name && rows_find(rows, optopt) && optopt >= 256)
                        return err_kind(reterr, ERR_INVALID_ARGUMENT, EINVAL,
                                        "Option --%s takes no value", name);
                near = name ? suggest(name, nth_option, rows) : NULL;
        }
        if (near)
                return err_kind(reterr, ERR_INVALID_ARGUMENT, EINVAL,
                                "Unknown option --%s: did you mean --%s?", name, near);
        return err_kind(reterr, ERR_INVALID_ARGUMENT, EINVAL, "Unknown option %s", word);
}

int options_parse(const Option *a, const Option *b, bool stop, int argc, char *argv[], Options *ret,
                Err **reterr) {
        Rows rows = {.letters = ":"};

        if (stop)
                strcpy(rows.letters, "+:");
        rows_add(&rows, a);
        rows_add(&rows, b);

        opterr = 0;
        optind = 0; /* glibc: begin again, with the order of this call */
        for (;;) {
                int val = getopt_long(argc, argv, rows.letters, rows.longs, NULL);
                const Option *o;

                if (val < 0)
                        return optind;
                if (val == '?' || val == ':') {
                        char letter[3] = {'-', (char) optopt, '\0'};
                        bool is_letter = optopt > 0 && optopt < 256;

                        return wrong_option(
                                        &rows, is_letter ? letter : argv[optind - 1], val, reterr);
                }
                o = rows_find(&rows, val);
                if (!o)
                        return err_kind(reterr, ERR_INVALID_ARGUMENT, EINVAL, "Unknown option");
                if (o->many) {
                        OptionList *list = (OptionList *) ((char *) ret + o->offset);

                        if (list->n == OPTION_LIST_MAX)
                                return err_kind(reterr, ERR_INVALID_ARGUMENT, E2BIG,
                                                "Option --%s is given too often", o->name);
                        list->values[list->n++] = optarg;
                } else if (o->arg)
                        *(const char **) ((char *) ret + o->offset) = optarg;
                else
                        *(bool *) ((char *) ret + o->offset) = true;
        }
}

int options_resolve(Client *c, Err **reterr) {
        c->opt.offline |= c->opt.root != NULL;
        if (c->opt.offline && c->opt.host)
                return err_kind(reterr, ERR_INVALID_ARGUMENT, EINVAL,
                                "--host needs a bus, and --offline has none: choose one");
        c->json = c->opt.json_auto ? (isatty(STDOUT_FILENO) ? JSON_PRETTY : JSON_SHORT) : JSON_OFF;
        if (c->opt.json)
                c->json = json_mode_from_string(c->opt.json);
        if ((int) c->json < 0) {
                c->json = JSON_OFF;
                return err_kind(reterr, ERR_INVALID_ARGUMENT, EINVAL,
                                "--json=%s: allowed are short, pretty and off", c->opt.json);
        }
        if (c->opt.progress)
                c->progress = progress_mode_from_string(c->opt.progress);
        if ((int) c->progress < 0) {
                c->progress = PROGRESS_NONE;
                return err_kind(reterr, ERR_INVALID_ARGUMENT, EINVAL,
                                "--progress=%s: allowed are auto, bar, lines, json and none",
                                c->opt.progress);
        }
        return 0;
}

void options_print(const Option *table) {
        for (const Option *o = table; o->help; o++) {
                char left[64];
                int n = snprintf(left, sizeof(left), "  %c%c%s %s%s%s%s", o->letter ? '-' : ' ',
                                o->letter ? o->letter : ' ', o->letter && o->name ? "," : " ",
                                o->name ? "--" : "", str_or(o->name, ""), o->arg ? "=" : "",
                                str_or(o->arg, ""));

                if (n > 29)
                        printf("%s\n%31s%s\n", left, "", o->help);
                else
                        printf("%-30s %s\n", left, o->help);
        }
}

/* Edit distance, each insertion, deletion, replacement or swap of neighbours counting one; words over 31 are far. */
static size_t distance(const char *a, const char *b) {
        size_t m = strlen(a), n = strlen(b);
        unsigned char d[32][32];

        if (m > 31 || n > 31)
                return SIZE_MAX;
        for (size_t i = 0; i <= m; i++)
                for (size_t j = 0; j <= n; j++) {
                        size_t v;

                        if (i == 0 || j == 0) {
                                d[i][j] = (unsigned char) (i + j);
                                continue;
                        }
                        v = d[i - 1][j - 1] + (a[i - 1] != b[j - 1] ? 1u : 0u);
                        if (d[i - 1][j] + 1u < v)
                                v = d[i - 1][j] + 1u;
                        if (d[i][j - 1] + 1u < v)
                                v = d[i][j - 1] + 1u;
                        if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] &&
                                        d[i - 2][j - 2] + 1u < v)
                                v = d[i - 2][j - 2] + 1u;
                        d[i][j] = (unsigned char) v;
                }
        return d[m][n];
}

const char *suggest(const char *word, const char *(*nth)(const void *data, size_t i),
                const void *data) {
        const char *best = NULL, *s;
        size_t least = strlen(word) < 4 ? 2 : 3;

        for (size_t i = 0; (s = nth(data, i)); i++) {
                size_t d = distance(word, s);

                /* the beginning of a name is a better guess than any misspelling */
                if (strlen(word) >= 2 && strncmp(s, word, strlen(word)) == 0)
                        d = 0;
                if (d < least) {
                        least = d;
                        best = s;
                }
        }
        return best;
}
