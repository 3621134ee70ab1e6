/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The loader mounts the default subvolume, so the default is the choice, stored by subvolume id.
 * Beside it lies a record, @abupdate/boot.conf: which slot is on trial, how many boots it has left,
 * where to go back to.
 *
 * The commit is the superblock that carries the new default. The record is written before it and
 * counts only while the default is the record's target: a cut between the two leaves a record that
 * means nothing. */
#include <fcntl.h>
#include <sys/stat.h>

#include "backends/boot-backend.h"
#include "backends/default-subvolume.h"
#include "backends/kernel.h"
#include "base/kv.h"
#include "os/file.h"
#include "os/proc.h"
#include "os/toplevel.h"

#define RECORD     "@abupdate/boot.conf"
#define RECORD_MAX (16 * 1024)

typedef struct DefaultSubvolume {
        BootBackend base; /* must stay first */
        const World *world;
        int top_fd;
} DefaultSubvolume;

static DefaultSubvolume *to_backend(BootBackend *b) {
        if (b->ops != &default_subvolume_boot_ops)
                abort();
        return (DefaultSubvolume *) b;
}

typedef struct Record {
        char *target; /* slot on trial; NULL: there is no record */
        uint64_t target_id;
        uint64_t tries_left;
        char *fallback; /* slot, or NULL where the fallback is none */
        uint64_t fallback_id;
} Record;

static void record_done(Record *r) {
        free(r->target);
        free(r->fallback);
        *r = (Record){0};
}

static int record_parse(const char *text, size_t size, Record *ret, Err **reterr) {
        _cleanup_(record_done) Record rec = {0};
        _cleanup_(kv_freep) Kv *kv = NULL;
        int r = kv_parse(text, size, &kv, reterr);

        if (r >= 0)
                r = kv_get_u64(kv, "TargetId", 0, &rec.target_id, reterr);
        if (r >= 0)
                r = kv_get_u64(kv, "TriesLeft", 0, &rec.tries_left, reterr);
        if (r >= 0)
                r = kv_get_u64(kv, "FallbackId", 0, &rec.fallback_id, reterr);
        if (r < 0)
                return r;
        if (!kv_get(kv, "Target") || rec.target_id == 0 || rec.fallback_id == 0)
                return err_new(reterr, EBADMSG, "a field is missing");
        if (str_set(&rec.target, kv_get(kv, "Target")) < 0 ||
                        str_set(&rec.fallback, kv_get(kv, "Fallback")) < 0)
                return err_new(reterr, ENOMEM, "out of memory");
        *ret = rec;
        rec = (Record){0};
        return 0;
}

/* A record that cannot be read is no record: the default subvolume alone decides then, and it
 * names a complete slot. */
static int record_read(int top_fd, Record *ret, Err **reterr) {
        _cleanup_(freep) char *text = NULL;
        size_t size;
        int r;

        *ret = (Record){0};
        r = file_read_if_at(top_fd, RECORD, RECORD_MAX, &text, &size, NULL);
        if (r > 0)
                r = record_parse(text, size, ret, NULL);
        return r == -ENOMEM ? err_new(reterr, r, "out of memory") : 0;
}

static int record_write(int top_fd, const Record *rec, Err **reterr) {
        _cleanup_(freep) char *text = NULL;
        _cleanup_(kv_freep) Kv *kv = NULL;
        int r = kv_new(&kv);

        if (r >= 0)
                r = kv_set(kv, "Target", rec->target);
        if (r >= 0)
                r = kv_setf(kv, "TargetId", "%" PRIu64, rec->target_id);
        if (r >= 0)
                r = kv_setf(kv, "TriesLeft", "%" PRIu64, rec->tries_left);
        if (r >= 0)
                r = kv_set(kv, "Fallback", rec->fallback);
        if (r >= 0)
                r = kv_setf(kv, "FallbackId", "%" PRIu64, rec->fallback_id);
        if (r >= 0)
                r = kv_format(kv, &text);
        if (r < 0)
                return err_sys(reterr, r, "write " RECORD);
        return file_write_at(top_fd, RECORD, text, strlen(text), reterr);
}

static int record_remove(int top_fd, Err **reterr) {
        if (unlinkat(top_fd, RECORD, 0) < 0)
                return errno == ENOENT ? 0 : err_sys(reterr, errno, "remove " RECORD);
        return fs_sync(top_fd, reterr);
}

static BootBackend *ds_close(BootBackend *b) {
        DefaultSubvolume *d = to_backend(b);

        fd_close(d->top_fd);
        free(d);
        return NULL;
}

static int ds_open(const World *w, BootBackend **ret, Err **reterr) {
        _cleanup_(boot_backend_closep) BootBackend *b = NULL;
        DefaultSubvolume *d = calloc(1, sizeof(*d));
        int r;

        if (!d)
                return err_new(reterr, ENOMEM, "out of memory");
        *d = (DefaultSubvolume){{&default_subvolume_boot_ops}, w, -1};
        b = &d->base;
        r = toplevel_open(w->root_fd, /* read_only= */ false, &d->top_fd, reterr);
        if (r < 0)
                return r;
        *ret = MOVE(b);
        return 0;
}

