/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* An image becomes a slot and the next boot. */
#include "os/file.h"
#include "os/os-release.h"
#include "update/epoch.h"
#include "update/incoming.h"
#include "update/jobs.h"
#include "update/policy.h"
#include "update/slot-steps.h"
#include "update/trust.h"

typedef struct Install {
        Job *job;
        UpdateOptions options;
        Manifest *manifest; /* NULL: the image has none, and needs none */
        Stream *stream;
        Plan plan;
        char quarantine[32];
        char *slot, *note; /* the slot backend's choice, where it has one */
        int image_fd;      /* directory in the quarantine that takes the subvolumes */
        Incoming incoming;
} Install;

static void install_done(Install *in) {
        in->stream = stream_free(in->stream);
        plan_done(&in->plan);
        free(in->slot);
        free(in->note);
        in->image_fd = fd_close(in->image_fd);
        incoming_done(&in->incoming);
        in->manifest = manifest_free(in->manifest);
}

/* What the engine asks while it works. */

static int on_find_base(void *userdata, const uint8_t uuid[16], uint64_t ctransid _unused_,
                int *ret_fd, Err **reterr) {
        return incoming_find_base(&((Install *) userdata)->incoming, uuid, ret_fd, reterr);
}

static int on_subvol_begin(void *userdata, const StreamSubvol *s, Err **reterr) {
        return incoming_begin(&((Install *) userdata)->incoming, s, reterr);
}

static int on_subvol_done(void *userdata, const StreamSubvol *s, Err **reterr) {
        return incoming_end(&((Install *) userdata)->incoming, s, reterr);
}

static int on_progress(void *userdata, uint64_t input_bytes) {
        Install *in = userdata;
        const JobSink *sink = in->job->sink;

        /* before the first step: the head of the image, which a slow pipe may keep to itself */
        if (in->job->phase == PHASE_IDLE || in->job->phase == PHASE_WRITE)
                sink->progress(sink->userdata,
                                in->job->phase == PHASE_IDLE ? PHASE_CHECK : PHASE_WRITE,
                                input_bytes, in->options.size);
        return sink->cancelled(sink->userdata);
}

/* The steps. */

static int step_prepare(Job *j, void *context, Err **reterr) {
        Install *in = context;
        const Slot *old = slot_find(j->facts.slots, in->slot);
        int r = 0;

        /* what was in the slot goes: nothing of the loader may point at it any more */
        if (old && j->m->boot->ops->forget)
                r = j->m->boot->ops->forget(j->m->boot, old, reterr);
        return r < 0 ? r
                     : j->m->slots->ops->prepare(
                                       j->m->slots, in->quarantine, &in->image_fd, reterr);
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

        return r < 0 ? r : slot_build_and_place(j, in->quarantine, &draft, reterr);
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
                        {PHASE_PREPARE, step_prepare, undo_prepare, false},
                        {PHASE_WRITE, step_write, NULL, false},
                        {PHASE_VERIFY, step_verify, NULL, false},
                        {PHASE_PLACE, step_place, undo_place, false},
                        in->options.arm ? arm : keep,
        };

        return job_run(in->job, steps, ARRAY_SIZE(steps), in, reterr);
}

/* Before a byte of anything is looked at. */
static int check_machine(const Machine *m, const Facts *f, int manifest_fd, Err **reterr) {
        if (!m->slots->ops->prepare || !m->boot->ops->arm)
                return err_kind(reterr, ERR_NOT_SUPPORTED, EOPNOTSUPP,
                                "Backend=%s with Boot=%s cannot install; set both in "
                                "abupdated.conf",
                                m->slots->ops->name, m->boot->ops->name);
        if (m->config->verification != VERIFICATION_NONE && manifest_fd < 0)
                return err_kind(reterr, ERR_NOT_SIGNED, EKEYREJECTED,
                                "the image comes without a manifest, so nobody has signed it, and "
                                "Verification=signature asks for that. Nothing was read. Give its "
                                "manifest with --manifest=FILE; on a development machine "
                                "Verification=none in [Update] of abupdated.conf lifts it");
        if (f->boot.problem)
                return err_kind(reterr, ERR_WRONG_LAYOUT, EMEDIUMTYPE, "%s", f->boot.problem);
        return 0;
}

static bool on_cancelled(void *userdata) {
        const JobSink *sink = ((Install *) userdata)->job->sink;

        return sink->cancelled(sink->userdata);
}

