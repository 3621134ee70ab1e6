/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* client/transaction.c - a slot that is open for a package manager, from begin to commit or abort. */
#include "base/log.h"
#include "client/command.h"
#include "client/facts.h"
#include "client/job.h"
#include "client/out.h"
#include "client/remount.h"
#include "client/show.h"
#include "client/verbs.h"

/* What a sprout was put below is still mounted as the sealed device was. */
static void open_mounts(Client *c) {
        _cleanup_(err_freep) Err *e = NULL;
        size_t count;

        if (c->opt.host)
                return;
        if (remount_writable(str_or(c->opt.root, ""), &count, &e) < 0)
                log_warning("%s: do it as root, by 'mount -o remount,rw'", err_text(e));
        else if (count > 0)
                say(c, "It was mounted read-only, and can be written to now.");
}

int show_transaction(Client *c, const char *transaction, const char *slot, Err **reterr) {
        _cleanup_(json_unrefp) json_object *o = NULL;

        if (c->json != JSON_OFF) {
                o = json_object_new_object();
                if (jset_str(o, "transaction", transaction) < 0 || jset_str(o, "slot", slot) < 0)
                        return bus_broken(-ENOMEM, reterr);
                out_json(c, o);
        } else
                say(c,
                                "Transaction %s is open on slot %s. 'abctl commit' makes it the "
                                "next boot, "
                                "'abctl abort' drops it.",
                                transaction, slot);
        open_mounts(c);
        return EXIT_DONE;
}

/* Both new strings. */
static int begin(Client *c, char **ret_transaction, char **ret_slot, Err **reterr) {
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *m = NULL;
        _cleanup_(job_end_done) JobEnd end = {0};
        const char *transaction, *path;
        int r = bus_method(c, "Begin", &m, reterr);

        if (r < 0)
                return r;
        if (c->opt.in_place)
                r = sd_bus_message_append(m, "a{sv}", 1, "in-place", "b", 1);
        else
                r = sd_bus_message_append(m, "a{sv}", 0);
        if (r < 0)
                return bus_broken(r, reterr);
        r = job_run(c, m, /* download= */ NULL, &end, reterr);
        if (r < 0)
                return r;
        r = end.reply ? sd_bus_message_read(end.reply, "so", &transaction, &path) : -EBADMSG;
        if (r < 0)
                return bus_broken(r, reterr);
        *ret_transaction = strdup(transaction);
        *ret_slot = facts_slot_id(path);
        return *ret_transaction && *ret_slot ? 0 : bus_broken(-ENOMEM, reterr);
}

int verb_begin(Client *c, int argc _unused_, char *argv[] _unused_, Err **reterr) {
        _cleanup_(freep) char *transaction = NULL, *slot = NULL;
        int r = begin(c, &transaction, &slot, reterr);

        return r < 0 ? r : show_transaction(c, transaction, slot, reterr);
}

/* The one that the person named, or the one that is open. New string. */
static int find_transaction(Client *c, int argc, char *argv[], char **ret, Err **reterr) {
        _cleanup_(json_unrefp) json_object *machine = NULL;
        int r = 0;

        if (argc == 0) {
                r = facts_machine(c, &machine, reterr);
                if (r < 0)
                        return r;
                if (!*jstr(machine, "transaction"))
                        return err_kind(reterr, ERR_NO_TRANSACTION, ENOENT,
                                        "No transaction is open");
        }
        *ret = strdup(argc > 0 ? argv[0] : jstr(machine, "transaction"));
        return *ret ? 0 : bus_broken(-ENOMEM, reterr);
}

static int commit(Client *c, const char *transaction, Err **reterr) {
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *m = NULL;
        int r = bus_method(c, "Commit", &m, reterr);

        if (r < 0)
                return r;
        r = sd_bus_message_append(m, "sa{sv}", transaction, 0);
        return r < 0 ? bus_broken(r, reterr) : job_verb(c, m, /* download= */ NULL, reterr);
}

static int give_up(Client *c, const char *transaction, Err **reterr) {
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *m = NULL;
        int r = bus_method(c, "Abort", &m, reterr);

        if (r < 0)
                return r;
        r = sd_bus_message_append(m, "s", transaction);
        return r < 0 ? bus_broken(r, reterr) : job_verb(c, m, /* download= */ NULL, reterr);
}

int verb_commit(Client *c, int argc, char *argv[], Err **reterr) {
        _cleanup_(freep) char *transaction = NULL;
        int r = find_transaction(c, argc, argv, &transaction, reterr);

        return r < 0 ? r : commit(c, transaction, reterr);
}

int verb_abort(Client *c, int argc, char *argv[], Err **reterr) {
        _cleanup_(freep) char *transaction = NULL;
        int r = find_transaction(c, argc, argv, &transaction, reterr);

        return r < 0 ? r : give_up(c, transaction, reterr);
}

int verb_run(Client *c, int argc _unused_, char *argv[], Err **reterr) {
        _cleanup_(freep) char *transaction = NULL, *slot = NULL;
        _cleanup_(err_freep) Err *why = NULL;
        int r = command_find(argv[0], reterr);

        if (r >= 0)
                r = begin(c, &transaction, &slot, reterr);
        if (r < 0)
                return r;
        open_mounts(c);
        r = command_run(argv, &why);
        if (r >= 0)
                return commit(c, transaction, reterr);
        if (give_up(c, transaction, reterr) < 0)
                return err_add(reterr, r, "%s; abort transaction %s", err_text(why), transaction);
        if (reterr)
                *reterr = MOVE(why);
        return r;
}
