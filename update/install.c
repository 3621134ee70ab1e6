/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* An image becomes a slot and the next boot. */
#include "os/file.h"
#include "os/os-release.h"
#include "os/tree.h"
#include "stream/receive.h"
#include "update/jobs.h"
#include "update/slot-steps.h"

enum { SUBVOLUMES_MAX = 64 };

typedef struct Received {
        char *name;
        uint8_t uuid[16];
} Received;

typedef struct Install {
        Job *job;
        const UpdateOptions *options;
        Stream *stream;
        Plan plan;
        char quarantine[32];
        int image_fd; /* directory in the quarantine that takes the subvolumes */
        char *subvolumes;
        size_t n_received;
        Received received[SUBVOLUMES_MAX];
        uint64_t written; /* file data that came with the image */
        uint64_t size;    /* what the files take on disk */
} Install;

static void install_done(Install *in) {
        in->stream = stream_free(in->stream);
        plan_done(&in->plan);
        in->image_fd = fd_close(in->image_fd);
        free(in->subvolumes);
        for (size_t i = 0; i < in->n_received; i++)
                free(in->received[i].name);
}

/* What the engine asks while it works. */

static int on_find_base(void *userdata, const uint8_t uuid[16], uint64_t ctransid _unused_,
                int *ret_fd, Err **reterr) {
        Install *in = userdata;
        SlotBackend *b = in->job->m->slots;

        return b->ops->find_base(b, uuid, ret_fd, reterr);
}

/* The first subvolume is the root; every other one needs a place from the configuration. */
static int on_subvol_begin(void *userdata, const StreamSubvol *s, Err **reterr) {
        Install *in = userdata;
        const char *place = in->n_received == 0 ? "/" : config_place(in->job->m->config, s->name);
        _cleanup_(freep) char *list = NULL;
        Received *rec;

        if (in->n_received >= SUBVOLUMES_MAX)
                return err_kind(reterr, ERR_LIMIT_EXCEEDED, E2BIG,
                                "the image brings more than %d subvolumes", SUBVOLUMES_MAX);
        rec = &in->received[in->n_received];
        memcpy(rec->uuid, s->uuid, 16); /* counts only with the name */
        if (!name_ok(s->name))
                return err_kind(reterr, ERR_UNKNOWN_SUBVOLUME, EINVAL,
                                "the image brings a subvolume whose name is not made of letters, "
                                "digits, '.', '_', '-'");
        if (!place)
                return err_kind(reterr, ERR_UNKNOWN_SUBVOLUME, ENOENT,
                                "the image brings subvolume '%s', which has no place here; say "
                                "where it belongs with "
                                "Subvolumes=%s:/path in [Snapshot] of abupdated.conf",
                                s->name, s->name);
        for (size_t i = 0; i < in->n_received; i++)
                if (str_eq(in->received[i].name, s->name))
                        return err_kind(reterr, ERR_BAD_STREAM, EEXIST,
                                        "the image brings subvolume '%s' twice", s->name);

        list = str_printf("%s%s%s:%s", str_or(in->subvolumes, ""), in->subvolumes ? " " : "",
                        s->name, place);
        if (!list || str_set(&rec->name, s->name) < 0)
                return err_new(reterr, ENOMEM, "out of memory");
        in->n_received++;
        free(in->subvolumes);
        in->subvolumes = MOVE(list);
        return 0;
}

static int on_subvol_done(void *userdata, const StreamSubvol *s, Err **reterr _unused_) {
        Install *in = userdata;

        in->written += s->bytes;
        return 0;
}

static int on_progress(void *userdata, uint64_t input_bytes) {
        Install *in = userdata;
        const JobSink *sink = in->job->sink;

        /* before the first step: the head of the image, which a slow pipe may keep to itself */
        if (in->job->phase == PHASE_IDLE || in->job->phase == PHASE_WRITE)
                sink->progress(sink->userdata,
                                in->job->phase == PHASE_IDLE ? PHASE_CHECK : PHASE_WRITE,
                                input_bytes, in->options->size);
        return sink->cancelled(sink->userdata);
}

/* The steps. */

static int step_prepare(Job *j, void *context, Err **reterr) {
        Install *in = context;

        return j->m->slots->ops->prepare(j->m->slots, in->quarantine, &in->image_fd, reterr);
}

static int undo_prepare(Job *j, void *context, Err **reterr) {
        Install *in = context;

        /* the engine may hold subvolumes in there open */
        in->stream = stream_free(in->stream);
        in->image_fd = fd_close(in->image_fd);
        free(MOVE(j->slot)); /* it never came to be */
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
                                in->options->name);
        return r < 0 ? err_add(reterr, r, "receive %s", in->options->name) : 0;
}

