/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The two tables of verbs over FakeDisk. They are as strict as the contracts: whoever breaks one
 * fails the test. */
#include "os/file.h"
#include "tests/unit/fake.h"

static SlotBackend *fake_close(SlotBackend *b) {
        free(b);
        return NULL;
}

static int copy_texts(const FakeSlot *from, Slot *to) {
        if (str_set(&to->id, from->id) < 0 || str_set(&to->version, from->version) < 0 ||
                        (*from->reason && str_set(&to->reason, from->reason) < 0) ||
                        (*from->subvolumes && str_set(&to->subvolumes, from->subvolumes) < 0) ||
                        (*from->kernel && str_set(&to->kernel, from->kernel) < 0) ||
                        (*from->transaction && str_set(&to->transaction, from->transaction) < 0) ||
                        (*from->fallback && str_set(&to->fallback, from->fallback) < 0))
                return -ENOMEM;
        return 0;
}

static int fake_list(SlotBackend *b _unused_, SlotList **ret, Err **reterr) {
        _cleanup_(slot_list_freep) SlotList *l = NULL;
        FakeDisk *d = the_fake->disk;
        int r = fake_before("list", reterr);

        if (r < 0)
                return r;
        l = calloc(1, sizeof(*l));
        if (!l)
                return err_new(reterr, ENOMEM, "out of memory");
        l->slots = calloc(FAKE_SLOTS, sizeof(*l->slots));
        if (!l->slots)
                return err_new(reterr, ENOMEM, "out of memory");
        for (FakeSlot *s = d->slots; s < d->slots + FAKE_SLOTS; s++) {
                Slot *o = &l->slots[l->n];

                if (!*s->id)
                        continue;
                l->n++;
                *o = (Slot){.state = s->state,
                                .pinned = s->pinned,
                                .read_only = s->read_only,
                                .blessed = s->blessed,
                                .created = s->key,
                                .boot_key = s->key,
                                .booted = s->key == d->booted_key};
                if (copy_texts(s, o) < 0)
                        return err_new(reterr, ENOMEM, "out of memory");
        }
        *ret = MOVE(l);
        return 0;
}

static int fake_space(SlotBackend *b _unused_, bool alone _unused_, FsSpace *ret,
                char **ret_exclusive, Err **reterr) {
        int r = fake_before("space", reterr);

        if (r < 0)
                return r;
        *ret_exclusive = strdup(the_fake->disk->exclusive);
        if (!*ret_exclusive)
                return err_new(reterr, ENOMEM, "out of memory");
        *ret = (FsSpace){.unallocated = UINT64_C(8) << 30, .data_copies = 1, .metadata_copies = 2};
        return 0;
}

static void remove_quarantine(const char *name) {
        char path[160];

        snprintf(path, sizeof(path), "%s/staging/%s", the_fake->dir, name);
        if (access(path, F_OK) == 0)
                temp_dir_remove(path);
}

static int fake_prepare(SlotBackend *b _unused_, const char *job, int *ret_fd, Err **reterr) {
        char path[64];
        int r = fake_before("prepare", reterr);

        if (r < 0)
                return r;
        assert_true(name_ok(job));
        remove_quarantine(job);
        assert_int_equal(mkdirat(the_fake->staging_fd, job, 0700), 0);
        snprintf(path, sizeof(path), "%s/image", job);
        assert_int_equal(mkdirat(the_fake->staging_fd, path, 0700), 0);
        r = fake_after(reterr);
        if (r >= 0)
                *ret_fd = r = dir_open_at(the_fake->staging_fd, path, reterr);
        return r < 0 ? r : 0;
}

static int fake_find_base(SlotBackend *b _unused_, const uint8_t uuid[16] _unused_, int *ret_fd,
                Err **reterr) {
        int r = fake_before("find_base", reterr);

        if (r < 0)
                return r;
        *ret_fd = r = dir_open_at(the_fake->root_fd, ".", reterr);
        return r < 0 ? r : 0;
}

static int fake_copy_booted(SlotBackend *b _unused_, const char *job, Err **reterr) {
        char path[96];
        int r = fake_before("copy_booted", reterr);

        if (r < 0)
                return r;
        remove_quarantine(job);
        snprintf(path, sizeof(path), "%s/image/root/etc/os-release", job);
        put_file(the_fake->staging_fd, path, "ID=copy\n");
        return fake_after(reterr);
}

