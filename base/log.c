/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <stdarg.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/log.h"

static const char *log_program = "abupdate";
static int log_max = LOG_INFO;
static bool log_journal;

/* The journal understands the <N> prefix. What a service starts has the variable too, wherever that writes to: it names
 * device and inode of the stream, systemd.exec(5). */
static bool stderr_is_journal(void) {
        const char *stream = getenv("JOURNAL_STREAM");
        char here[48];
        struct stat st;

        if (!stream || fstat(STDERR_FILENO, &st) < 0)
                return false;
        snprintf(here, sizeof(here), "%ju:%ju", (uintmax_t) st.st_dev, (uintmax_t) st.st_ino);
        return str_eq(stream, here);
}

void log_open(const char *program) {
        const char *level = getenv("ABUPDATE_LOG_LEVEL");
        uint64_t v;

        log_program = program;
        log_journal = stderr_is_journal();
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
