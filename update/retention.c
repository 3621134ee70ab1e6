/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What is kept and what goes: prune, discard, pin. */
#include "update/jobs.h"
#include "update/kept.h"
#include "update/slot-steps.h"

enum { RECLAIM_SECONDS = 20 };

/* Boot loader first: nothing may point at a slot that is going. */
static int remove_slots(Job *j, const Slot *const slots[], size_t n, Err **reterr) {
        _cleanup_(freep) const char **ids = calloc(n + 1, sizeof(*ids));
        int r = 0;

        if (!ids)
                return err_new(reterr, ENOMEM, "out of memory");
        for (size_t i = 0; r >= 0 && i < n; i++) {
                ids[i] = slots[i]->id;
                if (j->m->boot->ops->forget)
                        r = j->m->boot->ops->forget(j->m->boot, slots[i], reterr);
        }
        if (r >= 0)
                r = j->m->slots->ops->discard(j->m->slots, ids, reterr);
        /* the slots are gone either way; their space comes when the cleaner has been there */
        if (r >= 0)
                (void) j->m->slots->ops->reclaim(j->m->slots, RECLAIM_SECONDS * USEC_PER_SEC, NULL);
        return r;
}

/* While something is on trial only what is of no use to anybody goes: nothing old is deleted
 * before the new is proven. */
static bool retention_keeps(const Config *c, const Facts *f, const Slot *s, unsigned newer_good) {
        ErrKind kind;

        if (facts_protects(f, s, &kind))
                return true;
        if (s->state == SLOT_BAD)
                return false;
        if (facts_on_trial(f, facts_booted(f)) || facts_on_trial(f, facts_next(f)))
                return true;
        switch (s->state) {
        case SLOT_GOOD: return newer_good < c->keep;
        case SLOT_STAGED: { /* superseded by something newer that proved itself */
                const Slot *good = slot_newest_good(f->slots, NULL);

                /* the name of a device tells no age, and the next update takes it anyway */
                return s->device_kind || !good || strverscmp(good->id, s->id) < 0;
        }
        default: return true; /* incomplete: a person should look */
        }
}

/* Proven slots that were proven after @s, and that neither run nor boot next: those are kept anyway,
 * and once they run something has to be beside them. */
static unsigned count_newer_good(const Facts *f, const Slot *s) {
        unsigned n = 0;

        slots_foreach (o, f->slots)
                if (o->state == SLOT_GOOD && !o->booted && o != facts_next(f) && !o->pinned &&
                                o->blessed > s->blessed)
                        n++;
        return n;
}

int retention_apply(Job *j, unsigned *ret_count, Err **reterr) {
        _cleanup_(freep) const Slot **going = calloc(j->facts.slots->n + 1, sizeof(*going));
        unsigned count = 0;
        int r;

        if (!going)
                return err_new(reterr, ENOMEM, "out of memory");
        if (!j->m->slots->ops->discard)
                return 0;
        slots_foreach (s, j->facts.slots)
                if (!retention_keeps(j->m->config, &j->facts, s, count_newer_good(&j->facts, s)))
                        going[count++] = s;
        r = count > 0 ? remove_slots(j, going, count, reterr) : 0;
        if (r < 0)
                return r;
        if (ret_count)
                *ret_count = count;
        return 0;
}

static int step_prune(Job *j, void *context, Err **reterr) {
        unsigned *count = context;
        bool any = false;
        int r = kept_drop(j->m, &any, reterr);

        if (r >= 0)
                r = retention_apply(j, count, reterr);
        return r < 0 ? r
                     : job_says(j, reterr, "%u slot%s deleted%s", *count, *count == 1 ? "" : "s",
                                       any ? ", and what an update that was cut off had received"
                                           : "");
}

static const Step prune_steps[] = {{PHASE_PRUNE, step_prune, NULL, false}};

int job_prune(Job *j, Err **reterr) {
        _cleanup_(freep) char *version = NULL;
        uint64_t bytes;
        unsigned count = 0;
        bool any = kept_tell(j->m, &version, &bytes);

        j->spends_reserve = true;
        slots_foreach (s, j->facts.slots)
                any = any ||
                      !retention_keeps(j->m->config, &j->facts, s, count_newer_good(&j->facts, s));
        if (any)
                return job_run(j, prune_steps, ARRAY_SIZE(prune_steps), &count, reterr);
        return err_kind(reterr, ERR_NOTHING_TO_DO, EALREADY,
                        "nothing to delete: retention keeps every slot that is here");
}

static int step_discard(Job *j, void *context _unused_, Err **reterr) {
        return remove_slots(
                        j, (const Slot *const[]){slot_find(j->facts.slots, j->slot)}, 1, reterr);
}

static const Step discard_steps[] = {{PHASE_PRUNE, step_discard, NULL, true}};

int job_discard(Job *j, const char *slot, Err **reterr) {
        const char *protection;
        ErrKind kind;
        Slot *s = NULL;
        int r;

        if (!*slot)
                return err_kind(reterr, ERR_INVALID_ARGUMENT, EINVAL, "name the slot to discard");
        r = facts_slot(&j->facts, slot, &s, reterr);
        if (r < 0)
                return r;
        if (s->state == SLOT_EMPTY)
                return err_kind(reterr, ERR_NOTHING_TO_DO, EALREADY, "slot %s is empty already",
                                s->id);
        protection = facts_protects(&j->facts, s, &kind);
        if (protection)
                return err_kind(reterr, kind, EBUSY, "slot %s (version %s) cannot be discarded: %s",
                                s->id, s->version, protection);
        r = job_about(j, s->id, NULL, s->version, reterr);
        if (r >= 0)
                r = job_says(j, reterr, "slot %s (version %s) is deleted", s->id, s->version);
        if (r < 0)
                return r;
        j->sink->slot(j->sink->userdata, s->id);
        j->spends_reserve = true;
        return job_run(j, discard_steps, ARRAY_SIZE(discard_steps), NULL, reterr);
}

static int step_pin(Job *j, void *context, Err **reterr) {
        Slot *s = slot_find(j->facts.slots, j->slot);

        s->pinned = *(const bool *) context;
        return j->m->slots->ops->record(j->m->slots, s, reterr);
}

static const Step pin_steps[] = {{PHASE_RECORD, step_pin, undo_facts, true}};

int job_pin(Job *j, const char *slot, bool pinned, Err **reterr) {
        Slot *s = NULL;
        int r = facts_slot(&j->facts, slot, &s, reterr);

        if (r < 0)
                return r;
        r = slot_must_hold(s, ERR_INVALID_ARGUMENT, reterr);
        if (r < 0)
                return r;
        if (s->pinned == pinned)
                return err_kind(reterr, ERR_NOTHING_TO_DO, EALREADY, "slot %s is %spinned already",
                                s->id, pinned ? "" : "un");
        r = job_about(j, s->id, NULL, s->version, reterr);
        if (r >= 0)
                r = job_says(j, reterr, "slot %s (version %s) is %spinned", s->id, s->version,
                                pinned ? "" : "un");
        j->spends_reserve = true;
        return r < 0 ? r : job_run(j, pin_steps, ARRAY_SIZE(pin_steps), &pinned, reterr);
}
