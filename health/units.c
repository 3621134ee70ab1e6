/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "health/units.h"
#include "os/process.h"

enum { SAID_MAX = 1 << 20, NAMED_MAX = 5 };

/* Is @unit one of @list, with blanks between? */
static bool in_words(const char *list, const char *unit) {
        size_t n = strlen(unit);

        for (const char *at = list; (at = strstr(at, unit)); at += n)
                if ((at == list || at[-1] == ' ') && strchr(" \n", at[n]))
                        return true;
        return false;
}

/* The first words of the lines of @failed, of those in @required alone unless it is NULL. */
static char *name_units(const char *failed, const char *required) {
        _cleanup_(freep) char *copy = strdup(failed), *names = strdup("");
        char *save = NULL;
        int n = 0;

        for (char *line = copy && names ? strtok_r(copy, "\n", &save) : NULL; line;
                        line = strtok_r(NULL, "\n", &save)) {
                char *more;

                line[strcspn(line, " ")] = '\0';
                if (!*line || (required && !in_words(required, line)) || ++n > NAMED_MAX)
                        continue;
                more = str_printf("%s%s%s", names, *names ? ", " : "", line);
                if (!more)
                        return NULL;
                free(names);
                names = more;
        }
        return copy ? MOVE(names) : NULL;
}

char *units_failure(void) {
        static const char *const ask_required[] = {"systemctl", "show", "--property=Requires",
                        "--value", "boot-complete.target", NULL};
        static const char *const ask_failed[] = {"systemctl", "list-units", "--state=failed",
                        "--plain", "--no-legend", "--no-pager", NULL};
        _cleanup_(freep) char *required = NULL, *failed = NULL, *names = NULL, *all = NULL;

        if (program_read(ask_failed, NULL, SAID_MAX, &failed, NULL) >= 0 &&
                        program_read(ask_required, NULL, SAID_MAX, &required, NULL) >= 0) {
                names = name_units(failed, required);
                all = name_units(failed, NULL);
        }
        if (names && *names)
                return str_printf("the boot did not complete: %s failed", names);
        return str_printf("the boot did not complete: a unit that boot-complete.target requires "
                          "has failed%s%s",
                        all && *all ? "; failed units: " : "", str_or(all, ""));
}
