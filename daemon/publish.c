/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What has changed, told on the bus. A signal that cannot be sent is lost: those who listen ask again when they connect. */
#include <inttypes.h>
#include <malloc.h>

#include "daemon/event.h"
#include "daemon/manager.h"

/* Eight a second leave room for the ones that may not wait. */
#define SHOW_INTERVAL (USEC_PER_SEC / 8)

#define CHANGES_MAX 32u

const char *manager_state(const Manager *m) {
        if (m->job && (m->job->type == JOB_UPDATE || m->job->type == JOB_BEGIN ||
                                      m->job->type == JOB_COMMIT))
                return "updating";
        if (m->job && m->job->type == JOB_MERGE)
                return "merging";
        return str_or(m->world.state, "");
}

void publish_state(Manager *m) {
        if (str_eq(m->shown_state, manager_state(m)))
                return;
        (void) str_set(&m->shown_state, manager_state(m));
        (void) sd_bus_emit_properties_changed(
                        m->bus, API_PATH, API_MANAGER_INTERFACE, "State", NULL);
}

void publish_problems(Manager *m) {
        (void) sd_bus_emit_properties_changed(
                        m->bus, API_PATH, API_MANAGER_INTERFACE, "Problems", NULL);
}

/* The properties in which two structs differ, as a NULL-terminated list. */
static size_t changes(const Field *fields, size_t n, const void *a, const void *b,
                const char *names[static CHANGES_MAX]) {
        size_t k = 0;

        for (size_t i = 0; i < n; i++)
                if (fields[i].property && !field_equal(&fields[i], a, b))
                        names[k++] = fields[i].property;
        names[k] = NULL;
        return k;
}

static void publish_slot_changes(Manager *m, const WorldSlot *old, const WorldSlot *fresh) {
        const char *names[CHANGES_MAX];
        _cleanup_(freep) char *path = NULL;

        if (changes(slot_fields, n_slot_fields, old, fresh, names) == 0)
                return;
        path = bus_slot_path(fresh->id);
        if (path)
                (void) sd_bus_emit_properties_changed_strv(
                                m->bus, path, API_SLOT_INTERFACE, (char **) names);
}

static void publish_slots(Manager *m, const World *old) {
        for (size_t i = 0; i < m->world.n_slots; i++) {
                const WorldSlot *s = &m->world.slots[i], *o = world_slot(old, s->id);
                _cleanup_(freep) char *path = NULL;

                if (o) {
                        publish_slot_changes(m, o, s);
                        continue;
                }
                path = bus_slot_path(s->id);
                if (path)
                        (void) sd_bus_emit_interfaces_added(m->bus, path, API_SLOT_INTERFACE, NULL);
        }
}

static void publish_lost_slots(Manager *m, const World *old) {
        for (size_t i = 0; i < old->n_slots; i++) {
                _cleanup_(freep) char *path = NULL;

                if (world_slot(&m->world, old->slots[i].id))
                        continue;
                path = bus_slot_path(old->slots[i].id);
                if (path)
                        (void) sd_bus_emit_interfaces_removed(
                                        m->bus, path, API_SLOT_INTERFACE, NULL);
        }
}

void publish_world(Manager *m, World *fresh) {
        const char *names[CHANGES_MAX];
        World old = m->world;
        bool known = m->world_known;
        size_t n;

        m->world = *fresh;
        *fresh = (World){0};
        m->world_known = true;

        event_world(known ? &old : NULL, &m->world);

        /* A first world is no news: nobody could read anything before it. */
        if (known || m->open) {
                publish_slots(m, &old);
                publish_lost_slots(m, &old);
                n = changes(world_fields, n_world_fields, &old, &m->world, names);
                for (size_t i = 0; i < n; i++)
                        if (str_eq(names[i], "State")) /* not quite the same on the bus */
                                names[i] = names[--n];
                if (!world_refused_equal(&old, &m->world))
                        names[n++] = "Refused";
                names[n] = NULL;
                if (n > 0)
                        (void) sd_bus_emit_properties_changed_strv(
                                        m->bus, API_PATH, API_MANAGER_INTERFACE, (char **) names);
        }
        publish_state(m);
        world_done(&old);
        (void) malloc_trim(0); /* the JSON of a thousand slots leaves holes */
}

void publish_job_added(Manager *m) {
        _cleanup_(freep) char *path = bus_job_path(m->job->id);

        m->shown_job = 0;
        m->shown_no_return = false;
        if (bus_job_add(m, m->job) >= 0 && path)
                (void) sd_bus_emit_interfaces_added(m->bus, path, API_JOB_INTERFACE, NULL);
        publish_state(m);
}

void publish_job_ready(Manager *m) {
        _cleanup_(freep) char *path = bus_job_path(m->job->id);

        if (path)
                (void) sd_bus_emit_signal(m->bus, API_PATH, API_MANAGER_INTERFACE, "JobNew", "to",
                                m->job->id, path);
}

static void show_job(Manager *m) {
        _cleanup_(freep) char *path = bus_job_path(m->job->id);

        m->show_timer = sd_event_source_disable_unref(m->show_timer);
        m->shown_job = now_monotonic();
        m->shown_no_return = m->job->point_of_no_return;
        if (path)
                (void) sd_bus_emit_properties_changed(m->bus, path, API_JOB_INTERFACE, "Slot",
                                "Phase", "Progress", "BytesDone", "BytesTotal",
                                "EstimatedCompletion", "PointOfNoReturn", "Cancellable", "Paused",
                                NULL);
}

static int on_show(sd_event_source *s, uint64_t usec, void *userdata) {
        (void) s, (void) usec;
        show_job(userdata);
        return 0;
}

void publish_job_changed(Manager *m) {
        uint64_t now = now_monotonic(), due = m->shown_job + SHOW_INTERVAL;

        /* Published before it is reached: this one does not wait. */
        if (now >= due || (m->job->point_of_no_return && !m->shown_no_return)) {
                show_job(m);
                return;
        }
        if (!m->show_timer)
                (void) sd_event_add_time(m->event, &m->show_timer, CLOCK_MONOTONIC, due,
                                /* accuracy= */ 1000, on_show, m);
}

void publish_job_removed(Manager *m) {
        _cleanup_(job_freep) Job *j = MOVE(m->job);
        _cleanup_(freep) char *path = bus_job_path(j->id), *error = NULL;
        const Result *res = &j->result;

        m->show_timer = sd_event_source_disable_unref(m->show_timer);
        publish_state(m);

        if (res->code < 0)
                error = str_printf(API_ERROR_PREFIX "%s", err_kind_name(res->kind));
        if (path) {
                (void) sd_bus_emit_interfaces_removed(m->bus, path, API_JOB_INTERFACE, NULL);
                if (j->ready)
                        (void) sd_bus_emit_signal(m->bus, API_PATH, API_MANAGER_INTERFACE,
                                        "JobRemoved", "toiss", j->id, path, res->code,
                                        str_or(error, ""), str_or(res->text, ""));
        }
        m->job_slot = sd_bus_slot_unref(m->job_slot);
}
