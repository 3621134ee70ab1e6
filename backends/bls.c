/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The loader takes the first of the entries on the boot partition, in the order of systemd-boot; the
 * counters are in the names of the files, and the loader counts. What is armed gets a number above
 * all others.
 *
 * The commit is the rename that brings the entry with that number. An entry whose tries are used up
 * goes behind all others by itself: the next one is the fallback. */
#include <fcntl.h>

#include "backends/bls-change.h"
#include "backends/boot-backend.h"
#include "backends/boot-cmdline.h"
#include "backends/boot-copies.h"
#include "backends/boot-files.h"
#include "os/boot-partition.h"
#include "os/file.h"

typedef struct Bls {
        BootBackend base; /* must stay first */
        const World *world;
        int boot_fd, entries_fd;
} Bls;

static Bls *to_bls(BootBackend *b) {
        if (b->ops != &bls_boot_ops)
                abort();
        return (Bls *) b;
}

static const char *prefix_of(const Bls *b) {
        return b->world->config->entry;
}

static BootBackend *bls_close(BootBackend *base) {
        Bls *b = to_bls(base);

        fd_close(b->boot_fd);
        fd_close(b->entries_fd);
        free(b);
        return NULL;
}

static int bls_open(const World *w, BootBackend **ret, Err **reterr) {
        _cleanup_(boot_backend_closep) BootBackend *base = NULL;
        Bls *b = calloc(1, sizeof(*b));
        int r;

        if (!b)
                return err_new(reterr, ENOMEM, "out of memory");
        *b = (Bls){{&bls_boot_ops}, w, -1, -1};
        base = &b->base;
        r = boot_partition_open(w->root_fd, &b->boot_fd, reterr);
        if (r >= 0)
                b->entries_fd = r = dir_open_at(b->boot_fd, BOOT_ENTRIES, reterr);
        if (r < 0)
                return r;
        *ret = MOVE(base);
        return 0;
}

/* The choices by name that systemd-boot puts above the order of its entries, in loader.conf and in the
 * firmware. */
static const struct {
        const char *key, *variable, *verb;
} choices[] = {
                {"default", "LoaderEntryDefault", "set-default"},
                {"preferred", "LoaderEntryPreferred", "set-preferred"},
};

#define VENDOR "4a67b082-0a4c-41cf-b6c7-440b29bb8c4f"

static char *choice_in_line(const char *line) {
        for (size_t i = 0; i < ARRAY_SIZE(choices); i++) {
                const char *rest = str_after(line, choices[i].key);

                if (rest && (*rest == ' ' || *rest == '\t'))
                        return str_printf("loader.conf on the boot partition says '%s', which "
                                          "beats the order of the entries: take that line out",
                                        line);
        }
        return NULL;
}

static int choice_in_firmware(const Bls *b, char **ret) {
        for (size_t i = 0; i < ARRAY_SIZE(choices); i++) {
                _cleanup_(freep) char *path = str_printf(
                                "sys/firmware/efi/efivars/%s-" VENDOR, choices[i].variable);

                if (!path)
                        return -ENOMEM;
                if (faccessat(b->world->root_fd, path, F_OK, 0) < 0)
                        continue;
                *ret = str_printf(
                                "%s is set in the firmware, which beats the order of the entries: "
                                "'bootctl %s \"\"' takes it out",
                                choices[i].variable, choices[i].verb);
                return *ret ? 1 : -ENOMEM;
        }
        return 0;
}

/* What stands above the order of the entries. */
static int find_problem(Bls *b, const BlsList *l, char **ret, Err **reterr) {
        _cleanup_(freep) char *conf = NULL;
        char *save = NULL;
        int r = file_read_if_at(b->boot_fd, "loader/loader.conf", 64 * 1024, &conf, NULL, NULL);

        if (r == -ENOMEM)
                return err_new(reterr, r, "out of memory");
        for (char *line = r > 0 ? strtok_r(conf, "\r\n", &save) : NULL; line && !*ret;
                        line = strtok_r(NULL, "\r\n", &save))
                *ret = choice_in_line(line + strspn(line, " \t"));
        if (*ret)
                return 0;
        r = choice_in_firmware(b, ret);
        if (r < 0)
                return err_new(reterr, r, "out of memory");
        if (r > 0 || l->n == 0 || l->entries[0].left == 0 || l->entries[0].slot)
                return 0;
        *ret = str_printf(
                        "boot entry %s comes before those of the slots: give it a sort-key behind "
                        "'%s', or remove it",
                        l->entries[0].file, prefix_of(b));
        return *ret ? 0 : err_new(reterr, ENOMEM, "out of memory");
}

/* The last try of the slot that runs is under way: it is next as long as it runs and nothing else is
 * armed, and left behind with the next boot. */
