/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* In-place transactions where versions are devices: the running system gets a sprout, any tool
 * changes it there, and its sealed device boots next as it was. Commit copies what runs into the
 * slot of the sprout. What is open is a fact on the sprout: a reboot leaves it with all changes. */
#include "update/plan.h"
#include "update/slot-steps.h"
#include "update/transaction.h"

typedef struct Change {
        char id[32]; /* of the transaction */
        char quarantine[32];
        char *slot, *note; /* the one of the sprout */
        Slot draft;
} Change;

static void change_done(Change *c) {
        free(c->slot);
        free(c->note);
        slot_done(&c->draft);
}

/* What was in the slot goes: nothing of the loader may point at it any more. */
static int forget_old(Job *j, const char *id, Err **reterr) {
        const Slot *old = slot_find(j->facts.slots, id);

        return old && j->m->boot->ops->forget ? j->m->boot->ops->forget(j->m->boot, old, reterr)
                                              : 0;
}

static int step_sprout(Job *j, void *context, Err **reterr) {
        const Change *c = context;
        _cleanup_(fd_closep) int fd = -1;
        SlotBackend *slots = j->m->slots;
        int r = forget_old(j, c->slot, reterr);

        if (r >= 0)
                r = slots->ops->prepare(slots, c->quarantine, &fd, reterr);
        return r < 0 ? r : slots->ops->clean(slots, NULL, reterr);
}

/* A sprout that nothing was written to does no harm: the next job uses it. */
static int undo_sprout(Job *j, void *context, Err **reterr) {
        const Change *c = context;
        SlotBackend *slots = j->m->slots;
        int r = slots->ops->discard(slots, (const char *const[]){c->slot, NULL}, reterr);

        return r < 0 ? r : slots->ops->clean(slots, NULL, reterr);
}

static int step_open(Job *j, void *context, Err **reterr) {
        const Change *c = context;

        return j->m->slots->ops->in_place(j->m->slots, c->id, reterr);
}

static int step_close(Job *j, void *context _unused_, Err **reterr) {
        return j->m->slots->ops->in_place(j->m->slots, NULL, reterr);
}

static const Step begin_steps[] = {
                {PHASE_PREPARE, step_scrub, NULL, false},
                {PHASE_PREPARE, step_sprout, undo_sprout, false},
                {PHASE_RECORD, step_open, step_close, false},
};

/* The sprout that is there, or the device that becomes it, with every reason against it. */
static int choose(Job *j, Change *c, Err **reterr) {
        _cleanup_(freep) char *exclusive = NULL;
        FsSpace space;
        int r = slot_choose(j, &c->slot, &c->note, reterr);

        if (r >= 0)
                r = j->m->slots->ops->space(j->m->slots, false, &space, &exclusive, reterr);
        if (r >= 0)
                r = plan_check_exclusive(exclusive, reterr);
        snprintf(c->quarantine, sizeof(c->quarantine), "job-%" PRIu64, j->id);
        return r < 0 ? r : job_about(j, c->slot, NULL, NULL, reterr);
}

int sprout_begin(Job *j, Err **reterr) {
        _cleanup_(change_done) Change c = {0};
        const Slot *booted = facts_booted(&j->facts);
        size_t skip;
        int r;

        if (booted->changed)
                return err_kind(reterr, ERR_CONFLICT, EBUSY,
                                "the running system was changed in place since it was booted; "
                                "reboot first");
        r = choose(j, &c, reterr);
        if (r < 0)
                return r;
        snprintf(c.id, sizeof(c.id), "t%" PRIu64, j->id);
        r = job_says(j, reterr,
                        "transaction %s is open: change the running system, then 'abctl commit' or "
                        "'abctl abort'; until then slot %s boots next, as it was",
                        c.id, booted->id);
        if (r < 0)
                return r;
        j->sink->slot(j->sink->userdata, c.slot);
        skip = slot_scrub_wanted(j->m) ? 0 : 1;
        return job_run(j, begin_steps + skip, ARRAY_SIZE(begin_steps) - skip, &c, reterr);
}

static int step_copy(Job *j, void *context, Err **reterr) {
        const Change *c = context;
        int r = forget_old(j, c->slot, reterr);

        return r < 0 ? r : j->m->slots->ops->copy_booted(j->m->slots, c->quarantine, reterr);
}

static int step_place(Job *j, void *context, Err **reterr) {
        Change *c = context;
        int r = slot_build_and_place(j, c->quarantine, facts_booted(&j->facts), &c->draft, reterr);

        return r < 0 ? r : job_refresh(j, reterr);
}

static int undo_place(Job *j, void *context, Err **reterr) {
        const Change *c = context;

        return forget_old(j, c->slot, reterr);
}

static int step_arm(Job *j, void *context, Err **reterr) {
        const Change *c = context;

        return slot_arm(j, c->slot, j->m->config->tries, reterr);
}

/* The slot goes before its first step is undone: nothing of it is left then. */
static const Step commit_steps[] = {
                {PHASE_PREPARE, step_copy, undo_sprout, false},
                {PHASE_PLACE, step_place, undo_place, false},
                {PHASE_ARM, step_arm, undo_facts, true},
                {PHASE_RECORD, step_close, NULL, true},
};

int sprout_commit(Job *j, const Slot *booted, Err **reterr) {
        _cleanup_(change_done) Change c = {0};
        Slot *draft = &c.draft;
        int r = choose(j, &c, reterr);

        if (r < 0)
                return r;
        draft->state = SLOT_STAGED;
        draft->created = now_realtime();
        draft->size = booted->size;
        draft->epoch = booted->epoch;
        r = transaction_version(j, booted, booted->transaction, &draft->version, reterr);
        if (r < 0)
                return r;
        if (str_set(&draft->id, c.slot) < 0 || str_set(&draft->subvolumes, booted->subvolumes) < 0)
                return err_new(reterr, ENOMEM, "out of memory");
        r = job_about(j, NULL, NULL, draft->version, reterr);
        if (r >= 0)
                r = job_says(j, reterr,
                                "transaction %s is committed: version %s in slot %s boots next, on "
                                "trial; slot %s, as it was, is the way back",
                                booted->transaction, draft->version, c.slot, booted->id);
        return r < 0 ? r : job_run(j, commit_steps, ARRAY_SIZE(commit_steps), &c, reterr);
}

static const Step abort_steps[] = {{PHASE_RECORD, step_close, NULL, true}};

int sprout_abort(Job *j, const Slot *booted, Err **reterr) {
        int r = job_about(j, booted->id, NULL, booted->version, reterr);

        if (r >= 0)
                r = job_says(j, reterr,
                                "transaction %s is aborted: reboot to leave the changed system, "
                                "slot %s boots next, as it was",
                                booted->transaction, booted->id);
        j->spends_reserve = true;
        return r < 0 ? r : job_run(j, abort_steps, ARRAY_SIZE(abort_steps), NULL, reterr);
}
