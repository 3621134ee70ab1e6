/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The running slot stops to need another device: an update of the seed backend is complete. */
#include <fcntl.h>

#include "os/file.h"
#include "update/jobs.h"
#include "update/slot-steps.h"

enum { CLEANER_SECONDS = 20 };

/* In the state directory: the boot in which a merge was cancelled or failed. A worker that died, and a service or a machine
 * that was stopped, leave none. */
#define HELD "merge-held"

static bool held(const Machine *m) {
        _cleanup_(freep) char *text = NULL;

        return file_read_if_at(m->state_fd, HELD, 256, &text, NULL, NULL) > 0 &&
               str_eq(text, m->boot_id);
}

static void hold(const Job *j) {
        const Machine *m = j->m;

        (void) file_write_at(m->state_fd, HELD, m->boot_id, strlen(m->boot_id), NULL);
}

static bool interrupted(const Job *j, int r) {
        return r == -ECANCELED && j->sink->interrupted && j->sink->interrupted(j->sink->userdata);
}

static int nothing_to_do(Err **reterr, const char *why) {
        return err_kind(reterr, ERR_NOTHING_TO_DO, EALREADY, "%s", why);
}

/* A clock that stands before the blessing was wrong then or is now: nobody knows, and waiting helps nobody. */
static int check_time(const Job *j, const Slot *s, Err **reterr) {
        const uint64_t wait = j->m->config->merge_usec, now = now_realtime();

        if (wait == UINT64_MAX)
                return nothing_to_do(
                                reterr, "MergeAfter=never in [Seed]: only 'abctl merge' does it");
        if (!slot_proven(s) || facts_next(&j->facts) != s)
                return nothing_to_do(reterr,
                                "the running system has not proven itself, or does not "
                                "boot next");
        if (now >= s->proven && now - s->proven < wait)
                return err_kind(reterr, ERR_NOTHING_TO_DO, EALREADY,
                                "MergeAfter= in [Seed] waits %" PRIu64 " seconds more",
                                (wait - (now - s->proven)) / USEC_PER_SEC + 1);
        if (held(j->m))
                return nothing_to_do(reterr,
                                "a merge was cancelled or failed since the machine was "
                                "booted: 'abctl merge' goes on with it");
        return 0;
}

static WorkWish on_progress(void *userdata, uint64_t done, uint64_t total) {
        const JobSink *sink = ((Job *) userdata)->sink;

        sink->progress(sink->userdata, PHASE_MERGE, done, total);
        return sink->cancelled(sink->userdata)                ? WORK_ENDS
               : sink->paused && sink->paused(sink->userdata) ? WORK_WAITS
                                                              : WORK_GOES_ON;
}

static int step_merge(Job *j, void *context _unused_, Err **reterr) {
        const WorkArgs args = {j, on_progress, CLEANER_SECONDS * USEC_PER_SEC};
        int r = j->m->slots->ops->merge(j->m->slots, &args, reterr);

        if (r >= 0) { /* who asks for an end now comes too late: it is merged */
                j->sink->point_of_no_return(j->sink->userdata);
                j->no_return = true;
        }
        return r;
}

/* The entry before anybody may use the old device for something else: it names that. */
static int step_record(Job *j, void *context _unused_, Err **reterr) {
        Slot *s;
        int r = job_refresh(j, reterr);

        if (r < 0)
                return r;
        s = facts_booted(&j->facts);
        if (!s || s->depends)
                return err_kind(reterr, ERR_VERIFY_FAILED, EIO,
                                "the device was merged, but the slot still needs it");
        r = j->m->slots->ops->record(j->m->slots, s, reterr);
        if (r >= 0 && j->m->boot->ops->follow)
                r = j->m->boot->ops->follow(j->m->boot, s, reterr);
        return r;
}

static const Step steps[] = {
                {PHASE_MERGE, step_merge, NULL, false},
                {PHASE_RECORD, step_record, NULL, true},
};

static int check(const Job *j, bool scheduled, const Slot **ret, Err **reterr) {
        _cleanup_(freep) char *exclusive = NULL;
        const Slot *booted = facts_booted(&j->facts);
        FsSpace space;
        int r;

        if (!j->m->slots->ops->merge && scheduled)
                return nothing_to_do(reterr, "versions are no devices here");
        if (!j->m->slots->ops->merge)
                return err_kind(reterr, ERR_NOT_SUPPORTED, EOPNOTSUPP,
                                "with Backend=%s there is nothing to merge",
                                j->m->slots->ops->name);
        if (!booted || !booted->depends)
                return err_kind(reterr, ERR_NOTHING_TO_DO, EALREADY,
                                "the running system needs no other device");
        r = scheduled ? check_time(j, booted, reterr) : 0;
        if (r < 0)
                return r;
        if (!slot_proven(booted))
                return err_kind(reterr, ERR_CONFLICT, EBUSY,
                                "slot %s has not proven itself: first 'abctl mark good'",
                                booted->id);
        if (facts_next(&j->facts) != booted)
                return err_kind(reterr, ERR_CONFLICT, EBUSY,
                                "slot %s boots next: merge what is going to stay",
                                str_or(j->facts.boot.next, "(none)"));
        r = j->m->slots->ops->space(j->m->slots, false, &space, &exclusive, reterr);
        if (r < 0)
                return r;
        if (*exclusive)
                return err_kind(reterr, ERR_BUSY, EBUSY,
                                "the file system is busy with '%s'; wait until it has ended",
                                exclusive);
        *ret = booted;
        return 0;
}

int job_merge(Job *j, bool scheduled, Err **reterr) {
        const Slot *booted = NULL;
        int r = check(j, scheduled, &booted, reterr);

        if (r < 0 || !booted)
                return r;
        r = job_about(j, booted->id, booted->depends, booted->version, reterr);
        if (r >= 0)
                r = job_says(j, reterr,
                                "slot %s is complete by itself; the version on device %s can be "
                                "booted until the next update takes that device",
                                booted->id, booted->depends);
        if (r < 0)
                return r;
        j->sink->slot(j->sink->userdata, booted->id);
        (void) unlinkat(j->m->state_fd, HELD, 0);
        r = job_run(j, steps, ARRAY_SIZE(steps), NULL, reterr);
        if (r < 0 && !interrupted(j, r))
                hold(j);
        return r;
}
