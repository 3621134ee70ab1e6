/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* After a power cut, a crash, a lost trial, an administrator's hand: from the facts on disk to a machine in order. The journal
 * only tells the story and breaks ties. Every part may be cut off and comes again. */
#include "update/jobs.h"
#include "update/records.h"
#include "update/slot-steps.h"

static int set_bad(Machine *m, Slot *s, const char *reason, Err **reterr) {
        if (s->state == SLOT_BAD)
                return 0;
        s->state = SLOT_BAD;
        if (str_set(&s->reason, reason) < 0)
                return err_new(reterr, ENOMEM, "out of memory");
        return m->slots->ops->record(m->slots, s, reterr);
}

/* The loader gave a slot up. */
static int end_lost_trial(Machine *m, Facts *f, Err **reterr) {
        Slot *s = slot_find(f->slots, f->boot.exhausted), gone = {.id = f->boot.exhausted};
        _cleanup_(freep) char *text = NULL;
        int r = 0;

        if (!f->boot.exhausted)
                return 0;
        if (s && s->state == SLOT_STAGED) {
                text = str_printf("used up its tries without being marked good; the machine went "
                                  "back to slot %s",
                                str_or(f->boot.next, "(none)"));
                if (!text)
                        return err_new(reterr, ENOMEM, "out of memory");
                r = refused_add(m->state_fd, s->version, text, reterr);
                if (r >= 0)
                        r = job_history(m, 0, s->created, "fallback", s->id, s->version, -EHOSTDOWN,
                                        err_kind_name(ERR_FAILED), text, reterr);
                if (r >= 0)
                        r = set_bad(m, s, text, reterr);
        }
        return r < 0 || !m->boot->ops->forget
                               ? r
                               : m->boot->ops->forget(m->boot, s ? s : &gone, reterr);
}

/* Blessed, but cut off before the loader stopped counting. */
static int end_won_trial(Machine *m, const Facts *f, Err **reterr) {
        const Slot *s = slot_find(f->slots, f->boot.trial);

        return s && s->state == SLOT_GOOD && m->boot->ops->bless
                               ? m->boot->ops->bless(m->boot, s, reterr)
                               : 0;
}

static int lose_transaction(Machine *m, Slot *s, Err **reterr) {
        _cleanup_(freep) char *text = str_printf(
                        "was changed in transaction %s, which was not committed before the machine "
                        "went down; the copy made before it runs",
                        s->transaction);
        int r;

        if (!text)
                return err_new(reterr, ENOMEM, "out of memory");
        r = job_history(m, 0, s->created, "fallback", s->id, s->version, -EHOSTDOWN,
                        err_kind_name(ERR_FAILED), text, reterr);
        return r < 0 ? r
                     : transaction_condemn(m, s, "was not committed before the machine went down",
                                       reterr);
}

static int end_transaction(Machine *m, const Facts *f, Slot *s, Err **reterr) {
        if (!s->booted)
                return lose_transaction(m, s, reterr);
        if (facts_next(f) != s)
                return 0; /* open, and its fallback is in place */
        if (str_eq(f->boot.trial, s->id)) {
                Job j = {.m = m};

                return transaction_close(&j, s, reterr); /* commit had switched already */
        }
        free(MOVE(s->transaction)); /* begin had not: nobody was told to write */
        free(MOVE(s->fallback));
        return m->slots->ops->record(m->slots, s, reterr);
}

static int end_transactions(Machine *m, const Facts *f, Err **reterr) {
        int r = 0;

        slots_foreach (s, f->slots)
                if (r >= 0 && s->transaction)
                        r = end_transaction(m, f, s, reterr);
        return r;
}

/* Each returns 1 when the job had reached its end all the same, 0 when the machine is as before it. */

