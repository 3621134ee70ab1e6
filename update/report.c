/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "update/report.h"
#include "update/jobs.h"
#include "update/records.h"

static void put_text(json_object *o, const char *key, const char *value) {
        json_object_object_add(o, key, json_object_new_string(str_or(value, "")));
}

static const char *slot_state_word(const Facts *f, const Slot *s) {
        return slot_state_to_string(facts_on_trial(f, s) ? SLOT_TRIAL : s->state);
}

static void add_devices(json_object *o, const Slot *s) {
        json_object *devices = json_object_new_array();

        if (s->device)
                json_object_array_add(devices, json_object_new_string(s->device));
        json_object_object_add(o, "devices", devices);
        put_text(o, "device-kind", s->device_kind);
        put_text(o, "depends-on", s->depends);
        json_object_object_add(o, "device-size", json_object_new_uint64(s->device_size));
        json_object_object_add(o, "to-merge", json_object_new_uint64(s->to_merge));
}

static json_object *slot_to_json(const Facts *f, const Slot *s) {
        bool trial = str_eq(f->boot.trial, s->id);
        json_object *o = json_object_new_object();

        put_text(o, "id", s->id);
        put_text(o, "state", slot_state_word(f, s));
        put_text(o, "version", s->version);
        put_text(o, "reason", s->reason);
        json_object_object_add(o, "pinned", json_object_new_boolean(s->pinned));
        json_object_object_add(o, "created", json_object_new_uint64(s->created));
        json_object_object_add(o, "size", json_object_new_uint64(s->size));
        json_object_object_add(o, "exclusive", json_object_new_uint64(s->exclusive));
        json_object_object_add(o, "read-only", json_object_new_boolean(s->read_only));
        put_text(o, "kernel-version", s->kernel);
        put_text(o, "subvolumes", s->subvolumes);
        add_devices(o, s);
        json_object_object_add(
                        o, "tries-left", json_object_new_int(trial ? f->boot.tries_left : -1));
        json_object_object_add(o, "tries",
                        json_object_new_int(trial && s->tries > 0 ? (int) s->tries : -1));
        return o;
}

/* The last time a version was given up by the loader, if nothing came after it. */
static const char *fallback_story(json_object *history) {
        size_t n = json_object_array_length(history);
        json_object *last = n > 0 ? json_object_array_get_idx(history, n - 1) : NULL;

        return str_eq(json_text(last, "type"), "fallback") ? json_text(last, "message") : NULL;
}

typedef struct Summary {
        const char *state;
        char *reason;
} Summary;

static int summarize(const Facts *f, json_object *history, Summary *ret) {
        const Slot *booted = facts_booted(f), *next = facts_next(f);
        const char *story = fallback_story(history);
        size_t n = json_object_array_length(history);
        json_object *last = n > 0 ? json_object_array_get_idx(history, n - 1) : NULL;

        if (!booted)
                *ret = (Summary){"steady", str_printf("the running system is not in a slot")};
        else if (booted->transaction && !booted->fallback)
                *ret = (Summary){"updating", str_printf("transaction %s is open on the sprout of "
                                                        "slot %s; the slot itself boots next, as "
                                                        "it was",
                                                             booted->transaction, booted->id)};
        else if (booted->transaction)
                *ret = (Summary){"updating", str_printf("transaction %s is open on slot %s; slot "
                                                        "%s, the copy made before it, boots next",
                                                             booted->transaction, booted->id,
                                                             str_or(booted->fallback, "?"))};
        else if (booted == next && facts_on_trial(f, booted))
                *ret = (Summary){"trial",
                                str_printf("slot %s (version %s) is on trial: %i tries left unless "
                                           "it is marked good",
                                                booted->id, booted->version, f->boot.tries_left)};
        else if (next && next != booted)
                *ret = (Summary){"staged",
                                str_printf("slot %s (version %s) boots next%s", next->id,
                                                next->version,
                                                facts_on_trial(f, next) ? ", on trial" : "")};
        else if (story)
                *ret = (Summary){"fallback",
                                str_printf("version %s %s", str_or(json_text(last, "version"), "?"),
                                                story)};
        else if (f->boot.problem || !next)
                *ret = (Summary){"steady",
                                str_printf("slot %s runs, but what boots next is not known",
                                                booted->id)};
        else
                *ret = (Summary){"steady", str_printf("slot %s (version %s) is %s and boots next",
                                                           booted->id, booted->version,
                                                           slot_state_to_string(booted->state))};
        return ret->reason ? 0 : -ENOMEM;
}

