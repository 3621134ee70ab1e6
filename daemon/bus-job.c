/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* org.abupdate1.Job: the running one. */
#include <inttypes.h>

#include "daemon/request.h"

char *bus_job_path(uint64_t id) {
        return str_printf(API_JOB_PATH "/%" PRIu64, id);
}

static int get_type(sd_bus *bus, const char *path, const char *interface, const char *property,
                sd_bus_message *reply, void *userdata, sd_bus_error *e) {
        const Job *j = userdata;

        (void) bus, (void) path, (void) interface, (void) property, (void) e;
        return sd_bus_message_append(reply, "s", job_type_to_string(j->type));
}

/* Which job is meant is frozen here: another one may run when the caller has proved who he is. */
static int control(const Job *j, sd_bus_message *call, Control what, sd_bus_error *e) {
        _cleanup_(request_freep) Request *r = NULL;
        int k;

        k = request_new(j->userdata, call, API_ACTION_CANCEL, &r);
        if (k < 0)
                return k;
        r->control = what;
        r->target = j->id;
        if (json_object_object_add(r->order, "job", json_object_new_uint64(j->id)) < 0 ||
                        json_object_object_add(r->order, "type",
                                        json_object_new_string(job_type_to_string(j->type))) < 0)
                return bus_error(e, ERR_NO_MEMORY, "out of memory");

        request_submit(MOVE(r));
        return 1;
}

static int on_cancel(sd_bus_message *call, void *userdata, sd_bus_error *e) {
        return control(userdata, call, CONTROL_CANCEL, e);
}

static int on_pause(sd_bus_message *call, void *userdata, sd_bus_error *e) {
        return control(userdata, call, CONTROL_PAUSE, e);
}

static int on_resume(sd_bus_message *call, void *userdata, sd_bus_error *e) {
        return control(userdata, call, CONTROL_RESUME, e);
}

#define JOB_PROPERTY(name, type, member)                                                           \
        SD_BUS_PROPERTY(name, type, NULL, offsetof(Job, member),                                   \
                        SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE)

static const sd_bus_vtable job_vtable[] = {
                SD_BUS_VTABLE_START(0),
                SD_BUS_PROPERTY("Id", "t", NULL, offsetof(Job, id), SD_BUS_VTABLE_PROPERTY_CONST),
                SD_BUS_PROPERTY("Type", "s", get_type, 0, SD_BUS_VTABLE_PROPERTY_CONST),
                JOB_PROPERTY("Slot", "s", slot),
                JOB_PROPERTY("Phase", "s", phase),
                JOB_PROPERTY("Progress", "d", progress),
                JOB_PROPERTY("BytesDone", "t", bytes_done),
                JOB_PROPERTY("BytesTotal", "t", bytes_total),
                JOB_PROPERTY("EstimatedCompletion", "t", completion),
                JOB_PROPERTY("PointOfNoReturn", "b", point_of_no_return),
                JOB_PROPERTY("Cancellable", "b", cancellable),
                JOB_PROPERTY("Paused", "b", paused),
                SD_BUS_METHOD_WITH_ARGS("Pause", SD_BUS_NO_ARGS, SD_BUS_NO_RESULT, on_pause,
                                SD_BUS_VTABLE_UNPRIVILEGED),
                SD_BUS_METHOD_WITH_ARGS("Resume", SD_BUS_NO_ARGS, SD_BUS_NO_RESULT, on_resume,
                                SD_BUS_VTABLE_UNPRIVILEGED),
                SD_BUS_METHOD_WITH_ARGS("Cancel", SD_BUS_NO_ARGS, SD_BUS_NO_RESULT, on_cancel,
                                SD_BUS_VTABLE_UNPRIVILEGED),
                SD_BUS_VTABLE_END,
};

int bus_job_add(Manager *m, Job *j) {
        _cleanup_(freep) char *path = bus_job_path(j->id);

        if (!path)
                return -ENOMEM;
        return sd_bus_add_object_vtable(
                        m->bus, &m->job_slot, path, API_JOB_INTERFACE, job_vtable, j);
}
