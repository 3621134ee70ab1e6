/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "client/offline.h"
#include "client/device-files.h"
#include "client/facts.h"
#include "client/job.h"
#include "client/show.h"
#include "client/worker.h"
#include "dbus/api.h"

/* Two that change one machine at once must not be: a daemon that is up is the one to ask. */
static int daemon_is_up(const Client *c) {
        sd_bus *bus = NULL;
        int r;

        if (c->opt.root || sd_bus_open_system(&bus) < 0)
                return 0;
        r = sd_bus_get_name_creds(bus, API_NAME, 0, NULL);
        sd_bus_flush_close_unref(bus);
        return r >= 0;
}

/* {"type":@type, @key:@value}; a NULL @key is left out. */
static json_object *order_new(const char *type, const char *key, const char *value) {
        json_object *o = json_object_new_object();
        int r = jset_str(o, "type", type);

        if (r >= 0)
                r = jset_u64(o, "job", 0);
        if (r >= 0 && key)
                r = jset_str(o, key, value);
        if (r < 0) {
                json_object_put(o);
                return NULL;
        }
        return o;
}

/* Runs @order, which may be NULL where memory was short. */
static int run(Client *c, json_object *order, const Image *image, WorkerEnd *ret, Err **reterr) {
        if (!order)
                return err_sys(reterr, ENOMEM, "Cannot give an order");
        if (daemon_is_up(c))
                return err_kind(reterr, ERR_BUSY, EBUSY,
                                "abupdated is running: leave --offline out, or stop it by "
                                "'systemctl stop abupdated'");
        return worker_run(c, order, image, ret, reterr);
}

/* An order whose end is a sentence. */
static int change(Client *c, json_object *o, const Image *image, Err **reterr) {
        _cleanup_(json_unrefp) json_object *order = o;
        _cleanup_(worker_end_done) WorkerEnd end = {0};
        _cleanup_(job_end_done) JobEnd job = {0};
        int r = run(c, order, image, &end, reterr);

        if (r < 0)
                return r;
        job.message = strdup(jstr(end.result, "text"));
        return job_after(c, &job, jbool(end.world, "reboot-required"), reterr);
}

/* The machine as a worker finds it, after it has put in order what a power cut left. */
static int look(Client *c, WorkerEnd *ret, Err **reterr) {
        _cleanup_(json_unrefp) json_object *order = order_new("check", NULL, NULL);
        json_object *slots;
        int r = run(c, order, /* image= */ NULL, ret, reterr);

        if (r < 0)
                return r;
        slots = jarray(ret->world, "slots");
        if (!slots)
                return err_new(reterr, EBADMSG, "The worker does not say what the machine is like");
        r = facts_mark_slots(ret->world, slots);
        return r < 0 ? err_sys(reterr, r, "Cannot read the machine") : 0;
}

int offline_status(Client *c, int argc _unused_, char *argv[] _unused_, Err **reterr) {
        _cleanup_(worker_end_done) WorkerEnd end = {0};
        int r = look(c, &end, reterr);

        if (r < 0)
                return r;
        json_object_object_del(end.world, "history");
        r = jset(end.world, "jobs", json_object_new_array());
        return r < 0 ? err_sys(reterr, r, "Cannot show the status")
                     : show_status(c, end.world, /* older= */ 0, reterr);
}

int offline_list(Client *c, int argc _unused_, char *argv[] _unused_, Err **reterr) {
        _cleanup_(worker_end_done) WorkerEnd end = {0};
        int r = look(c, &end, reterr);

        return r < 0 ? r : show_slots(c, jarray(end.world, "slots"), reterr);
}

