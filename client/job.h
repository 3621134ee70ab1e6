/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* client/job.h - a call that takes long: made, followed with progress, cancelled by Ctrl-C, and judged at its end. */
#pragma once

#include "client/bus.h"
#include "client/download.h"
#include "client/json.h"

/* How a job, or a long call without one, ended well. */
typedef struct JobEnd {
        uint64_t id;           /* 0: the call was no job */
        char *message;         /* one sentence of the daemon; may be NULL */
        bool detached;         /* it still runs */
        sd_bus_message *reply; /* of a call that is no job, at its first value; else NULL */
} JobEnd;

void job_end_done(JobEnd *end);

/* Sends @call (borrowed), which answers (t id, o path) and goes on as a job, or answers with its result at once; feeds it
 * from @download where there is one (borrowed). The first Ctrl-C asks the job to cancel and waits, the second leaves.
 * Returns 0 when all went well, else -errno with the job's own error and, after Ctrl-C, how the machine stands. */
int job_run(Client *c, sd_bus_message *call, Download *download, JobEnd *ret, Err **reterr);

/* Says how a job ended well, and reboots where --reboot says so. Returns an exit code or -errno. */
int job_after(Client *c, const JobEnd *end, bool reboot, Err **reterr);

/* The same, asking the daemon whether a reboot is needed. */
int job_finish(Client *c, const JobEnd *end, Err **reterr);

/* job_run() and job_finish(): all that most verbs do. */
int job_verb(Client *c, sd_bus_message *call, Download *download, Err **reterr);
