/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "update/slot-steps.h"
#include "backends/boot-words.h"
#include "backends/kernel.h"
#include "os/file.h"
#include "update/records.h"

bool slot_scrub_wanted(const Machine *m) {
        return m->slots->ops->scrub && m->config->scrub;
}

static WorkWish on_scrub_progress(void *userdata, uint64_t done, uint64_t total) {
        const JobSink *sink = ((Job *) userdata)->sink;

        sink->progress(sink->userdata, PHASE_PREPARE, done, total);
        return sink->cancelled(sink->userdata) ? WORK_ENDS : WORK_GOES_ON;
}

int step_scrub(Job *j, void *context _unused_, Err **reterr) {
        const WorkArgs args = {.userdata = j, .progress = on_scrub_progress};

        return j->m->slots->ops->scrub(j->m->slots, &args, reterr);
}

int slot_choose(Job *j, char **ret_id, char **ret_note, Err **reterr) {
        const Slot *next = facts_next(&j->facts);
        SlotBackend *slots = j->m->slots;

        return slots->ops->target(slots, j->facts.slots,
                        next && next != facts_booted(&j->facts) ? next->id : NULL, ret_id, ret_note,
                        reterr);
}

/* Bad slots that nothing protects, the oldest first; ids are borrowed. */
static const char **find_spare(const Job *j, const Slot *slot) {
        const char **spare = calloc(j->facts.slots->n + 1, sizeof(*spare));
        ErrKind kind;
        size_t n = 0;

        if (spare)
                slots_foreach (s, j->facts.slots)
                        if (s->state == SLOT_BAD && !str_eq(s->id, slot->id) &&
                                        !facts_protects(&j->facts, s, &kind))
                                spare[n++] = s->id;
        return spare;
}

/* Whether it helps to give them up is known before the first of them is. */
int slot_bring(Job *j, const Slot *slot, int root_fd, Err **reterr) {
        BootBackend *boot = j->m->boot;
        _cleanup_(freep) const char **spare = boot->ops->bring ? find_spare(j, slot) : NULL;
        _cleanup_(err_freep) Err *why = NULL;
        int r;

        if (!boot->ops->bring)
                return 0;
        if (!spare)
                return err_new(reterr, ENOMEM, "out of memory");
        r = boot->ops->bring(boot, slot, root_fd, spare, &why);
        for (const char **id = spare; r == -EAGAIN && *id && boot->ops->forget; id++) {
                why = err_free(why);
                r = boot->ops->forget(boot, slot_find(j->facts.slots, *id), &why);
                if (r >= 0)
                        r = boot->ops->bring(boot, slot, root_fd, spare, &why);
        }
        if (r < 0 && reterr)
                *reterr = MOVE(why);
        return r;
}

/* Has the open transaction on @from, if there is one, changed what its version brings? */
static int words_changed(Job *j, const Slot *from, int root_fd, Err **reterr) {
        SlotBackend *slots = j->m->slots;
        _cleanup_(fd_closep) int before_fd = -1;
        int r;

        if (!from->transaction || !slots->ops->open_before)
                return 0;
        r = slots->ops->open_before(slots, from, &before_fd, reterr);
        return r < 0 ? r : words_differ(root_fd, before_fd, reterr);
}

/* Written into the record, and not read from the tree when the slot is armed: a device that does not run
 * cannot be looked into, and what the running system does to its own tree was checked by nobody. So what
 * is armed is what was found right when the slot was placed or committed, with either backend. */
int slot_take_words(Job *j, const Slot *from, int root_fd, Slot *slot, Err **reterr) {
        int r = 1;

        if (!j->m->boot->ops->cmdline || j->m->config->cmdline)
                return 0;
        if (from)
                r = words_changed(j, from, root_fd, reterr);
        if (r == 0)
                return str_set(&slot->cmdline, from->cmdline) < 0
                                       ? err_new(reterr, ENOMEM, "out of memory")
                                       : 0;
        if (r > 0)
                r = words_read(root_fd, &slot->cmdline, reterr);
        return r < 0 ? r : 1;
}

