/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Verdicts and ways back: rollback, mark good, mark bad. Each ends with the facts that status
 * shows and that keep a version away which did not prove itself. */
#include "update/epoch.h"
#include "update/jobs.h"
#include "update/records.h"
#include "update/slot-steps.h"

enum { REASON_MAX = 1024 };

typedef struct Switch {
        char *target; /* the slot that boots next afterwards; NULL: stays */
        char *left;   /* the slot that is left and thereby condemned; NULL: none */
        unsigned tries;
        char *reason; /* for the slot that is left */
} Switch;

static void switch_done(Switch *s) {
        free(s->target);
        free(s->left);
        free(s->reason);
}

static int switch_set(Switch *s, const Slot *target, const Slot *left, Err **reterr) {
        if (str_set(&s->target, target ? target->id : NULL) < 0 ||
                        str_set(&s->left, left ? left->id : NULL) < 0)
                return err_new(reterr, ENOMEM, "out of memory");
        return 0;
}

static int step_switch(Job *j, void *context, Err **reterr) {
        Switch *s = context;
        Slot *target;
        int r;

        if (!s->target)
                return 0;
        r = slot_bring_and_arm(j, s->target, s->tries, reterr);
        if (r < 0)
                return r;
        target = slot_find(j->facts.slots, s->target);
        return target && s->tries == 0 ? slot_prefer(j->m, &j->facts, target,
                                                         slot_find(j->facts.slots, s->left), reterr)
                                       : 0;
}

static int step_condemn(Job *j, void *context, Err **reterr) {
        Switch *s = context;
        Slot *left = slot_find(j->facts.slots, s->left);
        int r;

        /* a version whose disk is gone is not to blame, and has no record to say so */
        if (!left || !slot_holds_version(left))
                return 0;
        r = slot_condemn(j->m, left, s->reason, reterr);
        return r < 0 ? r : job_refresh(j, reterr);
}

static const Step steps[] = {
                {PHASE_ARM, step_switch, undo_facts, true},
                {PHASE_CONDEMN, step_condemn, NULL, true},
};

static int run_switch(Job *j, Switch *s, Err **reterr) {
        const Slot *left = slot_find(j->facts.slots, s->left),
                   *target = slot_find(j->facts.slots, s->target);
        int r = job_about(j, s->target ? s->target : s->left, s->left, left ? left->version : NULL,
                        reterr);

        if (r < 0)
                return r;
        if (target)
                j->sink->slot(j->sink->userdata, s->target);
        j->spends_reserve = true;
        return job_run(j, steps, ARRAY_SIZE(steps), s, reterr);
}

/* Where to go back to when nobody says: before the reboot to what runs, after it to what was
 * proven last. */
static const Slot *default_target(const Facts *f) {
        const Slot *booted = facts_booted(f), *next = facts_next(f);

        if (booted && next != booted && booted->state == SLOT_GOOD)
                return booted;
        return slot_newest_good(f->slots, next && next != booted ? next : booted);
}

static int pick_target(const Facts *f, const char *id, const Slot **ret, Err **reterr) {
        Slot *s = NULL;
        int r;

        if (!*id) {
                const Slot *found = default_target(f), *next = facts_next(f);

                if (next && next != facts_booted(f) && next->state == SLOT_GOOD)
                        return err_kind(reterr, ERR_NOTHING_TO_DO, EALREADY,
                                        "slot %s boots next already", next->id);

                if (!found)
                        return err_kind(reterr, ERR_NO_FALLBACK, ENOENT,
                                        "there is nothing to go back to: no other slot has proven "
                                        "itself");
                *ret = found;
                return 0;
        }
        r = facts_slot(f, id, &s, reterr);
        if (r < 0)
                return r;
        if (s == facts_next(f))
                return err_kind(reterr, ERR_NOTHING_TO_DO, EALREADY, "slot %s boots next already",
                                id);
        r = slot_must_hold(s, ERR_NO_FALLBACK, reterr);
        if (r < 0)
                return r;
        if (s->state == SLOT_BAD)
                return err_kind(reterr, ERR_REFUSED, EPERM,
                                "slot %s is bad: %s; to trust it again: 'abctl mark good %s'", id,
                                str_or(s->reason, "condemned"), id);
        *ret = s;
        return 0;
}

int job_rollback(Job *j, const char *slot, Err **reterr) {
        _cleanup_(switch_done) Switch s = {0};
        const Slot *booted = facts_booted(&j->facts), *next = facts_next(&j->facts), *target = NULL,
                   *left;
        int r;

        if (booted && booted->transaction)
                return err_kind(reterr, ERR_TRANSACTION_OPEN, EBUSY,
                                "transaction %s is open; end it with 'abctl abort %s'",
                                booted->transaction, booted->transaction);
        r = pick_target(&j->facts, slot, &target, reterr);
        if (r < 0 || !target)
                return r;
        left = next && next != booted ? next : booted;
        if (left == target)
                left = NULL;
        /* to arm a staged slot by name is no verdict on the one that runs */
        if (target->state == SLOT_STAGED) {
                s.tries = j->m->config->tries;
                left = NULL;
        }
        r = switch_set(&s, target, left, reterr);
        if (r < 0)
                return r;
        s.reason = str_printf("rolled back to slot %s (version %s)", target->id, target->version);
        if (!s.reason)
                return err_new(reterr, ENOMEM, "out of memory");
        r = job_says(j, reterr, "slot %s, version %s, boots next", target->id, target->version);
        return r < 0 ? r : run_switch(j, &s, reterr);
}

