/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* In-place transactions: any tool changes the running slot while a copy of it, made before,
 * boots next. A power cut in the middle boots the copy; commit makes the changed slot the next
 * boot, on trial. The open transaction is a fact in the slot.conf of the running slot. Where
 * versions are devices, update/transaction-sprout.c has them. */
#include "update/transaction.h"
#include "os/os-release.h"
#include "update/jobs.h"
#include "update/slot-steps.h"

typedef struct Transaction {
        char id[32];
        char quarantine[32];
        char slot[24]; /* the copy */
        char *subvolumes, *version;
        uint64_t blessed, size;
} Transaction;

static void transaction_done(Transaction *t) {
        free(t->subvolumes);
        free(t->version);
}

static int step_copy(Job *j, void *context, Err **reterr) {
        Transaction *t = context;

        return j->m->slots->ops->copy_booted(j->m->slots, t->quarantine, reterr);
}

static int undo_copy(Job *j, void *context _unused_, Err **reterr) {
        return j->m->slots->ops->clean(j->m->slots, NULL, reterr);
}

static int step_place(Job *j, void *context, Err **reterr) {
        Transaction *t = context;
        _cleanup_(slot_done) Slot draft = {.state = SLOT_GOOD,
                        .created = now_realtime(),
                        .blessed = t->blessed,
                        .size = t->size};
        int r;

        draft.reason = str_printf("kept before transaction %s", t->id);
        if (!draft.reason || str_set(&draft.id, t->slot) < 0 ||
                        str_set(&draft.version, t->version) < 0 ||
                        str_set(&draft.subvolumes, t->subvolumes) < 0)
                return err_new(reterr, ENOMEM, "out of memory");
        r = slot_build_and_place(j, t->quarantine, facts_booted(&j->facts), &draft, reterr);
        return r < 0 ? r : job_refresh(j, reterr);
}

static int undo_place(Job *j, void *context, Err **reterr) {
        Transaction *t = context;

        return j->m->slots->ops->discard(j->m->slots, (const char *const[]){t->slot, NULL}, reterr);
}

static int step_open(Job *j, void *context, Err **reterr) {
        Transaction *t = context;
        Slot *booted = facts_booted(&j->facts);

        if (str_set(&booted->transaction, t->id) < 0 || str_set(&booted->fallback, t->slot) < 0)
                return err_new(reterr, ENOMEM, "out of memory");
        return j->m->slots->ops->record(j->m->slots, booted, reterr);
}

static int step_arm_copy(Job *j, void *context, Err **reterr) {
        Transaction *t = context;

        return slot_arm(j, t->slot, 0, reterr);
}

static const Step begin_steps[] = {
                {PHASE_PREPARE, step_copy, undo_copy, false},
                {PHASE_PLACE, step_place, undo_place, false},
                {PHASE_RECORD, step_open, undo_facts, false},
                {PHASE_ARM, step_arm_copy, NULL, false},
};

static int check_begin(const Job *j, Err **reterr) {
        const Slot *booted = facts_booted(&j->facts);

        if (!j->m->slots->ops->copy_booted)
                return err_kind(reterr, ERR_NOT_SUPPORTED, EOPNOTSUPP,
                                "Backend=%s has no in-place transactions", j->m->slots->ops->name);
        if (j->facts.boot.problem)
                return err_kind(reterr, ERR_WRONG_LAYOUT, EMEDIUMTYPE, "%s", j->facts.boot.problem);
        if (!booted)
                return err_kind(reterr, ERR_WRONG_LAYOUT, EMEDIUMTYPE,
                                "the running system is not in a slot; install an image first");
        if (booted->transaction)
                return err_kind(reterr, ERR_TRANSACTION_OPEN, EBUSY,
                                "transaction %s is open; commit or abort it first",
                                booted->transaction);
        if (booted->state != SLOT_GOOD)
                return err_kind(reterr, ERR_CONFLICT, EBUSY,
                                "the running system is %s; mark it good first",
                                facts_on_trial(&j->facts, booted)
                                                ? "on trial"
                                                : slot_state_to_string(booted->state));
        if (booted != facts_next(&j->facts))
                return err_kind(reterr, ERR_CONFLICT, EBUSY,
                                "slot %s boots next; 'abctl rollback' takes that back",
                                str_or(j->facts.boot.next, "(none)"));
        if (booted->read_only)
                return err_kind(reterr, ERR_READ_ONLY, EROFS,
                                "the running system is a read-only snapshot and cannot be changed "
                                "in place (ReadOnly=yes)");
        return 0;
}

