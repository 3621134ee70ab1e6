/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "update/interrupted.h"
#include "update/records.h"
#include "update/slot-steps.h"

/* What the facts say of a job that was cut off. */
typedef enum Outcome {
        OUTCOME_BEFORE, /* the machine is as before it */
        OUTCOME_DONE,   /* it had done what was asked, or recovery has finished it */
        OUTCOME_PARTLY, /* safe, but only a person knows what was asked for */
        _OUTCOME_MAX,
} Outcome;

static const struct {
        const char *text;
        int status;
} outcomes[_OUTCOME_MAX] = {
                [OUTCOME_BEFORE] = {"the machine is as it was before", -EINTR},
                [OUTCOME_DONE] = {"what it was asked for is done", 0},
                [OUTCOME_PARTLY] = {"it is done in part or not at all; see 'abctl status' and ask "
                                    "again",
                                -EINTR},
};

static int discard_copy(Machine *m, const Slot *s, Err **reterr) {
        int r = m->boot->ops->bring && m->boot->ops->forget
                                ? m->boot->ops->forget(m->boot, s, reterr)
                                : 0;

        if (r < 0)
                return r;
        return m->slots->ops->discard(m->slots, (const char *const[]){s->id, NULL}, reterr);
}

/* Before a switch on trial, what another slot had armed is taken back: a cut between the two
 * would lose that. */
static int rearm(Machine *m, const Facts *f, Err **reterr) {
        const Slot *was = slot_find(f->slots, m->journal->next), *next = facts_next(f);

        if (m->journal->phase != PHASE_ARM || !was || was->state != SLOT_STAGED || !next ||
                        !slot_proven(next))
                return 0;
        return m->boot->ops->arm(m->boot, was,
                        was->tries > 0 ? (unsigned) was->tries : m->config->tries, next, reterr);
}

static int end_update(Machine *m, const Facts *f, Outcome *ret, Err **reterr) {
        const Journal *jr = m->journal;
        const Slot *s = slot_find(f->slots, jr->slot);
        ErrKind kind;
        int r;

        *ret = OUTCOME_BEFORE;
        if (!s)
                return 0;
        /* PHASE_RECORD: it was to be placed and no more */
        if (s == facts_next(f) || s->booted || str_eq(f->boot.exhausted, s->id) ||
                        jr->phase == PHASE_RECORD) {
                *ret = OUTCOME_DONE;
                return 0;
        }
        /* placed, not armed: as if it had never been; and a slot that was being emptied is empty */
        if ((jr->phase != PHASE_PLACE && jr->phase != PHASE_ARM && !m->slots->ops->target) ||
                        facts_protects(f, s, &kind))
                return 0;
        r = rearm(m, f, reterr);
        return r < 0 ? r : discard_copy(m, s, reterr);
}

/* Rollback and mark bad: @from is the slot that is left. Once switched, the verdict on it
 * follows. */
static int end_switch(Machine *m, const Facts *f, Outcome *ret, Err **reterr) {
        const Journal *jr = m->journal;
        Slot *left = slot_find(f->slots, jr->from);
        Slot *target = slot_find(f->slots, jr->slot);
        bool stays = str_eq(jr->slot, jr->from); /* mark bad of a slot that does not boot next */
        int r = 0;

        if (!jr->from) { /* a slot was armed by name */
                *ret = str_eq(f->boot.next, jr->slot) ? OUTCOME_DONE : OUTCOME_BEFORE;
                return *ret == OUTCOME_DONE ? 0 : rearm(m, f, reterr);
        }
        if (!left) {
                *ret = OUTCOME_PARTLY;
                return 0;
        }
        if (stays ? jr->phase != PHASE_CONDEMN : !str_eq(f->boot.next, jr->slot)) {
                *ret = OUTCOME_BEFORE;
                return 0;
        }
        *ret = OUTCOME_DONE;
        if (target && !stays)
                r = slot_prefer(m, f, target, left, reterr);
        return r < 0 ? r
                     : slot_condemn(m, left,
                                       str_eq(jr->type, "mark") ? "marked bad" : "rolled back",
                                       reterr);
}

static int end_mark(Machine *m, const Facts *f, Outcome *ret, Err **reterr) {
        const Slot *s = slot_find(f->slots, m->journal->slot);

        if (m->journal->from)
                return end_switch(m, f, ret, reterr);
        *ret = s && slot_proven(s) ? OUTCOME_DONE : OUTCOME_BEFORE;
        return *ret == OUTCOME_DONE ? refused_remove(m->state_fd, s->version, reterr) : 0;
}

/* Open only when the copy boots next: before that nobody was told to change anything. */
static int end_begin(Machine *m, const Facts *f, Outcome *ret, Err **reterr) {
        const Slot *copy = slot_find(f->slots, m->journal->slot);
        Slot *booted = facts_booted(f);
        int r = 0;

        if (m->slots->ops->in_place) {
                *ret = booted && booted->transaction ? OUTCOME_DONE : OUTCOME_BEFORE;
                return 0;
        }
        *ret = OUTCOME_DONE;
        if (copy && (copy->booted || (booted && booted->transaction && copy == facts_next(f))))
                return 0;
        *ret = OUTCOME_BEFORE;
        if (copy && booted && copy == facts_next(f)) /* it was being taken back */
                r = m->boot->ops->arm(m->boot, booted, 0, NULL, reterr);
        if (r >= 0 && booted && booted->transaction)
                r = transaction_forget(m, booted, reterr);
        return r < 0 || !copy ? r : discard_copy(m, copy, reterr);
}

