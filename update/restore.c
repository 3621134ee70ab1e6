/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The image of a device goes back onto it: a staged slot again, which boots when somebody says so. */
#include "backends/boot-words.h"
#include "backends/kernel.h"
#include "os/file.h"
#include "stream/device-load.h"
#include "stream/hex.h"
#include "update/epoch.h"
#include "update/jobs.h"
#include "update/policy.h"
#include "update/records.h"
#include "update/slot-steps.h"

typedef struct Restore {
        Job *job;
        const RestoreOptions *options;
        DeviceLoad *load;
        uint8_t super[4096]; /* as the image has it */
        int device_fd;
        uint64_t size;
} Restore;

static void restore_done(Restore *re) {
        re->load = device_load_free(re->load);
        re->device_fd = fd_close(re->device_fd);
}

static int on_progress(void *userdata, uint64_t done) {
        const Restore *re = userdata;
        const JobSink *sink = re->job->sink;
        Phase phase = re->job->phase == PHASE_IDLE ? PHASE_CHECK : re->job->phase;

        /* NULL: its first bytes are waited for */
        sink->progress(sink->userdata, phase, done, re->load ? device_load_size(re->load) : 0);
        return sink->cancelled(sink->userdata);
}

static int step_prepare(Job *j, void *context, Err **reterr) {
        Restore *re = context;
        const Slot *old = slot_find(j->facts.slots, j->slot), gone = {.id = j->slot};
        int r = j->m->boot->ops->forget(j->m->boot, old ? old : &gone, reterr);

        return r < 0 ? r
                     : j->m->slots->ops->claim_device(j->m->slots, j->slot, re->super,
                                       &re->device_fd, &re->size, reterr);
}

/* What was on the device cannot come back; it is a spare. */
static int undo_prepare(Job *j, void *context, Err **reterr) {
        Restore *re = context;
        const Slot gone = {.id = j->slot};
        int r;

        re->device_fd = fd_close(re->device_fd);
        r = j->m->boot->ops->forget(j->m->boot, &gone, reterr);
        if (r >= 0)
                r = j->m->slots->ops->claim_device(
                                j->m->slots, j->slot, re->super, &re->device_fd, &re->size, reterr);
        re->device_fd = fd_close(re->device_fd);
        return r;
}

static int step_write(Job *j _unused_, void *context, Err **reterr) {
        Restore *re = context;
        uint8_t digest[DEVICE_DIGEST_SIZE];
        char text[2 * DEVICE_DIGEST_SIZE + 1];
        int r = device_load_write(re->load, re->device_fd, re->size, digest, reterr);

        if (r < 0)
                return r;
        hex_write(text, digest, sizeof(digest));
        if (re->options->digest && !str_eq(text, re->options->digest))
                return err_kind(reterr, ERR_BAD_IMAGE, EBADMSG,
                                "the image has the SHA-256 %s, and %s was announced", text,
                                re->options->digest);
        return 0;
}

static int step_verify(Job *j _unused_, void *context, Err **reterr) {
        Restore *re = context;

        return device_load_verify(re->load, re->device_fd, reterr);
}

static int check_policy(Job *j, const Restore *re, const Slot *s, Err **reterr) {
        const UpdateOptions options = {.reinstall = true, .accept = re->options->accept};
        uint64_t epoch = policy_epoch(j->m->config, &j->facts, epoch_read(j->m->state_fd));

        if (s->epoch < epoch)
                return err_kind(reterr, ERR_DOWNGRADE, EPERM,
                                "version %s is of epoch %" PRIu64
                                ", and this machine has reached %" PRIu64,
                                s->version, s->epoch, epoch);
        return plan_check_version(&j->facts, s->version, &options, reterr);
}

static int describe(Job *j, int root_fd, Slot *s, Err **reterr) {
        _cleanup_(strv_freep) char **kernels = NULL;
        int r = kernel_versions(root_fd, &kernels, reterr);
        size_t n = 0;

        if (r >= 0 && s->cmdline) /* it came with the image */
                r = words_check(s->cmdline, "Cmdline= of the slot", reterr);

        if (r < 0)
                return r;
        while (kernels[n])
                n++;
        s->state = SLOT_STAGED;
        s->blessed = s->proven = 0;
        s->pinned = false;
        s->created = now_realtime();
        if (str_set(&s->reason, NULL) < 0 || str_set(&s->transaction, NULL) < 0 ||
                        str_set(&s->fallback, NULL) < 0 ||
                        str_set(&s->kernel, n > 0 ? kernels[n - 1] : NULL) < 0)
                return err_new(reterr, ENOMEM, "out of memory");
        return job_about(j, NULL, NULL, s->version, reterr);
}