/* Good: the slot's own record first, then the loader stops counting; recovery and the initrd
 * take the record as the truth. */
static int step_bless(Job *j, void *context _unused_, Err **reterr) {
        Slot *s = slot_find(j->facts.slots, j->slot);
        int r = slot_set_good(j, s, NULL, reterr);

        if (r >= 0)
                r = refused_remove(j->m->state_fd, s->version, reterr);
        if (r >= 0)
                r = epoch_raise(j->m->state_fd, s->epoch, reterr);
        if (r >= 0 && j->m->boot->ops->bless)
                r = j->m->boot->ops->bless(j->m->boot, s, reterr);
        return r;
}

static int step_retain(Job *j, void *context _unused_, Err **reterr _unused_) {
        /* the verdict stands even where old slots cannot be deleted now: prune comes again */
        if (job_refresh(j, NULL) >= 0)
                (void) retention_apply(j, NULL, NULL);
        return 0;
}

static const Step bless_steps[] = {
                {PHASE_BLESS, step_bless, undo_facts, true},
                {PHASE_PRUNE, step_retain, NULL, true},
};

int job_mark_good(Job *j, const char *slot, Err **reterr) {
        Slot *s = NULL;
        int r = facts_slot(&j->facts, slot, &s, reterr);

        if (r < 0)
                return r;
        if (s->booted && s->transaction)
                return err_kind(reterr, ERR_TRANSACTION_OPEN, EBUSY,
                                "transaction %s is open; commit it first", s->transaction);
        if (s->state == SLOT_GOOD && !str_eq(j->facts.boot.trial, s->id))
                return err_kind(reterr, ERR_NOTHING_TO_DO, EALREADY,
                                "slot %s (version %s) is good already", s->id, s->version);
        r = slot_must_hold(s, ERR_INVALID_ARGUMENT, reterr);
        if (r < 0)
                return r;
        if (!s->booted && s->blessed == 0)
                return err_kind(reterr, ERR_INVALID_ARGUMENT, EINVAL,
                                "slot %s has never proven itself; only the running system, or one "
                                "that was good before, can be "
                                "marked good",
                                s->id);
        r = job_about(j, s->id, NULL, s->version, reterr);
        if (r >= 0)
                r = job_says(j, reterr, "slot %s (version %s) is good", s->id, s->version);
        if (r < 0)
                return r;
        j->sink->slot(j->sink->userdata, s->id);
        j->spends_reserve = true;
        return job_run(j, bless_steps, ARRAY_SIZE(bless_steps), NULL, reterr);
}

int job_mark_bad(Job *j, const char *slot, const char *reason, Err **reterr) {
        _cleanup_(switch_done) Switch w = {0};
        const Slot *target = NULL;
        Slot *s = NULL;
        int r = facts_slot(&j->facts, slot, &s, reterr);

        if (r < 0)
                return r;
        if (s->state == SLOT_BAD && s != facts_next(&j->facts))
                return err_kind(reterr, ERR_NOTHING_TO_DO, EALREADY, "slot %s is bad already: %s",
                                s->id, str_or(s->reason, "?"));
        if (s->state == SLOT_INCOMPLETE)
                return err_kind(reterr, ERR_INVALID_ARGUMENT, EINVAL,
                                "slot %s is incomplete; discard it", s->id);
        r = slot_must_hold(s, ERR_INVALID_ARGUMENT, reterr);
        if (r < 0)
                return r;
        if (str_eq(j->facts.boot.fallback, s->id))
                return err_kind(reterr, ERR_NO_FALLBACK, EBUSY,
                                "slot %s is what the trial of slot %s falls back to; end that "
                                "first with 'abctl mark good' or "
                                "'abctl rollback'",
                                s->id, j->facts.boot.trial);
        if (s == facts_next(&j->facts)) {
                const Slot *booted = facts_booted(&j->facts);

                target = booted && booted != s && booted->state == SLOT_GOOD
                                         ? booted
                                         : slot_newest_good(j->facts.slots, s);
                if (!target)
                        return err_kind(reterr, ERR_NO_FALLBACK, ENOENT,
                                        "slot %s boots next and no other slot has proven itself: "
                                        "nothing would be left to boot",
                                        s->id);
        }
        r = switch_set(&w, target, s, reterr);
        if (r < 0)
                return r;
        w.reason = str_told(reason && *reason ? reason : "marked bad", REASON_MAX);
        if (!w.reason)
                return err_new(reterr, ENOMEM, "out of memory");
        r = target ? job_says(j, reterr, "slot %s (version %s) is bad; slot %s boots next", s->id,
                                     s->version, target->id)
                   : job_says(j, reterr, "slot %s (version %s) is bad", s->id, s->version);
        return r < 0 ? r : run_switch(j, &w, reterr);
}