static int end_commit(Machine *m, const Facts *f, Outcome *ret, Err **reterr) {
        const Slot *s = slot_find(f->slots, m->journal->slot);
        int r;

        if (m->slots->ops->in_place) { /* it installs a slot as an update does */
                r = end_update(m, f, ret, reterr);
                return r < 0 || *ret != OUTCOME_DONE
                                       ? r
                                       : m->slots->ops->in_place(m->slots, NULL, reterr);
        }
        *ret = s && (!s->transaction || str_eq(f->boot.trial, s->id)) ? OUTCOME_DONE
                                                                      : OUTCOME_BEFORE;
        return 0;
}

static int end_abort(Machine *m, const Facts *f, Outcome *ret, Err **reterr) {
        Slot *s = slot_find(f->slots, m->journal->from);

        *ret = OUTCOME_DONE;
        if (m->slots->ops->in_place)
                return m->slots->ops->in_place(m->slots, NULL, reterr);
        return s && s->transaction && !str_eq(f->boot.next, s->id)
                               ? transaction_condemn(m, s, "was aborted", reterr)
                               : 0;
}

static int end_discard(Machine *m, const Facts *f, Outcome *ret, Err **reterr _unused_) {
        *ret = slot_find(f->slots, m->journal->slot) ? OUTCOME_BEFORE : OUTCOME_DONE;
        return 0;
}

/* Whatever has been moved stays moved; the record follows by itself. */
static int end_merge(Machine *m, const Facts *f, Outcome *ret, Err **reterr _unused_) {
        const Slot *s = slot_find(f->slots, m->journal->slot);

        *ret = s && !s->depends ? OUTCOME_DONE : OUTCOME_PARTLY;
        return 0;
}

/* The record of the slot is the last thing it writes; the one from before is gone first. */
static int end_restore(Machine *m, const Facts *f, Outcome *ret, Err **reterr) {
        const Slot *s = slot_find(f->slots, m->journal->slot);
        bool holds = s && slot_holds_version(s);
        ErrKind kind;

        *ret = holds && m->journal->phase == PHASE_PLACE ? OUTCOME_DONE : OUTCOME_BEFORE;
        if (*ret == OUTCOME_DONE || !s || facts_protects(f, s, &kind))
                return 0;
        /* a version that was given up without its boot entry, or a kernel that came before its slot */
        return holds                  ? discard_copy(m, s, reterr)
               : m->boot->ops->forget ? m->boot->ops->forget(m->boot, s, reterr)
                                      : 0;
}

static int end_other(
                Machine *m _unused_, const Facts *f _unused_, Outcome *ret, Err **reterr _unused_) {
        *ret = OUTCOME_PARTLY;
        return 0;
}

static const struct {
        const char *type;
        int (*end)(Machine *m, const Facts *f, Outcome *ret, Err **reterr);
} types[] = {
                {"update", end_update},
                {"rollback", end_switch},
                {"mark", end_mark},
                {"begin", end_begin},
                {"commit", end_commit},
                {"abort", end_abort},
                {"discard", end_discard},
                {"merge", end_merge},
                {"restore", end_restore},
                {"prune", end_other},
                {"pin", end_other},
};

int interrupted_end(Machine *m, Facts *f, Err **reterr) {
        Journal *jr = m->journal;
        int (*end)(Machine *, const Facts *, Outcome *, Err **) = end_other;
        _cleanup_(freep) char *text = NULL;
        Outcome outcome;
        int r;

        if (!jr || jr->phase == PHASE_IDLE)
                return 0;
        for (size_t i = 0; i < ARRAY_SIZE(types); i++)
                if (str_eq(types[i].type, jr->type))
                        end = types[i].end;
        r = end(m, f, &outcome, reterr);
        if (r < 0)
                return err_add(reterr, r, "end the %s job %" PRIu64 " that was cut off",
                                str_or(jr->type, "?"), jr->job);
        text = str_printf("%s in phase %s; %s",
                        str_eq(jr->boot_id, m->boot_id) ? "its worker died"
                                                        : "the machine went down",
                        phase_to_string(jr->phase), outcomes[outcome].text);
        if (!text)
                return err_new(reterr, ENOMEM, "out of memory");
        r = job_history(m, jr->job, jr->started, str_or(jr->type, "?"), jr->slot, jr->version,
                        outcomes[outcome].status,
                        outcomes[outcome].status < 0 ? err_kind_name(ERR_WORKER_DIED) : "", text,
                        reterr);
        if (r < 0)
                return r;
        journal_reset(jr);
        return journal_write(jr, reterr);
}
