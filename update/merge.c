/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The running slot stops to need another device: an update of the seed backend is complete. */
#include "update/jobs.h"
#include "update/slot-steps.h"

enum { CLEANER_SECONDS = 20 };

static int on_progress(void *userdata, uint64_t done, uint64_t total) {
        const JobSink *sink = ((Job *) userdata)->sink;

        sink->progress(sink->userdata, PHASE_MERGE, done, total);
        return sink->cancelled(sink->userdata);
}

static int step_merge(Job *j, void *context _unused_, Err **reterr) {
        const MergeArgs args = {j, on_progress, CLEANER_SECONDS * USEC_PER_SEC};
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

static int check(const Job *j, const Slot **ret, Err **reterr) {
        _cleanup_(freep) char *exclusive = NULL;
        const Slot *booted = facts_booted(&j->facts);
        FsSpace space;
        int r;

        if (!j->m->slots->ops->merge)
                return err_kind(reterr, ERR_NOT_SUPPORTED, EOPNOTSUPP,
                                "with Backend=%s there is nothing to merge",
                                j->m->slots->ops->name);
        if (!booted || !booted->depends)
                return err_kind(reterr, ERR_NOTHING_TO_DO, EALREADY,
                                "the running system needs no other device");
        if (!slot_proven(booted))
                return err_kind(reterr, ERR_CONFLICT, EBUSY,
                                "slot %s has not proven itself: first 'abctl mark good'",
                                booted->id);
        if (facts_next(&j->facts) != booted)
                return err_kind(reterr, ERR_CONFLICT, EBUSY,
                                "slot %s boots next: merge what is going to stay",
                                str_or(j->facts.boot.next, "(none)"));
        r = j->m->slots->ops->space(j->m->slots, &space, &exclusive, reterr);
        if (r < 0)
                return r;
        if (*exclusive)
                return err_kind(reterr, ERR_BUSY, EBUSY,
                                "the file system is busy with '%s'; wait until it has ended",
                                exclusive);
        *ret = booted;
        return 0;
}

int job_merge(Job *j, Err **reterr) {
        const Slot *booted = NULL;
        int r = check(j, &booted, reterr);

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
        return job_run(j, steps, ARRAY_SIZE(steps), NULL, reterr);
}