/* "subvol=" in mount options beats the default subvolume. 1 and its text when it is there. */
static int names_subvol(const char *options, char **ret) {
        int r = mount_option_get(options, "subvol", ret);

        if (r >= 0 && !*ret)
                r = mount_option_get(options, "subvolid", ret);
        return r < 0 ? r : *ret != NULL;
}

static int find_problem(DefaultSubvolume *d, char **ret, Err **reterr) {
        _cleanup_(freep) char *flags = NULL, *fstab = NULL, *value = NULL;
        int r;

        r = proc_cmdline_get(d->world->root_fd, "rootflags", &flags, reterr);
        if (r < 0)
                return r;
        r = flags ? names_subvol(flags, &value) : 0;
        if (r > 0)
                *ret = str_printf("the kernel command line says rootflags=%s, which beats the "
                                  "default subvolume: "
                                  "take subvol= and subvolid= out of it, or use another Boot= "
                                  "backend",
                                flags);
        if (r == 0) {
                r = fstab_options(d->world->root_fd, "/", &fstab, reterr);
                if (r < 0)
                        return r;
                r = names_subvol(fstab, &value);
                if (r > 0)
                        *ret = str_printf("the line of / in /etc/fstab says %s, which beats the "
                                          "default subvolume: "
                                          "take subvol= and subvolid= out of it, or use another "
                                          "Boot= backend",
                                        fstab);
        }
        return r < 0 || (r > 0 && !*ret) ? err_new(reterr, ENOMEM, "out of memory") : 0;
}

static const Slot *slot_of_key(const SlotList *slots, uint64_t key) {
        slots_foreach (s, slots)
                if (s->boot_key == key)
                        return s;
        return NULL;
}

static int ds_facts(BootBackend *b, const SlotList *slots, BootFacts *ret, Err **reterr) {
        DefaultSubvolume *d = to_backend(b);
        _cleanup_(boot_facts_done) BootFacts f = {.tries_left = -1};
        _cleanup_(record_done) Record rec = {0};
        const Slot *next;
        uint64_t key;
        int r;

        r = default_subvol_get(d->top_fd, &key, reterr);
        if (r >= 0)
                r = record_read(d->top_fd, &rec, reterr);
        if (r >= 0)
                r = find_problem(d, &f.problem, reterr);
        if (r < 0)
                return err_add(reterr, r, "read what the boot loader takes next");

        next = slot_of_key(slots, key);
        f.next_known = next != NULL;
        r = next ? str_set(&f.next, next->id) : 0;
        if (r >= 0 && rec.target && rec.target_id == key) {
                r = str_set(&f.trial, rec.target);
                if (r >= 0)
                        r = str_set(&f.fallback, rec.fallback);
                f.tries_left = (int) rec.tries_left;
        } else if (r >= 0 && rec.target && rec.tries_left == 0)
                r = str_set(&f.exhausted, rec.target);
        if (r < 0)
                return err_new(reterr, r, "out of memory");
        *ret = f;
        f = (BootFacts){0};
        return 0;
}

/* Does a loader that follows the default subvolume boot this slot's own kernel? It reads it from
 * the slot, unless /boot is mounted there from elsewhere: then the kernel there must be the one whose
 * modules the slot has. */
static int check_kernel(DefaultSubvolume *d, int slot_root_fd, Err **reterr) {
        _cleanup_(strv_freep) char **versions = NULL;
        _cleanup_(freep) char *running = NULL;
        struct statx boot = {0};
        bool boot_inside;
        int r;

        r = kernel_versions(slot_root_fd, &versions, reterr);
        if (r < 0 || !versions[0])
                return r;
        boot_inside = statx(d->world->root_fd, "boot", AT_NO_AUTOMOUNT, STATX_TYPE, &boot) < 0 ||
                      !(boot.stx_attributes & STATX_ATTR_MOUNT_ROOT);
        if (boot_inside && kernel_image_inside(slot_root_fd))
                return 0;
        r = file_read_if_at(d->world->root_fd, "proc/sys/kernel/osrelease", 256, &running, NULL,
                        reterr);
        if (r <= 0)
                return r;
        running[strcspn(running, "\n")] = '\0';
        for (char **v = versions; *v; v++)
                if (str_eq(*v, running))
                        return 0;
        return err_kind(reterr, ERR_WRONG_LAYOUT, EMEDIUMTYPE,
                        "the new version has modules for kernel %s, but with "
                        "Boot=default-subvolume and %s kernel %s "
                        "would boot; use Boot=bls or Boot=grub, which switch the kernel too",
                        versions[0],
                        boot_inside ? "no kernel inside it" : "a /boot that is mounted", running);
}

