/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* daemon/request.h - one call that changes something, from its arrival to its answer: frozen, who asks, may he, run.
 * The caller who goes away takes his request with him. */
#pragma once

#include "daemon/auth.h"
#include "daemon/manager.h"

/* What a call wants of a job that runs already. */
typedef enum Control {
        CONTROL_NONE, /* the call is a job of its own */
        CONTROL_CANCEL,
        CONTROL_PAUSE,
        CONTROL_RESUME,
} Control;

struct Request {
        Manager *manager;
        Request *next;
        sd_bus_message *call; /* NULL: answered */
        char *caller;         /* unique name */
        uid_t uid;            /* of the caller, (uid_t) -1: not known yet */
        const char *action;   /* polkit; NULL: free for everybody */

        Control control; /* of job @target */
        uint64_t target;
        JobType type;
        json_object *order;  /* what the worker will get; also what polkit is shown */
        int image, manifest; /* -1: none */
        bool at_end;         /* answered when the job has ended */
        bool detach;         /* the job goes on without its caller */

        sd_bus_slot *query, *presence;
        bool watched; /* the bus tells when the caller leaves it */
        Auth *auth;
};

/* -ENOMEM */
int request_new(Manager *m, sd_bus_message *call, const char *action, Request **ret);
Request *request_free(Request *r);
DEFINE_CLEANUP(Request, request_free)

/* Takes ownership; the answer comes later. */
void request_submit(Request *r);

/* A name has changed hands: whose caller it was is told. */
void request_name_changed(Manager *m, sd_bus_message *signal);

/* Answers, once; later answers are dropped. */
void request_fail(Request *r, ErrKind kind, const char *text);
void request_reply(Request *r, const char *types, ...);

/* org.abupdate1.Error.<kind> in @e, returns its errno. */
int bus_error(sd_bus_error *e, ErrKind kind, const char *fmt, ...) _printf_(3, 4);
