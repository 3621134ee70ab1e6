/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* client/bar.h - one line of progress as text that fits a width. Pure: no terminal, no clock. */
#pragma once

#include "base/util.h"

typedef struct Bar {
        const char *phase;
        double fraction;      /* 0 to 1, below 0: not known */
        uint64_t done, total; /* bytes; total 0: not known */
        uint64_t rate;        /* bytes a second, 0: not known yet */
        uint64_t elapsed;     /* seconds in this phase */
        bool utf8;
} Bar;

/* At most @width columns, no newline, no escape sequences. What does not fit is left out: rate, then bytes, then time,
 * then the bar. New string or NULL when memory is short. */
char *bar_format(const Bar *b, size_t width);
