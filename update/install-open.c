/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "stream/keys.h"
#include "update/epoch.h"
#include "update/install.h"
#include "update/jobs.h"
#include "update/policy.h"
#include "update/slot-steps.h"
#include "update/trust.h"

/* How much is lost at most when the power goes: the first of both that takes longer. */
#define CHECKPOINT_BYTES (UINT64_C(16) << 20)
#define CHECKPOINT_USEC  (5 * USEC_PER_SEC)

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

static int on_checkpoint(void *userdata, const StreamPosition *p, Err **reterr _unused_) {
        Install *in = userdata;

        kept_save(&in->kept, p, in->image_fd);
        return 0;
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
                        .now = keyring_now(m->root_fd),
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
        if (!in->dry_run)
                kept_open(m, in->manifest, &in->kept);
        return 0;
}

static int open_image(Install *in, int image_fd, Err **reterr) {
        StreamArgs args = {
                        .input_fd = image_fd,
                        .manifest = in->manifest,
                        .limits = stream_limits(in->incoming.manifest),
                        .resume = kept_position(&in->kept),
                        .at = in->options.offset,
                        .stall_usec = in->job->m->config->stall_usec,
                        .userdata = in,
                        .find_base = on_find_base,
                        .subvol_begin = on_subvol_begin,
                        .subvol_done = on_subvol_done,
                        .checkpoint = kept_wanted(&in->kept) ? on_checkpoint : NULL,
                        .checkpoint_bytes = CHECKPOINT_BYTES,
                        .checkpoint_usec = CHECKPOINT_USEC,
                        .progress = on_progress,
        };
        const StreamSubvol *first;
        int r;

        in->reading = true;
        r = args.resume ? incoming_resume(&in->incoming, args.resume, reterr) : 0;
        if (r >= 0)
                r = stream_open(&args, &in->stream, reterr);
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
        int r;

        if (!in->job->m->slots->ops->target)
                return 0;
        r = slot_choose(in->job, &in->slot, &in->note, reterr);
        in->options.slot = in->slot;
        in->options.note = in->note;
        return r;
}

/* A full image stands on nothing, and cures what a base has lost. */
static bool stands_on_base(const Install *in) {
        bool incremental = stream_first(in->stream)->incremental;

        for (size_t i = 0; in->manifest && i < in->manifest->n_subvols; i++)
                incremental |= in->manifest->subvols[i].incremental;
        return incremental;
}

static int make_plan(Install *in, Err **reterr) {
        Machine *m = in->job->m;
        _cleanup_(freep) char *exclusive = NULL;
        const StreamSubvol *first = stream_first(in->stream);
        ImageFacts image = {
                        .subvolume = first->name,
                        .incremental = first->incremental,
                        .scrub = slot_scrub_wanted(m) && stands_on_base(in),
                        .bytes = in->manifest ? manifest_bytes(in->manifest) : 0,
        };
        const StreamPosition *p = kept_position(&in->kept);
        FsSpace space;
        int r = choose_slot(in, reterr);

        in->scrub = image.scrub;
        image.bytes -= p ? p->bytes : 0;
        if (r >= 0)
                r = m->slots->ops->space(m->slots, !stands_on_base(in), &space, &exclusive, reterr);
        return r < 0 ? r
                     : plan_update(m->config, &in->job->facts, m->journal->last_slot, &space,
                                       exclusive, &image, &in->options, &in->plan, reterr);
}

int install_open(Install *in, int image_fd, int manifest_fd, Err **reterr) {
        Job *j = in->job;
        int r = check_machine(j->m, &j->facts, manifest_fd, reterr);

        if (r >= 0 && manifest_fd >= 0)
                r = open_manifest(in, manifest_fd, reterr);
        if (r >= 0 && !in->dry_run && !kept_position(&in->kept))
                r = kept_drop(j->m, NULL, reterr); /* of another image */
        if (r >= 0)
                r = open_image(in, image_fd, reterr);
        return r < 0 ? r : make_plan(in, reterr);
}
