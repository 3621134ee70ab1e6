/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* After a power cut, a crash, a lost trial, an administrator's hand: from the facts on disk to a
 * machine in order. The journal only tells the story and breaks ties. Every part may be cut off
 * and comes again. */
#include "update/interrupted.h"
#include "update/jobs.h"
#include "update/records.h"
#include "update/reserve.h"
#include "update/slot-steps.h"

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
                r = job_history(m, 0, s->created, "fallback", s->id, s->version, -EHOSTDOWN,
                                err_kind_name(ERR_FAILED), text, reterr);
                if (r >= 0)
                        r = slot_condemn(m, s, text, reterr);
        }
        /* it stays, as a bad one: a person may think better of it */
        if (r >= 0 && s && m->boot->ops->condemn)
                return m->boot->ops->condemn(m->boot, s, reterr);
        return r < 0 || !m->boot->ops->forget
                               ? r
                               : m->boot->ops->forget(m->boot, s ? s : &gone, reterr);
}

/* Blessed, but cut off before the loader stopped counting. */
static int end_won_trial(Machine *m, const Facts *f, Err **reterr) {
        const Slot *s = slot_find(f->slots, f->boot.trial);

        return s && slot_proven(s) && m->boot->ops->bless ? m->boot->ops->bless(m->boot, s, reterr)
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
        if (m->slots->ops->in_place)
                return 0; /* open: a reboot would have ended it */
        if (!s->booted)
                return lose_transaction(m, s, reterr);
        if (facts_next(f) != s)
                return 0; /* open, and its fallback is in place */
        if (str_eq(f->boot.trial, s->id)) {
                Job j = {.m = m};

                return transaction_close(&j, s, reterr); /* commit had switched already */
        }
        return transaction_forget(m, s, reterr); /* begin had not: nobody was told to write */
}

static int end_transactions(Machine *m, const Facts *f, Err **reterr) {
        int r = 0;

        slots_foreach (s, f->slots)
                if (r >= 0 && s->transaction)
                        r = end_transaction(m, f, s, reterr);
        return r;
}

/* What the loader says of a slot follows what is true of it now: on which device it is, what it
 * still needs. */
static int lead_loader(Machine *m, Err **reterr) {
        _cleanup_(facts_done) Facts f = {0};
        int r = m->boot->ops->follow ? facts_read(m, &f, reterr) : 0;

        if (r < 0 || !f.slots)
                return r;
        slots_foreach (s, f.slots)
                if (r >= 0 && slot_holds_version(s) && s->boot_options)
                        r = m->boot->ops->follow(m->boot, s, reterr);
        /* what lies about does no harm until the next time */
        if (r >= 0 && m->boot->ops->clean)
                (void) m->boot->ops->clean(m->boot, f.slots, NULL);
        return r;
}

/* What cannot be put right is told by a check, and keeps no job from being done: a merge helps. */
static int heal(Machine *m, Err **reterr) {
        _cleanup_(freep) char *text = NULL;
        int r = m->slots->ops->heal ? m->slots->ops->heal(m->slots, &text, NULL) : 0;

        if (r <= 0)
                return 0;
        free(m->healed);
        m->healed = MOVE(text);
        return job_history(m, 0, now_realtime(), "repair", NULL, NULL, 0, "", m->healed, reterr);
}

static int converge(Machine *m, Err **reterr) {
        _cleanup_(facts_done) Facts f = {0};
        int r = facts_read(m, &f, reterr);

        if (r >= 0 && m->journal && m->journal->phase != PHASE_IDLE) {
                r = interrupted_end(m, &f, reterr);
                facts_done(&f);
                if (r >= 0)
                        r = facts_read(m, &f, reterr);
        }
        if (r >= 0)
                r = end_lost_trial(m, &f, reterr);
        if (r >= 0)
                r = end_won_trial(m, &f, reterr);
        if (r >= 0)
                r = end_transactions(m, &f, reterr);
        if (r >= 0 && m->slots->ops->clean)
                r = m->slots->ops->clean(m->slots, NULL, reterr);
        if (r >= 0)
                r = heal(m, reterr);
        return r < 0 ? r : lead_loader(m, reterr);
}

int recover(Machine *m, Err **reterr) {
        int r = converge(m, reterr);

        if (r == -ENOSPC && reserve_release(m->state_fd))
                r = converge(m, reterr);
        if (r < 0)
                return err_add(reterr, r, "recover");
        reserve_keep(m->state_fd);
        return 0;
}
