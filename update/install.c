/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* An image becomes a slot and the next boot. */
#include "update/install.h"
#include "os/file.h"
#include "os/os-release.h"
#include "update/jobs.h"
#include "update/slot-steps.h"

static void install_done(Install *in) {
        in->stream = stream_free(in->stream);
        plan_done(&in->plan);
        free(in->slot);
        free(in->note);
        in->image_fd = fd_close(in->image_fd);
        kept_done(&in->kept);
        incoming_done(&in->incoming);
        in->manifest = manifest_free(in->manifest);
}

/* The steps. */

static int step_prepare(Job *j, void *context, Err **reterr) {
        Install *in = context;
        const Slot *old = slot_find(j->facts.slots, in->slot);
        int r = 0;

        /* what was in the slot goes: nothing of the loader may point at it any more */
        if (old && j->m->boot->ops->forget)
                r = j->m->boot->ops->forget(j->m->boot, old, reterr);
        if (r >= 0)
                r = j->m->slots->ops->prepare(j->m->slots, in->quarantine, &in->image_fd, reterr);
        in->incoming.image_fd = in->image_fd;
        return r < 0 || !kept_position(&in->kept) ? r
                                                  : kept_restore(&in->kept, in->image_fd, reterr);
}

static int undo_prepare(Job *j, void *context, Err **reterr) {
        Install *in = context;

        /* the engine may hold subvolumes in there open */
        in->stream = stream_free(in->stream);
        in->image_fd = fd_close(in->image_fd);
        free(MOVE(j->slot)); /* it never came to be */
        if (in->slot) {      /* what was in it before cannot be booted any more */
                int r = j->m->slots->ops->discard(
                                j->m->slots, (const char *const[]){in->slot, NULL}, reterr);

                if (r < 0)
                        return r;
        }
        return j->m->slots->ops->clean(j->m->slots, NULL, reterr);
}

static int step_write(Job *j _unused_, void *context, Err **reterr) {
        Install *in = context;
        int r = stream_receive(in->stream, in->image_fd, reterr);

        if (r == -ENOSPC)
                return err_add(reterr, r,
                                "receive %s (the file system is full: free some with 'abctl prune' "
                                "or "
                                "'abctl discard SLOT', then try again)",
                                in->options.name);
        if (r >= 0)
                r = incoming_complete(&in->incoming, reterr);
        return r < 0 ? err_add(reterr, r, "receive %s", in->options.name) : 0;
}

static int say_end(Install *in, Err **reterr) {
        const Plan *p = &in->plan;

        if (in->options.arm)
                return job_says(in->job, reterr,
                                "version %s is installed in slot %s and boots next", p->version,
                                p->slot);
        return job_says(in->job, reterr,
                        "version %s is staged in slot %s; 'abctl rollback %s' makes it the next "
                        "boot",
                        p->version, p->slot, p->slot);
}

/* Without a manifest the tree itself says what it is: its os-release, or else the name of its
 * subvolume. */
static int identify(Install *in, Err **reterr) {
        _cleanup_(fd_closep) int fd = dir_open_at(in->image_fd, in->incoming.items[0].name, reterr);
        int r = fd < 0 ? fd : os_release_version(fd, &in->plan.version, reterr);

        if (r >= 0 && !in->plan.version &&
                        str_set(&in->plan.version, in->incoming.items[0].name) < 0)
                r = err_new(reterr, ENOMEM, "out of memory");
        if (r >= 0)
                r = plan_check_version(&in->job->facts, in->plan.version, &in->options, reterr);
        if (r >= 0)
                r = job_about(in->job, NULL, NULL, in->plan.version, reterr);
        return r < 0 ? r : say_end(in, reterr);
}

static int on_verify_progress(void *userdata, uint64_t bytes) {
        Install *in = userdata;
        const JobSink *sink = in->job->sink;

        sink->progress(sink->userdata, PHASE_VERIFY, bytes, 0);
        return sink->cancelled(sink->userdata);
}

static int step_verify(Job *j _unused_, void *context, Err **reterr) {
        Install *in = context;
        int r = fs_sync(in->image_fd, reterr);

        if (r >= 0)
                r = incoming_verify(&in->incoming, in->image_fd, on_verify_progress, in, reterr);
        if (r < 0)
                return err_add(reterr, r, "verify what was written");
        return in->plan.version ? 0 : identify(in, reterr);
}

static int describe_draft(Install *in, Slot *draft, Err **reterr) {
        draft->state = SLOT_STAGED;
        draft->created = now_realtime();
        draft->exclusive = in->incoming.written;
        draft->size = in->incoming.size;
        draft->epoch = in->manifest ? in->manifest->epoch : 0;
        if (str_set(&draft->id, in->plan.slot) < 0 ||
                        str_set(&draft->version, in->plan.version) < 0 ||
                        str_set(&draft->subvolumes, in->incoming.subvolumes) < 0)
                return err_new(reterr, ENOMEM, "out of memory");
        return 0;
}

