/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* GRUB takes what its environment on the boot partition says, counts there, and goes back: by the
 * script grub/01_abupdate, a part of grub.cfg. Each slot has an entry of the menu in a file of its own,
 * so grub.cfg stays as it is.
 *
 * The commit is one sector of the copy of the environment that does not hold. A torn one does not
 * hold either. GRUB writes the number of tries in place into the copy that holds, in that one sector. */
#include <fcntl.h>

#include "backends/boot-backend.h"
#include "backends/boot-cmdline.h"
#include "backends/boot-copies.h"
#include "backends/boot-files.h"
#include "backends/grub.h"
#include "os/boot-partition.h"
#include "os/file.h"
#include "os/toplevel.h"

typedef struct Grub {
        BootBackend base; /* must stay first */
        const World *world;
        int boot_fd, home_fd;
} Grub;

static Grub *to_grub(BootBackend *b) {
        if (b->ops != &grub_boot_ops)
                abort();
        return (Grub *) b;
}

static BootBackend *grub_close(BootBackend *base) {
        Grub *b = to_grub(base);

        fd_close(b->boot_fd);
        fd_close(b->home_fd);
        free(b);
        return NULL;
}

static int grub_open(const World *w, BootBackend **ret, Err **reterr) {
        _cleanup_(boot_backend_closep) BootBackend *base = NULL;
        Grub *b;
        int r;

        if (w->config->kernel_in_slot && str_eq(w->config->backend, "seed"))
                return err_kind(reterr, ERR_BAD_CONFIG, EINVAL,
                                "KernelFrom=slot in [Boot] cannot be with Backend=seed: GRUB does "
                                "not read through a sprout");
        b = calloc(1, sizeof(*b));
        if (!b)
                return err_new(reterr, ENOMEM, "out of memory");
        *b = (Grub){{&grub_boot_ops}, w, -1, -1};
        base = &b->base;
        r = boot_partition_open(w->root_fd, &b->boot_fd, reterr);
        if (r >= 0)
                r = dir_make_at(b->boot_fd, BOOT_HOME, 0755, reterr);
        if (r >= 0)
                b->home_fd = r = dir_open_at(b->boot_fd, BOOT_HOME, reterr);
        if (r < 0)
                return r;
        *ret = MOVE(base);
        return 0;
}

/* A grub.cfg that was made without our part of it. */
static int find_problem(Grub *b, char **ret, Err **reterr) {
        const struct {
                int fd;
                const char *path;
        } places[] = {
                        {b->boot_fd, "grub/grub.cfg"},
                        {b->boot_fd, "grub2/grub.cfg"},
                        {b->world->root_fd, "boot/grub/grub.cfg"},
                        {b->world->root_fd, "boot/grub2/grub.cfg"},
        };

        for (size_t i = 0; i < ARRAY_SIZE(places); i++) {
                _cleanup_(freep) char *text = NULL;
                int r = file_read_if_at(places[i].fd, places[i].path, 4 << 20, &text, NULL, NULL);

                if (r == -ENOMEM)
                        return err_new(reterr, r, "out of memory");
                if (r <= 0)
                        continue;
                if (strstr(text, "abupdate_next"))
                        return 0;
                *ret = strdup("grub.cfg knows nothing of the slots: make it anew with update-grub "
                              "or grub-mkconfig, which take in /etc/grub.d/01_abupdate");
                return *ret ? 0 : err_new(reterr, ENOMEM, "out of memory");
        }
        return 0;
}

/* While the last try of the slot that runs is under way, it is next, and left behind with the next
 * boot. */
static int fill_facts(const GrubEnv *e, const SlotList *slots, BootFacts *f) {
        const Slot *next = slot_find(slots, e->next), *fallback = slot_find(slots, e->fallback);
        bool given_up = e->left == 0 && !(next && next->booted);
        const Slot *takes = given_up ? fallback : next;
        int r = 0;

        f->next_known = takes != NULL;
        if (takes)
                r = str_set(&f->next, takes->id);
        if (r >= 0 && given_up)
                r = str_set(&f->exhausted, e->next);
        if (r >= 0 && !given_up && next && e->left >= 0) {
                f->tries_left = e->left;
                r = str_set(&f->trial, next->id);
                if (r >= 0 && fallback)
                        r = str_set(&f->fallback, fallback->id);
        }
        return r;
}

static int grub_facts(BootBackend *base, const SlotList *slots, BootFacts *ret, Err **reterr) {
        Grub *b = to_grub(base);
        _cleanup_(boot_facts_done) BootFacts f = {.tries_left = -1};
        _cleanup_(grub_env_done) GrubEnv e = {.left = -1};
        int r = grub_env_read(b->home_fd, &e, reterr);

        if (r >= 0)
                r = find_problem(b, &f.problem, reterr);
        if (r < 0)
                return err_add(reterr, r, "read what the boot loader takes next");
        if (fill_facts(&e, slots, &f) < 0)
                return err_new(reterr, ENOMEM, "out of memory");
        *ret = f;
        f = (BootFacts){.tries_left = -1};
        return 0;
}