static const BlsEntry *last_try(const BlsList *l, const SlotList *slots, const char *prefix) {
        const Slot *booted = slot_booted(slots);
        const BlsEntry *e = booted ? bls_find(l, booted->id) : NULL;

        if (!e || e->left != 0)
                return NULL;
        for (size_t i = 0; i < l->n; i++)
                if (l->entries[i].slot && bls_rank(&l->entries[i], prefix) > bls_rank(e, prefix))
                        return NULL;
        return e;
}

static const BlsEntry *first_but(const BlsList *l, const BlsEntry *not_this) {
        for (size_t i = 0; i < l->n; i++)
                if (l->entries[i].left != 0 &&
                                !(not_this && str_eq(l->entries[i].id, not_this->id)))
                        return &l->entries[i];
        return NULL;
}

static int fill_facts(const BlsList *l, const SlotList *slots, const char *prefix, BootFacts *f) {
        const BlsEntry *next = last_try(l, slots, prefix), *then;
        const Slot *slot;
        int r = 0;

        if (!next)
                next = first_but(l, NULL);
        slot = slot_find(slots, next ? next->slot : NULL);
        f->next_known = slot != NULL;
        if (slot)
                r = str_set(&f->next, slot->id);
        if (r >= 0 && slot && next->left >= 0) {
                then = first_but(l, next);
                f->tries_left = next->left;
                r = str_set(&f->trial, slot->id);
                if (r >= 0 && then && slot_find(slots, then->slot))
                        r = str_set(&f->fallback, then->slot);
        }
        for (size_t i = 0; r >= 0 && i < l->n; i++)
                if (l->entries[i].left == 0 && l->entries[i].slot && &l->entries[i] != next &&
                                !f->exhausted)
                        r = str_set(&f->exhausted, l->entries[i].slot);
        return r;
}

static int bls_facts(BootBackend *base, const SlotList *slots, BootFacts *ret, Err **reterr) {
        Bls *b = to_bls(base);
        _cleanup_(boot_facts_done) BootFacts f = {.tries_left = -1};
        _cleanup_(bls_list_done) BlsList l = {0};
        int r = bls_list(b->entries_fd, prefix_of(b), &l, reterr);

        if (r >= 0)
                r = find_problem(b, &l, &f.problem, reterr);
        if (r < 0)
                return err_add(reterr, r, "read what the boot loader takes next");
        if (fill_facts(&l, slots, prefix_of(b), &f) < 0)
                return err_new(reterr, ENOMEM, "out of memory");
        *ret = f;
        f = (BootFacts){.tries_left = -1};
        return 0;
}

static int bls_fits(BootBackend *base _unused_, int slot_root_fd, Err **reterr) {
        return boot_files_fit(slot_root_fd, reterr);
}

static int bls_bring(BootBackend *base, const Slot *slot, int root_fd, const char *const spare[],
                Err **reterr) {
        return boot_copies_bring(to_bls(base)->boot_fd, slot->id, root_fd, spare, reterr);
}

/* The entry as it should be, but for its number. @old: what there is of the slot, or NULL. */
static int describe(Bls *b, const Slot *slot, const BlsEntry *old, int left, BlsEntry *ret,
                Err **reterr) {
        _cleanup_(bls_entry_done) BlsEntry e = {.left = left};
        _cleanup_(boot_paths_done) BootPaths paths = {0};
        int r = boot_copies_find(b->boot_fd, slot->id, &paths, reterr);

        if (r >= 0)
                r = boot_cmdline_make(
                                b->world, slot, old ? old->options : NULL, &e.options, reterr);
        if (r < 0)
                return r;
        e.linux_path = MOVE(paths.linux_path);
        e.initrd = MOVE(paths.initrd);
        e.title = str_printf("Version %s (slot %s)", slot->version, slot->id);
        if (!e.title || str_set(&e.slot, slot->id) < 0 || str_set(&e.version, slot->version) < 0)
                return err_new(reterr, ENOMEM, "out of memory");
        *ret = e;
        e = (BlsEntry){0};
        return 0;
}

static int remove_others(Bls *b, const char *slot, const char *keep, Err **reterr) {
        return bls_remove_others(b->entries_fd, prefix_of(b), slot, keep, reterr);
}

static int write_ranked(Bls *b, BlsEntry *e, unsigned rank, Err **reterr) {
        free(e->sort_key);
        e->sort_key = bls_sort_key(prefix_of(b), rank);
        return e->sort_key ? bls_rewrite(b->entries_fd, prefix_of(b), e, reterr)
                           : err_new(reterr, ENOMEM, "out of memory");
}

static unsigned highest(const Bls *b, const BlsList *l, const char *except) {
        unsigned max = 0;

        for (size_t i = 0; i < l->n; i++)
                if (l->entries[i].slot && !str_eq(l->entries[i].slot, except) &&
                                bls_rank(&l->entries[i], prefix_of(b)) > max)
                        max = bls_rank(&l->entries[i], prefix_of(b));
        return max;
}