int slot_build_and_place(
                Job *j, const char *quarantine, const Slot *from, Slot *draft, Err **reterr) {
        _cleanup_(strv_freep) char **kernels = NULL;
        _cleanup_(fd_closep) int root_fd = -1;
        SlotBackend *slots = j->m->slots;
        uint64_t number;
        size_t n = 0;
        int r;

        r = slots->ops->build(slots, quarantine, draft, &root_fd, reterr);
        if (r >= 0)
                r = j->m->boot->ops->fits(j->m->boot, root_fd, reterr);
        if (r >= 0)
                r = slot_take_words(j, from, root_fd, draft, reterr);
        if (r >= 0)
                r = kernel_versions(root_fd, &kernels, reterr);
        if (r < 0)
                return r;
        while (kernels[n])
                n++;
        if (n > 0 && str_set(&draft->kernel, kernels[n - 1]) < 0)
                return err_new(reterr, ENOMEM, "out of memory");
        r = slot_bring(j, draft, root_fd, reterr);
        if (r >= 0)
                r = slots->ops->place(slots, quarantine, draft, reterr);
        /* a number is never used twice; the next record makes that last beyond the slot */
        if (r >= 0 && parse_u64(draft->id, &number) >= 0 && number > j->m->journal->last_slot)
                j->m->journal->last_slot = number;
        return r;
}

/* What another slot has armed is taken back first: the loader has one record of a trial, and that
 * slot would boot uncounted from the moment the record speaks of this one. */
static int choose(Machine *m, const Facts *now, const Slot *slot, unsigned tries,
                const Slot *fallback, Err **reterr) {
        const Slot *next = facts_next(now);
        int r = 0;

        if (tries > 0 && next && fallback && !slot_proven(next) && !str_eq(next->id, slot->id))
                r = m->boot->ops->arm(m->boot, fallback, 0, NULL, reterr);
        return r < 0 ? r : m->boot->ops->arm(m->boot, slot, tries, fallback, reterr);
}

/* Written before the loader knows of it: without the number nobody could tell later whether its count
 * was ever taken down. */
static int record_tries(Job *j, Slot *slot, unsigned tries, Err **reterr) {
        if (tries == 0 || slot->tries == tries)
                return 0;
        slot->tries = tries;
        return j->m->slots->ops->record(j->m->slots, slot, reterr);
}

int slot_arm(Job *j, const char *slot_id, unsigned tries, Err **reterr) {
        /* of its own: callers take it from the facts, which are read anew in here */
        _cleanup_(freep) char *id = strdup(slot_id);
        BootBackend *boot = j->m->boot;
        const Slot *booted, *fallback;
        Slot *slot;
        int r;

        if (!id)
                return err_new(reterr, ENOMEM, "out of memory");
        if (!boot->ops->arm)
                return err_kind(reterr, ERR_NOT_SUPPORTED, EOPNOTSUPP, "Boot=%s cannot switch",
                                boot->ops->name);
        if (j->facts.boot.problem)
                return err_kind(reterr, ERR_WRONG_LAYOUT, EMEDIUMTYPE, "%s", j->facts.boot.problem);
        booted = facts_booted(&j->facts);
        slot = slot_find(j->facts.slots, id);
        if (!slot)
                return err_kind(reterr, ERR_UNKNOWN_SLOT, ENOENT, "slot %s is gone", id);
        fallback = slot_find(j->facts.slots, slot->fallback);
        if (!fallback)
                fallback = booted && booted->state == SLOT_GOOD && booted != slot
                                           ? booted
                                           : slot_newest_good(j->facts.slots, slot);
        r = record_tries(j, slot, tries, reterr);
        if (r >= 0)
                r = choose(j->m, &j->facts, slot, tries, fallback, reterr);
        if (r >= 0)
                r = job_refresh(j, reterr);
        if (r >= 0 && !str_eq(j->facts.boot.next, id))
                r = err_kind(reterr, ERR_VERIFY_FAILED, EIO,
                                "slot %s was armed, but slot %s boots next", id,
                                str_or(j->facts.boot.next, "(none)"));
        return r;
}

/* What is there and whole is as good: the loader is asked, whatever became of this. */
int slot_bring_and_arm(Job *j, const char *id, unsigned tries, Err **reterr) {
        const Slot *slot = slot_find(j->facts.slots, id);
        _cleanup_(err_freep) Err *why = NULL, *armed = NULL;
        _cleanup_(fd_closep) int root_fd = -1;
        SlotBackend *slots = j->m->slots;
        int r = 0, q;

        if (slot && slots->ops->open_root && j->m->boot->ops->bring) {
                r = slots->ops->open_root(slots, slot, &root_fd, &why);
                if (r >= 0)
                        r = slot_bring(j, slot, root_fd, &why);
        }
        q = slot_arm(j, id, tries, &armed);
        if (q < 0 && reterr)
                *reterr = r < 0 && why ? MOVE(why) : MOVE(armed);
        return q < 0 && r < 0 ? r : q;
}

