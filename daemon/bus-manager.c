/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* org.abupdate1.Manager: the calls. Each one reads, checks and freezes its arguments; who may and what then happens is
 * request.c. */
#include "daemon/bus-read.h"
#include "daemon/call.h"

static int begin_call(Manager *m, sd_bus_message *call, JobType type, const char *action,
                Request **ret, sd_bus_error *e) {
        int k;

        k = request_new(m, call, action, ret);
        if (k < 0)
                return k;
        (*ret)->type = type;
        return call_text(*ret, "type", job_type_to_string(type), e); /* for polkit's rules */
}

/* The last beat of every call: @k is what reading its arguments said. */
static int end_call(Request **r, int k) {
        if (k < 0)
                return k;
        request_submit(MOVE(*r));
        return 1;
}

static int image_call(Manager *m, sd_bus_message *call, JobType type, sd_bus_error *e) {
        static const CallOption options[] = {
                        {"arm", 'b'},
                        {"version", 's'},
                        {"accept", 's'},
                        {"reinstall", 'b'},
                        {"detach", 'b'},
                        {"size", 't'},
                        {"offset", 't'},
                        {"manifest", 'h'},
                        {"allow-downgrade", 'b'},
                        {NULL, 0},
        };
        _cleanup_(request_freep) Request *r = NULL;
        const char *name;
        int k, fd;

        k = begin_call(m, call, type, API_ACTION_UPDATE, &r, e);
        if (k >= 0)
                k = sd_bus_message_read(call, "hs", &fd, &name);
        if (k >= 0)
                k = call_image(r, fd, e);
        if (k >= 0)
                k = call_text(r, "name", name, e);
        if (k >= 0)
                k = call_options(call, options, r, e);
        if (k >= 0) {
                r->at_end = type == JOB_PLAN;
                if (json_object_get_boolean(json_object_object_get(r->order, "allow-downgrade")))
                        r->action = API_ACTION_DOWNGRADE;
        }
        return end_call(&r, k);
}

static int on_update(sd_bus_message *call, void *userdata, sd_bus_error *e) {
        return image_call(userdata, call, JOB_UPDATE, e);
}

static int on_plan(sd_bus_message *call, void *userdata, sd_bus_error *e) {
        return image_call(userdata, call, JOB_PLAN, e);
}

static const CallOption no_options[] = {{NULL, 0}};

static int on_begin(sd_bus_message *call, void *userdata, sd_bus_error *e) {
        static const CallOption options[] = {{"in-place", 'b'}, {NULL, 0}};
        _cleanup_(request_freep) Request *r = NULL;
        int k;

        k = begin_call(userdata, call, JOB_BEGIN, API_ACTION_UPDATE, &r, e);
        if (k >= 0)
                k = call_options(call, options, r, e);
        if (k >= 0)
                r->at_end = true;
        return end_call(&r, k);
}

static int transaction_call(
                Manager *m, sd_bus_message *call, JobType type, bool options, sd_bus_error *e) {
        _cleanup_(request_freep) Request *r = NULL;
        const char *transaction;
        int k;

        k = begin_call(m, call, type, API_ACTION_UPDATE, &r, e);
        if (k >= 0)
                k = sd_bus_message_read(call, "s", &transaction);
        if (k >= 0)
                k = call_text(r, "transaction", transaction, e);
        if (k >= 0 && options)
                k = call_options(call, no_options, r, e);
        return end_call(&r, k);
}

static int on_commit(sd_bus_message *call, void *userdata, sd_bus_error *e) {
        return transaction_call(userdata, call, JOB_COMMIT, /* options= */ true, e);
}

static int on_abort(sd_bus_message *call, void *userdata, sd_bus_error *e) {
        return transaction_call(userdata, call, JOB_ABORT, /* options= */ false, e);
}

static int on_rollback(sd_bus_message *call, void *userdata, sd_bus_error *e) {
        _cleanup_(request_freep) Request *r = NULL;
        const char *slot;
        int k;

        k = begin_call(userdata, call, JOB_ROLLBACK, API_ACTION_ROLLBACK, &r, e);
        if (k >= 0)
                k = sd_bus_message_read(call, "s", &slot);
        if (k >= 0)
                k = call_slot(r, slot, e);
        if (k >= 0)
                k = call_options(call, no_options, r, e);
        return end_call(&r, k);
}

static int on_mark(sd_bus_message *call, void *userdata, sd_bus_error *e) {
        _cleanup_(request_freep) Request *r = NULL;
        const char *slot, *verdict, *reason;
        int k;

        k = begin_call(userdata, call, JOB_MARK, API_ACTION_MARK, &r, e);
        if (k >= 0)
                k = sd_bus_message_read(call, "sss", &slot, &verdict, &reason);
        if (k >= 0)
                k = call_slot(r, slot, e);
        if (k >= 0 && !str_eq(verdict, "good") && !str_eq(verdict, "bad"))
                k = bus_error(e, ERR_INVALID_ARGUMENT, "a verdict is \"good\" or \"bad\"");
        if (k >= 0)
                k = call_text(r, "verdict", verdict, e);
        if (k >= 0)
                k = call_text(r, "reason", reason, e);
        return end_call(&r, k);
}

