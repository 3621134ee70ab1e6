/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <fcntl.h>
#include <sys/stat.h>

#include "backends/seed.h"
#include "base/enum.h"
#include "base/kv.h"
#include "os/file.h"

enum { RECORD_MAX = 64 * 1024 };

static const char *const device_kind_names[_DEVICE_KIND_MAX] = {
                [DEVICE_MISSING] = "missing",
                [DEVICE_FOREIGN] = "foreign",
                [DEVICE_SPARE] = "spare",
                [DEVICE_SEALED] = "sealed",
                [DEVICE_SPROUT] = "sprout",
                [DEVICE_STANDALONE] = "standalone",
};

const char *device_kind_to_string(DeviceKind k) {
        return device_kind_names[k];
}

void device_list_done(DeviceList *l) {
        for (size_t i = 0; i < l->n; i++) {
                block_device_done(&l->devices[i].block);
                slot_done(&l->devices[i].record);
                free(l->devices[i].why);
        }
        free(l->devices);
        *l = (DeviceList){0};
}

DeviceFacts *device_find(const DeviceList *l, const char *id) {
        for (size_t i = 0; i < l->n; i++)
                if (str_eq(l->devices[i].config->id, id))
                        return &l->devices[i];
        return NULL;
}

/* Records. */

static int record_name(const char *prefix, const char *id, char **ret, Err **reterr) {
        *ret = str_printf("%s-%s", prefix, id);
        return *ret ? 0 : err_new(reterr, ENOMEM, "out of memory");
}

/* One that cannot be read is none: its device is then nobody's, and only a person drops that. */
int seed_record_read(const Seed *s, const char *id, Slot *ret, Err **reterr) {
        _cleanup_(freep) char *name = NULL, *text = NULL;
        size_t size;
        int r = record_name("slot", id, &name, reterr);

        if (r >= 0)
                r = file_read_if_at(s->state_fd, name, RECORD_MAX, &text, &size, NULL);
        if (r > 0)
                r = slot_parse(text, size, ret, NULL) < 0 ? 0 : 1;
        if (r > 0 && str_set(&ret->id, id) < 0)
                r = -ENOMEM;
        return r == -ENOMEM ? err_new(reterr, r, "out of memory") : r > 0;
}

/* What is recorded is no spare, even where the record is lost one day. A cut before that leaves both, and the record holds. */
static int drop_claim(const Seed *s, const char *id, Err **reterr) {
        _cleanup_(freep) char *name = NULL;
        int r = record_name("claim", id, &name, reterr);

        if (r >= 0)
                (void) unlinkat(s->state_fd, name, 0);
        return r;
}

int seed_record_write(const Seed *s, const Slot *slot, Err **reterr) {
        _cleanup_(freep) char *name = NULL, *text = NULL;
        Slot record = *slot;
        int r = record_name("slot", slot->id, &name, reterr);

        record.transaction = NULL; /* of the sprout, and gone with it */
        if (r >= 0) {
                r = slot_format(&record, &text);
                if (r < 0)
                        return err_sys(reterr, r, "record slot %s", slot->id);
                r = file_write_at(s->state_fd, name, text, strlen(text), reterr);
        }
        if (r < 0)
                return err_add(reterr, r, "record slot %s", slot->id);
        return drop_claim(s, slot->id, reterr);
}

int seed_record_remove(const Seed *s, const char *id, Err **reterr) {
        _cleanup_(freep) char *name = NULL;
        int r = record_name("slot", id, &name, reterr);

        if (r < 0)
                return r;
        if (unlinkat(s->state_fd, name, 0) < 0)
                return errno == ENOENT ? 0
                                       : err_sys(reterr, errno, "remove the record of slot %s", id);
        return fs_sync(s->state_fd, reterr);
}