static int step_place(Job *j, void *context, Err **reterr) {
        Install *in = context;
        _cleanup_(slot_done) Slot draft = {0};
        int r = describe_draft(in, &draft, reterr);

        return r < 0 ? r : slot_build_and_place(j, in->quarantine, NULL, &draft, reterr);
}

static int undo_place(Job *j, void *context, Err **reterr) {
        Install *in = context;
        const Slot gone = {.id = in->plan.slot};
        int r = j->m->boot->ops->bring && j->m->boot->ops->forget
                                ? j->m->boot->ops->forget(j->m->boot, &gone, reterr)
                                : 0;

        return r < 0 ? r
                     : j->m->slots->ops->discard(j->m->slots,
                                       (const char *const[]){in->plan.slot, NULL}, reterr);
}

static int step_arm(Job *j, void *context, Err **reterr) {
        Install *in = context;
        int r = job_refresh(j, reterr);

        if (r < 0)
                return r;
        if (!str_eq(j->facts.boot.next, in->plan.next))
                return err_kind(reterr, ERR_CONFLICT, EAGAIN,
                                "somebody else changed the next boot from slot %s to %s meanwhile; "
                                "look at 'abctl status', then "
                                "try again",
                                str_or(in->plan.next, "(none)"),
                                str_or(j->facts.boot.next, "(none)"));
        return slot_arm(j, in->plan.slot, j->m->config->tries, reterr);
}

/* From here on the slot stays: where the journal says so, recovery keeps it. */
static int step_keep(Job *j _unused_, void *context _unused_, Err **reterr _unused_) {
        return 0;
}

static int run(Install *in, Err **reterr) {
        static const Step arm = {PHASE_ARM, step_arm, undo_facts, true};
        static const Step keep = {PHASE_RECORD, step_keep, NULL, true};
        const Step steps[] = {
                        {PHASE_PREPARE, step_scrub, NULL, false},
                        {PHASE_PREPARE, step_prepare, undo_prepare, false},
                        {PHASE_WRITE, step_write, NULL, false},
                        {PHASE_VERIFY, step_verify, NULL, false},
                        {PHASE_PLACE, step_place, undo_place, false},
                        in->options.arm ? arm : keep,
        };

        const size_t skip = in->scrub ? 0 : 1;

        return job_run(in->job, steps + skip, ARRAY_SIZE(steps) - skip, in, reterr);
}

/* What was received is of use where another source, or another time, may give the rest. */
static bool worth_keeping(ErrKind why) {
        static const ErrKind passing[] = {ERR_STALLED, ERR_TRUNCATED, ERR_CANCELLED, ERR_BAD_INPUT,
                        ERR_BAD_IMAGE, ERR_CONFLICT};

        for (size_t i = 0; i < ARRAY_SIZE(passing); i++)
                if (passing[i] == why)
                        return true;
        return false;
}

static int update(Install *in, int image_fd, int manifest_fd, Err **reterr) {
        Job *j = in->job;
        int r = install_open(in, image_fd, manifest_fd, reterr);

        if (r < 0 || in->dry_run)
                return r;
        r = job_about(j, in->plan.slot, NULL, in->plan.version, reterr);
        if (r >= 0 && in->plan.version)
                r = say_end(in, reterr);
        if (r < 0)
                return r;
        j->sink->slot(j->sink->userdata, in->plan.slot);
        return run(in, reterr);
}

int job_update(Job *j, int image_fd, int manifest_fd, const UpdateOptions *options, bool dry_run,
                Plan *ret_plan, Err **reterr) {
        _cleanup_(install_done) Install in = {.job = j,
                        .options = *options,
                        .dry_run = dry_run,
                        .image_fd = -1,
                        .kept = KEPT_NONE,
                        .incoming = {.m = j->m, .image_fd = -1}};
        _cleanup_(err_freep) Err *why = NULL;
        int r;

        snprintf(in.quarantine, sizeof(in.quarantine), "job-%" PRIu64, j->id);
        r = update(&in, image_fd, manifest_fd, &why);
        if (kept_wanted(&in.kept) && (r >= 0 || (in.reading && !worth_keeping(err_kind_of(why)))))
                (void) kept_drop(j->m, NULL, NULL);
        if (r < 0) {
                if (reterr)
                        *reterr = MOVE(why);
                return r;
        }
        if (dry_run) {
                *ret_plan = in.plan;
                in.plan = (Plan){0};
        }
        return 0;
}