int offline_history(Client *c, int argc _unused_, char *argv[] _unused_, Err **reterr) {
        _cleanup_(json_unrefp) json_object *newest_first = json_object_new_array();
        _cleanup_(worker_end_done) WorkerEnd end = {0};
        json_object *events;
        uint32_t lines;
        size_t n;
        int r = history_lines(c, &lines, reterr);

        if (r >= 0)
                r = look(c, &end, reterr);
        if (r < 0)
                return r;
        events = jarray(end.world, "history");
        n = events ? json_object_array_length(events) : 0;
        for (size_t i = n; i > 0 && n - i < lines; i--)
                if (jappend(newest_first,
                                    json_object_get(json_object_array_get_idx(events, i - 1))) < 0)
                        return err_sys(reterr, ENOMEM, "Cannot show the history");
        return show_history(c, newest_first, reterr);
}

int offline_check(Client *c, int argc _unused_, char *argv[] _unused_, Err **reterr) {
        _cleanup_(worker_end_done) WorkerEnd end = {0};
        int r = look(c, &end, reterr);

        if (r < 0)
                return r;
        if (!jarray(end.result, "findings"))
                return err_new(reterr, EBADMSG, "The worker does not say what it found");
        return show_findings(c, jarray(end.result, "findings"), reterr);
}

static json_object *update_order(const Options *opt, const Image *image) {
        json_object *o = order_new(opt->dry_run ? "plan" : "update", "name", image->name);
        int r = jset_bool(o, "arm", !opt->no_arm);

        if (r >= 0)
                r = jset_bool(o, "reinstall", opt->reinstall);
        if (r >= 0 && opt->allow_downgrade)
                r = jset_bool(o, "allow-downgrade", true);
        if (r >= 0 && image->manifest > 0)
                r = jset_bool(o, "manifest", true);
        if (r >= 0 && image->size > 0)
                r = jset_u64(o, "size", image->size);
        if (r >= 0 && opt->as)
                r = jset_str(o, "version", opt->as);
        if (r >= 0 && opt->accept)
                r = jset_str(o, "accept", opt->accept);
        if (r < 0) {
                json_object_put(o);
                return NULL;
        }
        return o;
}

static int plan(Client *c, json_object *o, const Image *image, Err **reterr) {
        _cleanup_(json_unrefp) json_object *order = o;
        _cleanup_(worker_end_done) WorkerEnd end = {0};
        int r = run(c, order, image, &end, reterr);

        if (r < 0)
                return r;
        if (!jarray(end.result, "steps"))
                return err_new(reterr, EBADMSG, "The worker does not say what it would do");
        return show_steps(c, jarray(end.result, "steps"), reterr);
}

int offline_update(Client *c, int argc, char *argv[], Err **reterr) {
        _cleanup_(image_done) Image image = {.fd = -1};
        int r = update_check_use(&c->opt, argc, reterr);

        if (r < 0)
                return r;
        if (c->opt.detach)
                return err_kind(reterr, ERR_INVALID_ARGUMENT, EINVAL,
                                "--detach leaves the job to the daemon, and --offline has none: "
                                "choose one");
        r = update_open(c, argv[0], &image, reterr);
        if (r < 0)
                return r;
        return c->opt.dry_run ? plan(c, update_order(&c->opt, &image), &image, reterr)
                              : change(c, update_order(&c->opt, &image), &image, reterr);
}

int offline_rollback(Client *c, int argc, char *argv[], Err **reterr) {
        return change(c, order_new("rollback", "slot", argc > 0 ? argv[0] : ""), NULL, reterr);
}

int offline_mark(Client *c, int argc, char *argv[], Err **reterr) {
        json_object *order = order_new("mark", "verdict", argv[0]);

        if (jset_str(order, "slot", argc > 1 ? argv[1] : "") < 0 ||
                        jset_str(order, "reason", c->opt.reason) < 0) {
                json_object_put(order);
                order = NULL;
        }
        return change(c, order, NULL, reterr);
}

int offline_prune(Client *c, int argc _unused_, char *argv[] _unused_, Err **reterr) {
        return change(c, order_new("prune", NULL, NULL), NULL, reterr);
}