int seed_claim(const Seed *s, const DeviceFacts *d, const BtrfsSuper *seed, Err **reterr) {
        _cleanup_(freep) char *name = NULL, *text = NULL;
        _cleanup_(kv_freep) Kv *kv = NULL;
        char uuid[UUID_TEXT_SIZE];
        int r = record_name("claim", d->config->id, &name, reterr);

        if (r < 0)
                return r;
        r = kv_new(&kv);
        if (r >= 0 && d->has_super)
                r = kv_set(kv, "Fsid", uuid_format(uuid, d->super.fsid));
        if (r >= 0 && seed)
                r = kv_setf(kv, "AboveId", "%" PRIu64, seed->device_id);
        if (r >= 0 && seed)
                r = kv_set(kv, "AboveFsid", uuid_format(uuid, seed->fsid));
        if (r >= 0)
                r = kv_format(kv, &text);
        if (r < 0)
                return err_sys(reterr, r, "claim device %s", d->config->id);
        r = file_write_at(s->state_fd, name, text, strlen(text), reterr);
        return r < 0 ? err_add(reterr, r, "claim device %s", d->config->id) : 0;
}

/* Does the device keep the superblocks of the seed that it was to be sprouted from? What mkfs or "btrfs device add" of a
 * person gets its hands on, it wipes there. */
static bool stash_is_of(const char *device, const char *fsid) {
        char uuid[UUID_TEXT_SIZE];
        SuperCopies copies;
        BtrfsSuper seed;

        return super_stash_read(device, &copies, NULL) >= 0 &&
               super_parse(copies.blocks[0], &seed, NULL) >= 0 &&
               str_eq(fsid, uuid_format(uuid, seed.fsid));
}

/* Ours is what had that id when it was claimed. Of a sprout that a power cut has left before its id was known, only so
 * much: a device id above its seed's, no more devices than these two (the superblock of a sprout counts its seed until
 * that is merged), and what was put aside on it before. What mkfs makes has the device id 1. */
bool seed_claimed(const Seed *s, const DeviceFacts *d) {
        _cleanup_(freep) char *name = NULL, *text = NULL;
        _cleanup_(kv_freep) Kv *kv = NULL;
        char uuid[UUID_TEXT_SIZE];
        uint64_t above = 0;
        size_t size;

        if (record_name("claim", d->config->id, &name, NULL) < 0 ||
                        file_read_if_at(s->state_fd, name, RECORD_MAX, &text, &size, NULL) <= 0 ||
                        kv_parse(text, size, &kv, NULL) < 0 ||
                        kv_get_u64(kv, "AboveId", 0, &above, NULL) < 0)
                return false;
        return str_eq(kv_get(kv, "Fsid"), uuid_format(uuid, d->super.fsid)) ||
               (above > 0 && d->super.num_devices <= 2 && d->super.device_id > above &&
                               kv_get(kv, "AboveFsid") &&
                               stash_is_of(d->block.path, kv_get(kv, "AboveFsid")));
}

/* Kinds. */

static int look_away(Seed *s, DeviceFacts *d, Err **reterr) {
        _cleanup_(freep) char *content = NULL;
        char uuid[UUID_TEXT_SIZE];
        int r;

        if (d->has_super && d->record.id &&
                        str_eq(d->record.fsid, uuid_format(uuid, d->super.fsid))) {
                d->kind = d->record.depends ? DEVICE_SPROUT
                          : d->super.seed   ? DEVICE_SEALED
                                            : DEVICE_STANDALONE;
                return 0;
        }
        if (d->has_super) {
                d->kind = seed_claimed(s, d) ? DEVICE_SPARE : DEVICE_FOREIGN;
                if (d->kind == DEVICE_SPARE)
                        return 0;
                d->why = strdup("it holds a Btrfs that is none of ours");
                return d->why ? 0 : err_new(reterr, ENOMEM, "out of memory");
        }
        r = block_content(d->block.path, &content, reterr);
        if (r < 0)
                return r;
        d->kind = content ? DEVICE_FOREIGN : DEVICE_SPARE;
        if (content)
                d->why = str_printf("it holds %s", content);
        return content && !d->why ? err_new(reterr, ENOMEM, "out of memory") : 0;
}