static int fake_build(SlotBackend *b _unused_, const char *job, const Slot *draft, int *ret_root_fd,
                Err **reterr) {
        char path[96];
        int r = fake_before("build", reterr);

        if (r < 0)
                return r;
        snprintf(path, sizeof(path), "%s/image", job);
        assert_int_equal(faccessat(the_fake->staging_fd, path, F_OK, 0), 0);
        assert_non_null(draft->subvolumes);
        snprintf(path, sizeof(path), "%s/root/usr/lib/modules/6.1.0/modules.dep", job);
        put_file(the_fake->staging_fd, path, "");
        r = fake_after(reterr);
        path[strlen(job) + strlen("/root")] = '\0';
        if (r >= 0)
                *ret_root_fd = r = dir_open_at(the_fake->staging_fd, path, reterr);
        return r < 0 ? r : 0;
}

static void keep(char *to, size_t size, const char *from) {
        assert_true(strlen(str_or(from, "")) < size);
        strcpy(to, str_or(from, ""));
}
#define KEEP(to, from) keep(to, sizeof(to), from)

static void write_facts(FakeSlot *to, const Slot *from) {
        assert_true(from->state == SLOT_STAGED || from->state == SLOT_GOOD ||
                        from->state == SLOT_BAD);
        KEEP(to->version, from->version);
        KEEP(to->reason, from->reason);
        KEEP(to->subvolumes, from->subvolumes);
        KEEP(to->kernel, from->kernel);
        KEEP(to->transaction, from->transaction);
        KEEP(to->fallback, from->fallback);
        to->blessed = from->blessed;
        to->state = from->state;
        to->pinned = from->pinned;
}

static int fake_place(SlotBackend *b _unused_, const char *job, const Slot *draft, Err **reterr) {
        FakeDisk *d = the_fake->disk;
        FakeSlot *s;
        char path[96];
        int r = fake_before("place", reterr);

        if (r < 0)
                return r;
        snprintf(path, sizeof(path), "%s/root", job);
        assert_int_equal(faccessat(the_fake->staging_fd, path, F_OK, 0), 0);
        if (fake_slot(the_fake, draft->id))
                return err_sys(reterr, EEXIST, "fake: place %s", draft->id);
        for (s = d->slots; *s->id; s++)
                assert_true(s < d->slots + FAKE_SLOTS - 1);
        KEEP(s->id, draft->id);
        write_facts(s, draft);
        s->key = ++d->last_key;
        remove_quarantine(job);
        return fake_after(reterr);
}

static int fake_record(SlotBackend *b _unused_, const Slot *slot, Err **reterr) {
        FakeSlot *s;
        int r = fake_before("record", reterr);

        if (r < 0)
                return r;
        s = fake_slot(the_fake, slot->id);
        assert_non_null(s);
        write_facts(s, slot);
        return fake_after(reterr);
}

static int discard_one(const char *id, Err **reterr) {
        FakeDisk *d = the_fake->disk;
        FakeSlot *s;
        int r = fake_before("discard", reterr);

        if (r < 0)
                return r;
        s = fake_slot(the_fake, id);
        if (s) {
                assert_true(s->key != d->booted_key && s->key != d->default_key);
                assert_false(d->trial.target_key == d->default_key &&
                                d->trial.fallback_key == s->key);
                *s = (FakeSlot){0};
        }
        return fake_after(reterr);
}

static int fake_discard(SlotBackend *b _unused_, const char *const ids[], Err **reterr) {
        int r = 0;

        for (; r >= 0 && *ids; ids++)
                r = discard_one(*ids, reterr);
        return r;
}

static int fake_clean(SlotBackend *b _unused_, unsigned *ret_count, Err **reterr) {
        _cleanup_(strv_freep) char **names = NULL;
        unsigned n = 0;
        int r = fake_before("clean", reterr);

        if (r >= 0)
                r = dir_names(the_fake->staging_fd, &names, reterr);
        if (r < 0)
                return r;
        while (names[n])
                remove_quarantine(names[n++]);
        if (ret_count)
                *ret_count = n;
        return fake_after(reterr);
}

