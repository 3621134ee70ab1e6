/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Which job runs next. Calls that change something exclude each other; jobs of our own (recover, check) are short and
 * waited for; an inspection gives way. */
#include <inttypes.h>

#include "base/log.h"
#include "daemon/event.h"
#include "daemon/request.h"

static void schedule_next(Manager *m);

static bool yields(JobType t) {
        return t == JOB_RECOVER || t == JOB_CHECK || t == JOB_INSPECT;
}

bool manager_exclusive(const Manager *m) {
        return m->job ? !yields(m->job->type) || m->waiting : false;
}

bool manager_busy(const Manager *m) {
        return m->job || m->requests || m->n_checkers > 0;
}

void manager_busy_text(const Manager *m, char *buf, size_t size) {
        if (m->waiting || !m->job)
                (void) snprintf(buf, size, "another call is about to start: try again");
        else
                (void) snprintf(buf, size,
                                "job %" PRIu64
                                " (%s) is running: wait until it has ended, or stop it with "
                                "\"abctl cancel %" PRIu64 "\"",
                                m->job->id, job_type_to_string(m->job->type), m->job->id);
}

static void reply_started(Manager *m) {
        _cleanup_(freep) char *path = bus_job_path(m->job->id);

        if (path)
                request_reply(m->owner, "to", m->job->id, path);
        else
                request_fail(m->owner, ERR_NO_MEMORY, "out of memory");
}

static void on_ready(Job *j, void *userdata) {
        Manager *m = userdata;

        (void) j;
        publish_job_ready(m);
        if (m->owner && !m->owner->at_end)
                reply_started(m);
}

static void on_changed(Job *j, void *userdata) {
        (void) j;
        publish_job_changed(userdata);
}

static void on_world(Job *j, int fd, void *userdata) {
        _cleanup_(world_done) World w = {0};
        _cleanup_(err_freep) Err *e = NULL;
        Manager *m = userdata;

        if (world_read(fd, &w, &e) < 0) {
                log_error("Job %" PRIu64 ": %s", j->id, err_text(e));
                return;
        }
        for (size_t i = 0; i < w.n_history; i++)
                if (w.history[i].job >= m->next_id && w.history[i].job < UINT64_MAX)
                        m->next_id = w.history[i].job + 1;
        publish_world(m, &w);
}

static int append_steps(sd_bus_message *reply, const Result *res) {
        int r = sd_bus_message_open_container(reply, 'a', "(sst)");

        for (size_t i = 0; i < res->n_steps && r >= 0; i++)
                r = sd_bus_message_append(reply, "(sst)", str_or(res->steps[i].phase, ""),
                                str_or(res->steps[i].text, ""), res->steps[i].bytes);
        return r < 0 ? r : sd_bus_message_close_container(reply);
}

static int append_findings(sd_bus_message *reply, const Result *res) {
        int r = sd_bus_message_open_container(reply, 'a', "(ssss)");

        for (size_t i = 0; i < res->n_findings && r >= 0; i++)
                r = sd_bus_message_append(reply, "(ssss)", str_or(res->findings[i].severity, ""),
                                str_or(res->findings[i].subject, ""),
                                str_or(res->findings[i].problem, ""),
                                str_or(res->findings[i].advice, ""));
        return r < 0 ? r : sd_bus_message_close_container(reply);
}

static int append_value(sd_bus_message *reply, const Field *f, const void *base) {
        const char *at = (const char *) base + f->offset;
        int r;

        switch (f->type) {
        case FIELD_U64: return sd_bus_message_append(reply, "v", "t", *(const uint64_t *) at);
        case FIELD_STRINGS:
                r = sd_bus_message_open_container(reply, 'v', "as");
                if (r >= 0)
                        r = sd_bus_message_append_strv(reply, *(char ***) (uintptr_t) at);
                return r < 0 ? r : sd_bus_message_close_container(reply);
        default: return sd_bus_message_append(reply, "v", "s", str_or(*(char *const *) at, ""));
        }
}

static int append_image(sd_bus_message *reply, const Result *res) {
        int r = sd_bus_message_open_container(reply, 'a', "{sv}");

        for (size_t i = 0; i < n_image_fields && r >= 0; i++) {
                r = sd_bus_message_open_container(reply, 'e', "sv");
                if (r >= 0)
                        r = sd_bus_message_append(reply, "s", image_fields[i].key);
                if (r >= 0)
                        r = append_value(reply, &image_fields[i], &res->image);
                if (r >= 0)
                        r = sd_bus_message_close_container(reply);
        }
        return r < 0 ? r : sd_bus_message_close_container(reply);
}

static void reply_list(sd_bus_message *call, const Result *res,
                int (*append)(sd_bus_message *reply, const Result *res)) {
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *reply = NULL;

        if (sd_bus_message_new_method_return(call, &reply) < 0 || append(reply, res) < 0 ||
                        sd_bus_message_send(reply) < 0)
                (void) sd_bus_reply_method_errorf(
                                call, SD_BUS_ERROR_NO_MEMORY, "The answer cannot be sent");
}

