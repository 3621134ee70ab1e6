/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <stdarg.h>

#include "base/log.h"
#include "client/out.h"
#include "client/term.h"

void say(const Client *c, const char *fmt, ...) {
        _cleanup_(freep) char *text = NULL, *printable = NULL;
        va_list ap;
        int n;

        if (c->opt.quiet || c->json != JSON_OFF || c->progress == PROGRESS_JSON)
                return;
        va_start(ap, fmt);
        n = vasprintf(&text, fmt, ap);
        va_end(ap);
        if (n < 0) {
                text = NULL;
                return;
        }
        printable = str_printable(text);
        printf("%s\n", str_or(printable, ""));
}

void out_json(const Client *c, json_object *o) {
        int flags = JSON_C_TO_STRING_NOSLASHESCAPE;

        if (c->json == JSON_PRETTY)
                flags |= JSON_C_TO_STRING_PRETTY | JSON_C_TO_STRING_SPACED;
        printf("%s\n", json_object_to_json_string_ext(o, flags));
}

void out_json_line(json_object *o) {
        printf("%s\n", json_object_to_json_string_ext(o, JSON_C_TO_STRING_NOSLASHESCAPE));
        fflush(stdout);
}

static const char *const advices[_ERR_KIND_MAX] = {
                [ERR_BUSY] = "'abctl jobs' shows what is running, 'abctl cancel' stops it.",
                [ERR_REFUSED] = "'abctl update --accept=VERSION' installs it all the same.",
                [ERR_ALREADY_INSTALLED] = "'abctl update --reinstall' installs it once more.",
                [ERR_TRANSACTION_OPEN] = "'abctl commit' or 'abctl abort' ends the transaction.",
                [ERR_NO_TRANSACTION] = "'abctl begin' opens a transaction.",
                [ERR_UNKNOWN_SLOT] = "'abctl list' shows the slots.",
                [ERR_UNKNOWN_JOB] = "'abctl jobs' shows what is running.",
                [ERR_SLOT_PINNED] = "'abctl unpin SLOT' lets go of it.",
                [ERR_SLOT_IN_USE] = "'abctl status' shows the booted and the next slot.",
                [ERR_NO_SPACE] = "'abctl prune' deletes slots that are no longer needed.",
                [ERR_PARENT_MISSING] = "A full image needs no base.",
                [ERR_TRUNCATED] = "Copy or download the image again.",
                [ERR_WORKER_DIED] = "'journalctl -u abupdated' says more; the next job cleans up.",
                [ERR_NO_FALLBACK] = "'abctl list' shows what is here.",
                [ERR_WRONG_LAYOUT] = "'abctl check' says what to change.",
};

const char *advice_for(ErrKind kind, const char *text) {
        /* a story that names a command or an option has its advice in it */
        if (kind < 0 || kind >= _ERR_KIND_MAX || strstr(text, "abctl ") || strstr(text, " --"))
                return NULL;
        return advices[kind];
}

static void error_as_json(const Client *c, const Err *e) {
        _cleanup_(json_unrefp) json_object *o = json_object_new_object();
        const char *advice = advice_for(err_kind_of(e), err_text(e));
        int r = jset_str(o, "error", err_kind_name(err_kind_of(e)));

        if (r >= 0)
                r = jset_str(o, "message", err_text(e));
        if (r >= 0)
                r = jset_str(o, "advice", str_or(advice, ""));
        if (r >= 0)
                r = jset_u64(o, "exit-code", (uint64_t) err_kind_exit(err_kind_of(e)));
        if (r >= 0)
                out_json(c, o);
}

void out_error(const Client *c, const Err *e) {
        const char *advice = advice_for(err_kind_of(e), err_text(e));

        fflush(stdout);
        log_error("%s", err_text(e));
        if (advice && !c->opt.quiet)
                log_error("%s", advice);
        if (c->json != JSON_OFF || c->progress == PROGRESS_JSON)
                error_as_json(c, e);
}
