/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* client/monitor.c - one line for everything that the daemon announces, until Ctrl-C. */
#include <signal.h>
#include <systemd/sd-event.h>
#include <time.h>

#include "client/bus.h"
#include "client/facts.h"
#include "client/out.h"
#include "client/text.h"
#include "client/verbs.h"
#include "dbus/api.h"

typedef struct Monitor {
        Client *client;
        sd_event *event;
        json_object *jobs; /* by number: the phase and the tenth that were printed last */
        Err *why;
} Monitor;

/* One event: as a line of JSON with @o's members, or as @text behind the time. Eats both. */
static int put(Monitor *mon, const char *name, json_object *o, char *text) {
        _cleanup_(freep) _unused_ char *own = text;
        _cleanup_(freep) char *printable = text ? str_printable(text) : NULL;
        _cleanup_(json_unrefp) json_object *members = o, *line = NULL;
        char when[WHEN_SIZE];
        int r;

        if (!text || !printable || !o)
                return -ENOMEM;
        if (mon->client->json == JSON_OFF) {
                printf("%s%s%s  %s\n", paint(PAINT_DIM), format_when(when, now_realtime()),
                                paint(PAINT_PLAIN), printable);
                fflush(stdout);
                return 0;
        }
        line = json_object_new_object();
        r = jset_u64(line, "time", now_realtime());
        if (r >= 0)
                r = jset_str(line, "event", name);
        if (r < 0)
                return r;
        json_object_object_foreach(members, key, value) {
                r = jset(line, key, json_object_get(value));
                if (r < 0)
                        return r;
        }
        out_json_line(line);
        return 0;
}

static json_object *with_job(uint64_t id) {
        json_object *o = json_object_new_object();

        if (jset_u64(o, "job", id) < 0) {
                json_object_put(o);
                return NULL;
        }
        return o;
}

static int on_job_new(sd_bus_message *m, void *userdata, sd_bus_error *e _unused_) {
        Monitor *mon = userdata;
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *reply = NULL;
        _cleanup_(json_unrefp) json_object *job = NULL;
        const char *path, *type = "";
        json_object *o;
        uint64_t id;

        if (sd_bus_message_read(m, "to", &id, &path) < 0)
                return 0;
        /* it may be gone by the time we ask; then its end tells the rest */
        if (bus_get_all(mon->client, path, API_JOB_INTERFACE, &reply, NULL) >= 0 &&
                        json_from_bus(reply, &job) >= 0)
                type = jstr(job, "type");
        o = with_job(id);
        if (jset_str(o, "type", type) < 0)
                return -ENOMEM;
        return put(mon, "job-new", o,
                        str_printf("job %" PRIu64 ": %s begins", id, *type ? type : "something"));
}

static int on_job_removed(sd_bus_message *m, void *userdata, sd_bus_error *e _unused_) {
        Monitor *mon = userdata;
        const char *error, *message;
        json_object *o;
        char key[24];
        uint64_t id;
        int status;

        if (sd_bus_message_read(m, "toiss", &id, NULL, &status, &error, &message) < 0)
                return 0;
        snprintf(key, sizeof(key), "%" PRIu64, id);
        json_object_object_del(mon->jobs, key);
        o = with_job(id);
        if (jset(o, "status", json_object_new_int(status)) < 0 || jset_str(o, "error", error) < 0 ||
                        jset_str(o, "message", message) < 0)
                return -ENOMEM;
        return put(mon, "job-removed", o,
                        str_printf("job %" PRIu64 ": %s%s%s%s%s%s", id,
                                        status == 0 ? "done" : "failed", *error ? " (" : "", error,
                                        *error ? ")" : "", *message ? ": " : "", message));
}

/* " state=trial next=4": what changed, as far as it fits into words. New string. */
static char *changes_text(json_object *changed) {
        char *text = strdup("");

        json_object_object_foreach(changed, key, value) {
                if (json_object_is_type(value, json_type_array))
                        continue;

                _cleanup_(freep) char *before = text;
                const char *s = json_object_is_type(value, json_type_string)
                                                ? json_object_get_string(value)
                                                : json_object_to_json_string(value);

                text = before ? str_printf("%s %s=%s", before, key, *s ? s : "none") : NULL;
        }
        return text;
}

/* The paths of slots become ids, as everywhere in abctl's output. */
static int paths_to_ids(json_object *changed) {
        static const char *const keys[] = {"booted", "next", "good"};

        for (size_t i = 0; i < ARRAY_SIZE(keys); i++)
                if (*jstr(changed, keys[i]) == '/') {
                        _cleanup_(freep) char *id = facts_slot_id(jstr(changed, keys[i]));
                        int r = id ? jset_str(changed, keys[i], id) : -ENOMEM;

                        if (r < 0)
                                return r;
                }
        return 0;
}