static int on_prune(sd_bus_message *call, void *userdata, sd_bus_error *e) {
        _cleanup_(request_freep) Request *r = NULL;
        int k;

        k = begin_call(userdata, call, JOB_PRUNE, API_ACTION_PRUNE, &r, e);
        if (k >= 0)
                k = call_options(call, no_options, r, e);
        return end_call(&r, k);
}

static int on_merge(sd_bus_message *call, void *userdata, sd_bus_error *e) {
        static const CallOption options[] = {{"scheduled", 'b'}, {NULL, 0}};
        _cleanup_(request_freep) Request *r = NULL;
        int k;

        k = begin_call(userdata, call, JOB_MERGE, API_ACTION_MERGE, &r, e);
        if (k >= 0)
                k = call_options(call, options, r, e);
        return end_call(&r, k);
}

/* Both take the file as an image is taken; what it is good for is the worker's question. */
static int on_export(sd_bus_message *call, void *userdata, sd_bus_error *e) {
        static const CallOption options[] = {{"compress", 'b'}, {"digest", 'h'}, {NULL, 0}};
        _cleanup_(request_freep) Request *r = NULL;
        const char *slot;
        int k, fd;

        k = begin_call(userdata, call, JOB_EXPORT, API_ACTION_DEVICE, &r, e);
        if (k >= 0)
                k = sd_bus_message_read(call, "hs", &fd, &slot);
        if (k >= 0)
                k = call_target(r, fd, e);
        if (k >= 0)
                k = call_slot(r, slot, e);
        if (k >= 0)
                k = call_options(call, options, r, e);
        return end_call(&r, k);
}

static int on_restore(sd_bus_message *call, void *userdata, sd_bus_error *e) {
        static const CallOption options[] = {{"sha256", 's'}, {"accept", 's'}, {NULL, 0}};
        _cleanup_(request_freep) Request *r = NULL;
        const char *slot;
        int k, fd;

        k = begin_call(userdata, call, JOB_RESTORE, API_ACTION_DEVICE, &r, e);
        if (k >= 0)
                k = sd_bus_message_read(call, "hs", &fd, &slot);
        if (k >= 0)
                k = call_image(r, fd, e);
        if (k >= 0)
                k = call_slot(r, slot, e);
        if (k >= 0 && !*slot)
                k = bus_error(e, ERR_INVALID_ARGUMENT, "the slot to overwrite must be named");
        if (k >= 0)
                k = call_options(call, options, r, e);
        return end_call(&r, k);
}

static int on_discard(sd_bus_message *call, void *userdata, sd_bus_error *e) {
        _cleanup_(request_freep) Request *r = NULL;
        const char *slot;
        int k;

        k = begin_call(userdata, call, JOB_DISCARD, API_ACTION_PRUNE, &r, e);
        if (k >= 0)
                k = sd_bus_message_read(call, "s", &slot);
        if (k >= 0)
                k = call_slot(r, slot, e);
        if (k >= 0 && !*slot)
                k = bus_error(e, ERR_INVALID_ARGUMENT, "the slot to discard must be named");
        return end_call(&r, k);
}

static int on_pin(sd_bus_message *call, void *userdata, sd_bus_error *e) {
        _cleanup_(request_freep) Request *r = NULL;
        const char *slot;
        int k, pinned;

        k = begin_call(userdata, call, JOB_PIN, API_ACTION_MARK, &r, e);
        if (k >= 0)
                k = sd_bus_message_read(call, "sb", &slot, &pinned);
        if (k >= 0)
                k = call_slot(r, slot, e);
        if (k >= 0)
                k = call_bool(r, "pinned", pinned, e);
        return end_call(&r, k);
}

/* Free for everybody, and so gives way to everybody who changes something. */
static int on_inspect(sd_bus_message *call, void *userdata, sd_bus_error *e) {
        _cleanup_(request_freep) Request *r = NULL;
        int k, fd;

        k = begin_call(userdata, call, JOB_INSPECT, /* action= */ NULL, &r, e);
        if (k >= 0)
                k = sd_bus_message_read(call, "h", &fd);
        if (k >= 0)
                k = call_manifest(r, fd, e);
        if (k >= 0)
                r->at_end = true;
        return end_call(&r, k);
}

/* Free for everybody; callers who come while one runs share it, so that nobody can keep the machine busy. */
static int on_check(sd_bus_message *call, void *userdata, sd_bus_error *e) {
        Manager *m = userdata;
        char text[256];

        if (m->stopping)
                return bus_error(e, ERR_BUSY, "the daemon is being stopped: try again");
        if (manager_exclusive(m)) {
                manager_busy_text(m, text, sizeof(text));
                return bus_error(e, ERR_BUSY, "%s", text);
        }
        if (m->n_checkers == CHECKERS_MAX)
                return bus_error(e, ERR_BUSY, "too many calls are waiting: try again");
        manager_check(m, call);
        return 1;
}

