/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <sys/stat.h>

#include "daemon/world.h"

const Field world_fields[] = {
                {"backend", FIELD_STRING, offsetof(World, backend), "Backend"},
                {"boot-backend", FIELD_STRING, offsetof(World, boot_backend), "BootBackend"},
                {"verification", FIELD_STRING, offsetof(World, verification), "Verification"},
                {"capabilities", FIELD_STRINGS, offsetof(World, capabilities), "Capabilities"},
                {"state", FIELD_STRING, offsetof(World, state), "State"},
                {"reason", FIELD_STRING, offsetof(World, reason), "Reason"},
                {"version", FIELD_STRING, offsetof(World, version), "Version"},
                {"booted", FIELD_NAME, offsetof(World, booted), "Booted"},
                {"next", FIELD_NAME, offsetof(World, next), "Next"},
                {"good", FIELD_NAME, offsetof(World, good), "Good"},
                {"reboot-required", FIELD_BOOL, offsetof(World, reboot_required), "RebootRequired"},
                {"transaction", FIELD_STRING, offsetof(World, transaction), "Transaction"},
                {"problems", FIELD_STRINGS, offsetof(World, problems), "Problems"},
};

const Field slot_fields[] = {
                {"id", FIELD_NAME, offsetof(WorldSlot, id), NULL},
                {"state", FIELD_STRING, offsetof(WorldSlot, state), "State"},
                {"version", FIELD_STRING, offsetof(WorldSlot, version), "Version"},
                {"reason", FIELD_STRING, offsetof(WorldSlot, reason), "Reason"},
                {"pinned", FIELD_BOOL, offsetof(WorldSlot, pinned), "Pinned"},
                {"created", FIELD_U64, offsetof(WorldSlot, created), "Created"},
                {"size", FIELD_U64, offsetof(WorldSlot, size), "Size"},
                {"exclusive", FIELD_U64, offsetof(WorldSlot, exclusive), "Exclusive"},
                {"read-only", FIELD_BOOL, offsetof(WorldSlot, read_only), "ReadOnly"},
                {"devices", FIELD_STRINGS, offsetof(WorldSlot, devices), "Devices"},
                {"device-kind", FIELD_STRING, offsetof(WorldSlot, device_kind), "DeviceKind"},
                {"device-size", FIELD_U64, offsetof(WorldSlot, device_size), "DeviceSize"},
                {"depends-on", FIELD_NAME, offsetof(WorldSlot, depends), "DependsOn"},
                {"to-merge", FIELD_U64, offsetof(WorldSlot, to_merge), "ToMerge"},
                {"kernel-version", FIELD_STRING, offsetof(WorldSlot, kernel_version),
                                "KernelVersion"},
                {"tries-left", FIELD_INT, offsetof(WorldSlot, tries_left), "TriesLeft"},
                {"tries", FIELD_INT, offsetof(WorldSlot, tries), "Tries"},
};

static const Field refused_fields[] = {
                {"version", FIELD_STRING, offsetof(WorldRefused, version), NULL},
                {"reason", FIELD_STRING, offsetof(WorldRefused, reason), NULL},
};

static const Field event_fields[] = {
                {"time", FIELD_U64, offsetof(WorldEvent, time), NULL},
                {"job", FIELD_U64, offsetof(WorldEvent, job), NULL},
                {"type", FIELD_STRING, offsetof(WorldEvent, type), NULL},
                {"slot", FIELD_STRING, offsetof(WorldEvent, slot), NULL},
                {"version", FIELD_STRING, offsetof(WorldEvent, version), NULL},
                {"status", FIELD_INT, offsetof(WorldEvent, status), NULL},
                {"error", FIELD_STRING, offsetof(WorldEvent, error), NULL},
                {"message", FIELD_STRING, offsetof(WorldEvent, message), NULL},
};

const size_t n_world_fields = ARRAY_SIZE(world_fields);
const size_t n_slot_fields = ARRAY_SIZE(slot_fields);

/* The list below @key as an array of structs. *ret and *ret_n are kept up to date, for cleaning up after a failure. */
static int read_list(json_object *o, const char *key, size_t max, const Field *fields,
                size_t n_fields, size_t item_size, void **ret, size_t *ret_n, Err **reterr) {
        json_object *list;
        char *items;
        size_t n;
        int r;

        r = json_array(o, key, max, &list, reterr);
        if (r < 0 || !list)
                return r;
        n = json_object_array_length(list);
        if (n == 0)
                return 0;

        *ret = items = calloc(n, item_size);
        if (!items)
                return err_sys(reterr, ENOMEM, "read \"%s\"", key);
        for (size_t i = 0; i < n; i++) {
                *ret_n = i + 1;
                r = fields_read(json_object_array_get_idx(list, i), fields, n_fields,
                                items + i * item_size, reterr);
                if (r < 0)
                        return err_add(reterr, r, "%s, item %zu", key, i + 1);
        }
        return 0;
}

