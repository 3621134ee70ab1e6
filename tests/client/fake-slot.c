/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "dbus/api.h"
#include "tests/client/fake.h"

char *fake_slot_path(const FakeSlot *s) {
        char *path = NULL;

        return sd_bus_path_encode(API_SLOT_PATH, s->id, &path) < 0 ? NULL : path;
}

int fake_slot_find(sd_bus *bus _unused_, const char *path, const char *interface _unused_,
                void *userdata, void **ret, sd_bus_error *e _unused_) {
        Fake *f = userdata;
        _cleanup_(freep) char *id = NULL;

        if (sd_bus_path_decode(path, API_SLOT_PATH, &id) <= 0)
                return 0;
        for (unsigned i = 0; i < f->opt.slots; i++)
                if (str_eq(f->slots[i].id, id)) {
                        *ret = &f->slots[i];
                        return 1;
                }
        return 0;
}

int fake_slot_enumerate(sd_bus *bus _unused_, const char *prefix _unused_, void *userdata,
                char ***ret, sd_bus_error *e _unused_) {
        Fake *f = userdata;
        char **paths = calloc(f->opt.slots + 1, sizeof(*paths));

        for (unsigned i = 0; paths && i < f->opt.slots; i++)
                paths[i] = fake_slot_path(&f->slots[i]);
        *ret = paths;
        return paths ? 0 : -ENOMEM;
}

static int get_slot(sd_bus *bus _unused_, const char *path _unused_, const char *interface _unused_,
                const char *property, sd_bus_message *reply, void *userdata,
                sd_bus_error *e _unused_) {
        FakeSlot *s = userdata;

        if (str_eq(property, "Devices"))
                return s->device ? sd_bus_message_append(reply, "as", 1, s->device)
                                 : sd_bus_message_append(reply, "as", 0);
        if (str_eq(property, "DeviceKind"))
                return sd_bus_message_append(reply, "s", str_or(s->kind, ""));
        if (str_eq(property, "DependsOn"))
                return sd_bus_message_append(reply, "s", str_or(s->depends, ""));
        if (str_eq(property, "KernelVersion"))
                return sd_bus_message_append(reply, "s", "6.18.2");
        if (str_eq(property, "Id"))
                return sd_bus_message_append(reply, "s", s->id);
        if (str_eq(property, "State"))
                return sd_bus_message_append(reply, "s", s->state);
        if (str_eq(property, "Version"))
                return sd_bus_message_append(reply, "s", s->version);
        return sd_bus_message_append(reply, "s", s->reason);
}

#define CHANGES(name, type, member)                                                                \
        SD_BUS_PROPERTY(name, type, NULL, offsetof(FakeSlot, member),                              \
                        SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE)

const sd_bus_vtable fake_slot_vtable[] = {
                SD_BUS_VTABLE_START(0),
                SD_BUS_PROPERTY("Id", "s", get_slot, 0, SD_BUS_VTABLE_PROPERTY_CONST),
                SD_BUS_PROPERTY("State", "s", get_slot, 0, SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE),
                SD_BUS_PROPERTY("Version", "s", get_slot, 0, SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE),
                SD_BUS_PROPERTY("Reason", "s", get_slot, 0, SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE),
                SD_BUS_PROPERTY("Devices", "as", get_slot, 0, SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE),
                SD_BUS_PROPERTY("DeviceKind", "s", get_slot, 0,
                                SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE),
                SD_BUS_PROPERTY("DependsOn", "s", get_slot, 0, SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE),
                SD_BUS_PROPERTY("KernelVersion", "s", get_slot, 0,
                                SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE),
                CHANGES("DeviceSize", "t", device_size),
                CHANGES("ToMerge", "t", to_merge),
                CHANGES("Pinned", "b", pinned),
                CHANGES("Created", "t", created),
                CHANGES("Size", "t", size),
                CHANGES("Exclusive", "t", exclusive),
                CHANGES("ReadOnly", "b", read_only),
                CHANGES("TriesLeft", "i", tries_left),
                CHANGES("Tries", "i", tries),
                SD_BUS_VTABLE_END,
};
