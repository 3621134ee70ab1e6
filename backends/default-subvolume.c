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
#include "backends/boot-files.h"
#include "backends/boot-record.h"
#include "backends/kernel.h"
#include "os/file.h"
#include "os/proc.h"
#include "os/toplevel.h"

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

static int find_problem(DefaultSubvolume *d, char **ret, Err **reterr) {
        _cleanup_(freep) char *flags = NULL, *fstab = NULL, *value = NULL;
        int r;

        r = proc_cmdline_get(d->world->root_fd, "rootflags", &flags, reterr);
        if (r < 0)
                return r;
        r = flags ? mount_names_subvol(flags, &value) : 0;
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
                r = mount_names_subvol(fstab, &value);
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
        _cleanup_(boot_record_done) BootRecord rec = {0};
        const Slot *next;
        uint64_t key;
        int r;

        r = default_subvol_get(d->top_fd, &key, reterr);
        if (r >= 0)
                r = boot_record_read(d->top_fd, &rec, reterr);
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
        _cleanup_(freep) char *problem = NULL;
        int r;

        r = find_problem(d, &problem, reterr);
        if (r < 0)
                return r;
        if (problem)
                return err_kind(reterr, ERR_WRONG_LAYOUT, EMEDIUMTYPE, "%s", problem);
        r = boot_fstab_fit(slot_root_fd, reterr);
        return r < 0 ? r : check_kernel(d, slot_root_fd, reterr);
}

/* What the loader takes now, as the place to go back to. */
static int current_choice(
                DefaultSubvolume *d, const Slot *fallback, BootRecord *rec, Err **reterr) {
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
        _cleanup_(boot_record_done)
                        BootRecord rec = {.target_id = slot->boot_key, .tries_left = tries};
        int r = 0;

        if (tries > 0) {
                r = str_set(&rec.target, slot->id) < 0 ? err_new(reterr, ENOMEM, "out of memory")
                                                       : 0;
                if (r >= 0)
                        r = current_choice(d, fallback, &rec, reterr);
                if (r >= 0)
                        r = boot_record_write(d->top_fd, &rec, reterr);
        }
        if (r >= 0)
                r = fs_sync(d->top_fd, reterr);
        if (r >= 0)
                r = default_subvol_set(d->top_fd, slot->boot_key, reterr);
        if (r >= 0)
                r = fs_sync(d->top_fd, reterr); /* THE COMMIT */
        if (r >= 0 && tries == 0)
                r = boot_record_remove(d->top_fd, reterr);
        return r < 0 ? err_add(reterr, r, "make slot %s the next boot", slot->id) : 0;
}

static int ds_bless(BootBackend *b, const Slot *slot, Err **reterr) {
        DefaultSubvolume *d = to_backend(b);
        _cleanup_(boot_record_done) BootRecord rec = {0};
        int r = boot_record_read(d->top_fd, &rec, reterr);

        if (r >= 0 && str_eq(rec.target, slot->id))
                r = boot_record_remove(d->top_fd, reterr);
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