static void done_list(
                const Field *fields, size_t n_fields, size_t item_size, void *items, size_t n) {
        for (size_t i = 0; i < n; i++)
                fields_done(fields, n_fields, (char *) items + i * item_size);
        free(items);
}

static int compare_slots(const void *a, const void *b) {
        return strverscmp(((const WorldSlot *) a)->id, ((const WorldSlot *) b)->id);
}

static int sort_slots(World *w, Err **reterr) {
        for (size_t i = 0; i < w->n_slots; i++)
                if (!w->slots[i].id)
                        return err_new(reterr, EBADMSG, "slot without an id");

        if (w->n_slots > 1)
                qsort(w->slots, w->n_slots, sizeof(*w->slots), compare_slots);

        for (size_t i = 1; i < w->n_slots; i++)
                if (str_eq(w->slots[i - 1].id, w->slots[i].id))
                        return err_new(reterr, EBADMSG, "two slots \"%s\"", w->slots[i].id);
        return 0;
}

int world_parse(const char *text, size_t size, World *ret, Err **reterr) {
        _cleanup_(json_putp) json_object *o = NULL;
        _cleanup_(world_done) World w = {0};
        int r;

        r = json_parse_object(text, size, /* depth= */ 8, &o, reterr);
        if (r >= 0)
                r = fields_read(o, world_fields, n_world_fields, &w, reterr);
        if (r >= 0)
                r = read_list(o, "slots", SLOTS_MAX, slot_fields, n_slot_fields, sizeof(WorldSlot),
                                (void **) &w.slots, &w.n_slots, reterr);
        if (r >= 0)
                r = read_list(o, "refused", REFUSED_MAX, refused_fields, ARRAY_SIZE(refused_fields),
                                sizeof(WorldRefused), (void **) &w.refused, &w.n_refused, reterr);
        if (r >= 0)
                r = read_list(o, "history", HISTORY_MAX, event_fields, ARRAY_SIZE(event_fields),
                                sizeof(WorldEvent), (void **) &w.history, &w.n_history, reterr);
        if (r >= 0)
                r = sort_slots(&w, reterr);
        if (r < 0)
                return err_add(reterr, r, "state of the machine");

        *ret = w;
        w = (World){0};
        return 0;
}

int world_read(int fd, World *ret, Err **reterr) {
        _cleanup_(freep) char *text = NULL;
        struct stat st;
        size_t n = 0;
        ssize_t k;

        if (fstat(fd, &st) < 0)
                return err_sys(reterr, errno, "state of the machine");
        if (!S_ISREG(st.st_mode) || st.st_size <= 0 || st.st_size > WORLD_SIZE_MAX)
                return err_new(reterr, EBADMSG, "state of the machine: not a file of a sane size");

        text = malloc((size_t) st.st_size);
        if (!text)
                return err_sys(reterr, ENOMEM, "state of the machine");
        while (n < (size_t) st.st_size) {
                k = pread(fd, text + n, (size_t) st.st_size - n, (off_t) n);
                if (k < 0 && errno == EINTR)
                        continue;
                if (k <= 0)
                        return err_sys(reterr, k < 0 ? errno : EBADMSG, "state of the machine");
                n += (size_t) k;
        }
        return world_parse(text, n, ret, reterr);
}

void world_done(World *w) {
        fields_done(world_fields, n_world_fields, w);
        done_list(slot_fields, n_slot_fields, sizeof(WorldSlot), w->slots, w->n_slots);
        done_list(refused_fields, ARRAY_SIZE(refused_fields), sizeof(WorldRefused), w->refused,
                        w->n_refused);
        done_list(event_fields, ARRAY_SIZE(event_fields), sizeof(WorldEvent), w->history,
                        w->n_history);
        *w = (World){0};
}

WorldSlot *world_slot(const World *w, const char *id) {
        WorldSlot key = {.id = (char *) id};

        if (!id || w->n_slots == 0)
                return NULL;
        return bsearch(&key, w->slots, w->n_slots, sizeof(*w->slots), compare_slots);
}

bool world_refused_equal(const World *a, const World *b) {
        if (a->n_refused != b->n_refused)
                return false;
        for (size_t i = 0; i < a->n_refused; i++)
                for (size_t k = 0; k < ARRAY_SIZE(refused_fields); k++)
                        if (!field_equal(&refused_fields[k], &a->refused[i], &b->refused[i]))
                                return false;
        return true;
}
