/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "tests/unit/fake.h"
#include "os/file.h"
#include "update/records.h"

Fake *the_fake;

/* The number of the call that is under way. */
static bool hit(const Fake *f) {
        if (f->mode == FAULT_NONE)
                return false;
        return f->calls == f->at || (f->mode == FAULT_FROM && f->calls > f->at) ||
               (f->mode == FAULT_PAIR && f->calls == f->at2);
}

/* To die before a call that only looks is to die behind the last one that did something. */
static bool only_looks(const char *what) {
        static const char *const looks[] = {"list", "facts", "space", "find_base", "fits",
                        "stream_open", "subvol_info", "fs_sync", "reclaim"};

        for (size_t i = 0; i < ARRAY_SIZE(looks); i++)
                if (str_eq(looks[i], what))
                        return true;
        return false;
}

int fake_before(const char *what, Err **reterr) {
        Fake *f = the_fake;

        if (f->mode == FAULT_DIE && only_looks(what))
                return 0;
        f->calls++;
        if (!hit(f))
                return 0;
        if (f->mode == FAULT_DIE)
                longjmp(f->grave, 1);
        if (f->hits++ == 0)
                snprintf(f->hit, sizeof(f->hit), "%s", what);
        return f->mode == FAULT_AFTER ? 0
                                      : err_new(reterr, EIO, "fake: %s, call %u", what, f->calls);
}

int fake_after(Err **reterr) {
        Fake *f = the_fake;

        return hit(f) && f->mode == FAULT_AFTER
                               ? err_new(reterr, EIO, "fake: behind call %u", f->calls)
                               : 0;
}

void fake_heal(Fake *f) {
        f->mode = FAULT_NONE;
        f->calls = f->at = f->at2 = f->hits = 0;
        f->hit[0] = '\0';
        f->cancel_at = f->cancel_asked = 0;
        f->ready = f->no_return = f->asked_late = 0;
        f->slot[0] = '\0';
}

void fake_break(Fake *f, FaultMode mode, unsigned at) {
        fake_heal(f);
        f->mode = mode;
        f->at = at;
}

static void on_ready(void *userdata) {
        ((Fake *) userdata)->ready++;
}

static void on_progress(void *userdata _unused_, Phase phase, uint64_t done _unused_,
                uint64_t total _unused_) {
        assert_non_null(phase_to_string(phase));
}

static void on_slot(void *userdata, const char *id) {
        Fake *f = userdata;

        snprintf(f->slot, sizeof(f->slot), "%s", id);
}

static void on_no_return(void *userdata) {
        ((Fake *) userdata)->no_return++;
}

static bool on_cancelled(void *userdata) {
        Fake *f = userdata;

        f->asked_late += f->no_return > 0;
        return ++f->cancel_asked >= f->cancel_at && f->cancel_at > 0;
}