int offline_merge(Client *c, int argc _unused_, char *argv[] _unused_, Err **reterr) {
        json_object *order = order_new("merge", NULL, NULL);

        if (c->opt.scheduled && jset_bool(order, "scheduled", true) < 0)
                json_object_put(MOVE(order));
        return change(c, order, NULL, reterr);
}

int offline_device(Client *c, int argc, char *argv[], Err **reterr) {
        _cleanup_(device_call_done) DeviceCall d = DEVICE_CALL_NONE;
        json_object *o;
        int r = device_call_open(c, argc, argv, &d, reterr);

        if (r < 0)
                return r;
        o = order_new(d.restore ? "restore" : "export", "slot", d.slot);
        if (o && d.restore) {
                if ((d.sha256 && jset_str(o, "sha256", d.sha256) < 0) ||
                                (c->opt.accept && jset_str(o, "accept", c->opt.accept) < 0))
                        json_object_put(MOVE(o));
        } else if (o && (jset_bool(o, "compress", d.compress) < 0 ||
                                        jset_bool(o, "digest", true) < 0))
                json_object_put(MOVE(o));
        r = change(c, o, &(Image){.fd = d.fd, .manifest = d.digest}, reterr);
        return r < 0 ? r : device_call_end(&d, r, reterr);
}

int offline_discard(Client *c, int argc, char *argv[], Err **reterr) {
        int r = EXIT_DONE;

        for (int i = 0; i < argc && r >= 0; i++)
                r = change(c, order_new("discard", "slot", argv[i]), NULL, reterr);
        return r;
}

static int set_pins(Client *c, bool pinned, int argc, char *argv[], Err **reterr) {
        int r = EXIT_DONE;

        for (int i = 0; i < argc && r >= 0; i++) {
                json_object *order = order_new("pin", "slot", argv[i]);

                if (jset_bool(order, "pinned", pinned) < 0) {
                        json_object_put(order);
                        order = NULL;
                }
                r = change(c, order, NULL, reterr);
        }
        return r;
}

int offline_pin(Client *c, int argc, char *argv[], Err **reterr) {
        return set_pins(c, /* pinned= */ true, argc, argv, reterr);
}

int offline_unpin(Client *c, int argc, char *argv[], Err **reterr) {
        return set_pins(c, /* pinned= */ false, argc, argv, reterr);
}

int offline_begin(Client *c, int argc _unused_, char *argv[] _unused_, Err **reterr) {
        _cleanup_(json_unrefp) json_object *order = order_new("begin", NULL, NULL);
        _cleanup_(worker_end_done) WorkerEnd end = {0};
        int r;

        if (jset_bool(order, "in-place", c->opt.in_place) < 0)
                return err_sys(reterr, ENOMEM, "Cannot give an order");
        r = run(c, order, NULL, &end, reterr);
        return r < 0 ? r
                     : show_transaction(c, jstr(end.result, "transaction"),
                                       jstr(end.result, "slot"), reterr);
}

/* The transaction that is named, or "": the worker knows which one is open. */
static int end_transaction(Client *c, const char *type, int argc, char *argv[], Err **reterr) {
        _cleanup_(worker_end_done) WorkerEnd end = {0};
        const char *transaction = argc > 0 ? argv[0] : "";

        if (argc == 0) {
                int r = look(c, &end, reterr);

                if (r < 0)
                        return r;
                transaction = jstr(end.world, "transaction");
                if (!*transaction)
                        return err_kind(reterr, ERR_NO_TRANSACTION, ENOENT,
                                        "No transaction is open");
        }
        return change(c, order_new(type, "transaction", transaction), NULL, reterr);
}

int offline_commit(Client *c, int argc, char *argv[], Err **reterr) {
        return end_transaction(c, "commit", argc, argv, reterr);
}

int offline_abort(Client *c, int argc, char *argv[], Err **reterr) {
        return end_transaction(c, "abort", argc, argv, reterr);
}