static int look_at(Seed *s, const FsDevices *fs, bool on_seed, DeviceFacts *d, Err **reterr) {
        int r = seed_record_read(s, d->config->id, &d->record, reterr);

        if (r >= 0)
                r = block_find(s->world->root_fd, d->config->spec, &d->block, reterr);
        if (r == -ENOENT || r == -ENXIO || r == -ENOMEDIUM) {
                d->kind = DEVICE_MISSING;
                d->why = str_printf("%s is not there", d->config->spec);
                return d->why ? 0 : err_new(reterr, ENOMEM, "out of memory");
        }
        if (r < 0)
                return r;
        d->has_super = super_read(d->block.path, &d->super, NULL) >= 0;
        for (size_t i = 0; i < fs->n; i++) {
                const FsDevice *part = &fs->devices[i];

                if (part->number != d->block.number)
                        continue;
                d->here = true;
                d->id = part->id;
                d->used = part->used;
                d->kind = part->seed || part->sealed ? DEVICE_SEALED
                          : on_seed                  ? DEVICE_SPROUT
                                                     : DEVICE_STANDALONE;
                return 0;
        }
        return look_away(s, d, reterr);
}

static int read_devices(Seed *s, const FsDevices *fs, DeviceList *l, Err **reterr) {
        const Config *c = s->world->config;
        bool on_seed = false;

        for (size_t i = 0; i < fs->n; i++)
                on_seed |= fs->devices[i].seed;
        l->devices = calloc(c->n_devices, sizeof(*l->devices));
        if (!l->devices)
                return err_new(reterr, ENOMEM, "out of memory");
        for (; l->n < c->n_devices;) {
                DeviceFacts *d = &l->devices[l->n++];
                _cleanup_(err_freep) Err *why = NULL;
                int r;

                d->config = &c->devices[l->n - 1];
                r = look_at(s, fs, on_seed, d, &why);
                if (r == -ENOMEM)
                        return err_new(reterr, r, "out of memory");
                if (r < 0) { /* a device that cannot be read is not to be touched */
                        d->kind = DEVICE_FOREIGN;
                        free(d->why);
                        d->why = strdup(err_text(why));
                        if (!d->why)
                                return err_new(reterr, ENOMEM, "out of memory");
                }
                if (d->here && d->kind == DEVICE_SPROUT)
                        l->sprout = d;
                else if (d->here && on_seed)
                        l->seed = d;
        }
        return 0;
}

int device_list_read(Seed *s, DeviceList *ret, Err **reterr) {
        _cleanup_(device_list_done) DeviceList l = {0};
        _cleanup_(fs_devices_done) FsDevices fs = {0};
        int r = fs_devices(s->world->root_fd, &fs, reterr);

        if (r >= 0)
                r = read_devices(s, &fs, &l, reterr);
        if (r < 0)
                return err_add(reterr, r, "look at the devices of the slots");
        *ret = l;
        l = (DeviceList){0};
        return 0;
}

/* The kernel holds on to a device that was pulled, under the name that it had. */
static const FsDevice *find_pulled(const FsDevices *fs) {
        for (size_t i = 0; i < fs->n; i++)
                if (fs->devices[i].missing)
                        return &fs->devices[i];
        return NULL;
}

int seed_lost(SlotBackend *b, const char *id, char **ret_text, Err **reterr) {
        Seed *s = to_seed(b);
        _cleanup_(device_list_done) DeviceList l = {0};
        _cleanup_(fs_devices_done) FsDevices fs = {0};
        const DeviceFacts *d;
        const FsDevice *pulled;
        int r = fs_devices(s->world->root_fd, &fs, reterr);

        if (r >= 0)
                r = device_list_read(s, &l, reterr);
        if (r < 0)
                return r;
        pulled = find_pulled(&fs);
        d = device_find(&l, id);
        for (size_t i = 0; pulled && i < l.n && (!d || d->kind != DEVICE_MISSING); i++)
                d = &l.devices[i];
        if (!d || d->kind != DEVICE_MISSING)
                return 0;
        *ret_text = str_printf("device %s (%s%s%s) is gone; attach it, reboot, and try again",
                        d->config->id, d->config->spec, pulled ? ", it was " : "",
                        pulled ? pulled->path : "");
        return *ret_text ? 1 : err_new(reterr, ENOMEM, "out of memory");
}