static int make_dir(Fake *f, const char *name) {
        int fd;

        assert_true(mkdirat(f->dir_fd, name, 0700) >= 0 || errno == EEXIST);
        fd = openat(f->dir_fd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        assert_true(fd >= 0);
        return fd;
}

Fake *fake_new(void) {
        Fake *f = calloc(1, sizeof(*f));

        assert_non_null(f);
        f->disk = calloc(1, sizeof(*f->disk));
        assert_non_null(f->disk);
        f->dir_fd = temp_dir_make(f->dir);
        f->root_fd = make_dir(f, "root");
        f->staging_fd = make_dir(f, "staging");
        f->state_fd = make_dir(f, "state");
        f->sink = (JobSink){f, on_ready, on_progress, on_slot, on_no_return, on_cancelled};
        put_file(f->root_fd, "etc/os-release", "VERSION_ID=3.1\n");
        the_fake = f;
        fake_reset(f);
        return f;
}

Fake *fake_free(Fake *f) {
        if (f) {
                close(f->dir_fd);
                close(f->root_fd);
                close(f->staging_fd);
                close(f->state_fd);
                temp_dir_remove(f->dir);
                free(f->disk);
                free(f);
                the_fake = NULL;
        }
        return NULL;
}

static void empty_dir(Fake *f, const char *name, int fd) {
        _cleanup_(strv_freep) char **names = NULL;

        assert_int_equal(dir_names(fd, &names, NULL), 0);
        for (char **n = names; *n; n++) {
                char path[384];

                snprintf(path, sizeof(path), "%s/%s/%s", f->dir, name, *n);
                temp_dir_remove(path);
        }
}

void fake_reset(Fake *f) {
        memset(f->disk, 0, sizeof(*f->disk));
        f->disk->last_key = 256;
        f->disk->boots = 1;
        fake_heal(f);
        f->job = 7;
        f->keep = 1;
        f->verification = VERIFICATION_NONE;
        f->problem = NULL;
        f->image.name = "sys-9";
        f->image.version = "9.0";
        f->image.second = NULL;
        f->image.incremental = f->image.wrong_uuid = false;
        empty_dir(f, "staging", f->staging_fd);
        empty_dir(f, "state", f->state_fd);
        fake_add_slot(f, "1", SLOT_GOOD, "1.0", 1);
        fake_add_slot(f, "2", SLOT_GOOD, "2.0", 2);
        f->disk->booted_key = fake_add_slot(f, "3", SLOT_GOOD, "3.0", 3)->key;
        fake_arm(f, "3", 0, NULL);
}

FakeSlot *fake_slot(Fake *f, const char *id) {
        for (FakeSlot *s = f->disk->slots; s < f->disk->slots + FAKE_SLOTS; s++)
                if (*s->id && str_eq(s->id, id))
                        return s;
        return NULL;
}

FakeSlot *fake_add_slot(
                Fake *f, const char *id, SlotState state, const char *version, uint64_t blessed) {
        FakeSlot *s = f->disk->slots;

        while (*s->id)
                s++;
        assert_true(s < f->disk->slots + FAKE_SLOTS);
        snprintf(s->id, sizeof(s->id), "%s", id);
        snprintf(s->version, sizeof(s->version), "%s", version);
        strcpy(s->subvolumes, "root:/");
        s->state = state;
        s->blessed = blessed;
        s->key = ++f->disk->last_key;
        return s;
}

void fake_arm(Fake *f, const char *id, unsigned tries, const char *fallback) {
        const FakeSlot *s = fake_slot(f, id), *back = fallback ? fake_slot(f, fallback) : NULL;
        FakeDisk *d = f->disk;

        memset(&d->trial, 0, sizeof(d->trial));
        d->default_key = s->key;
        if (tries > 0) {
                d->trial.tries = tries;
                d->trial.target_key = s->key;
                d->trial.fallback_key = back->key;
                strcpy(d->trial.target, id);
                strcpy(d->trial.fallback, fallback);
        }
}

void fake_reboot(Fake *f) {
        FakeDisk *d = f->disk;
        const FakeSlot *s = *d->trial.target ? fake_slot(f, d->trial.target) : NULL;

        if (s && d->trial.target_key == d->default_key &&
                        (s->state != SLOT_GOOD || *s->transaction)) {
                if (d->trial.tries > 0)
                        d->trial.tries--;
                else
                        d->default_key = d->trial.fallback_key;
        }
        d->booted_key = d->default_key;
        d->boots++;
}

Machine *fake_machine(Fake *f) {
        Machine *m = calloc(1, sizeof(*m));
        Config *c = calloc(1, sizeof(*c));
        SlotBackend *slots = calloc(1, sizeof(*slots));
        BootBackend *boot = calloc(1, sizeof(*boot));

        assert_true(m && c && slots && boot);
        c->backend = strdup("fake");
        c->boot = strdup("fake");
        c->verification = f->verification;
        c->keep = f->keep;
        c->tries = 3;
        slots->ops = &fake_slot_ops;
        boot->ops = &fake_boot_ops;
        *m = (Machine){
                        .root = strdup(f->dir),
                        .root_fd = fcntl(f->root_fd, F_DUPFD_CLOEXEC, 3),
                        .config = c,
                        .slots = slots,
                        .boot = boot,
                        .state_fd = fcntl(f->state_fd, F_DUPFD_CLOEXEC, 3),
                        .lock_fd = -1,
                        .boot_id = str_printf("00000000-0000-4000-8000-%012u", f->disk->boots),
        };
        m->world = (World){m->root, m->root_fd, c};
        assert_int_equal(
                        journal_open(fcntl(f->state_fd, F_DUPFD_CLOEXEC, 3), &m->journal, NULL), 0);
        return m;
}
