/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "client/facts.h"
#include "client/bus.h"
#include "dbus/api.h"

char *facts_slot_id(const char *path) {
        char *id = NULL;
        int r = sd_bus_path_decode(path, API_SLOT_PATH, &id);

        if (r < 0)
                return NULL;
        return r == 0 ? strdup("") : id;
}

/* The bus' pairs of version and reason as objects with names. */
static int name_refused(json_object *machine) {
        json_object *pairs = jarray(machine, "refused"), *objects;
        int r = 0;

        if (!pairs)
                return 0;
        objects = json_object_new_array();
        for (size_t i = 0; i < json_object_array_length(pairs) && r >= 0; i++) {
                json_object *pair = json_object_array_get_idx(pairs, i), *o;

                if (json_object_get_type(pair) != json_type_array)
                        continue;
                o = json_object_new_object();
                r = jset(o, "version", json_object_get(json_object_array_get_idx(pair, 0)));
                if (r >= 0)
                        r = jset(o, "reason", json_object_get(json_object_array_get_idx(pair, 1)));
                if (r >= 0)
                        r = jappend(objects, o);
                else
                        json_object_put(o);
        }
        if (r < 0) {
                json_object_put(objects);
                return r;
        }
        return jset(machine, "refused", objects);
}

int facts_machine(Client *c, json_object **ret, Err **reterr) {
        static const char *const paths[] = {"booted", "next", "good"};
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *reply = NULL;
        _cleanup_(json_unrefp) json_object *o = NULL;
        int r = bus_get_all(c, API_PATH, API_MANAGER_INTERFACE, &reply, reterr);

        if (r < 0)
                return r;
        r = json_from_bus(reply, &o);
        for (size_t i = 0; i < ARRAY_SIZE(paths) && r >= 0; i++) {
                _cleanup_(freep) char *id = facts_slot_id(jstr(o, paths[i]));

                r = id ? jset_str(o, paths[i], id) : -ENOMEM;
        }
        if (r >= 0)
                r = name_refused(o);
        if (r < 0)
                return bus_broken(r, reterr);
        *ret = MOVE(o);
        return 0;
}

static const char *const marks[] = {"booted", "next", "good"};

static int mark_slot(json_object *slot, json_object *machine) {
        int r = 0;

        for (size_t i = 0; i < ARRAY_SIZE(marks) && r >= 0; i++)
                r = jset_bool(slot, marks[i], str_eq(jstr(machine, marks[i]), jstr(slot, "id")));
        return r;
}

/* Numbers rise, so the newest comes first; configured names stand in their own order. */
static int compare_ids(const char *x, const char *y) {
        uint64_t i, j;

        if (parse_u64(x, &i) >= 0 && parse_u64(y, &j) >= 0)
                return i < j ? 1 : i > j ? -1 : 0;
        return strverscmp(x, y);
}

static int compare_slots(const void *a, const void *b) {
        return compare_ids(jstr(*(json_object *const *) a, "id"),
                        jstr(*(json_object *const *) b, "id"));
}

typedef struct Row {
        const char *id, *state, *version, *reason; /* within the reply */
        uint64_t created;
        int pinned;
} Row;

static int compare_rows(const void *a, const void *b) {
        return compare_ids(((const Row *) a)->id, ((const Row *) b)->id);
}

static int read_rows(sd_bus_message *reply, Row **rows, size_t *n) {
        const char *path;
        Row row, *more;
        int r = sd_bus_message_enter_container(reply, 'a', "(sssstbo)");

        while (r >= 0 && (r = sd_bus_message_read(reply, "(sssstbo)", &row.id, &row.state,
                                          &row.version, &row.reason, &row.created, &row.pinned,
                                          &path)) > 0) {
                if (*n % 64 == 0) {
                        more = reallocarray(*rows, *n + 64, sizeof(*more));
                        if (!more)
                                return -ENOMEM;
                        *rows = more;
                }
                (*rows)[(*n)++] = row;
        }
        return r;
}

static int add_row(json_object *slots, const Row *row) {
        json_object *o = json_object_new_object();
        int r = jset_str(o, "id", row->id);

        if (r >= 0)
                r = jset_str(o, "state", row->state);
        if (r >= 0)
                r = jset_str(o, "version", row->version);
        if (r >= 0)
                r = jset_str(o, "reason", row->reason);
        if (r >= 0)
                r = jset_u64(o, "created", row->created);
        if (r >= 0)
                r = jset_bool(o, "pinned", row->pinned);
        if (r >= 0)
                return jappend(slots, o);
        json_object_put(o);
        return r;
}

static bool is_named(json_object *machine, const char *id) {
        for (size_t i = 0; i < ARRAY_SIZE(marks); i++)
                if (str_eq(jstr(machine, marks[i]), id))
                        return true;
        return false;
}

