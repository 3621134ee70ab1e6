/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* client/term.h - what the person sits at: a terminal with a width, colours and a pager, or a pipe. */
#pragma once

#include "client/client.h"

typedef enum Paint {
        PAINT_PLAIN, /* back to normal */
        PAINT_BOLD,
        PAINT_DIM,
        PAINT_GREEN,
        PAINT_YELLOW,
        PAINT_RED,
        _PAINT_MAX,
} Paint;

/* Looks at stdout and stderr once; term_close() ends the pager and waits for it. */
void term_open(void);
void term_close(void);

/* Whether stdout is a terminal (a pager counts), and whether the characters of UTF-8 may be used. */
bool term_is_tty(void);
bool term_utf8(void);

/* Columns of the terminal now, 80 where nobody knows. */
size_t term_width(void);

/* The escape sequence, or "" where there are no colours: no terminal, $NO_COLOR, TERM=dumb. */
const char *paint(Paint p);

/* Everything printed from here on goes through $ABUPDATE_PAGER, $PAGER or less. Does nothing in a pipe, with
 * --no-pager or where no pager can be started. */
void term_page(const Client *c);