#define UNPRIVILEGED SD_BUS_VTABLE_UNPRIVILEGED

#define MANAGER_PROPERTY(name, type, get, offset)                                                  \
        SD_BUS_PROPERTY(name, type, get, offset, SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE)
#define WORLD_PROPERTY(name, type, member)                                                         \
        MANAGER_PROPERTY(name, type, NULL, offsetof(Manager, world.member))
#define SLOT_PROPERTY(name, member)                                                                \
        MANAGER_PROPERTY(name, "o", bus_get_slot, offsetof(Manager, world.member))
#define METHOD(name, args, result, handler)                                                        \
        SD_BUS_METHOD_WITH_ARGS(name, SD_BUS_ARGS args, SD_BUS_RESULT result, handler, UNPRIVILEGED)

static const sd_bus_vtable manager_vtable[] = {
                SD_BUS_VTABLE_START(0),
                SD_BUS_PROPERTY("DaemonVersion", "s", bus_get_version, 0,
                                SD_BUS_VTABLE_PROPERTY_CONST),
                WORLD_PROPERTY("Backend", "s", backend),
                WORLD_PROPERTY("BootBackend", "s", boot_backend),
                WORLD_PROPERTY("Verification", "s", verification),
                WORLD_PROPERTY("Capabilities", "as", capabilities),
                MANAGER_PROPERTY("State", "s", bus_get_state, 0),
                WORLD_PROPERTY("Reason", "s", reason),
                WORLD_PROPERTY("Version", "s", version),
                SLOT_PROPERTY("Booted", booted),
                SLOT_PROPERTY("Next", next),
                SLOT_PROPERTY("Good", good),
                WORLD_PROPERTY("RebootRequired", "b", reboot_required),
                WORLD_PROPERTY("Transaction", "s", transaction),
                MANAGER_PROPERTY("Problems", "as", bus_get_problems, 0),
                MANAGER_PROPERTY("Refused", "a(ss)", bus_get_refused, 0),
                METHOD("Update", ("h", image, "s", name, "a{sv}", options), ("t", id, "o", job),
                                on_update),
                METHOD("Plan", ("h", image, "s", name, "a{sv}", options), ("a(sst)", steps),
                                on_plan),
                METHOD("Inspect", ("h", manifest), ("a{sv}", image), on_inspect),
                METHOD("Begin", ("a{sv}", options), ("s", transaction, "o", slot), on_begin),
                METHOD("Commit", ("s", transaction, "a{sv}", options), ("t", id, "o", job),
                                on_commit),
                METHOD("Abort", ("s", transaction), ("t", id, "o", job), on_abort),
                METHOD("Rollback", ("s", slot, "a{sv}", options), ("t", id, "o", job), on_rollback),
                METHOD("Mark", ("s", slot, "s", verdict, "s", reason), ("t", id, "o", job),
                                on_mark),
                METHOD("Prune", ("a{sv}", options), ("t", id, "o", job), on_prune),
                METHOD("Merge", ("a{sv}", options), ("t", id, "o", job), on_merge),
                METHOD("Export", ("h", file, "s", slot, "a{sv}", options), ("t", id, "o", job),
                                on_export),
                METHOD("Restore", ("h", file, "s", slot, "a{sv}", options), ("t", id, "o", job),
                                on_restore),
                METHOD("Discard", ("s", slot), ("t", id, "o", job), on_discard),
                METHOD("Pin", ("s", slot, "b", pinned), ("t", id, "o", job), on_pin),
                SD_BUS_METHOD_WITH_ARGS("Check", SD_BUS_NO_ARGS, SD_BUS_RESULT("a(ssss)", findings),
                                on_check, UNPRIVILEGED),
                SD_BUS_METHOD_WITH_ARGS("ListSlots", SD_BUS_NO_ARGS,
                                SD_BUS_RESULT("a(sssstbo)", slots), bus_list_slots, UNPRIVILEGED),
                SD_BUS_METHOD_WITH_ARGS("ListJobs", SD_BUS_NO_ARGS, SD_BUS_RESULT("a(tssdo)", jobs),
                                bus_list_jobs, UNPRIVILEGED),
                METHOD("GetHistory", ("u", max), ("aa{sv}", events), bus_get_history),
                SD_BUS_SIGNAL_WITH_ARGS("JobNew", SD_BUS_ARGS("t", id, "o", job), 0),
                SD_BUS_SIGNAL_WITH_ARGS("JobRemoved",
                                SD_BUS_ARGS("t", id, "o", job, "i", status, "s", error, "s",
                                                message),
                                0),
                SD_BUS_VTABLE_END,
};

int bus_manager_add(Manager *m) {
        int r;

        r = sd_bus_add_object_manager(m->bus, NULL, API_PATH);
        return r < 0 ? r
                     : sd_bus_add_object_vtable(m->bus, NULL, API_PATH, API_MANAGER_INTERFACE,
                                       manager_vtable, m);
}
