/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <time.h>
#include <wchar.h>

#include "client/text.h"

#define WRAP_MIN 24 /* columns: a narrower text is worse than one that the terminal breaks */

static bool table_short; /* memory was short while a table was filled */

size_t text_width(const char *s) {
        mbstate_t state = {0};
        size_t width = 0;
        wchar_t wc;

        while (*s) {
                size_t n = mbrtowc(&wc, s, strlen(s), &state);

                if (n == (size_t) -1 || n == (size_t) -2) {
                        memset(&state, 0, sizeof(state));
                        n = 1;
                        width++;
                } else {
                        int w = wcwidth(wc);

                        width += w > 0 ? (size_t) w : 0;
                }
                s += n;
        }
        return width;
}

char *text_wrap(const char *s, size_t width) {
        char *text = strdup(s), *space = NULL, *start = text, c;
        size_t columns;

        for (char *at = text; at && start; at = *at ? at + 1 : NULL) {
                if (*at != ' ' && *at)
                        continue;
                c = *at;
                *at = '\0';
                columns = text_width(start);
                *at = c;
                if (columns > width && space) {
                        *space = '\n';
                        start = space + 1;
                }
                space = at;
        }
        return text;
}

char *format_when(char buf[static WHEN_SIZE], uint64_t usec) {
        time_t t = (time_t) (usec / USEC_PER_SEC);
        struct tm tm;

        if (usec == 0 || !localtime_r(&t, &tm) || strftime(buf, WHEN_SIZE, "%F %T", &tm) == 0)
                memcpy(buf, "-", sizeof("-"));
        return buf;
}

char *format_span(char buf[static 16], uint64_t seconds) {
        unsigned h, m = (unsigned) (seconds / 60 % 60), s = (unsigned) (seconds % 60);

        h = seconds / 3600 > 9999 ? 9999 : (unsigned) (seconds / 3600);
        if (h > 0)
                snprintf(buf, 16, "%u:%02u:%02u", h, m, s);
        else
                snprintf(buf, 16, "%u:%02u", m, s);
        return buf;
}

int table_new(const Column *columns, size_t n, struct libscols_table **ret, Err **reterr) {
        _cleanup_(table_freep) struct libscols_table *t = scols_new_table();

        if (!t)
                return err_sys(reterr, ENOMEM, "Cannot make a table");
        for (size_t i = 0; i < n; i++) {
                struct libscols_column *column =
                                scols_table_new_column(t, columns[i].name, 0, columns[i].flags);

                if (!column || (columns[i].flags & SCOLS_FL_WRAP &&
                                               scols_column_set_wrapfunc(column,
                                                               scols_wrapnl_chunksize,
                                                               scols_wrapnl_nextchunk, NULL) < 0))
                        return err_sys(reterr, ENOMEM, "Cannot make a table");
        }
        scols_table_enable_colors(t, *paint(PAINT_RED) != '\0');
        scols_table_enable_noencoding(t, 1); /* table_cell() sees to it, and to more */
        if (term_is_tty()) {
                scols_table_set_termforce(t, SCOLS_TERMFORCE_ALWAYS);
                scols_table_set_termwidth(t, term_width());
        }
        table_short = false;
        *ret = MOVE(t);
        return 0;
}

struct libscols_line *table_line(struct libscols_table *t) {
        struct libscols_line *line = scols_table_new_line(t, NULL);

        table_short |= !line;
        return line;
}

void table_cell(struct libscols_line *line, size_t column, const char *text, Paint p) {
        struct libscols_cell *cell = line ? scols_line_get_cell(line, column) : NULL;
        char *printable = str_printable(text);

        if (!cell || !printable || scols_cell_refer_data(cell, printable) < 0) {
                free(printable);
                table_short = true;
                return;
        }
        if (p != PAINT_PLAIN && *paint(p) && scols_cell_set_color(cell, paint(p)) < 0)
                table_short = true;
}

/* Columns that are left for the last column @last of a terminal, with a space before each but the first. */
static size_t room_for(struct libscols_table *t, struct libscols_iter *i, size_t last) {
        size_t taken = 0, widest;
        struct libscols_line *line;

        for (size_t n = 0; n < last; n++) {
                struct libscols_column *column = scols_table_get_column(t, n);

                widest = text_width(str_or(scols_column_get_name(column), ""));
                scols_reset_iter(i, SCOLS_ITER_FORWARD);
                while (scols_table_next_line(t, i, &line) == 0) {
                        const char *text = scols_line_get_column_data(line, column);
                        size_t width = text_width(str_or(text, ""));

                        widest = width > widest ? width : widest;
                }
                taken += widest + 1;
        }
        return term_width() > taken + WRAP_MIN ? term_width() - taken : WRAP_MIN;
}

/* libsmartcols breaks a text anywhere: this breaks the last column between its words. */
static int wrap_last(struct libscols_table *t) {
        struct libscols_iter *i = scols_new_iter(SCOLS_ITER_FORWARD);
        size_t last = scols_table_get_ncols(t) - 1, room;
        struct libscols_line *line;
        int r = i ? 0 : -ENOMEM;

        if (r == 0) {
                room = room_for(t, i, last);
                scols_reset_iter(i, SCOLS_ITER_FORWARD);
        }
        while (r == 0 && scols_table_next_line(t, i, &line) == 0) {
                struct libscols_cell *cell = scols_line_get_cell(line, last);
                char *text = text_wrap(str_or(scols_cell_get_data(cell), ""), room);

                r = text ? scols_cell_refer_data(cell, text) : -ENOMEM;
        }
        scols_free_iter(i);
        return r;
}

int table_print(struct libscols_table *t, Err **reterr) {
        size_t n = scols_table_get_ncols(t);

        if (term_is_tty() && scols_column_is_wrap(scols_table_get_column(t, n - 1)))
                table_short |= wrap_last(t) < 0;
        if (table_short || scols_print_table(t) < 0)
                return err_sys(reterr, ENOMEM, "Cannot print a table");
        return 0;
}
