/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The device of a version as a file, bit for bit. The machine is not changed, but for its memory of what it gave away: that
 * is what it may take back. */
#include "stream/device-save.h"
#include "stream/hex.h"
#include "update/jobs.h"
#include "update/records.h"
#include "update/slot-steps.h"

typedef struct Export {
        const ExportOptions *options;
        Slot *slot;
        int device_fd;
        uint64_t size;
        char digest[2 * DEVICE_DIGEST_SIZE + 1];
} Export;

static void export_done(Export *e) {
        fd_close(e->device_fd);
}

static int on_progress(void *userdata, uint64_t done, uint64_t total) {
        const JobSink *sink = ((Job *) userdata)->sink;

        sink->progress(sink->userdata, PHASE_WRITE, done, total);
        return sink->cancelled(sink->userdata);
}

static int write_digest(const Export *e, Err **reterr) {
        const char *at = e->digest;
        size_t left = strlen(at);

        while (e->options->digest_fd >= 0 && left > 0) {
                ssize_t n = write(e->options->digest_fd, at, left);

                if (n < 0 && errno == EINTR)
                        continue;
                if (n <= 0)
                        return err_sys(reterr, n < 0 ? errno : EIO, "write the SHA-256");
                at += n;
                left -= (size_t) n;
        }
        return 0;
}

static int step_write(Job *j, void *context, Err **reterr) {
        Export *e = context;
        uint8_t digest[DEVICE_DIGEST_SIZE];
        const DeviceSave save = {
                        .device_fd = e->device_fd,
                        .size = e->size,
                        .out_fd = e->options->out_fd,
                        .compression = e->options->compress ? COMPRESSION_ZSTD : COMPRESSION_NONE,
                        .stall_usec = j->m->config->stall_usec,
                        .userdata = j,
                        .progress = on_progress,
        };
        int r = device_save(&save, digest, reterr);

        if (r < 0)
                return err_add(reterr, r, "export slot %s", j->slot);
        hex_write(e->digest, digest, sizeof(digest));
        return write_digest(e, reterr);
}

static int step_record(Job *j, void *context, Err **reterr) {
        const Export *e = context;
        char text[16];
        int r = exports_add(j->m->state_fd, e->digest, j->slot, j->version, reterr);

        return r < 0 ? r
                     : job_says(j, reterr,
                                       "the device of slot %s, version %s, is in the file: %s, "
                                       "SHA-256 %s",
                                       j->slot, j->version, format_bytes(text, e->size), e->digest);
}

int job_export(Job *j, const char *slot, const ExportOptions *options, Err **reterr) {
        static const Step steps[] = {
                        {PHASE_WRITE, step_write, NULL, false},
                        {PHASE_RECORD, step_record, NULL, false},
        };
        _cleanup_(export_done) Export e = {.options = options, .device_fd = -1};
        const SlotOps *ops = j->m->slots->ops;
        int r;

        if (!ops->read_device)
                return err_kind(reterr, ERR_NOT_SUPPORTED, EOPNOTSUPP,
                                "with Backend=%s versions are not devices of their own", ops->name);
        r = facts_slot(&j->facts, slot, &e.slot, reterr);
        if (r >= 0)
                r = slot_must_hold(e.slot, ERR_BAD_DEVICE, reterr);
        if (r >= 0)
                r = ops->read_device(j->m->slots, e.slot->id, &e.device_fd, &e.size, reterr);
        if (r >= 0)
                r = job_about(j, e.slot->id, NULL, e.slot->version, reterr);
        if (r < 0)
                return r;
        j->sink->slot(j->sink->userdata, e.slot->id);
        return job_run(j, steps, ARRAY_SIZE(steps), &e, reterr);
}