static int grub_fits(BootBackend *base _unused_, int slot_root_fd, Err **reterr) {
        return boot_files_fit(slot_root_fd, reterr);
}

static int grub_bring(BootBackend *base, const Slot *slot, int root_fd, const char *const spare[],
                Err **reterr) {
        Grub *b = to_grub(base);

        return b->world->config->kernel_in_slot
                               ? 0
                               : boot_copies_bring(b->boot_fd, slot->id, root_fd, spare, reterr);
}

/* Where GRUB finds kernel and initrd of the slot, as it names them. */
typedef struct Files {
        char *fs_uuid, *linux_path, *initrd;
} Files;

static void files_done(Files *f) {
        free(f->fs_uuid);
        free(f->linux_path);
        free(f->initrd);
}

static int files_in_slot(Grub *b, const Slot *slot, Files *f, Err **reterr) {
        _cleanup_(freep) char *top = str_printf("@abupdate/slots/%s/root", slot->id),
                              *kernel = NULL, *initrd = NULL;
        _cleanup_(fd_closep) int top_fd = -1, root_fd = -1;
        char fsid[UUID_TEXT_SIZE];
        uint8_t uuid[16];
        int r;

        if (!top)
                return err_new(reterr, ENOMEM, "out of memory");
        r = toplevel_open(b->world->root_fd, /* read_only= */ true, &top_fd, reterr);
        if (r >= 0)
                r = fs_id(top_fd, uuid, reterr);
        if (r >= 0)
                root_fd = r = dir_open_at(top_fd, top, reterr);
        if (r >= 0)
                r = boot_files_find(root_fd, &kernel, &initrd, reterr);
        if (r < 0)
                return r;
        f->fs_uuid = strdup(uuid_format(fsid, uuid));
        f->linux_path = str_printf("/%s/%s", top, kernel);
        f->initrd = initrd ? str_printf("/%s/%s", top, initrd) : NULL;
        return !f->fs_uuid || !f->linux_path || (initrd && !f->initrd)
                               ? err_new(reterr, ENOMEM, "out of memory")
                               : 0;
}

static int files_on_partition(Grub *b, const Slot *slot, Files *f, Err **reterr) {
        BootPaths paths;
        int r = boot_copies_find(b->boot_fd, slot->id, &paths, reterr);

        if (r < 0)
                return r;
        f->linux_path = paths.linux_path;
        f->initrd = paths.initrd;
        return 0;
}

/* The entry as it should be now. @rest: as in boot_cmdline_make(). Durable; old or new after a
 * power cut. */
static int write_entry(Grub *b, const Slot *slot, const char *rest, Err **reterr) {
        _cleanup_(freep) char *title = str_printf("Version %s (slot %s)", slot->version, slot->id),
                              *path = str_printf("slot-%s", slot->id), *options = NULL,
                              *text = NULL;
        _cleanup_(files_done) Files files = {0};
        _cleanup_(fd_closep) int dir_fd = -1;
        int r;

        if (!title || !path)
                return err_new(reterr, ENOMEM, "out of memory");
        r = b->world->config->kernel_in_slot ? files_in_slot(b, slot, &files, reterr)
                                             : files_on_partition(b, slot, &files, reterr);
        if (r >= 0)
                r = boot_cmdline_make(b->world, slot, rest, &options, reterr);
        if (r >= 0)
                r = dir_make_at(b->home_fd, path, 0755, reterr);
        if (r >= 0)
                dir_fd = r = dir_open_at(b->home_fd, path, reterr);
        if (r < 0)
                return r;
        text = grub_entry_text(&(GrubEntry){
                        slot->id, title, files.fs_uuid, files.linux_path, files.initrd, options});
        if (!text)
                return err_new(reterr, ENOMEM, "out of memory");
        r = grub_entry_write(dir_fd, text, reterr);
        return r < 0 ? err_add(reterr, r, "write the menu entry of slot %s", slot->id) : 0;
}

/* 1 where the slot has an entry; @ret: its options, NULL where an installer wrote it; @ret_cut: it was being written anew
 * when the power went. */
static int read_options(Grub *b, const char *slot, char **ret, bool *ret_cut, Err **reterr) {
        _cleanup_(freep) char *path = str_printf("slot-%s", slot), *text = NULL;
        _cleanup_(fd_closep) int dir_fd = path ? dir_open_at(b->home_fd, path, NULL) : -1;
        int r = path ? 0 : -ENOMEM;

        *ret = NULL;
        if (dir_fd >= 0)
                r = grub_entry_read(dir_fd, &text, ret_cut);
        if (r > 0 && grub_entry_options(text, ret) < 0)
                r = -ENOMEM;
        return r == -ENOMEM ? err_new(reterr, r, "out of memory") : r > 0;
}

/* What GRUB takes now, as the place to go back to. */
static int take_back(const GrubEnv *old, const char *slot, char **ret) {
        const char *now = old->left == 0 ? old->fallback : old->next;

        return str_set(ret, str_eq(now, slot) ? old->fallback : now);
}

