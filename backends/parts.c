/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "backends/parts.h"

void part_list_done(PartList *l) {
        for (size_t i = 0; i < l->n; i++) {
                free(l->parts[i].name);
                free(l->parts[i].place);
        }
        free(l->parts);
        *l = (PartList){0};
}

static int compare_parts(const void *a, const void *b) {
        return strcmp(((const Part *) a)->place, ((const Part *) b)->place);
}

int part_list_parse(const char *text, PartList *ret, Err **reterr) {
        _cleanup_(part_list_done) PartList l = {0};
        _cleanup_(freep) char *copy = strdup(str_or(text, ""));
        char *save = NULL;

        if (!copy)
                return err_new(reterr, ENOMEM, "out of memory");
        for (char *w = strtok_r(copy, " ", &save); w; w = strtok_r(NULL, " ", &save)) {
                char *colon = strchr(w, ':');
                Part *more = reallocarray(l.parts, l.n + 1, sizeof(*more));

                if (!more)
                        return err_new(reterr, ENOMEM, "out of memory");
                l.parts = more;
                if (!colon || colon[1] != '/')
                        return err_new(reterr, EBADMSG, "Subvolumes=%s: '%s' is not name:/place",
                                        text, w);
                *colon = '\0';
                l.parts[l.n++] = (Part){strdup(w), strdup(colon + 1)};
                if (!l.parts[l.n - 1].name || !l.parts[l.n - 1].place)
                        return err_new(reterr, ENOMEM, "out of memory");
        }
        /* by path, so that what holds others is made before them; "/" sorts first */
        if (l.n > 0)
                qsort(l.parts, l.n, sizeof(*l.parts), compare_parts);
        if (l.n == 0 || !str_eq(l.parts[0].place, "/"))
                return err_new(reterr, EBADMSG, "Subvolumes=%s: nothing is at /", str_or(text, ""));
        for (size_t i = 1; i < l.n; i++)
                if (str_eq(l.parts[i].place, l.parts[i - 1].place))
                        return err_new(reterr, EBADMSG, "Subvolumes=%s: two at %s", text,
                                        l.parts[i].place);
        *ret = l;
        l = (PartList){0};
        return 0;
}
