/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* update/job.h - how a job runs: a table of steps, each recorded in the journal before it
 * begins, undone in reverse when one fails. Every kind of job is such a table. */
#pragma once

#include "update/machine.h"

/* Where a job tells what it does. Every member is set; calls come from the job's thread. */
typedef struct JobSink {
        void *userdata;
        void (*ready)(void *userdata);
        void (*progress)(void *userdata, Phase phase, uint64_t done, uint64_t total);
        void (*slot)(void *userdata, const char *id);
        void (*point_of_no_return)(void *userdata);
        bool (*cancelled)(void *userdata);
        bool (*paused)(void *userdata);      /* of a job that can wait; NULL: it never has to */
        bool (*interrupted)(void *userdata); /* cancelled, but by no person; NULL: it never is */
} JobSink;

typedef struct Job {
        Machine *m;
        Facts facts;  /* as of the last job_refresh() */
        Facts before; /* as of the beginning: what undo goes back to */
        const JobSink *sink;
        const char *type;
        uint64_t id;
        uint64_t started; /* usec, real time */
        Phase phase;
        bool recorded;       /* something is in the journal: the end must be, too */
        bool spends_reserve; /* a way back, or to free space: must work on a full disk, too */
        bool no_return;      /* the point of no return has passed */
        char *slot;          /* for journal and history, may be NULL */
        char *from;
        char *version;
        char *done; /* what to say on success, one sentence */
} Job;

void job_done(Job *j);

/* Reads the facts anew. Where that fails the old ones stay, for whoever has to undo. */
int job_refresh(Job *j, Err **reterr);

/* Sets what journal and history say of the job. NULL leaves a member as it is. */
int job_about(Job *j, const char *slot, const char *from, const char *version, Err **reterr);

/* The sentence for success. */
int job_says(Job *j, Err **reterr, const char *fmt, ...) _printf_(3, 4);

typedef struct Step {
        Phase phase;
        int (*run)(Job *j, void *context, Err **reterr);
        /* After run() failed half-way, too; NULL: there is nothing to undo. Where it fails, nothing
         * further is undone, and recovery takes over. */
        int (*undo)(Job *j, void *context, Err **reterr);
        bool no_return; /* once begun it is finished: no cancelling in it and after it */
} Step;

/* Runs a table of steps: ready, then for each step record, run. The first error is the one
 * returned, after everything was undone, beginning with the step that broke. Where undoing fails
 * too, the journal stays as it is, and recovery finishes the job or takes it back. The end is in
 * history and journal. After a power cut in a step the journal says which; recover() goes on from
 * the facts. */
int job_run(Job *j, const Step *steps, size_t n, void *context, Err **reterr);

/* Writes an end into the history: for job_run(), and for recovery on behalf of a job that was
 * cut off. */
int job_history(Machine *m, uint64_t id, uint64_t started, const char *type, const char *slot,
                const char *version, int status, const char *error, const char *message,
                Err **reterr);
