/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* org.abupdate1.Slot: one table for all of them, nothing is kept per slot. */
#include "daemon/manager.h"

char *bus_slot_path(const char *id) {
        char *path;

        if (!id || !*id)
                return strdup("/");
        return sd_bus_path_encode(API_SLOT_PATH, id, &path) < 0 ? NULL : path;
}

static int find_slot(sd_bus *bus, const char *path, const char *interface, void *userdata,
                void **ret, sd_bus_error *e) {
        _cleanup_(freep) char *id = NULL;
        Manager *m = userdata;
        int r;

        (void) bus, (void) interface, (void) e;
        r = sd_bus_path_decode(path, API_SLOT_PATH, &id);
        if (r <= 0)
                return r;
        *ret = world_slot(&m->world, id);
        return !!*ret;
}

static void strv_free(char **l) {
        for (size_t i = 0; l && l[i]; i++)
                free(l[i]);
        free(l);
}

static int list_nodes(
                sd_bus *bus, const char *prefix, void *userdata, char ***ret, sd_bus_error *e) {
        Manager *m = userdata;
        char **nodes;

        (void) bus, (void) prefix, (void) e;
        nodes = calloc(m->world.n_slots + 1, sizeof(*nodes));
        if (!nodes)
                return -ENOMEM;
        for (size_t i = 0; i < m->world.n_slots; i++) {
                nodes[i] = bus_slot_path(m->world.slots[i].id);
                if (!nodes[i]) {
                        strv_free(nodes);
                        return -ENOMEM;
                }
        }
        *ret = nodes;
        return 1;
}

#define SLOT_PROPERTY(name, type, member)                                                          \
        SD_BUS_PROPERTY(name, type, NULL, offsetof(WorldSlot, member),                             \
                        SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE)

static const sd_bus_vtable slot_vtable[] = {
                SD_BUS_VTABLE_START(0),
                SD_BUS_PROPERTY("Id", "s", NULL, offsetof(WorldSlot, id),
                                SD_BUS_VTABLE_PROPERTY_CONST),
                SLOT_PROPERTY("State", "s", state),
                SLOT_PROPERTY("Version", "s", version),
                SLOT_PROPERTY("Reason", "s", reason),
                SLOT_PROPERTY("Pinned", "b", pinned),
                SLOT_PROPERTY("Created", "t", created),
                SLOT_PROPERTY("Size", "t", size),
                SLOT_PROPERTY("Exclusive", "t", exclusive),
                SLOT_PROPERTY("ReadOnly", "b", read_only),
                SLOT_PROPERTY("Devices", "as", devices),
                SLOT_PROPERTY("DeviceKind", "s", device_kind),
                SLOT_PROPERTY("DeviceSize", "t", device_size),
                SLOT_PROPERTY("DependsOn", "s", depends),
                SLOT_PROPERTY("ToMerge", "t", to_merge),
                SLOT_PROPERTY("KernelVersion", "s", kernel_version),
                SLOT_PROPERTY("TriesLeft", "i", tries_left),
                SLOT_PROPERTY("Tries", "i", tries),
                SD_BUS_VTABLE_END,
};

int bus_slot_add(Manager *m) {
        int r;

        r = sd_bus_add_fallback_vtable(
                        m->bus, NULL, API_SLOT_PATH, API_SLOT_INTERFACE, slot_vtable, find_slot, m);
        return r < 0 ? r : sd_bus_add_node_enumerator(m->bus, NULL, API_SLOT_PATH, list_nodes, m);
}