/* The record is the commit: until it is there the device is a spare. */
static int step_place(Job *j, void *context, Err **reterr) {
        Restore *re = context;
        _cleanup_(slot_done) Slot slot = {0};
        _cleanup_(fd_closep) int root_fd = -1;
        int r = device_load_finish(re->load, re->device_fd, reterr);

        re->device_fd = fd_close(re->device_fd);
        if (r >= 0)
                r = j->m->slots->ops->open_device(j->m->slots, j->slot, &slot, &root_fd, reterr);
        if (r >= 0)
                r = check_policy(j, re, &slot, reterr);
        if (r >= 0)
                r = describe(j, root_fd, &slot, reterr);
        if (r >= 0)
                r = j->m->boot->ops->fits(j->m->boot, root_fd, reterr);
        if (r >= 0)
                r = slot_bring(j, &slot, root_fd, reterr);
        if (r >= 0)
                r = j->m->slots->ops->record(j->m->slots, &slot, reterr);
        return r < 0 ? r
                     : job_says(j, reterr,
                                       "version %s is back in slot %s; 'abctl rollback %s' makes "
                                       "it the next boot",
                                       slot.version, slot.id, slot.id);
}

/* Whoever may restore must not thereby install what nobody signed: without signatures in the image, it is taken where this
 * machine gave it away itself. */
static int check_trust(const Job *j, const RestoreOptions *o, Err **reterr) {
        if (j->m->config->verification == VERIFICATION_NONE)
                return 0;
        if (!o->digest)
                return err_kind(reterr, ERR_NOT_SIGNED, EKEYREJECTED,
                                "Verification=signature asks who vouches for the image; give the "
                                "SHA-256 that the export told, in FILE.sha256 or by --sha256=");
        if (exports_have(j->m->state_fd, o->digest))
                return 0;
        return err_kind(reterr, ERR_NOT_SIGNED, EKEYREJECTED,
                        "this machine has exported no device with the SHA-256 %s, and nobody else "
                        "vouches for it, as Verification=signature asks",
                        o->digest);
}

static int check_slot(const Job *j, const char *id, const Slot **ret, Err **reterr) {
        Slot *s = NULL;
        const char *why;
        ErrKind kind;
        int r = facts_slot(&j->facts, id, &s, reterr);

        if (r < 0)
                return r;
        why = facts_protects(&j->facts, s, &kind);
        if (why)
                return err_kind(reterr, kind, EBUSY, "slot %s cannot be overwritten: %s", s->id,
                                why);
        *ret = s;
        return 0;
}

int job_restore(Job *j, int fd, const char *slot, const RestoreOptions *options, Err **reterr) {
        static const Step steps[] = {
                        {PHASE_PREPARE, step_prepare, undo_prepare, false},
                        {PHASE_WRITE, step_write, NULL, false},
                        {PHASE_VERIFY, step_verify, NULL, false},
                        {PHASE_PLACE, step_place, NULL, false},
        };
        _cleanup_(restore_done) Restore re = {.job = j, .options = options, .device_fd = -1};
        const SlotOps *ops = j->m->slots->ops;
        const Slot *s = NULL;
        int r;

        if (!ops->claim_device || !j->m->boot->ops->forget)
                return err_kind(reterr, ERR_NOT_SUPPORTED, EOPNOTSUPP,
                                "with Backend=%s and Boot=%s versions are not devices of their own",
                                ops->name, j->m->boot->ops->name);
        r = check_trust(j, options, reterr);
        if (r >= 0)
                r = check_slot(j, slot, &s, reterr);
        if (r >= 0)
                r = device_load_open(&(DeviceLoadArgs){.fd = fd,
                                                     .stall_usec = j->m->config->stall_usec,
                                                     .userdata = &re,
                                                     .progress = on_progress},
                                &re.load, reterr);
        if (r < 0)
                return r;
        memcpy(re.super, device_load_super(re.load), sizeof(re.super));
        r = ops->check_device(j->m->slots, s->id, re.super, device_load_size(re.load), reterr);
        if (r >= 0)
                r = job_about(j, s->id, NULL, "", reterr);
        if (r < 0)
                return r;
        j->sink->slot(j->sink->userdata, s->id);
        return job_run(j, steps, ARRAY_SIZE(steps), &re, reterr);
}
