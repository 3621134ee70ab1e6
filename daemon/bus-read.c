/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/bus-read.h"
#include "daemon/request.h"

#define UNUSED_GETTER_ARGUMENTS                                                                    \
        ((void) bus, (void) path, (void) interface, (void) property, (void) e)

BUS_GETTER(bus_get_version) {
        UNUSED_GETTER_ARGUMENTS;
        (void) userdata;
        return sd_bus_message_append(reply, "s", ABUPDATE_VERSION);
}

BUS_GETTER(bus_get_state) {
        UNUSED_GETTER_ARGUMENTS;
        return sd_bus_message_append(reply, "s", manager_state(userdata));
}

BUS_GETTER(bus_get_slot) {
        char *const *id = userdata;
        _cleanup_(freep) char *object = bus_slot_path(*id);

        UNUSED_GETTER_ARGUMENTS;
        return object ? sd_bus_message_append(reply, "o", object) : -ENOMEM;
}

BUS_GETTER(bus_get_problems) {
        const Manager *m = userdata;
        int r;

        UNUSED_GETTER_ARGUMENTS;
        r = sd_bus_message_open_container(reply, 'a', "s");
        for (char **p = m->world.problems; p && *p && r >= 0; p++)
                r = sd_bus_message_append(reply, "s", *p);
        if (r >= 0 && m->world_error.code < 0)
                r = sd_bus_message_append(reply, "s", str_or(m->world_error.text, ""));
        return r < 0 ? r : sd_bus_message_close_container(reply);
}

BUS_GETTER(bus_get_refused) {
        const Manager *m = userdata;
        int r;

        UNUSED_GETTER_ARGUMENTS;
        r = sd_bus_message_open_container(reply, 'a', "(ss)");
        for (size_t i = 0; i < m->world.n_refused && r >= 0; i++)
                r = sd_bus_message_append(reply, "(ss)", str_or(m->world.refused[i].version, ""),
                                str_or(m->world.refused[i].reason, ""));
        return r < 0 ? r : sd_bus_message_close_container(reply);
}

/* The lists are of a machine that is known. */
static int must_know(const Manager *m, sd_bus_error *e) {
        if (m->world_known)
                return 0;
        if (m->world_error.code < 0)
                return bus_error(e, m->world_error.kind, "%s", str_or(m->world_error.text, ""));
        return bus_error(e, ERR_BUSY, "the machine is still being looked at: try again");
}

int bus_list_slots(sd_bus_message *call, void *userdata, sd_bus_error *e) {
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *reply = NULL;
        const Manager *m = userdata;
        int r;

        r = must_know(m, e);
        if (r >= 0)
                r = sd_bus_message_new_method_return(call, &reply);
        if (r >= 0)
                r = sd_bus_message_open_container(reply, 'a', "(sssstbo)");
        for (size_t i = 0; i < m->world.n_slots && r >= 0; i++) {
                const WorldSlot *s = &m->world.slots[i];
                _cleanup_(freep) char *path = bus_slot_path(s->id);

                r = !path ? -ENOMEM
                          : sd_bus_message_append(reply, "(sssstbo)", s->id, str_or(s->state, ""),
                                            str_or(s->version, ""), str_or(s->reason, ""),
                                            s->created, s->pinned, path);
        }
        if (r >= 0)
                r = sd_bus_message_close_container(reply);
        return r < 0 ? r : sd_bus_message_send(reply);
}

int bus_list_jobs(sd_bus_message *call, void *userdata, sd_bus_error *e) {
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *reply = NULL;
        _cleanup_(freep) char *path = NULL;
        const Manager *m = userdata;
        int r;

        (void) e;
        r = sd_bus_message_new_method_return(call, &reply);
        if (r >= 0)
                r = sd_bus_message_open_container(reply, 'a', "(tssdo)");
        if (r >= 0 && m->job) {
                path = bus_job_path(m->job->id);
                r = !path ? -ENOMEM
                          : sd_bus_message_append(reply, "(tssdo)", m->job->id,
                                            job_type_to_string(m->job->type),
                                            str_or(m->job->phase, ""), m->job->progress, path);
        }
        if (r >= 0)
                r = sd_bus_message_close_container(reply);
        return r < 0 ? r : sd_bus_message_send(reply);
}

static int append_event(sd_bus_message *reply, const WorldEvent *v) {
        return sd_bus_message_append(reply, "a{sv}", 8, "time", "t", v->time, "job", "t", v->job,
                        "type", "s", str_or(v->type, ""), "slot", "s", str_or(v->slot, ""),
                        "version", "s", str_or(v->version, ""), "status", "i", v->status, "error",
                        "s", str_or(v->error, ""), "message", "s", str_or(v->message, ""));
}

int bus_get_history(sd_bus_message *call, void *userdata, sd_bus_error *e) {
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *reply = NULL;
        const Manager *m = userdata;
        uint32_t max = 0;
        size_t n;
        int r;

        r = sd_bus_message_read(call, "u", &max);
        if (r >= 0)
                r = must_know(m, e);
        if (r >= 0)
                r = sd_bus_message_new_method_return(call, &reply);
        if (r >= 0)
                r = sd_bus_message_open_container(reply, 'a', "a{sv}");

        n = m->world.n_history;
        if (max > 0 && max < n)
                n = max;
        for (size_t i = 0; i < n && r >= 0; i++)
                r = append_event(reply, &m->world.history[m->world.n_history - 1 - i]);
        if (r >= 0)
                r = sd_bus_message_close_container(reply);
        return r < 0 ? r : sd_bus_message_send(reply);
}
