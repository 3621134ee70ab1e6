/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* daemon/job.h - one job: a worker process is started, listened to, stopped, reaped. No D-Bus in here, and no
 * knowledge of what the worker does. */
#pragma once

#include <systemd/sd-event.h>

#include "daemon/packet.h"
#include "daemon/rate.h"

typedef enum JobType {
        JOB_RECOVER,
        JOB_CHECK,
        JOB_INSPECT,
        JOB_PLAN,
        JOB_UPDATE,
        JOB_BEGIN,
        JOB_COMMIT,
        JOB_ABORT,
        JOB_ROLLBACK,
        JOB_MARK,
        JOB_PRUNE,
        JOB_MERGE,
        JOB_EXPORT,
        JOB_RESTORE,
        JOB_DISCARD,
        JOB_PIN,
        _JOB_TYPE_MAX,
        _JOB_TYPE_INVALID = -EINVAL,
} JobType;

const char *job_type_to_string(JobType t);
JobType job_type_from_string(const char *s);

typedef struct Job Job;

/* What the owner hears, from the event loop, never from within job_start() or job_cancel(). */
typedef struct JobOps {
        void (*ready)(Job *j, void *userdata);   /* at most once: the checks have passed */
        void (*changed)(Job *j, void *userdata); /* something public of the job has changed */
        void (*world)(Job *j, int fd,
                        void *userdata);       /* the machine as the worker left it; borrowed */
        void (*ended)(Job *j, void *userdata); /* once, last, j->result is set; may free the job */
} JobOps;

typedef struct JobSpec {
        uint64_t id;
        JobType type;
        const char *program; /* with --worker */
        const char *root;    /* NULL: the machine itself */
        json_object *order;  /* options of the type; "type" and "job" are added; borrowed */
        int image_fd;        /* borrowed, -1 for none */
        int manifest_fd;     /* the same */
} JobSpec;

/* Public members are for reading. */
struct Job {
        uint64_t id;
        JobType type;
        char *slot;  /* NULL: not known yet */
        char *phase; /* NULL: not begun */
        uint64_t bytes_done, bytes_total;
        double progress;                     /* -1.0: not known */
        uint64_t completion;                 /* CLOCK_REALTIME in usec, 0: not known */
        int point_of_no_return, cancellable; /* bool, as sd-bus has it */
        int paused;                          /* the same */
        bool ready, cancelled;
        bool died; /* ended without a word: somebody has to clean up */
        Result result;

        Rate rate;
        const JobOps *ops;
        void *userdata;
        pid_t pid;
        int socket;
        char *packet; /* WORKER_PACKET_MAX bytes */
        bool has_result, broken, closed;
        sd_event_source *io, *child, *timer;
};

/* Starts the worker. @reterr tells why it could not be started; a program that cannot be executed is a job that fails. */
int job_start(sd_event *event, const JobSpec *spec, const JobOps *ops, void *userdata, Job **ret,
                Err **reterr);

/* Asks the worker to stop, makes sure of it after JOB_STOP_GRACE. Past the point of no return: -EBUSY,
 * ERR_NOT_CANCELLABLE. May be repeated. @by_hand: a person wants it, not the end of the service. */
#define JOB_STOP_GRACE (20 * USEC_PER_SEC)
int job_cancel(Job *j, bool by_hand, Err **reterr);

/* Asks a merge to pause, or to go on; ERR_NOT_SUPPORTED for other jobs, ERR_NOT_CANCELLABLE past the point of no return.
 * May be repeated. */
int job_pause(Job *j, bool pause, Err **reterr);

/* A worker that still runs is killed: what it left is cleaned up by the next one. */
Job *job_free(Job *j);
DEFINE_CLEANUP(Job, job_free)
