/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <stdarg.h>

#include "update/job.h"
#include "update/records.h"
#include "update/reserve.h"

/* As many as the history keeps fit into its file. */
enum { HISTORY_TEXT_MAX = 2048 };

void job_done(Job *j) {
        facts_done(&j->facts);
        facts_done(&j->before);
        free(MOVE(j->slot));
        free(MOVE(j->from));
        free(MOVE(j->version));
        free(MOVE(j->done));
}

int job_refresh(Job *j, Err **reterr) {
        Facts fresh;
        int r = facts_read(j->m, &fresh, reterr);

        if (r < 0)
                return r;
        facts_done(&j->facts);
        j->facts = fresh;
        return 0;
}

int job_about(Job *j, const char *slot, const char *from, const char *version, Err **reterr) {
        if ((slot && str_set(&j->slot, slot) < 0) || (from && str_set(&j->from, from) < 0) ||
                        (version && str_set(&j->version, version) < 0))
                return err_new(reterr, ENOMEM, "out of memory");
        return 0;
}

int job_says(Job *j, Err **reterr, const char *fmt, ...) {
        char *text = NULL;
        va_list ap;
        int n;

        va_start(ap, fmt);
        n = vasprintf(&text, fmt, ap);
        va_end(ap);
        if (n < 0)
                return err_new(reterr, ENOMEM, "out of memory");
        free(j->done);
        j->done = text;
        return 0;
}

/* The one door: what comes next is on disk before it is in memory, and in memory before anybody
 * hears of it. */
static int enter(Job *j, Phase phase, Err **reterr) {
        Journal *journal = j->m->journal;
        int r;

        journal->phase = phase;
        journal->job = j->id;
        journal->started = j->started;
        if (str_set(&journal->type, j->type) < 0 || str_set(&journal->boot_id, j->m->boot_id) < 0 ||
                        str_set(&journal->slot, j->slot) < 0 ||
                        str_set(&journal->from, j->from) < 0 ||
                        str_set(&journal->next, j->before.boot.next) < 0 ||
                        str_set(&journal->version, j->version) < 0)
                return err_new(reterr, ENOMEM, "out of memory");
        j->recorded = true; /* even where writing fails: it may be on disk all the same */
        r = journal_write(journal, reterr);
        if (r < 0)
                return err_add(reterr, r, "record phase %s", phase_to_string(phase));
        j->phase = phase;
        j->sink->progress(j->sink->userdata, phase, 0, 0);
        return 0;
}

static int refuse_if_cancelled(Job *j, Err **reterr) {
        if (!j->no_return && j->sink->cancelled(j->sink->userdata))
                return err_kind(reterr, ERR_CANCELLED, ECANCELED,
                                "the job was cancelled; the machine is as it was before");
        return 0;
}

int job_history(Machine *m, uint64_t id, uint64_t started, const char *type, const char *slot,
                const char *version, int status, const char *error, const char *message,
                Err **reterr) {
        _cleanup_(json_freep) json_object *o = json_object_new_object();
        _cleanup_(freep) char *text = str_told(message, HISTORY_TEXT_MAX);

        if (!o || !text || json_put(o, "time", json_object_new_uint64(now_realtime())) < 0 ||
                        json_put(o, "started", json_object_new_uint64(started)) < 0 ||
                        json_put(o, "job", json_object_new_uint64(id)) < 0 ||
                        json_put(o, "type", json_object_new_string(type)) < 0 ||
                        json_put(o, "slot", json_object_new_string(str_or(slot, ""))) < 0 ||
                        json_put(o, "version", json_object_new_string(str_or(version, ""))) < 0 ||
                        json_put(o, "status", json_object_new_int(status)) < 0 ||
                        json_put(o, "error", json_object_new_string(error)) < 0 ||
                        json_put(o, "message", json_object_new_string(text)) < 0)
                return err_new(reterr, ENOMEM, "out of memory");
        return history_add(m->state_fd, o, reterr);
}

/* History first: when the journal says idle, the history is complete. */
static int close_journal(Job *j, int status, const char *error, const char *message, Err **reterr) {
        int r = job_history(j->m, j->id, j->started, j->type, j->slot, j->version, status, error,
                        message, reterr);

        if (r < 0)
                return r;
        journal_reset(j->m->journal);
        return journal_write(j->m->journal, reterr);
}

static int undo(Job *j, const Step *steps, size_t n, void *context, Err **reterr) {
        int r = 0;

        while (r >= 0 && n-- > 0)
                if (steps[n].undo)
                        r = steps[n].undo(j, context, reterr);
        return r;
}

/* The machine is as before, or else the journal keeps saying where the job stopped. */
static void take_back(Job *j, const Step *steps, size_t n, void *context, int status, Err **err) {
        _cleanup_(err_freep) Err *why = NULL, *failed = NULL;

        if (undo(j, steps, n, context, &why) < 0) {
                failed = MOVE(*err);
                (void) err_kind(err, err_kind_of(failed), status,
                                "%s. Not taken back yet (%s): recovery will do that",
                                err_text(failed), err_text(why));
        } else if (j->recorded)
                (void) close_journal(
                                j, status, err_kind_name(err_kind_of(*err)), err_text(*err), NULL);
}

/* Whatever failed, where a device is gone that is why; what was seen of it stays behind that. */
static void blame_device(Job *j, int r, Err **err) {
        SlotBackend *slots = j->m->slots;
        _cleanup_(freep) char *text = NULL;
        _cleanup_(err_freep) Err *seen = NULL;

        if (r == -ECANCELED || !slots->ops->lost ||
                        slots->ops->lost(slots, str_or(j->slot, ""), &text, NULL) <= 0)
                return;
        seen = MOVE(*err);
        (void) err_kind(err, ERR_BAD_DEVICE, r, "%s (%s: %s)", text, phase_to_string(j->phase),
                        err_text(seen));
}

static int run_step(Job *j, const Step *step, void *context, Err **reterr) {
        int r = enter(j, step->phase, reterr);

        if (r >= 0 && step->no_return && !j->no_return) {
                j->sink->point_of_no_return(j->sink->userdata);
                /* asked for before the caller could know: still in time */
                r = refuse_if_cancelled(j, reterr);
                j->no_return = true;
        }
        return r < 0 ? r : step->run(j, context, reterr);
}

int job_run(Job *j, const Step *steps, size_t n, void *context, Err **reterr) {
        _cleanup_(err_freep) Err *err = NULL;
        size_t i;
        int r = facts_read(j->m, &j->before, reterr);

        if (r < 0)
                return r;
        j->sink->ready(j->sink->userdata);
        for (i = 0; i < n && r >= 0; i++) {
                r = refuse_if_cancelled(j, &err);
                if (r >= 0)
                        r = run_step(j, &steps[i], context, &err);
                if (r == -ENOSPC && j->spends_reserve && reserve_release(j->m->state_fd) &&
                                job_refresh(j, NULL) >= 0)
                        r = run_step(j, &steps[i], context, &err);
        }
        if (r >= 0) {
                /* what was asked for is done and durable; that it cannot be noted down does not
                 * undo it */
                (void) close_journal(j, 0, "", str_or(j->done, "done"), NULL);
                return 0;
        }

        blame_device(j, r, &err);
        take_back(j, steps, i, context, r, &err);
        if (reterr) {
                err_free(*reterr);
                *reterr = MOVE(err);
        }
        return r;
}
