/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "os/config-repeats.h"

enum { KEYS_MAX = 256 };

typedef struct Seen {
        size_t n;
        char *names[KEYS_MAX]; /* "section]key" */
} Seen;

static void seen_done(Seen *s) {
        for (size_t i = 0; i < s->n; i++)
                free(s->names[i]);
}

/* 1 where it stood there before. */
static int seen_add(Seen *s, const char *section, const char *key) {
        char *name = str_printf("%s]%s", section, key);

        if (!name)
                return -ENOMEM;
        for (size_t i = 0; i < s->n; i++)
                if (str_eq(s->names[i], name)) {
                        free(name);
                        return 1;
                }
        if (s->n == KEYS_MAX) {
                free(name);
                return 0;
        }
        s->names[s->n++] = name;
        return 0;
}

/* What is left of @line without blanks at both ends; cuts it. */
static char *trim(char *line) {
        char *end;

        line += strspn(line, " \t");
        end = line + strlen(line);
        while (end > line && strchr(" \t\n", end[-1]))
                *--end = '\0';
        return line;
}

int config_repeats(const char *path,
                int (*tell)(void *userdata, unsigned line, const char *section, const char *key),
                void *userdata) {
        _cleanup_(fclosep) FILE *f = fopen(path, "re");
        _cleanup_(freep) char *line = NULL, *section = strdup("");
        _cleanup_(seen_done) Seen seen = {0};
        size_t room = 0;
        int r = section ? 0 : -ENOMEM;

        for (unsigned number = 1; r >= 0 && f && getline(&line, &room, f) >= 0; number++) {
                char *text = trim(line), *eq = strchr(text, '=');

                if (*text == '[') {
                        text[strcspn(text, "]")] = '\0';
                        r = str_set(&section, text + 1);
                } else if (*text != '#' && eq) {
                        *eq = '\0';
                        r = seen_add(&seen, section, trim(text));
                        if (r > 0)
                                r = tell(userdata, number, section, text);
                }
        }
        return r < 0 ? r : 0;
}