static int fake_reclaim(SlotBackend *b _unused_, uint64_t usec _unused_, Err **reterr) {
        int r = fake_before("reclaim", reterr);

        return r < 0 ? r : err_new(reterr, ETIMEDOUT, "fake: the cleaner sleeps");
}

const SlotOps fake_slot_ops = {
                .name = "fake",
                .close = fake_close,
                .list = fake_list,
                .space = fake_space,
                .prepare = fake_prepare,
                .find_base = fake_find_base,
                .copy_booted = fake_copy_booted,
                .build = fake_build,
                .place = fake_place,
                .record = fake_record,
                .discard = fake_discard,
                .clean = fake_clean,
                .reclaim = fake_reclaim,
};

static BootBackend *fake_boot_close(BootBackend *b) {
        free(b);
        return NULL;
}

static int fake_facts(
                BootBackend *b _unused_, const SlotList *slots, BootFacts *ret, Err **reterr) {
        _cleanup_(boot_facts_done) BootFacts f = {.tries_left = -1};
        FakeDisk *d = the_fake->disk;
        int r = fake_before("facts", reterr);

        if (r < 0)
                return r;
        slots_foreach (s, slots)
                if (s->boot_key == d->default_key && str_set(&f.next, s->id) < 0)
                        return err_new(reterr, ENOMEM, "out of memory");
        f.next_known = f.next != NULL;
        if (the_fake->problem && str_set(&f.problem, the_fake->problem) < 0)
                return err_new(reterr, ENOMEM, "out of memory");
        if (*d->trial.target && d->trial.target_key == d->default_key) {
                f.tries_left = (int) d->trial.tries;
                r = str_set(&f.trial, d->trial.target);
                if (r >= 0 && *d->trial.fallback)
                        r = str_set(&f.fallback, d->trial.fallback);
        } else if (*d->trial.target && d->trial.tries == 0)
                r = str_set(&f.exhausted, d->trial.target);
        if (r < 0)
                return err_new(reterr, ENOMEM, "out of memory");
        *ret = f;
        f = (BootFacts){0};
        return 0;
}

static int fake_fits(BootBackend *b _unused_, int slot_root_fd, Err **reterr) {
        assert_true(fcntl(slot_root_fd, F_GETFD) >= 0);
        return fake_before("fits", reterr);
}

/* As default-subvolume: the record first, which counts only once the default is its target. */
static int fake_boot_arm(BootBackend *b _unused_, const Slot *slot, unsigned tries,
                const Slot *fallback, Err **reterr) {
        FakeDisk *d = the_fake->disk;
        const FakeSlot *s = fake_slot(the_fake, slot->id);
        int r = fake_before("arm", reterr);

        if (r < 0)
                return r;
        assert_non_null(s);
        assert_int_not_equal(s->state, SLOT_INCOMPLETE);
        if (tries > 0) {
                d->trial.tries = tries;
                d->trial.target_key = s->key;
                d->trial.fallback_key = fallback ? fallback->boot_key : d->default_key;
                KEEP(d->trial.target, slot->id);
                KEEP(d->trial.fallback, fallback ? fallback->id : NULL);
        }
        r = fake_after(reterr);
        if (r >= 0)
                r = fake_before("arm, the commit", reterr);
        if (r < 0)
                return r;
        d->default_key = s->key;
        if (tries == 0)
                memset(&d->trial, 0, sizeof(d->trial));
        return fake_after(reterr);
}

static int end_trial(const char *what, const Slot *slot, Err **reterr) {
        FakeDisk *d = the_fake->disk;
        int r = fake_before(what, reterr);

        if (r < 0)
                return r;
        if (str_eq(d->trial.target, slot->id))
                memset(&d->trial, 0, sizeof(d->trial));
        return fake_after(reterr);
}

static int fake_bless(BootBackend *b _unused_, const Slot *slot, Err **reterr) {
        return end_trial("bless", slot, reterr);
}

static int fake_forget(BootBackend *b _unused_, const Slot *slot, Err **reterr) {
        return end_trial("forget", slot, reterr);
}

const BootOps fake_boot_ops = {
                .name = "fake",
                .atomic = true,
                .close = fake_boot_close,
                .facts = fake_facts,
                .fits = fake_fits,
                .arm = fake_boot_arm,
                .bless = fake_bless,
                .forget = fake_forget,
};
