/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* daemon/manager.h - the daemon as one struct: what the bus objects show and what the requests wait for.
 * For daemon/ alone; jobs, packets and the world do not know it. */
#pragma once

#include <systemd/sd-bus.h>

#include "daemon/job.h"
#include "daemon/world.h"
#include "dbus/api.h"

typedef struct Request Request;

#define CHECKERS_MAX 64u

typedef struct Manager {
        sd_event *event;
        sd_bus *bus;
        const char *root;    /* NULL: the machine itself */
        const char *program; /* of the workers */
        uint64_t idle_usec;  /* UINT64_MAX: stay for ever */

        World world;
        bool world_known;
        Result world_error; /* code < 0: why the machine could not be recovered */

        Job *job;              /* the one that runs */
        sd_bus_slot *job_slot; /* its object */
        Request *owner;        /* whose it is; NULL: ours */
        uint64_t next_id;      /* of a job */
        bool recover_wanted;   /* a worker died: clean up, look again */

        Request *requests;                      /* all of them, a list */
        Request *asking;                        /* waits for polkit */
        Request *waiting;                       /* may start, waits for a job of ours to end */
        sd_bus_message *checkers[CHECKERS_MAX]; /* callers of Check */
        size_t n_checkers;

        char *shown_state;    /* the last State on the bus */
        uint64_t shown_job;   /* when the job was last shown, monotonic */
        bool shown_no_return; /* that it has passed its point of no return */
        sd_event_source *show_timer;

        sd_event_source *idle_timer, *open_timer;
        uint64_t last_activity; /* monotonic */
        bool open;              /* calls are taken */
        bool leaving;           /* idle: the name is being given back */
        bool stopping;          /* no new jobs: ends with the present one */
} Manager;

/* server.c: the daemon from start to end. Returns an exit status. */
int manager_run(Manager *m);

/* Takes calls from now on: the machine is known, or it takes too long. May be repeated. */
void manager_open(Manager *m);

/* What cannot be mended: leave at once, with an error; the bus starts another one. */
void manager_fail(Manager *m, const char *why);

/* Something has ended or begun: leave when nothing is left to do. */
void manager_touch(Manager *m);

/* schedule.c: one job after the other. */
void manager_submit(Manager *m, Request *r); /* authorised; takes ownership */
void manager_check(Manager *m, sd_bus_message *call);
void manager_recover(Manager *m);
bool manager_busy(const Manager *m);

/* The running job keeps others out (it is not one of ours that they can wait for). */
bool manager_exclusive(const Manager *m);
void manager_busy_text(const Manager *m, char *buf, size_t size);

/* publish.c: signals. */
void publish_world(Manager *m, World *fresh); /* takes the contents of @fresh */
void publish_state(Manager *m);
void publish_problems(Manager *m);
void publish_job_added(Manager *m);
void publish_job_ready(Manager *m);
void publish_job_changed(Manager *m); /* at most ten times a second */
void publish_job_removed(Manager *m); /* frees m->job */
const char *manager_state(const Manager *m);

/* bus-manager.c, bus-slot.c, bus-job.c: objects. */
int bus_manager_add(Manager *m);
int bus_slot_add(Manager *m);
int bus_job_add(Manager *m, Job *j);
char *bus_slot_path(const char *id); /* "/" for none; new string or NULL */
char *bus_job_path(uint64_t id);