int facts_recent_slots(Client *c, json_object *machine, size_t max, json_object **ret,
                size_t *ret_older, Err **reterr) {
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *m = NULL, *reply = NULL;
        _cleanup_(json_unrefp) json_object *slots = json_object_new_array();
        _cleanup_(freep) Row *rows = NULL;
        size_t n = 0, older = 0;
        int r = bus_method(c, "ListSlots", &m, reterr);

        if (r >= 0)
                r = bus_call(c, m, /* timeout= */ 0, &reply, reterr);
        if (r < 0)
                return r;
        r = slots ? read_rows(reply, &rows, &n) : -ENOMEM;
        if (r >= 0 && n > 0)
                qsort(rows, n, sizeof(*rows), compare_rows);
        for (size_t i = 0; i < n && r >= 0; i++)
                if (i < max || rows[i].pinned || is_named(machine, rows[i].id))
                        r = add_row(slots, &rows[i]);
                else
                        older++;
        if (r >= 0)
                r = facts_mark_slots(machine, slots);
        if (r < 0)
                return bus_broken(r, reterr);
        *ret = MOVE(slots);
        *ret_older = older;
        return 0;
}

/* All objects of the daemon that have @interface, into @array. */
static int managed_objects(Client *c, const char *interface, json_object *array, Err **reterr) {
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *m = NULL, *reply = NULL;
        _cleanup_(json_unrefp) json_object *all = NULL;
        int r = bus_open(c, reterr);

        if (r < 0)
                return r;
        r = sd_bus_message_new_method_call(c->bus, &m, API_NAME, API_PATH,
                        "org.freedesktop.DBus.ObjectManager", "GetManagedObjects");
        if (r < 0)
                return bus_broken(r, reterr);
        r = bus_call(c, m, /* timeout= */ 0, &reply, reterr);
        if (r < 0)
                return r;
        r = json_from_bus(reply, &all);
        if (r < 0)
                return bus_broken(r, reterr);
        json_object_object_foreach(all, path, interfaces) {
                json_object *o = NULL;

                (void) path;
                if (json_object_object_get_ex(interfaces, interface, &o))
                        r = jappend(array, json_object_get(o));
                if (r < 0)
                        return bus_broken(r, reterr);
        }
        return 0;
}

int facts_mark_slots(json_object *machine, json_object *slots) {
        int r = 0;

        for (size_t i = 0; i < json_object_array_length(slots) && r >= 0; i++)
                r = mark_slot(json_object_array_get_idx(slots, i), machine);
        json_object_array_sort(slots, compare_slots);
        return r;
}

int facts_slots(Client *c, json_object *machine, json_object **ret, Err **reterr) {
        _cleanup_(json_unrefp) json_object *slots = json_object_new_array();
        int r;

        if (!slots)
                return bus_broken(-ENOMEM, reterr);
        r = managed_objects(c, API_SLOT_INTERFACE, slots, reterr);
        if (r < 0)
                return r;
        r = facts_mark_slots(machine, slots);
        if (r < 0)
                return bus_broken(r, reterr);
        *ret = MOVE(slots);
        return 0;
}

/* One job; a job that has ended meanwhile is no error, then @array stays as it is. */
static int add_job(Client *c, json_object *array, const char *path, Err **reterr) {
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *reply = NULL;
        _cleanup_(err_freep) Err *gone = NULL;
        json_object *job = NULL;
        int r = bus_get_all(c, path, API_JOB_INTERFACE, &reply, &gone);

        if (r < 0)
                return err_kind_of(gone) == ERR_NO_DAEMON
                                       ? err_kind(reterr, ERR_NO_DAEMON, r, "%s", err_text(gone))
                                       : 0;
        r = json_from_bus(reply, &job);
        if (r >= 0)
                r = jappend(array, job);
        return r < 0 ? bus_broken(r, reterr) : 0;
}

int facts_jobs(Client *c, json_object **ret, Err **reterr) {
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *m = NULL, *reply = NULL;
        _cleanup_(json_unrefp) json_object *jobs = json_object_new_array();
        const char *path;
        int r;

        if (!jobs)
                return bus_broken(-ENOMEM, reterr);
        r = bus_method(c, "ListJobs", &m, reterr);
        if (r >= 0)
                r = bus_call(c, m, /* timeout= */ 0, &reply, reterr);
        if (r < 0)
                return r;
        r = sd_bus_message_enter_container(reply, 'a', "(tssdo)");
        while (r >= 0 && (r = sd_bus_message_read(
                                          reply, "(tssdo)", NULL, NULL, NULL, NULL, &path)) > 0) {
                r = add_job(c, jobs, path, reterr);
                if (r < 0)
                        return r;
        }
        if (r < 0)
                return bus_broken(r, reterr);
        *ret = MOVE(jobs);
        return 0;
}

json_object *facts_find_slot(json_object *slots, const char *id) {
        for (size_t i = 0; slots && i < json_object_array_length(slots); i++) {
                json_object *o = json_object_array_get_idx(slots, i);

                if (str_eq(jstr(o, "id"), id))
                        return o;
        }
        return NULL;
}
