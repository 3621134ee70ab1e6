/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <stdarg.h>

#include "base/log.h"

static const char *log_program = "abupdate";
static int log_max = LOG_INFO;
static bool log_journal;

void log_open(const char *program) {
        const char *level = getenv("ABUPDATE_LOG_LEVEL");
        uint64_t v;

        log_program = program;
        /* systemd.exec(5): set when stderr goes to the journal, which understands the <N> prefix */
        log_journal = getenv("JOURNAL_STREAM") != NULL;
        if (level && parse_u64(level, &v) >= 0 && v <= LOG_DEBUG)
                log_max = (int) v;
}

void log_message(int level, const char *fmt, ...) {
        _cleanup_(freep) char *text = NULL, *printable = NULL;
        va_list ap;
        int n;

        if (level > log_max)
                return;
        va_start(ap, fmt);
        n = vasprintf(&text, fmt, ap);
        va_end(ap);
        if (n < 0) {
                text = NULL;
                return;
        }
        printable = str_printable(text);
        if (log_journal)
                fprintf(stderr, "<%d>%s\n", level, str_or(printable, text));
        else
                fprintf(stderr, "%s: %s\n", log_program, str_or(printable, text));
}