static int grub_arm(BootBackend *base, const Slot *slot, unsigned tries, const Slot *fallback,
                Err **reterr) {
        Grub *b = to_grub(base);
        _cleanup_(grub_env_done) GrubEnv old = {.left = -1}, e = {.left = -1};
        _cleanup_(freep) char *own = NULL;
        bool cut = false;
        int r = grub_env_read(b->home_fd, &old, reterr);

        if (r >= 0)
                r = read_options(b, slot->id, &own, &cut, reterr);
        if (r >= 0)
                r = write_entry(b, slot, own, reterr);
        if (r < 0)
                return err_add(reterr, r, "make slot %s the next boot", slot->id);
        e.serial = old.serial;
        e.copy = old.copy;
        e.left = tries > 0 ? (int) tries : -1;
        r = str_set(&e.next, slot->id);
        if (r >= 0 && tries > 0)
                r = fallback ? str_set(&e.fallback, fallback->id)
                             : take_back(&old, slot->id, &e.fallback);
        if (r >= 0)
                r = str_set(&e.slots, old.slots);
        if (r >= 0)
                r = grub_env_list(&e, slot->id, true);
        if (r < 0)
                return err_new(reterr, r, "out of memory");
        r = fs_sync(b->boot_fd, reterr);
        if (r >= 0)
                r = grub_env_write(b->home_fd, &e, reterr); /* THE COMMIT */
        return r < 0 ? err_add(reterr, r, "make slot %s the next boot", slot->id) : 0;
}

static int grub_bless(BootBackend *base, const Slot *slot, Err **reterr) {
        Grub *b = to_grub(base);
        _cleanup_(grub_env_done) GrubEnv e = {.left = -1};
        int r = grub_env_read(b->home_fd, &e, reterr);

        if (r >= 0 && str_eq(e.next, slot->id) && e.left >= 0) {
                e.left = -1;
                r = grub_env_write(b->home_fd, &e, reterr);
        }
        return r < 0 ? err_add(reterr, r, "end the trial of slot %s", slot->id) : 0;
}

/* The environment without @slot; 1 where it was in it. */
static int take_out(GrubEnv *e, const char *slot) {
        bool was = str_eq(e->next, slot) || str_eq(e->fallback, slot);
        _cleanup_(freep) char *before = NULL;
        int r = str_set(&before, e->slots);

        if (str_eq(e->next, slot)) {
                free(e->next);
                e->next = str_eq(e->fallback, slot) ? NULL : MOVE(e->fallback);
                e->left = -1;
        }
        if (str_eq(e->fallback, slot))
                free(MOVE(e->fallback));
        if (r >= 0)
                r = grub_env_list(e, slot, false);
        return r < 0 ? r : was || !str_eq(before, e->slots);
}

static int grub_condemn(BootBackend *base, const Slot *slot, Err **reterr) {
        Grub *b = to_grub(base);
        _cleanup_(grub_env_done) GrubEnv e = {.left = -1};
        int r = grub_env_read(b->home_fd, &e, reterr);

        if (r < 0)
                return err_add(reterr, r, "take slot %s from the menu", slot->id);
        r = take_out(&e, slot->id);
        if (r < 0)
                return err_new(reterr, r, "out of memory");
        return r > 0 ? grub_env_write(b->home_fd, &e, reterr) : 0;
}

static int grub_forget(BootBackend *base, const Slot *slot, Err **reterr) {
        int r = grub_condemn(base, slot, reterr);

        return r < 0 ? r : boot_copies_drop(to_grub(base)->boot_fd, slot->id, NULL, reterr);
}

static int grub_clean(BootBackend *base, const SlotList *slots, Err **reterr) {
        return boot_copies_clean(to_grub(base)->boot_fd, slots, NULL, reterr);
}

static int grub_follow(BootBackend *base, const Slot *slot, Err **reterr) {
        Grub *b = to_grub(base);
        _cleanup_(freep) char *now = NULL, *then = NULL;
        bool cut = false;
        int r = read_options(b, slot->id, &now, &cut, reterr);

        if (r <= 0 || !slot->boot_options)
                return r;
        r = boot_cmdline_make(b->world, slot, now, &then, reterr);
        if (r < 0 || (str_eq(now, then) && !cut))
                return r;
        r = write_entry(b, slot, now, reterr);
        return r < 0 ? err_add(reterr, r, "correct the menu entry of slot %s", slot->id) : 0;
}

const BootOps grub_boot_ops = {
                .name = "grub",
                .atomic = true,
                .cmdline = true,
                .open = grub_open,
                .close = grub_close,
                .facts = grub_facts,
                .fits = grub_fits,
                .bring = grub_bring,
                .arm = grub_arm,
                .bless = grub_bless,
                .forget = grub_forget,
                .condemn = grub_condemn,
                .clean = grub_clean,
                .follow = grub_follow,
};
