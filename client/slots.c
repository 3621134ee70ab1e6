/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* client/slots.c - verbs that decide about slots: go back, judge, keep, delete. */
#include "client/job.h"
#include "client/verbs.h"

int verb_rollback(Client *c, int argc, char *argv[], Err **reterr) {
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *m = NULL;
        int r = bus_method(c, "Rollback", &m, reterr);

        if (r < 0)
                return r;
        r = sd_bus_message_append(m, "sa{sv}", argc > 0 ? argv[0] : "", 0);
        return r < 0 ? bus_broken(r, reterr) : job_verb(c, m, /* download= */ NULL, reterr);
}

int verb_mark(Client *c, int argc, char *argv[], Err **reterr) {
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *m = NULL;
        int r;

        if (!str_eq(argv[0], "good") && !str_eq(argv[0], "bad"))
                return err_kind(reterr, ERR_INVALID_ARGUMENT, EINVAL,
                                "A slot is marked 'good' or 'bad', not '%s'", argv[0]);
        r = bus_method(c, "Mark", &m, reterr);
        if (r < 0)
                return r;
        r = sd_bus_message_append(
                        m, "sss", argc > 1 ? argv[1] : "", argv[0], str_or(c->opt.reason, ""));
        return r < 0 ? bus_broken(r, reterr) : job_verb(c, m, /* download= */ NULL, reterr);
}

static int without_options(Client *c, const char *method, Err **reterr) {
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *m = NULL;
        int r = bus_method(c, method, &m, reterr);

        if (r < 0)
                return r;
        r = sd_bus_message_append(m, "a{sv}", 0);
        return r < 0 ? bus_broken(r, reterr) : job_verb(c, m, /* download= */ NULL, reterr);
}

int verb_prune(Client *c, int argc _unused_, char *argv[] _unused_, Err **reterr) {
        return without_options(c, "Prune", reterr);
}

int verb_merge(Client *c, int argc _unused_, char *argv[] _unused_, Err **reterr) {
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *m = NULL;
        int r;

        if (!c->opt.scheduled)
                return without_options(c, "Merge", reterr);
        r = bus_method(c, "Merge", &m, reterr);
        if (r < 0)
                return r;
        r = sd_bus_message_append(m, "a{sv}", 1, "scheduled", "b", 1);
        return r < 0 ? bus_broken(r, reterr) : job_verb(c, m, /* download= */ NULL, reterr);
}

/* One job for each slot, one after the other; the first failure ends it. */
static int each_slot(
                Client *c, const char *method, int pinned, int argc, char *argv[], Err **reterr) {
        int r = EXIT_DONE;

        for (int i = 0; i < argc && r >= 0; i++) {
                _cleanup_(sd_bus_message_unrefp) sd_bus_message *m = NULL;

                r = bus_method(c, method, &m, reterr);
                if (r < 0)
                        return r;
                r = sd_bus_message_append(m, "s", argv[i]);
                if (r >= 0 && pinned >= 0)
                        r = sd_bus_message_append(m, "b", pinned);
                if (r < 0)
                        return bus_broken(r, reterr);
                r = job_verb(c, m, /* download= */ NULL, reterr);
        }
        return r;
}

int verb_discard(Client *c, int argc, char *argv[], Err **reterr) {
        return each_slot(c, "Discard", /* pinned= */ -1, argc, argv, reterr);
}

int verb_pin(Client *c, int argc, char *argv[], Err **reterr) {
        return each_slot(c, "Pin", /* pinned= */ true, argc, argv, reterr);
}

int verb_unpin(Client *c, int argc, char *argv[], Err **reterr) {
        return each_slot(c, "Pin", /* pinned= */ false, argc, argv, reterr);
}