static int machine_changed(Monitor *mon, json_object *changed) {
        _cleanup_(freep) char *what = NULL;
        json_object *o = json_object_new_object();
        int r = paths_to_ids(changed);

        if (r >= 0)
                r = jset(o, "changed", json_object_get(changed));
        what = changes_text(changed);
        if (r < 0 || !what) {
                json_object_put(o);
                return -ENOMEM;
        }
        return put(mon, "machine", o, str_printf("machine:%s", what));
}

static int slot_changed(Monitor *mon, const char *path, json_object *changed) {
        _cleanup_(freep) char *what = changes_text(changed), *id = facts_slot_id(path);
        json_object *o = json_object_new_object();
        int r = jset_str(o, "slot", id);

        if (r >= 0)
                r = jset(o, "changed", json_object_get(changed));
        if (r < 0 || !what || !id) {
                json_object_put(o);
                return -ENOMEM;
        }
        return put(mon, "slot", o, str_printf("slot %s:%s", id, what));
}

/* People get a line for each phase and each tenth of the job, programs get everything. */
static bool is_step(Monitor *mon, const char *key, json_object *changed) {
        json_object *job = NULL;
        int tenth = (int) (10 * jdouble(changed, "progress"));
        bool step = false;

        if (!json_object_object_get_ex(mon->jobs, key, &job)) {
                job = json_object_new_object();
                if (jset(mon->jobs, key, job) < 0)
                        return true;
        }
        if (*jstr(changed, "phase") && !str_eq(jstr(changed, "phase"), jstr(job, "phase")))
                step = jset_str(job, "phase", jstr(changed, "phase")) >= 0;
        if (tenth > (int) ju64(job, "tenth")) {
                step = true;
                (void) jset_u64(job, "tenth", (uint64_t) tenth);
        }
        return step || mon->client->json != JSON_OFF;
}

static int job_changed(Monitor *mon, const char *path, json_object *changed) {
        _cleanup_(freep) char *number = NULL;
        json_object *job = NULL, *o;
        uint64_t id = 0;

        if (sd_bus_path_decode(path, API_JOB_PATH, &number) <= 0 || parse_u64(number, &id) < 0)
                return 0;
        if (!is_step(mon, number, changed))
                return 0;
        o = with_job(id);
        if (jset(o, "changed", json_object_get(changed)) < 0) {
                json_object_put(o);
                return -ENOMEM;
        }
        (void) json_object_object_get_ex(mon->jobs, number, &job);
        return put(mon, "job", o,
                        jdouble(changed, "progress") > 0
                                        ? str_printf("job %s: %s, %.0f %%", number,
                                                          jstr(job, "phase"),
                                                          100 * jdouble(changed, "progress"))
                                        : str_printf("job %s: %s", number, jstr(job, "phase")));
}

static int on_properties(sd_bus_message *m, void *userdata, sd_bus_error *e _unused_) {
        Monitor *mon = userdata;
        _cleanup_(json_unrefp) json_object *changed = NULL;
        const char *interface, *path = sd_bus_message_get_path(m);

        if (sd_bus_message_read(m, "s", &interface) < 0 || json_from_bus(m, &changed) < 0 ||
                        json_object_object_length(changed) == 0)
                return 0;
        if (str_eq(interface, API_MANAGER_INTERFACE))
                return machine_changed(mon, changed);
        if (str_eq(interface, API_SLOT_INTERFACE))
                return slot_changed(mon, path, changed);
        if (str_eq(interface, API_JOB_INTERFACE))
                return job_changed(mon, path, changed);
        return 0;
}

/* InterfacesAdded and InterfacesRemoved, of slots; jobs have signals of their own. */
static int on_object(sd_bus_message *m, void *userdata, sd_bus_error *e _unused_) {
        Monitor *mon = userdata;
        bool added = str_eq(sd_bus_message_get_member(m), "InterfacesAdded");
        _cleanup_(freep) char *id = NULL;
        const char *path;
        json_object *o;

        if (sd_bus_message_read(m, "o", &path) < 0 || !str_after(path, API_SLOT_PATH "/"))
                return 0;
        id = facts_slot_id(path);
        o = json_object_new_object();
        if (!id || jset_str(o, "slot", id) < 0) {
                json_object_put(o);
                return -ENOMEM;
        }
        return put(mon, added ? "slot-new" : "slot-removed", o,
                        str_printf("slot %s: %s", id, added ? "new" : "removed"));
}

