/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* client/text.h - times, spans and tables for people. Prints nothing by itself but table_print(). */
#pragma once

#include <libsmartcols.h>

#include "client/term.h"

/* Columns that @s takes on a terminal. */
size_t text_width(const char *s);

/* A copy with line feeds for those spaces that keep each line within @width columns; a longer word stays whole. NULL where
 * memory is short. */
char *text_wrap(const char *s, size_t width);

/* "2026-11-22 21:19:37" in local time, "-" for 0. */
#define WHEN_SIZE 32
char *format_when(char buf[static WHEN_SIZE], uint64_t usec);

/* "0:07", "12:34", "1:02:03". */
char *format_span(char buf[static 16], uint64_t seconds);

static inline struct libscols_table *table_free(struct libscols_table *t) {
        scols_unref_table(t);
        return NULL;
}
DEFINE_CLEANUP(struct libscols_table, table_free)

typedef struct Column {
        const char *name;
        int flags; /* SCOLS_FL_RIGHT, SCOLS_FL_TRUNC; SCOLS_FL_WRAP: the last one only, between words */
} Column;

/* A table that fits the terminal and has no escape sequences in a pipe. */
int table_new(const Column *columns, size_t n, struct libscols_table **ret, Err **reterr);

/* Appends a line; table_cell() fills it, and makes harmless what somebody else has named. Both remember a failure of
 * memory for table_print(): there is no need to look at each cell. */
struct libscols_line *table_line(struct libscols_table *t);
void table_cell(struct libscols_line *line, size_t column, const char *text, Paint p);

int table_print(struct libscols_table *t, Err **reterr);