int job_begin_in_place(Job *j, Err **reterr) {
        _cleanup_(transaction_done) Transaction t = {0};
        const Slot *booted = facts_booted(&j->facts);
        uint64_t number;
        int r = check_begin(j, reterr);

        if (r < 0 || j->m->slots->ops->in_place)
                return r < 0 ? r : sprout_begin(j, reterr);
        number = plan_slot_number(j->facts.slots, j->m->journal->last_slot);
        snprintf(t.id, sizeof(t.id), "t%" PRIu64, number);
        snprintf(t.slot, sizeof(t.slot), "%" PRIu64, number);
        snprintf(t.quarantine, sizeof(t.quarantine), "job-%" PRIu64, j->id);
        t.blessed = booted->blessed;
        t.size = booted->size;
        if (str_set(&t.version, booted->version) < 0 ||
                        str_set(&t.subvolumes, booted->subvolumes) < 0)
                return err_new(reterr, ENOMEM, "out of memory");
        r = job_about(j, t.slot, NULL, t.version, reterr);
        if (r >= 0)
                r = job_says(j, reterr,
                                "transaction %s is open: change the running system, then 'abctl "
                                "commit' or 'abctl abort'; until "
                                "then slot %s, a copy of it, boots next",
                                t.id, t.slot);
        if (r < 0)
                return r;
        j->sink->slot(j->sink->userdata, t.slot);
        return job_run(j, begin_steps, ARRAY_SIZE(begin_steps), &t, reterr);
}

/* How much of @version is the system's own: "1.0" of "1.0+t7". */
static size_t own_part(const char *version) {
        const char *plus = strrchr(version, '+');

        return plus && plus[1] == 't' && plus[2] && plus[2 + strspn(plus + 2, "0123456789")] == '\0'
                               ? (size_t) (plus - version)
                               : strlen(version);
}

int transaction_version(
                Job *j, const Slot *booted, const char *transaction, char **ret, Err **reterr) {
        _cleanup_(freep) char *version = NULL, *own = NULL;
        int r = os_release_version(j->m->root_fd, &version, reterr);

        if (r < 0)
                return r;
        own = strndup(booted->version, own_part(booted->version));
        if (!own)
                return err_new(reterr, ENOMEM, "out of memory");
        if (!version || str_eq(version, own) || str_eq(version, booted->version)) {
                free(version);
                version = str_printf("%s+%s", own, transaction);
                if (!version)
                        return err_new(reterr, ENOMEM, "out of memory");
        }
        *ret = MOVE(version);
        return 0;
}

/* Where the transaction has changed what the kernel is to be told, the loader's older line is not the
 * slot's any more: without it arm() takes what is recorded. */
static int renew_words(Job *j, Slot *changed, Err **reterr) {
        SlotBackend *slots = j->m->slots;
        BootBackend *boot = j->m->boot;
        _cleanup_(fd_closep) int root_fd = -1;
        int r = slots->ops->open_root ? slots->ops->open_root(slots, changed, &root_fd, reterr) : 0;

        if (r < 0 || root_fd < 0)
                return r;
        r = slot_take_words(j, changed, root_fd, changed, reterr);
        if (r <= 0)
                return r;
        r = slots->ops->record(slots, changed, reterr);
        return r >= 0 && boot->ops->forget ? boot->ops->forget(boot, changed, reterr) : r;
}

/* What the loader has of the slot is from before the changes. The copy boots next as yet. */
static int step_fits(Job *j, void *context, Err **reterr) {
        Slot *changed = slot_find(j->facts.slots, context);
        BootBackend *boot = j->m->boot;
        int r = boot->ops->fits(boot, j->m->root_fd, reterr);

        if (r >= 0 && changed)
                r = renew_words(j, changed, reterr);
        return r < 0 || !changed ? r : slot_bring(j, changed, j->m->root_fd, reterr);
}

static int step_arm_changed(Job *j, void *context, Err **reterr) {
        return slot_arm(j, context, j->m->config->tries, reterr);
}

