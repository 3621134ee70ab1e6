/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <fcntl.h>
#include <sys/file.h>
#include <time.h>

#include "os/file.h"
#include "os/proc.h"
#include "update/machine.h"
#include "update/records.h"

enum { LOCK_WAIT_SECONDS = 3 };

/* Two daemons, or a daemon and `abctl --offline`: the second waits a little, for the worker of a
 * daemon that was killed is about to end, and is then refused. The lock is gone with the
 * process. */
static int take_lock(Machine *m, Err **reterr) {
        uint64_t end = now_monotonic() + LOCK_WAIT_SECONDS * USEC_PER_SEC;

        m->lock_fd = openat(m->state_fd, "lock",
                        O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0600);
        if (m->lock_fd < 0)
                return err_sys(reterr, errno, "open the lock of this machine");
        while (flock(m->lock_fd, LOCK_EX | LOCK_NB) < 0) {
                if (errno != EWOULDBLOCK && errno != EINTR)
                        return err_sys(reterr, errno, "lock this machine");
                if (now_monotonic() > end)
                        return err_kind(reterr, ERR_BUSY, EBUSY,
                                        "another process is changing this machine; wait for it, or "
                                        "see 'abctl jobs'");
                nanosleep(&(struct timespec){.tv_nsec = 20 * 1000 * 1000}, NULL);
        }
        return 0;
}

static int open_state(Machine *m, Err **reterr) {
        int fd, r;

        if (!m->slots->ops->state_dir)
                return 0;
        r = m->slots->ops->state_dir(m->slots, &m->state_fd, reterr);
        if (r >= 0)
                r = take_lock(m, reterr);
        if (r < 0)
                return r;
        fd = fcntl(m->state_fd, F_DUPFD_CLOEXEC, 3);
        if (fd < 0)
                return err_sys(reterr, errno, "open the state directory");
        return journal_open(fd, &m->journal, reterr);
}

int machine_open(const char *root, Machine **ret, Err **reterr) {
        _cleanup_(machine_freep) Machine *m = calloc(1, sizeof(*m));
        int r;

        if (!m)
                return err_new(reterr, ENOMEM, "out of memory");
        m->root_fd = m->state_fd = m->lock_fd = -1;
        m->root = strdup(root);
        if (!m->root)
                return err_new(reterr, ENOMEM, "out of memory");
        m->root_fd = open(root, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (m->root_fd < 0)
                return err_sys(reterr, errno, "open %s", root);
        r = config_load(str_eq(root, "/") ? "" : root, &m->config, reterr);
        if (r < 0)
                return r;
        m->world = (World){m->root, m->root_fd, m->config};
        r = proc_boot_id(m->root_fd, &m->boot_id, reterr);
        if (r >= 0)
                r = slot_backend_open(&m->world, &m->slots, reterr);
        if (r >= 0)
                r = boot_backend_open(&m->world, &m->boot, reterr);
        if (r >= 0)
                r = open_state(m, reterr);
        if (r < 0)
                return r;
        *ret = MOVE(m);
        return 0;
}

Machine *machine_free(Machine *m) {
        if (m) {
                journal_free(m->journal);
                boot_backend_close(m->boot);
                slot_backend_close(m->slots);
                fd_close(m->lock_fd);
                fd_close(m->state_fd);
                fd_close(m->root_fd);
                config_free(m->config);
                free(m->boot_id);
                free(m->healed);
                free(m->root);
                free(m);
        }
        return NULL;
}

void facts_done(Facts *f) {
        f->slots = slot_list_free(f->slots);
        boot_facts_done(&f->boot);
        json_freep(&f->refused);
}

int facts_read(Machine *m, Facts *ret, Err **reterr) {
        _cleanup_(facts_done) Facts f = {.boot = {.tries_left = -1}};
        int r;

        r = m->slots->ops->list(m->slots, &f.slots, reterr);
        if (r >= 0)
                r = m->boot->ops->facts(m->boot, f.slots, &f.boot, reterr);
        if (r >= 0)
                r = refused_read(m->state_fd, &f.refused, reterr);
        if (r < 0)
                return err_add(reterr, r, "read the state of the machine");
        *ret = f;
        f = (Facts){0};
        return 0;
}

Slot *facts_next(const Facts *f) {
        return slot_find(f->slots, f->boot.next);
}

Slot *facts_booted(const Facts *f) {
        return slot_booted(f->slots);
}

bool facts_on_trial(const Facts *f, const Slot *s) {
        return s && s->state == SLOT_STAGED && (s->booted || s == facts_next(f));
}

const char *facts_protects(const Facts *f, const Slot *s, ErrKind *ret_kind) {
        const Slot *booted = facts_booted(f);

        *ret_kind = ERR_SLOT_IN_USE;
        if (s->booted)
                return "it is running";
        if (s == facts_next(f))
                return "it boots next";
        if (booted && str_eq(booted->fallback, s->id))
                return "the open transaction falls back to it";
        if (str_eq(f->boot.fallback, s->id))
                return "it is what the trial falls back to";
        slots_foreach (o, f->slots)
                if (str_eq(o->depends, s->id))
                        return "another slot still reads its device, until it is merged";
        *ret_kind = ERR_SLOT_PINNED;
        return s->pinned ? "it is pinned; unpin it first" : NULL;
}

int facts_slot(const Facts *f, const char *id, Slot **ret, Err **reterr) {
        _cleanup_(freep) char *here = NULL;
        Slot *s = *id ? slot_find(f->slots, id) : facts_booted(f);
        unsigned named = 0;

        if (s) {
                *ret = s;
                return 0;
        }
        if (!*id)
                return err_kind(reterr, ERR_UNKNOWN_SLOT, ENOENT,
                                "the running system is not in a slot; name one");
        for (size_t i = f->slots->n; i-- > 0 && named < 8; named++) {
                char *more = str_printf("%s%s%s", f->slots->slots[i].id, here ? ", " : "",
                                str_or(here, ""));

                free(here);
                here = more;
        }
        return err_kind(reterr, ERR_UNKNOWN_SLOT, ENOENT, "there is no slot %s; there are: %s%s",
                        id, f->slots->n > named ? "..., " : "", str_or(here, "none"));
}

uint64_t facts_next_blessing(const Facts *f) {
        uint64_t max = 0;

        slots_foreach (s, f->slots)
                if (s->blessed > max)
                        max = s->blessed;
        return max + 1;
}
