/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* update/jobs.h - everything that a worker can be asked to do. Each takes a Job whose facts are
 * fresh, checks, calls the sink's ready(), does it and returns 0, or a negative errno with a
 * story and the machine as before. */
#pragma once

#include "update/job.h"
#include "update/plan.h"

/* What was found wrong, for check and for status. */
typedef struct Finding {
        const char *severity; /* "error", "warning", "info" */
        char *subject, *problem, *advice;
} Finding;

typedef struct FindingList {
        size_t n;
        Finding *findings;
} FindingList;

void finding_list_done(FindingList *l);

/* Converges from the facts on disk after whatever happened: empties quarantines, ends trials
 * that were won or lost, finishes or drops what a job left. Does nothing on a machine in order.
 * Repeatable; needs no more than a second. */
int recover(Machine *m, Err **reterr);

/* Installs the image on @image_fd, for which the manifest on @manifest_fd (-1: none) vouches. @dry_run: fills @ret_plan and
 * changes nothing. */
int job_update(Job *j, int image_fd, int manifest_fd, const UpdateOptions *options, bool dry_run,
                Plan *ret_plan, Err **reterr);

/* What the manifest on @manifest_fd says and what this machine says to it ("error" and "message": why it would be refused),
 * as dbus/worker-api.h has it. Its signatures must be good. Changes nothing. New object. */
int job_inspect(Job *j, int manifest_fd, json_object **ret, Err **reterr);

int job_rollback(Job *j, const char *slot, Err **reterr);
int job_mark_good(Job *j, const char *slot, Err **reterr);
int job_mark_bad(Job *j, const char *slot, const char *reason, Err **reterr);
int job_prune(Job *j, Err **reterr);

/* @scheduled: nobody is there who asks for it; ERR_NOTHING_TO_DO where it is not time, or was stopped in this boot. */
int job_merge(Job *j, bool scheduled, Err **reterr);

typedef struct ExportOptions {
        int out_fd;    /* file, pipe or socket */
        int digest_fd; /* gets the SHA-256 of the device as 64 digits; -1: nobody asks */
        bool compress; /* with zstd */
} ExportOptions;

/* The device of the slot into a file; it must be sealed. */
int job_export(Job *j, const char *slot, const ExportOptions *options, Err **reterr);

typedef struct RestoreOptions {
        const char *digest; /* SHA-256 that the image must have, 64 digits; NULL: nobody knows */
        const char *accept; /* this version although it is refused; may be NULL */
} RestoreOptions;

/* What was exported onto the device of the slot that it came from, which nobody may need: staged, not armed. */
int job_restore(Job *j, int fd, const char *slot, const RestoreOptions *options, Err **reterr);

int job_discard(Job *j, const char *slot, Err **reterr);
int job_pin(Job *j, const char *slot, bool pinned, Err **reterr);
int job_begin_in_place(Job *j, Err **reterr);
int job_commit(Job *j, const char *transaction, Err **reterr);
int job_abort(Job *j, const char *transaction, Err **reterr);

/* Deletes what retention does not keep; part of mark good and all of prune. *@ret_count may be
 * NULL. */
int retention_apply(Job *j, unsigned *ret_count, Err **reterr);

/* Looks for everything that is not as it should be. Changes nothing. */
int machine_check(Machine *m, const Facts *f, FindingList *ret, Err **reterr);
