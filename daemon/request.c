/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <inttypes.h>
#include <stdarg.h>

#include "daemon/request.h"

#define DRIVER_NAME "org.freedesktop.DBus"
#define DRIVER_PATH "/org/freedesktop/DBus"

/* Unanswered calls, all together, of one caller, and those that wait for polkit. */
#define REQUESTS_MAX            512u
#define REQUESTS_PER_CALLER_MAX 4u
#define ASKING_MAX              16u

int bus_error(sd_bus_error *e, ErrKind kind, const char *fmt, ...) {
        _cleanup_(freep) char *name = str_printf(API_ERROR_PREFIX "%s", err_kind_name(kind));
        _cleanup_(freep) char *text = NULL;
        va_list ap;
        int n;

        va_start(ap, fmt);
        n = vasprintf(&text, fmt, ap);
        va_end(ap);
        if (n < 0)
                text = NULL;
        return name && text ? sd_bus_error_set(e, name, text) : -ENOMEM;
}

int request_new(Manager *m, sd_bus_message *call, const char *action, Request **ret) {
        _cleanup_(request_freep) Request *r = calloc(1, sizeof(*r));

        if (!r)
                return -ENOMEM;
        r->image = r->manifest = -1;
        r->uid = (uid_t) -1;
        r->action = action;
        r->order = json_object_new_object();
        r->caller = strdup(str_or(sd_bus_message_get_sender(call), ""));
        if (!r->order || !r->caller)
                return -ENOMEM;

        r->call = sd_bus_message_ref(call);
        r->manager = m;
        r->next = m->requests;
        m->requests = r;
        *ret = MOVE(r);
        return 0;
}

/* The bus tells, or does not tell any more, when the caller leaves it. Not by sd_bus_add_match(): what is left of one that
 * fails for want of memory aborts the process at the next message. */
static int subscribe(const Request *r, const char *member) {
        _cleanup_(freep) char *match = str_printf("type='signal',sender='" DRIVER_NAME
                                                  "',path='" DRIVER_PATH "',interface='" DRIVER_NAME
                                                  "',member='NameOwnerChanged',arg0='%s',arg2=''",
                        r->caller);

        return match ? sd_bus_call_method_async(r->manager->bus, NULL, DRIVER_NAME, DRIVER_PATH,
                                       DRIVER_NAME, member, NULL, NULL, "s", match)
                     : -ENOMEM;
}

Request *request_free(Request *r) {
        Manager *m;

        if (!r)
                return NULL;
        m = r->manager;
        if (m) {
                for (Request **p = &m->requests; *p; p = &(*p)->next)
                        if (*p == r) {
                                *p = r->next;
                                break;
                        }
                if (m->asking == r)
                        m->asking = NULL;
                if (m->waiting == r)
                        m->waiting = NULL;
                if (m->owner == r)
                        m->owner = NULL;
        }
        auth_free(r->auth);
        sd_bus_slot_unref(r->query);
        if (r->watched)
                (void) subscribe(r, "RemoveMatch");
        sd_bus_slot_unref(r->presence);
        sd_bus_message_unref(r->call);
        json_object_put(r->order);
        fd_close(r->image);
        fd_close(r->manifest);
        free(r->caller);
        free(r);
        return NULL;
}

static sd_bus_message *take_call(Request *r) {
        return MOVE(r->call);
}

void request_fail(Request *r, ErrKind kind, const char *text) {
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *call = take_call(r);
        _cleanup_(sd_bus_error_free) sd_bus_error e = SD_BUS_ERROR_NULL;

        if (!call)
                return;
        (void) bus_error(&e, kind, "%s", text);
        (void) sd_bus_reply_method_error(call, &e);
}

void request_reply(Request *r, const char *types, ...) {
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *call = take_call(r);
        va_list ap;

        if (!call)
                return;
        va_start(ap, types);
        (void) sd_bus_reply_method_returnv(call, types, ap);
        va_end(ap);
}

static void deny(Request *r, const char *why) {
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *call = take_call(r);

        if (call)
                (void) sd_bus_reply_method_errorf(
                                call, SD_BUS_ERROR_ACCESS_DENIED, "Access denied: %s", why);
}

/* An update lives on the bytes of its caller, and he waits for those of an export; the other jobs are short, and who starts
 * them from a script leaves the bus with the answer in his hand. */
static bool goes_on(const Request *r, const Job *j) {
        return r->detach || (j->ready && !r->at_end && j->type != JOB_UPDATE &&
                                            j->type != JOB_EXPORT && j->type != JOB_RESTORE);
}

static void caller_gone(Request *r) {
        Manager *m = r->manager;

        r->call = sd_bus_message_unref(r->call);
        if (m->owner == r) {
                if (!goes_on(r, m->job))
                        (void) job_cancel(m->job, /* by_hand= */ true, /* reterr= */ NULL);
                return;
        }
        if (m->waiting == r && r->detach)
                return;
        request_free(r);
        manager_touch(m);
}