static void reply_ended(Manager *m) {
        const Result *res = &m->job->result;
        _cleanup_(freep) char *slot = NULL;

        if (!m->owner || !m->owner->call)
                return;
        if (m->job->type == JOB_INSPECT && res->kind == ERR_CANCELLED)
                request_fail(m->owner, ERR_BUSY, "another call came first: try again");
        else if (res->code < 0)
                request_fail(m->owner, res->kind, str_or(res->text, ""));
        else if (m->job->type == JOB_PLAN || m->job->type == JOB_INSPECT) {
                reply_list(m->owner->call, res,
                                m->job->type == JOB_PLAN ? append_steps : append_image);
                m->owner->call = sd_bus_message_unref(m->owner->call);
        } else if (m->job->type == JOB_BEGIN) {
                slot = bus_slot_path(res->slot);
                request_reply(m->owner, "so", str_or(res->transaction, ""), str_or(slot, "/"));
        } else
                reply_started(m);
}

static void reply_checkers(Manager *m, const Result *res) {
        _cleanup_(sd_bus_error_free) sd_bus_error e = SD_BUS_ERROR_NULL;

        if (res->code < 0)
                (void) bus_error(&e, res->kind, "%s", str_or(res->text, ""));
        for (size_t i = 0; i < m->n_checkers; i++) {
                if (res->code < 0)
                        (void) sd_bus_reply_method_error(m->checkers[i], &e);
                else
                        reply_list(m->checkers[i], res, append_findings);
                sd_bus_message_unref(m->checkers[i]);
        }
        m->n_checkers = 0;
}

/* What a job of any kind tells of our knowledge of the machine. */
static void learn(Manager *m) {
        const Job *j = m->job;

        if (j->died && j->type != JOB_RECOVER)
                m->recover_wanted = true;
        if (j->type == JOB_RECOVER && j->result.code < 0) {
                result_done(&m->world_error);
                m->world_error.code = j->result.code;
                m->world_error.kind = j->result.kind;
                m->world_error.text = strdup(str_or(j->result.text, ""));
                publish_problems(m);
        } else if (j->result.code == 0 && m->world_error.code < 0) {
                result_done(&m->world_error);
                publish_problems(m);
        }
}

static void on_ended(Job *j, void *userdata) {
        Manager *m = userdata;

        event_job_ended(j, m->owner ? m->owner->uid : 0);
        learn(m);
        reply_ended(m);
        if (j->type == JOB_CHECK)
                reply_checkers(m, &j->result);
        request_free(m->owner);
        publish_job_removed(m);
        schedule_next(m);
}

static const JobOps job_ops = {
                .ready = on_ready,
                .changed = on_changed,
                .world = on_world,
                .ended = on_ended,
};

static int start(Manager *m, JobType type, Request *owner, Err **reterr) {
        JobSpec spec = {
                        .id = m->next_id,
                        .type = type,
                        .program = m->program,
                        .root = m->root,
                        .order = owner ? owner->order : NULL,
                        .image_fd = owner ? owner->image : -1,
                        .manifest_fd = owner ? owner->manifest : -1,
        };
        int r;

        r = job_start(m->event, &spec, &job_ops, m, &m->job, reterr);
        if (r < 0)
                return r;
        m->next_id++;
        m->owner = owner;
        if (owner) {
                owner->image = fd_close(owner->image);
                owner->manifest = fd_close(owner->manifest);
        }
        publish_job_added(m);
        event_job_started(m->job, owner ? owner->uid : 0);
        return 0;
}

void manager_submit(Manager *m, Request *r) {
        _cleanup_(err_freep) Err *e = NULL;
        char text[256];

        if (m->stopping || manager_exclusive(m) || (m->job && r->type == JOB_INSPECT)) {
                manager_busy_text(m, text, sizeof(text));
                request_fail(r, ERR_BUSY, text);
                request_free(r);
        } else if (m->job) {
                m->waiting = r;
                if (m->job->type == JOB_INSPECT)
                        (void) job_cancel(m->job, /* by_hand= */ false, /* reterr= */ NULL);
        } else if (start(m, r->type, r, &e) < 0) {
                request_fail(r, err_kind_of(e), err_text(e));
                request_free(r);
        }
        manager_touch(m);
}

void manager_recover(Manager *m) {
        _cleanup_(err_freep) Err *e = NULL;

        m->recover_wanted = false;
        if (start(m, JOB_RECOVER, /* owner= */ NULL, &e) < 0) {
                log_error("Cannot look at the machine: %s", err_text(e));
                result_set(&m->world_error, e);
                manager_open(m);
        }
}

static void start_check(Manager *m) {
        _cleanup_(err_freep) Err *e = NULL;
        Result res = {0};

        if (start(m, JOB_CHECK, /* owner= */ NULL, &e) >= 0)
                return;
        result_set(&res, e);
        reply_checkers(m, &res);
        result_done(&res);
}

static void schedule_next(Manager *m) {
        Request *r = m->waiting;

        manager_open(m);
        if (m->stopping) {
                manager_touch(m);
                return;
        }
        m->waiting = NULL;
        if (r) /* its worker recovers first, as every worker does */
                manager_submit(m, r);
        else if (m->recover_wanted)
                manager_recover(m);
        else if (m->n_checkers > 0)
                start_check(m);
        manager_touch(m);
}

void manager_check(Manager *m, sd_bus_message *call) {
        m->checkers[m->n_checkers++] = sd_bus_message_ref(call);
        if (!m->job)
                start_check(m);
}