static int on_owner(sd_bus_message *m, void *userdata, sd_bus_error *e _unused_) {
        const char *owner;
        json_object *o;

        if (sd_bus_message_read(m, "sss", NULL, NULL, &owner) < 0)
                return 0;
        o = json_object_new_object();
        if (jset_bool(o, "running", *owner) < 0) {
                json_object_put(o);
                return -ENOMEM;
        }
        return put(userdata, "daemon", o,
                        strdup(*owner ? "abupdated has started" : "abupdated has stopped"));
}

static int on_disconnected(sd_bus_message *m _unused_, void *userdata, sd_bus_error *e _unused_) {
        Monitor *mon = userdata;

        (void) bus_error(mon->client, -ECONNRESET, NULL, &mon->why);
        return sd_event_exit(mon->event, 0);
}

static int on_signal(sd_event_source *s _unused_, const struct signalfd_siginfo *si _unused_,
                void *userdata) {
        Monitor *mon = userdata;

        return sd_event_exit(mon->event, 0);
}

static int subscribe(Monitor *mon) {
        static const char owner[] = "type='signal',sender='org.freedesktop.DBus',"
                                    "member='NameOwnerChanged',arg0='" API_NAME "'";
        static const char gone[] = "type='signal',sender='org.freedesktop.DBus.Local',"
                                   "member='Disconnected'";
        static const char properties[] =
                        "type='signal',sender='" API_NAME
                        "',member='PropertiesChanged',path_namespace='" API_PATH "'";
        static const char objects[] = "type='signal',sender='" API_NAME
                                      "',interface='org.freedesktop.DBus.ObjectManager'";
        sd_bus *bus = mon->client->bus;
        int r = sd_bus_add_match(bus, NULL, owner, on_owner, mon);

        if (r >= 0)
                r = sd_bus_add_match(bus, NULL, gone, on_disconnected, mon);
        if (r >= 0)
                r = sd_bus_add_match(bus, NULL, properties, on_properties, mon);
        if (r >= 0)
                r = sd_bus_add_match(bus, NULL, objects, on_object, mon);
        if (r >= 0)
                r = sd_bus_match_signal(bus, NULL, API_NAME, API_PATH, API_MANAGER_INTERFACE,
                                "JobNew", on_job_new, mon);
        if (r >= 0)
                r = sd_bus_match_signal(bus, NULL, API_NAME, API_PATH, API_MANAGER_INTERFACE,
                                "JobRemoved", on_job_removed, mon);
        return r;
}

static int follow(Monitor *mon) {
        sigset_t set;
        int r;

        (void) sigemptyset(&set);
        (void) sigaddset(&set, SIGINT);
        (void) sigaddset(&set, SIGTERM);
        if (sigprocmask(SIG_BLOCK, &set, NULL) < 0)
                return -errno;
        r = sd_event_add_signal(mon->event, NULL, SIGINT, on_signal, mon);
        if (r >= 0)
                r = sd_event_add_signal(mon->event, NULL, SIGTERM, on_signal, mon);
        if (r >= 0)
                r = sd_bus_attach_event(mon->client->bus, mon->event, SD_EVENT_PRIORITY_NORMAL);
        return r < 0 ? r : sd_event_loop(mon->event);
}

int verb_monitor(Client *c, int argc _unused_, char *argv[] _unused_, Err **reterr) {
        /* what does not change while one looks: too much for a line */
        static const char *const lasting[] = {
                        "daemon-version", "backend", "boot-backend", "verification"};
        _cleanup_(sd_event_unrefp) sd_event *event = NULL;
        _cleanup_(json_unrefp) json_object *jobs = json_object_new_object(), *machine = NULL;
        Monitor mon = {.client = c, .jobs = jobs};
        int r = bus_open(c, reterr);

        if (r < 0)
                return r;
        r = jobs ? sd_event_new(&event) : -ENOMEM;
        if (r >= 0) {
                mon.event = event;
                r = subscribe(&mon);
        }
        if (r < 0)
                return err_sys(reterr, r, "Cannot follow the daemon");
        /* where the story begins; starts the daemon where it sleeps */
        r = facts_machine(c, &machine, reterr);
        if (r < 0)
                return r;
        for (size_t i = 0; i < ARRAY_SIZE(lasting) && c->json == JSON_OFF; i++)
                json_object_object_del(machine, lasting[i]);
        r = machine_changed(&mon, machine);
        if (r >= 0)
                r = follow(&mon);
        (void) sd_bus_detach_event(c->bus);
        if (mon.why) {
                *reterr = MOVE(mon.why);
                return err_code(*reterr);
        }
        return r < 0 ? err_sys(reterr, r, "Cannot follow the daemon") : EXIT_DONE;
}