static int say_end(Install *in, Err **reterr) {
        const Plan *p = &in->plan;

        if (in->options->arm)
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
        _cleanup_(fd_closep) int fd = dir_open_at(in->image_fd, in->received[0].name, reterr);
        int r = fd < 0 ? fd : os_release_version(fd, &in->plan.version, reterr);

        if (r >= 0 && !in->plan.version && str_set(&in->plan.version, in->received[0].name) < 0)
                r = err_new(reterr, ENOMEM, "out of memory");
        if (r >= 0)
                r = plan_check_version(&in->job->facts, in->plan.version, in->options, reterr);
        if (r >= 0)
                r = job_about(in->job, NULL, NULL, in->plan.version, reterr);
        return r < 0 ? r : say_end(in, reterr);
}

/* Read-only and received-UUID are no proof of content; they prove that the engine reached the
 * end of this subvolume. Every inode is read once: what the disk cannot give back is no system. */
static int step_verify(Job *j _unused_, void *context, Err **reterr) {
        Install *in = context;
        int r = fs_sync(in->image_fd, reterr);

        for (size_t i = 0; r >= 0 && i < in->n_received; i++) {
                _cleanup_(fd_closep) int fd =
                                dir_open_at(in->image_fd, in->received[i].name, reterr);
                uint64_t size = 0;
                SubvolInfo info;

                r = fd < 0 ? fd : subvol_info(fd, &info, reterr);
                if (r >= 0 && (!info.read_only || memcmp(info.received_uuid, in->received[i].uuid,
                                                                  16) != 0))
                        r = err_kind(reterr, ERR_VERIFY_FAILED, EBADMSG,
                                        "subvolume %s is not what was received: writable, or of "
                                        "another UUID",
                                        in->received[i].name);
                if (r >= 0)
                        r = tree_size(fd, &size, reterr);
                in->size += size;
        }
        if (r < 0)
                return err_add(reterr, r, "verify what was written");
        return in->plan.version ? 0 : identify(in, reterr);
}

static int describe_draft(Install *in, Slot *draft, Err **reterr) {
        draft->state = SLOT_STAGED;
        draft->created = now_realtime();
        draft->exclusive = in->written;
        draft->size = in->size;
        if (str_set(&draft->id, in->plan.slot) < 0 ||
                        str_set(&draft->version, in->plan.version) < 0 ||
                        str_set(&draft->subvolumes, in->subvolumes) < 0)
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

        return j->m->slots->ops->discard(
                        j->m->slots, (const char *const[]){in->plan.slot, NULL}, reterr);
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
                        in->options->arm ? arm : keep,
        };

        return job_run(in->job, steps, ARRAY_SIZE(steps), in, reterr);
}

/* Before a byte of the image is looked at. */
static int check_policy(const Machine *m, const Facts *f, Err **reterr) {
        if (!m->slots->ops->prepare || !m->boot->ops->arm)
                return err_kind(reterr, ERR_NOT_SUPPORTED, EOPNOTSUPP,
                                "Backend=%s with Boot=%s cannot install; set both in "
                                "abupdated.conf",
                                m->slots->ops->name, m->boot->ops->name);
        if (m->config->verification != VERIFICATION_NONE)
                return err_kind(reterr, ERR_NOT_SIGNED, EKEYREJECTED,
                                "the image is not signed, and Verification=signature asks for "
                                "that. Nothing was read. On a "
                                "development machine Verification=none in [Update] of "
                                "abupdated.conf lifts it");
        if (f->boot.problem)
                return err_kind(reterr, ERR_WRONG_LAYOUT, EMEDIUMTYPE, "%s", f->boot.problem);
        return 0;
}

static int open_image(Install *in, int image_fd, Err **reterr) {
        StreamArgs args = {
                        .input_fd = image_fd,
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
                return err_add(reterr, r, "read %s", in->options->name);
        first = stream_first(in->stream);
        if (first->incremental) {
                _cleanup_(fd_closep) int base = -1;

                r = on_find_base(in, first->parent_uuid, first->parent_ctransid, &base, reterr);
                if (r < 0)
                        return r;
        }
        return 0;
}

static int make_plan(Install *in, Err **reterr) {
        Machine *m = in->job->m;
        _cleanup_(freep) char *exclusive = NULL;
        const StreamSubvol *first = stream_first(in->stream);
        ImageFacts image = {first->name, first->incremental};
        FsSpace space;
        int r = m->slots->ops->space(m->slots, &space, &exclusive, reterr);

        return r < 0 ? r
                     : plan_update(m->config, &in->job->facts, m->journal->last_slot, &space,
                                       exclusive, &image, in->options, &in->plan, reterr);
}

int job_update(Job *j, int image_fd, const UpdateOptions *options, bool dry_run, Plan *ret_plan,
                Err **reterr) {
        _cleanup_(install_done) Install in = {.job = j, .options = options, .image_fd = -1};
        int r;

        snprintf(in.quarantine, sizeof(in.quarantine), "job-%" PRIu64, j->id);
        r = check_policy(j->m, &j->facts, reterr);
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
