/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* From devices to slots. */
#include "backends/heal.h"
#include "backends/seed.h"
#include "os/file.h"

static const char *const tag_links[][2] = {
                {"PARTLABEL=", "/dev/disk/by-partlabel/"},
                {"PARTUUID=", "/dev/disk/by-partuuid/"},
};

/* As the initrd finds it. */
static char *device_link(const char *spec) {
        for (size_t i = 0; i < ARRAY_SIZE(tag_links); i++) {
                const char *name = str_after(spec, tag_links[i][0]);

                if (name)
                        return str_printf("%s%s", tag_links[i][1], name);
        }
        return strdup(spec);
}

/* By the id of the file system, which a sprout has from the kernel; a sprout needs its seed named,
 * for nobody else would tell the kernel of it in time. */
static int name_for_boot(const Seed *s, const DeviceFacts *d, const DeviceFacts *seed, Slot *slot) {
        _cleanup_(freep) char *link = seed ? device_link(seed->config->spec) : strdup("");
        char uuid[UUID_TEXT_SIZE];

        if (!link)
                return -ENOMEM;
        if (!d->has_super)
                return 0;
        free(slot->boot_options);
        slot->boot_options = str_printf("root=UUID=%s rootflags=subvol=" LAYOUT_HOME
                                        "/slots/%s/root%s%s ro%s",
                        uuid_format(uuid, d->super.fsid), d->config->id, seed ? ",device=" : "",
                        link, !seed && s->world->config->seal_at_boot ? " abupdate.seal" : "");
        return slot->boot_options ? 0 : -ENOMEM;
}

/* What the record says, or where there is none yet, what the installer put beside the root. */
static int running_slot(Seed *s, DeviceFacts *d, Slot *inside, Slot *ret) {
        bool good = inside->state != SLOT_INCOMPLETE;

        *ret = good && d->record.id ? d->record : *inside;
        if (good && d->record.id) {
                d->record = (Slot){0};
                ret->boot_key = inside->boot_key;
                slot_done(inside);
        } else
                *inside = (Slot){0};
        (void) s;
        return 0;
}

static int empty_slot(const DeviceFacts *d, Slot *ret) {
        ret->state = d->kind == DEVICE_SPARE || d->kind == DEVICE_SPROUT ? SLOT_EMPTY
                                                                         : SLOT_INCOMPLETE;
        if (!ret->version && str_set(&ret->version, "") < 0)
                return -ENOMEM;
        return str_set(&ret->reason, d->why);
}

/* A slot on a device that does not run: its record, if the device still has what that names. */
static int recorded_slot(const DeviceList *l, DeviceFacts *d, Slot *ret) {
        const DeviceFacts *below = device_find(l, d->record.depends);

        *ret = d->record;
        d->record = (Slot){0};
        if (!ret->depends || (below && below->kind == DEVICE_SEALED &&
                                             sprout_fits(d->block.path, &below->super)))
                return 0;
        ret->state = SLOT_INCOMPLETE;
        free(ret->reason);
        ret->reason = str_printf("what it builds on is not on device %s any more", ret->depends);
        return ret->reason ? 0 : -ENOMEM;
}

static bool record_counts(const DeviceFacts *d) {
        char uuid[UUID_TEXT_SIZE];

        return d->record.id && d->has_super &&
               str_eq(d->record.fsid, uuid_format(uuid, d->super.fsid));
}

static int describe_device(Seed *s, const DeviceList *l, const DeviceFacts *d, Slot *slot) {
        const DeviceFacts *seed = NULL;
        char uuid[UUID_TEXT_SIZE];
        int r = 0;

        if (d->kind == DEVICE_SPROUT)
                seed = d->here ? l->seed : device_find(l, slot->depends);
        slot->device_size = d->block.size;
        slot->to_merge = d == l->sprout && l->seed ? l->seed->used : 0;
        if (slot->state != SLOT_EMPTY && d->has_super)
                r = str_set(&slot->fsid, uuid_format(uuid, d->super.fsid));
        if (r >= 0)
                r = str_set(&slot->depends,
                                seed && slot->state != SLOT_EMPTY ? seed->config->id : NULL);
        if (r >= 0)
                r = str_set(&slot->device, str_or(d->block.path, d->config->spec));
        if (r >= 0)
                r = str_set(&slot->device_kind, device_kind_to_string(d->kind));
        if (r >= 0 && slot->state != SLOT_EMPTY && slot->state != SLOT_INCOMPLETE)
                r = name_for_boot(s, d, seed, slot);
        return r < 0 ? r : str_set(&slot->id, d->config->id);
}

/* From a sprout that was pulled nothing can be read, and the slots are told all the same. */
static int read_transaction(const Seed *s, const DeviceList *l, char **ret, Err **reterr) {
        _cleanup_(err_freep) Err *why = NULL;
        int r = seed_transaction(s, ret, &why);

        if (r == -EIO && !l->sprout)
                return 0;
        if (r < 0 && reterr)
                *reterr = MOVE(why);
        return r;
}

static int list_one(Seed *s, const DeviceList *l, DeviceFacts *d, uint64_t booted_key, Slot *ret,
                Err **reterr) {
        _cleanup_(slot_done) Slot slot = {0}, inside = {0};
        int r = layout_read_slot(&s->layout, d->config->id, &inside, reterr);

        if (r < 0)
                return r;
        if (inside.boot_key != 0 && inside.boot_key == booted_key) {
                r = running_slot(s, d, &inside, &slot);
                slot.booted = true;
                if (r >= 0)
                        r = read_transaction(s, l, &slot.transaction, reterr);
                if (r < 0)
                        return r;
                slot.changed = r > 0;
        } else if (d == l->sprout && (!record_counts(d) || inside.boot_key == 0))
                r = empty_slot(d, &slot);
        else if (record_counts(d)) {
                r = recorded_slot(l, d, &slot);
                slot.boot_key = d == l->sprout ? inside.boot_key : 0;
        } else {
                if (d->kind == DEVICE_MISSING || d->kind == DEVICE_FOREIGN)
                        r = str_set(&slot.version, d->record.version);
                if (r >= 0)
                        r = empty_slot(d, &slot);
        }
        if (r >= 0)
                r = describe_device(s, l, d, &slot);
        if (r < 0)
                return err_new(reterr, r, "out of memory");
        *ret = slot;
        slot = (Slot){0};
        return 0;
}

int seed_list(SlotBackend *b, SlotList **ret, Err **reterr) {
        Seed *s = to_seed(b);
        _cleanup_(slot_list_freep) SlotList *l = calloc(1, sizeof(*l));
        _cleanup_(device_list_done) DeviceList devices = {0};
        uint64_t booted_key;
        int r;

        if (!l)
                return err_new(reterr, ENOMEM, "out of memory");
        r = subvol_id(s->world->root_fd, &booted_key, reterr);
        if (r >= 0)
                r = device_list_read(s, &devices, reterr);
        if (r < 0)
                return r;
        l->slots = calloc(devices.n + 1, sizeof(*l->slots));
        if (!l->slots)
                return err_new(reterr, ENOMEM, "out of memory");
        for (; l->n < devices.n; l->n++) {
                r = list_one(s, &devices, &devices.devices[l->n], booted_key, &l->slots[l->n],
                                reterr);
                if (r < 0)
                        return err_add(reterr, r, "read slot %s", devices.devices[l->n].config->id);
        }
        *ret = MOVE(l);
        return 0;
}