static int end_update(Machine *m, const Facts *f, Err **reterr) {
        const Journal *jr = m->journal;
        const Slot *s = slot_find(f->slots, jr->slot);
        ErrKind kind;

        if (!s)
                return 0;
        if (s == facts_next(f) || s->booted)
                return 1;
        if (jr->phase != PHASE_PLACE && jr->phase != PHASE_ARM)
                return 0;
        /* placed, not armed: as if it had never been */
        if (facts_protects(f, s, &kind))
                return 0;
        return m->slots->ops->discard(m->slots, s->id, reterr);
}

static int end_switch(Machine *m, Facts *f, Err **reterr) {
        const Journal *jr = m->journal;
        Slot *left = slot_find(f->slots, jr->from);
        bool switched = str_eq(f->boot.next, jr->slot) || str_eq(jr->slot, jr->from);
        int r;

        if (!left)
                return switched;
        if (jr->phase == PHASE_RECORD || !switched)
                return left->state == SLOT_BAD ? 1
                                               : refused_remove(m->state_fd, left->version, reterr);
        r = set_bad(m, left, "rolled back or marked bad", reterr);
        return r < 0 ? r : 1;
}

static int end_begin(Machine *m, const Facts *f, Err **reterr) {
        const Slot *copy = slot_find(f->slots, m->journal->slot);
        const Slot *booted = facts_booted(f);
        ErrKind kind;

        if (booted && booted->transaction)
                return 1;
        return copy && !facts_protects(f, copy, &kind)
                               ? m->slots->ops->discard(m->slots, copy->id, reterr)
                               : 0;
}

static int end_job(Machine *m, Facts *f, Err **reterr) {
        const char *type = str_or(m->journal->type, "");

        if (str_eq(type, "update"))
                return end_update(m, f, reterr);
        if (str_eq(type, "rollback") || str_eq(type, "mark"))
                return end_switch(m, f, reterr);
        if (str_eq(type, "begin"))
                return end_begin(m, f, reterr);
        return m->journal->phase == PHASE_CONDEMN || m->journal->phase == PHASE_BLESS;
}

static int end_journal(Machine *m, Facts *f, Err **reterr) {
        Journal *jr = m->journal;
        _cleanup_(freep) char *text = NULL;
        int r;

        if (!jr || jr->phase == PHASE_IDLE)
                return 0;
        r = end_job(m, f, reterr);
        if (r < 0)
                return err_add(reterr, r, "end the %s job %" PRIu64 " that was cut off",
                                str_or(jr->type, "?"), jr->job);
        text = str_printf("%s in phase %s; %s",
                        str_eq(jr->boot_id, m->boot_id) ? "its worker died"
                                                        : "the machine went down",
                        phase_to_string(jr->phase),
                        r > 0 ? "what it wanted was done already"
                              : "the machine is as it was before");
        if (!text)
                return err_new(reterr, ENOMEM, "out of memory");
        r = job_history(m, jr->job, jr->started, str_or(jr->type, "?"), jr->slot, jr->version,
                        r > 0 ? 0 : -EINTR, r > 0 ? "" : err_kind_name(ERR_WORKER_DIED), text,
                        reterr);
        if (r < 0)
                return r;
        journal_reset(jr);
        return journal_write(jr, reterr);
}

int recover(Machine *m, Err **reterr) {
        _cleanup_(facts_done) Facts f = {0};
        int r = facts_read(m, &f, reterr);

        if (r >= 0)
                r = end_lost_trial(m, &f, reterr);
        if (r >= 0)
                r = end_won_trial(m, &f, reterr);
        if (r >= 0)
                r = end_journal(m, &f, reterr);
        if (r >= 0)
                facts_done(&f);
        if (r >= 0)
                r = facts_read(m, &f, reterr);
        if (r >= 0)
                r = end_transactions(m, &f, reterr);
        if (r >= 0 && m->slots->ops->clean)
                r = m->slots->ops->clean(m->slots, NULL, reterr);
        return r < 0 ? err_add(reterr, r, "recover") : 0;
}