/* Right behind the one that was armed: the number below its own was left free. */
static int place_fallback(
                Bls *b, const BlsList *l, const Slot *fallback, unsigned rank, Err **reterr) {
        BlsEntry *e = fallback ? bls_find(l, fallback->id) : NULL;

        if (!e || e->left >= 0 || bls_rank(e, prefix_of(b)) == highest(b, l, NULL))
                return 0;
        return write_ranked(b, e, rank, reterr);
}

static int bls_arm(BootBackend *base, const Slot *slot, unsigned tries, const Slot *fallback,
                Err **reterr) {
        Bls *b = to_bls(base);
        _cleanup_(bls_entry_done) BlsEntry e = {0};
        _cleanup_(bls_list_done) BlsList l = {0};
        unsigned rank;
        int r = bls_list(b->entries_fd, prefix_of(b), &l, reterr);

        if (r >= 0)
                r = describe(b, slot, bls_find(&l, slot->id), tries > 0 ? (int) tries : -1, &e,
                                reterr);
        if (r < 0)
                return err_add(reterr, r, "make slot %s the next boot", slot->id);
        rank = highest(b, &l, NULL) + 2;
        /* an older entry of this slot could be what the loader goes back to */
        e.file = bls_file_name(prefix_of(b), &e);
        if (!e.file)
                return err_new(reterr, ENOMEM, "out of memory");
        if (l.n == 0 || !str_eq(l.entries[0].slot, slot->id))
                r = remove_others(b, slot->id, e.file, reterr);
        if (r >= 0)
                r = fs_sync(b->boot_fd, reterr);
        if (r >= 0)
                r = write_ranked(b, &e, rank, reterr); /* THE COMMIT */
        if (r >= 0)
                r = fs_sync(b->boot_fd, reterr);
        if (r >= 0)
                r = remove_others(b, slot->id, e.file, reterr);
        if (r >= 0)
                r = place_fallback(b, &l, fallback, rank - 1, reterr);
        return r < 0 ? err_add(reterr, r, "make slot %s the next boot", slot->id) : 0;
}

static int bls_bless(BootBackend *base, const Slot *slot, Err **reterr) {
        Bls *b = to_bls(base);
        _cleanup_(bls_list_done) BlsList l = {0};
        BlsEntry *e = NULL;
        int r = bls_list(b->entries_fd, prefix_of(b), &l, reterr);

        if (r >= 0)
                e = bls_find(&l, slot->id);
        if (e && e->left >= 0) {
                e->left = -1;
                r = bls_write(b->entries_fd, prefix_of(b), e, reterr);
        }
        if (r >= 0 && e)
                r = remove_others(b, slot->id, e->file, reterr);
        return r < 0 ? err_add(reterr, r, "end the trial of slot %s", slot->id) : 0;
}

static int bls_forget(BootBackend *base, const Slot *slot, Err **reterr) {
        Bls *b = to_bls(base);
        int r = remove_others(b, slot->id, NULL, reterr);

        return r < 0 ? r : boot_copies_drop(b->boot_fd, slot->id, NULL, reterr);
}

static int bls_condemn(BootBackend *base, const Slot *slot, Err **reterr) {
        return remove_others(to_bls(base), slot->id, NULL, reterr);
}

static int bls_clean(BootBackend *base, const SlotList *slots, Err **reterr) {
        Bls *b = to_bls(base);
        int r = bls_remove_drafts(b->entries_fd, prefix_of(b), reterr);

        return r < 0 ? r : boot_copies_clean(b->boot_fd, slots, NULL, reterr);
}

static int bls_follow(BootBackend *base, const Slot *slot, Err **reterr) {
        Bls *b = to_bls(base);
        _cleanup_(bls_list_done) BlsList l = {0};
        _cleanup_(freep) char *options = NULL;
        BlsEntry *e = NULL;
        int r = bls_list(b->entries_fd, prefix_of(b), &l, reterr);

        if (r >= 0)
                r = bls_finish(b->entries_fd, prefix_of(b), &l, slot->id, reterr);
        if (r >= 0)
                e = bls_find(&l, slot->id);
        if (!e || !slot->boot_options)
                return r < 0 ? r : 0;
        r = boot_cmdline_make(b->world, slot, str_or(e->options, ""), &options, reterr);
        if (r < 0 || str_eq(options, e->options))
                return r;
        free(e->options);
        e->options = MOVE(options);
        r = bls_rewrite(b->entries_fd, prefix_of(b), e, reterr);
        return r < 0 ? err_add(reterr, r, "correct the boot entry of slot %s", slot->id) : 0;
}

const BootOps bls_boot_ops = {
                .name = "bls",
                .atomic = true,
                .cmdline = true,
                .open = bls_open,
                .close = bls_close,
                .facts = bls_facts,
                .fits = bls_fits,
                .bring = bls_bring,
                .arm = bls_arm,
                .bless = bls_bless,
                .forget = bls_forget,
                .condemn = bls_condemn,
                .clean = bls_clean,
                .follow = bls_follow,
};