static bool same_record(const Slot *a, const Slot *b) {
        return a->state == b->state && a->pinned == b->pinned && a->blessed == b->blessed &&
               str_eq(a->version, b->version) && str_eq(a->reason, b->reason) &&
               str_eq(a->transaction, b->transaction) && str_eq(a->fallback, b->fallback);
}

/* What boots next does not become unproven before something counts its boots: such a record is
 * written with @last. */
static int undo_records(Job *j, const Facts *now, bool last, Err **reterr) {
        int r = 0;

        slots_foreach (s, j->before.slots) {
                const Slot *is = slot_find(now->slots, s->id);
                bool same = is && str_eq(is->fsid, s->fsid) && slot_holds_version(is) &&
                            slot_holds_version(s);
                bool late = is && is == facts_next(now) && slot_proven(is) && !slot_proven(s);

                if (r >= 0 && same && late == last && !same_record(is, s))
                        r = j->m->slots->ops->record(j->m->slots, s, reterr);
        }
        return r;
}

static int undo_refused(Job *j, const Facts *now, Err **reterr) {
        int r = 0;

        slots_foreach (s, j->before.slots) {
                const char *was = refused_reason(j->before.refused, s->version),
                           *is = refused_reason(now->refused, s->version);

                if (r >= 0 && is && !was)
                        r = refused_remove(j->m->state_fd, s->version, reterr);
                if (r >= 0 && was && !is)
                        r = refused_add(j->m->state_fd, s->version, was, reterr);
        }
        return r;
}

static int undo_choice(Job *j, const Facts *now, Err **reterr) {
        const BootFacts *was = &j->before.boot;
        const Slot *next = facts_next(&j->before);
        unsigned tries = 0;

        if (str_eq(now->boot.next, was->next) && str_eq(now->boot.trial, was->trial))
                return 0;
        if (!next)
                return err_new(reterr, ENOENT, "what booted next before is in no slot");
        /* the last try was under way where none is left: it gets that one again */
        if (str_eq(was->trial, next->id))
                tries = was->tries_left > 0 ? (unsigned) was->tries_left : 1;
        return choose(j->m, now, next, tries, slot_find(j->before.slots, was->fallback), reterr);
}

int undo_facts(Job *j, void *context _unused_, Err **reterr) {
        _cleanup_(facts_done) Facts now = {0};
        int r = facts_read(j->m, &now, reterr);

        if (r >= 0)
                r = undo_refused(j, &now, reterr);
        if (r >= 0)
                r = undo_records(j, &now, /* last= */ false, reterr);
        if (r >= 0)
                r = undo_choice(j, &now, reterr);
        return r < 0 ? r : undo_records(j, &now, /* last= */ true, reterr);
}

int slot_must_hold(const Slot *s, ErrKind kind, Err **reterr) {
        if (s->state == SLOT_EMPTY)
                return err_kind(reterr, kind, ENOENT, "slot %s is empty", s->id);
        if (s->state == SLOT_INCOMPLETE)
                return err_kind(reterr, kind, ENOENT, "slot %s is incomplete: %s", s->id,
                                str_or(s->reason, "?"));
        return 0;
}

int slot_set_state(Job *j, Slot *s, SlotState state, const char *reason, Err **reterr) {
        s->state = state;
        if (str_set(&s->reason, reason) < 0)
                return err_new(reterr, ENOMEM, "out of memory");
        return j->m->slots->ops->record(j->m->slots, s, reterr);
}

int slot_set_good(Job *j, Slot *s, const char *reason, Err **reterr) {
        s->blessed = facts_next_blessing(&j->facts);
        s->proven = now_realtime();
        return slot_set_state(j, s, SLOT_GOOD, reason, reterr);
}

int slot_prefer(Machine *m, const Facts *f, Slot *s, const Slot *left, Err **reterr) {
        if (!slot_proven(s) || slot_newest_good(f->slots, left) == s)
                return 0;
        s->blessed = facts_next_blessing(f);
        return m->slots->ops->record(m->slots, s, reterr);
}

int slot_condemn(Machine *m, Slot *s, const char *reason, Err **reterr) {
        int r = refused_add(m->state_fd, s->version, reason, reterr);

        if (r < 0 || s->state == SLOT_BAD)
                return r;
        s->state = SLOT_BAD;
        if (str_set(&s->reason, reason) < 0)
                return err_new(reterr, ENOMEM, "out of memory");
        return m->slots->ops->record(m->slots, s, reterr);
}