void request_name_changed(Manager *m, sd_bus_message *signal) {
        const char *name, *old, *new;

        /* anybody may send us a signal of that name */
        if (!str_eq(sd_bus_message_get_sender(signal), DRIVER_NAME) ||
                        sd_bus_message_read(signal, "sss", &name, &old, &new) <= 0 || *new)
                return;
        for (Request *r = m->requests, *next; r; r = next) {
                next = r->next;
                if (r->watched && str_eq(r->caller, name))
                        caller_gone(r);
        }
}

static int on_presence(sd_bus_message *m, void *userdata, sd_bus_error *e) {
        int there = true;

        (void) e;
        if (!sd_bus_message_is_method_error(m, NULL) && sd_bus_message_read(m, "b", &there) > 0 &&
                        !there)
                caller_gone(userdata);
        return 0;
}

/* Hear of it when the caller leaves the bus, or has left already: the question is asked behind the subscription. */
static int watch_caller(Request *r) {
        int k;

        if (r->watched)
                return 0;
        k = subscribe(r, "AddMatch");
        if (k < 0)
                return k;
        r->watched = true;
        return sd_bus_call_method_async(r->manager->bus, &r->presence, DRIVER_NAME, DRIVER_PATH,
                        DRIVER_NAME, "NameHasOwner", on_presence, r, "s", r->caller);
}

static void control_target(Request *r) {
        _cleanup_(err_freep) Err *e = NULL;
        Manager *m = r->manager;
        int k;

        if (!m->job || m->job->id != r->target)
                k = err_kind(&e, ERR_UNKNOWN_JOB, ESRCH, "the job has ended");
        else if (r->control == CONTROL_CANCEL)
                k = job_cancel(m->job, /* by_hand= */ true, &e);
        else
                k = job_pause(m->job, r->control == CONTROL_PAUSE, &e);
        if (k < 0)
                request_fail(r, err_kind_of(e), err_text(e));
        else {
                publish_job_changed(m);
                request_reply(r, NULL);
        }
        request_free(r);
}

static void granted(Request *r) {
        if (r->control)
                control_target(r);
        else if (watch_caller(r) < 0) {
                request_fail(r, ERR_NO_MEMORY, "cannot watch the caller");
                request_free(r);
        } else
                manager_submit(r->manager, r);
}

static void on_authorised(bool yes, const char *why, void *userdata) {
        Request *r = userdata;
        Manager *m = r->manager;

        if (m->asking == r)
                m->asking = NULL;
        if (yes)
                granted(r);
        else {
                deny(r, why);
                request_free(r);
        }
        manager_touch(m);
}

static void ask_polkit(Request *r) {
        Manager *m = r->manager;
        unsigned n = 0;

        for (Request *o = m->requests; o; o = o->next)
                n += !!o->auth;
        if (n >= ASKING_MAX || (!r->control && m->asking)) {
                request_fail(r, ERR_BUSY, "another call waits for its authorisation: try again");
                request_free(r);
                return;
        }

        if (watch_caller(r) < 0 ||
                        auth_ask(m->bus, r->caller, r->action, r->order,
                                        sd_bus_message_get_allow_interactive_authorization(
                                                        r->call) > 0,
                                        on_authorised, r, &r->auth) < 0) {
                deny(r, "polkit cannot be asked");
                request_free(r);
                return;
        }
        if (!r->control)
                m->asking = r;
}

static int on_uid(sd_bus_message *answer, void *userdata, sd_bus_error *e) {
        Request *r = userdata;
        Manager *m = r->manager;
        uint32_t uid;

        (void) e;
        if (sd_bus_message_is_method_error(answer, NULL) ||
                        sd_bus_message_read(answer, "u", &uid) <= 0) {
                deny(r, "the caller has left the bus");
                request_free(r);
                manager_touch(m);
                return 0;
        }

        r->uid = uid;
        /* Root waits for nobody: a question to polkit that nobody answers must not keep the administrator out. */
        if (uid == 0 || !r->action || (r->control && m->owner && m->owner->uid == uid))
                granted(r);
        else
                ask_polkit(r);
        return 0;
}

void request_submit(Request *r) {
        Manager *m = r->manager;
        unsigned all = 0, same = 0;
        char text[256];

        for (Request *o = m->requests; o; o = o->next) {
                all++;
                same += str_eq(o->caller, r->caller);
        }
        if (all > REQUESTS_MAX || same > REQUESTS_PER_CALLER_MAX)
                request_fail(r, ERR_BUSY, "too many calls are waiting: try again");
        else if (m->stopping)
                request_fail(r, ERR_BUSY, "the daemon is being stopped: try again");
        else if (!r->control && manager_exclusive(m)) {
                manager_busy_text(m, text, sizeof(text));
                request_fail(r, ERR_BUSY, text);
        } else if (sd_bus_call_method_async(m->bus, &r->query, DRIVER_NAME, DRIVER_PATH,
                                   DRIVER_NAME, "GetConnectionUnixUser", on_uid, r, "s",
                                   r->caller) < 0)
                request_fail(r, ERR_FAILED, "cannot ask who the caller is");
        else
                return;
        request_free(r);
}
