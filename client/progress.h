/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* client/progress.h - how far a job is, on stdout: a bar that is redrawn, plain lines, JSON Lines, or nothing.
 * Knows no bus: the job feeds it. */
#pragma once

#include "client/client.h"

typedef struct Progress Progress;

/* What is known of the job right now. */
typedef struct ProgressFacts {
        const char *phase;
        double fraction;      /* of this phase, 0 to 1; -1: not known */
        uint64_t done, total; /* bytes of this phase; total 0: not known */
        bool no_return;
} ProgressFacts;

/* Chooses the form from --progress, --json, --quiet and stdout, and writes the choice to c->progress. */
int progress_new(Client *c, Progress **ret, Err **reterr);
Progress *progress_free(Progress *p);
DEFINE_CLEANUP(Progress, progress_free)

/* The job's number, as soon as it is known. */
void progress_job(Progress *p, uint64_t id);

/* New facts; drawn at most ten times a second. progress_tick() draws what was held back: call it now and then. */
void progress_update(Progress *p, const ProgressFacts *f);
void progress_tick(Progress *p);

/* A sentence that stays, above the bar. */
void progress_note(Progress *p, const char *fmt, ...) _printf_(2, 3);

/* Ends the last phase and leaves the cursor at the start of a line. Nothing is drawn after that. */
void progress_end(Progress *p, bool ok);