static json_object *capabilities(const Machine *m) {
        json_object *a = json_object_new_array();

        if (m->slots->ops->prepare)
                json_object_array_add(a, json_object_new_string("image"));
        if (m->slots->ops->find_base)
                json_object_array_add(a, json_object_new_string("incremental"));
        if (m->slots->ops->copy_booted)
                json_object_array_add(a, json_object_new_string("in-place"));
        if (m->slots->ops->merge)
                json_object_array_add(a, json_object_new_string("merge"));
        if (m->boot->ops->arm)
                json_object_array_add(a, json_object_new_string("switch"));
        if (m->boot->ops->atomic)
                json_object_array_add(a, json_object_new_string("atomic-switch"));
        return a;
}

/* Every error and warning of check that status should not hide. */
static json_object *problems(Machine *m, const Facts *f) {
        _cleanup_(finding_list_done) FindingList l = {0};
        json_object *a = json_object_new_array();

        if (machine_check(m, f, &l, NULL) < 0)
                return a;
        for (size_t i = 0; i < l.n; i++) {
                _cleanup_(freep) char *text =
                                str_printf("%s: %s", l.findings[i].subject, l.findings[i].problem);

                if (text)
                        json_object_array_add(a, json_object_new_string(text));
        }
        return a;
}

int report_world(Machine *m, const Facts *f, json_object **ret, Err **reterr) {
        _cleanup_(json_freep) json_object *o = json_object_new_object();
        _cleanup_(json_freep) json_object *history = NULL;
        _cleanup_(freep) char *reason = NULL;
        const Slot *booted = facts_booted(f), *next = facts_next(f),
                   *good = slot_newest_good(f->slots, NULL);
        json_object *slots = json_object_new_array();
        Summary summary;
        int r;

        r = history_read(m->state_fd, &history, reterr);
        if (r < 0) {
                json_object_put(slots);
                return r;
        }
        slots_foreach (s, f->slots)
                json_object_array_add(slots, slot_to_json(f, s));
        json_object_object_add(o, "slots", slots);
        if (summarize(f, history, &summary) < 0)
                return err_new(reterr, ENOMEM, "out of memory");
        reason = summary.reason;
        put_text(o, "backend", m->slots->ops->name);
        put_text(o, "boot-backend", m->boot->ops->name);
        put_text(o, "verification", verification_to_string(m->config->verification));
        put_text(o, "state", summary.state);
        put_text(o, "reason", reason);
        put_text(o, "version", booted ? booted->version : NULL);
        put_text(o, "booted", booted ? booted->id : NULL);
        put_text(o, "next", next ? next->id : NULL);
        put_text(o, "good", good ? good->id : NULL);
        put_text(o, "transaction", booted ? booted->transaction : NULL);
        json_object_object_add(o, "reboot-required",
                        json_object_new_boolean(next && next != booted &&
                                                !(booted && booted->transaction)));
        json_object_object_add(o, "capabilities", capabilities(m));
        json_object_object_add(o, "problems", problems(m, f));
        json_object_object_add(o, "refused", json_object_get(f->refused));
        json_object_object_add(o, "history", MOVE(history));
        *ret = MOVE(o);
        return 0;
}

int report_unreadable(const char *problem, json_object **ret) {
        _cleanup_(json_freep) json_object *o = json_object_new_object();
        json_object *list = json_object_new_array();

        if (!o || !list) {
                json_object_put(list);
                return -ENOMEM;
        }
        json_object_array_add(list, json_object_new_string(problem));
        json_object_object_add(o, "problems", list);
        put_text(o, "state", "steady");
        put_text(o, "reason", problem);
        *ret = MOVE(o);
        return 0;
}