int transaction_close(Job *j, Slot *s, Err **reterr) {
        _cleanup_(freep) char *version = NULL;
        int r = transaction_version(j, s, s->transaction, &version, reterr);

        if (r < 0)
                return r;
        free(s->version);
        s->version = MOVE(version);
        free(MOVE(s->transaction));
        free(MOVE(s->fallback));
        s->blessed = 0;
        return slot_set_state(j, s, SLOT_STAGED, NULL, reterr);
}

static int step_close(Job *j, void *context, Err **reterr) {
        return transaction_close(j, slot_find(j->facts.slots, context), reterr);
}

static const Step commit_steps[] = {
                {PHASE_VERIFY, step_fits, NULL, false},
                {PHASE_ARM, step_arm_changed, undo_facts, true},
                {PHASE_RECORD, step_close, NULL, true},
};

static int check_open(const Job *j, const char *transaction, Slot **ret, Err **reterr) {
        Slot *booted = facts_booted(&j->facts);

        if (!booted || !booted->transaction)
                return err_kind(reterr, ERR_NO_TRANSACTION, ENOENT, "no transaction is open");
        if (*transaction && !str_eq(transaction, booted->transaction))
                return err_kind(reterr, ERR_NO_TRANSACTION, ENOENT,
                                "there is no transaction %s; open is %s", transaction,
                                booted->transaction);
        *ret = booted;
        return 0;
}

int job_commit(Job *j, const char *transaction, Err **reterr) {
        _cleanup_(freep) char *id = NULL;
        Slot *booted = NULL;
        int r = check_open(j, transaction, &booted, reterr);

        if (r < 0 || !booted)
                return r;
        if (j->m->slots->ops->in_place)
                return sprout_commit(j, booted, reterr);
        id = strdup(booted->id); /* the facts are read anew on the way */
        if (!id)
                return err_new(reterr, ENOMEM, "out of memory");
        r = job_about(j, booted->id, NULL, booted->version, reterr);
        if (r >= 0)
                r = job_says(j, reterr,
                                "transaction %s is committed: the changed slot %s boots next, on "
                                "trial; slot %s is the way back",
                                booted->transaction, booted->id, str_or(booted->fallback, "?"));
        j->spends_reserve = true;
        return r < 0 ? r : job_run(j, commit_steps, ARRAY_SIZE(commit_steps), id, reterr);
}

static int step_back(Job *j, void *context, Err **reterr) {
        const Slot *s = slot_find(j->facts.slots, context);

        return s ? slot_arm(j, str_or(s->fallback, ""), 0, reterr) : 0;
}

static int step_condemn(Job *j, void *context, Err **reterr) {
        return transaction_condemn(j->m, slot_find(j->facts.slots, context), "was aborted", reterr);
}

int transaction_forget(Machine *m, Slot *s, Err **reterr) {
        free(MOVE(s->transaction));
        free(MOVE(s->fallback));
        return m->slots->ops->record(m->slots, s, reterr);
}

int transaction_condemn(Machine *m, Slot *s, const char *what, Err **reterr) {
        char *reason = str_printf("transaction %s %s", s->transaction, what);

        if (!reason)
                return err_new(reterr, ENOMEM, "out of memory");
        free(s->reason);
        s->reason = reason;
        free(MOVE(s->transaction));
        free(MOVE(s->fallback));
        s->state = SLOT_BAD;
        return m->slots->ops->record(m->slots, s, reterr);
}

static const Step abort_steps[] = {
                {PHASE_ARM, step_back, undo_facts, true},
                {PHASE_CONDEMN, step_condemn, NULL, true},
};

int job_abort(Job *j, const char *transaction, Err **reterr) {
        _cleanup_(freep) char *id = NULL;
        Slot *booted = NULL;
        int r = check_open(j, transaction, &booted, reterr);

        if (r < 0 || !booted)
                return r;
        if (j->m->slots->ops->in_place)
                return sprout_abort(j, booted, reterr);
        id = strdup(booted->id);
        if (!id)
                return err_new(reterr, ENOMEM, "out of memory");
        r = job_about(j, booted->fallback, booted->id, booted->version, reterr);
        if (r >= 0)
                r = job_says(j, reterr,
                                "transaction %s is aborted: reboot to leave the changed system, "
                                "slot %s boots next",
                                booted->transaction, str_or(booted->fallback, "?"));
        j->spends_reserve = true;
        return r < 0 ? r : job_run(j, abort_steps, ARRAY_SIZE(abort_steps), id, reterr);
}