/* Who signed it, then what it is, then whether it may come; the image itself is not touched. */
static int open_manifest(Install *in, int fd, Err **reterr) {
        Machine *m = in->job->m;
        const Facts *f = &in->job->facts;
        const PolicyFacts about = {
                        .epoch = policy_epoch(m->config, f, epoch_read(m->state_fd)),
                        .now = trust_now(m),
        };
        int r;

        r = trust_read(&(TrustArgs){.m = m, .fd = fd, .userdata = in, .cancelled = on_cancelled},
                        &in->manifest, reterr);
        if (r >= 0)
                r = policy_check(m->config, f, &about, in->manifest, &in->options, reterr);
        if (r >= 0)
                r = plan_check_version(f, in->manifest->version, &in->options, reterr);
        if (r < 0)
                return r;
        in->incoming.manifest = in->manifest;
        in->options.version = in->manifest->version;
        in->options.size = in->manifest->payload_size;
        return 0;
}

static int open_image(Install *in, int image_fd, Err **reterr) {
        StreamArgs args = {
                        .input_fd = image_fd,
                        .manifest = in->manifest,
                        .limits = incoming_limits(&in->incoming),
                        .stall_usec = in->job->m->config->stall_usec,
                        .userdata = in,
                        .find_base = on_find_base,
                        .subvol_begin = on_subvol_begin,
                        .subvol_done = on_subvol_done,
                        .progress = on_progress,
        };
        const StreamSubvol *first;
        int r = stream_open(&args, &in->stream, reterr);

        if (r < 0)
                return err_add(reterr, r, "read %s", in->options.name);
        first = stream_first(in->stream);
        if (first->incremental) {
                _cleanup_(fd_closep) int base = -1;

                r = on_find_base(in, first->parent_uuid, first->parent_ctransid, &base, reterr);
                if (r < 0)
                        return r;
        }
        return 0;
}

static int choose_slot(Install *in, Err **reterr) {
        Machine *m = in->job->m;
        const Facts *f = &in->job->facts;
        const Slot *next = facts_next(f);
        int r;

        if (!m->slots->ops->target)
                return 0;
        r = m->slots->ops->target(m->slots, f->slots,
                        next && next != facts_booted(f) ? next->id : NULL, &in->slot, &in->note,
                        reterr);
        in->options.slot = in->slot;
        in->options.note = in->note;
        return r;
}

static int make_plan(Install *in, Err **reterr) {
        Machine *m = in->job->m;
        _cleanup_(freep) char *exclusive = NULL;
        const StreamSubvol *first = stream_first(in->stream);
        ImageFacts image = {
                        .subvolume = first->name,
                        .incremental = first->incremental,
                        .bytes = in->manifest ? manifest_bytes(in->manifest) : 0,
        };
        FsSpace space;
        int r = choose_slot(in, reterr);

        if (r >= 0)
                r = m->slots->ops->space(m->slots, &space, &exclusive, reterr);
        return r < 0 ? r
                     : plan_update(m->config, &in->job->facts, m->journal->last_slot, &space,
                                       exclusive, &image, &in->options, &in->plan, reterr);
}

int job_update(Job *j, int image_fd, int manifest_fd, const UpdateOptions *options, bool dry_run,
                Plan *ret_plan, Err **reterr) {
        _cleanup_(install_done) Install in = {
                        .job = j, .options = *options, .image_fd = -1, .incoming.m = j->m};
        int r;

        snprintf(in.quarantine, sizeof(in.quarantine), "job-%" PRIu64, j->id);
        r = check_machine(j->m, &j->facts, manifest_fd, reterr);
        if (r >= 0 && manifest_fd >= 0)
                r = open_manifest(&in, manifest_fd, reterr);
        if (r >= 0)
                r = open_image(&in, image_fd, reterr);
        if (r >= 0)
                r = make_plan(&in, reterr);
        if (r < 0)
                return r;
        if (dry_run) {
                *ret_plan = in.plan;
                in.plan = (Plan){0};
                return 0;
        }

        r = job_about(j, in.plan.slot, NULL, in.plan.version, reterr);
        if (r >= 0 && in.plan.version)
                r = say_end(&in, reterr);
        if (r < 0)
                return r;
        j->sink->slot(j->sink->userdata, in.plan.slot);
        return run(&in, reterr);
}