static int ds_fits(BootBackend *b, int slot_root_fd, Err **reterr) {
        DefaultSubvolume *d = to_backend(b);
        _cleanup_(freep) char *problem = NULL, *options = NULL, *value = NULL;
        int r;

        r = find_problem(d, &problem, reterr);
        if (r < 0)
                return r;
        if (problem)
                return err_kind(reterr, ERR_WRONG_LAYOUT, EMEDIUMTYPE, "%s", problem);
        r = fstab_options(slot_root_fd, "/", &options, reterr);
        if (r >= 0)
                r = names_subvol(options, &value);
        if (r > 0)
                return err_kind(reterr, ERR_WRONG_LAYOUT, EMEDIUMTYPE,
                                "etc/fstab of the new version mounts / with %s, which would defeat "
                                "the switch; "
                                "its maker has to take subvol= and subvolid= out",
                                options);
        return r < 0 ? r : check_kernel(d, slot_root_fd, reterr);
}

/* What the loader takes now, as the place to go back to. */
static int current_choice(DefaultSubvolume *d, const Slot *fallback, Record *rec, Err **reterr) {
        if (fallback) {
                rec->fallback_id = fallback->boot_key;
                return str_set(&rec->fallback, fallback->id) < 0
                                       ? err_new(reterr, ENOMEM, "out of memory")
                                       : 0;
        }
        return default_subvol_get(d->top_fd, &rec->fallback_id, reterr);
}

static int ds_arm(BootBackend *b, const Slot *slot, unsigned tries, const Slot *fallback,
                Err **reterr) {
        DefaultSubvolume *d = to_backend(b);
        _cleanup_(record_done) Record rec = {.target_id = slot->boot_key, .tries_left = tries};
        int r = 0;

        if (tries > 0) {
                r = str_set(&rec.target, slot->id) < 0 ? err_new(reterr, ENOMEM, "out of memory")
                                                       : 0;
                if (r >= 0)
                        r = current_choice(d, fallback, &rec, reterr);
                if (r >= 0)
                        r = record_write(d->top_fd, &rec, reterr);
        }
        if (r >= 0)
                r = fs_sync(d->top_fd, reterr);
        if (r >= 0)
                r = default_subvol_set(d->top_fd, slot->boot_key, reterr);
        if (r >= 0)
                r = fs_sync(d->top_fd, reterr); /* THE COMMIT */
        if (r >= 0 && tries == 0)
                r = record_remove(d->top_fd, reterr);
        return r < 0 ? err_add(reterr, r, "make slot %s the next boot", slot->id) : 0;
}

static int ds_bless(BootBackend *b, const Slot *slot, Err **reterr) {
        DefaultSubvolume *d = to_backend(b);
        _cleanup_(record_done) Record rec = {0};
        int r = record_read(d->top_fd, &rec, reterr);

        if (r >= 0 && str_eq(rec.target, slot->id))
                r = record_remove(d->top_fd, reterr);
        return r < 0 ? err_add(reterr, r, "end the trial of slot %s", slot->id) : 0;
}

const BootOps default_subvolume_boot_ops = {
                .name = "default-subvolume",
                .atomic = true,
                .open = ds_open,
                .close = ds_close,
                .facts = ds_facts,
                .fits = ds_fits,
                .arm = ds_arm,
                .bless = ds_bless,
                .forget = ds_bless, /* a record of a slot that is gone means nothing, and may go */
};

/* The slot's own record wins: blessed, but cut off before the boot record went away. */
static bool already_good(int top_fd, const char *slot_id) {
        _cleanup_(freep) char *path = str_printf("@abupdate/slots/%s/slot.conf", slot_id),
                              *text = NULL;
        _cleanup_(slot_done) Slot slot = {0};
        size_t size;

        return name_ok(slot_id) && path &&
               file_read_at(top_fd, path, RECORD_MAX * 4, &text, &size, NULL) >= 0 &&
               slot_parse(text, size, &slot, NULL) >= 0 && slot_proven(&slot);
}

int default_subvolume_count(const char *device, const char *flags, char **ret_text, Err **reterr) {
        _cleanup_(record_done) Record rec = {0};
        _cleanup_(fd_closep) int top_fd = -1;
        uint64_t key;
        int r;

        r = toplevel_open_with(device, flags, &top_fd, reterr);
        if (r >= 0)
                r = default_subvol_get(top_fd, &key, reterr);
        if (r >= 0)
                r = record_read(top_fd, &rec, reterr);
        if (r < 0)
                return err_add(reterr, r, "count a try");
        if (!rec.target || rec.target_id != key || already_good(top_fd, rec.target)) {
                *ret_text = str_printf("nothing on trial");
                return COUNT_NOTHING;
        }
        if (rec.tries_left > 0) {
                rec.tries_left--;
                r = record_write(top_fd, &rec, reterr);
                *ret_text = str_printf("slot %s is on trial, %" PRIu64 " tries left after this one",
                                rec.target, rec.tries_left);
                return r < 0 ? err_add(reterr, r, "count a try of slot %s", rec.target) : COUNT_TRY;
        }
        r = default_subvol_set(top_fd, rec.fallback_id, reterr);
        if (r >= 0)
                r = fs_sync(top_fd, reterr);
        if (r < 0)
                return err_add(reterr, r, "go back from slot %s", rec.target);
        *ret_text = str_printf("slot %s used up its tries, going back to slot %s", rec.target,
                        str_or(rec.fallback, "before it"));
        return COUNT_FELL_BACK;
}
