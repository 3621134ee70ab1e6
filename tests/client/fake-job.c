/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <fcntl.h>
#include <poll.h>

#include "dbus/api.h"
#include "tests/client/fake.h"

#define TICK_USEC (USEC_PER_SEC / 50)
#define CHUNK     65536

static const char *const phases_of_update[] = {"check", "prepare", "write", "verify", "arm"};
static const char *const phases_of_others[] = {"check", "arm"};
#define WRITE_PHASE 2

static size_t n_phases(const Fake *f) {
        return f->has_image ? ARRAY_SIZE(phases_of_update) : ARRAY_SIZE(phases_of_others);
}

static const char *phase_name(const Fake *f) {
        return f->has_image ? phases_of_update[f->phase] : phases_of_others[f->phase];
}

static void announce(Fake *f) {
        (void) sd_bus_emit_properties_changed(f->bus, f->path, API_JOB_INTERFACE, "Phase",
                        "Progress", "BytesDone", "BytesTotal", "PointOfNoReturn", "Cancellable",
                        NULL);
}

static int end(Fake *f, const char *kind, const char *message) {
        char error[128] = "";
        uint64_t id = f->job;

        if (*kind)
                snprintf(error, sizeof(error), API_ERROR_PREFIX "%s", kind);
        f->job = 0;
        f->timer = sd_event_source_disable_unref(f->timer);
        f->job_slot = sd_bus_slot_unref(f->job_slot);
        f->caller = sd_bus_track_unref(f->caller);
        f->image_fd = fd_close(f->image_fd);
        f->sink_fd = fd_close(f->sink_fd);
        if (!*kind && f->opt.reboot_after)
                f->opt.reboot_required = true;
        fake_log(f, "end %s", *kind ? kind : "done");
        return sd_bus_emit_signal(f->bus, API_PATH, API_MANAGER_INTERFACE, "JobRemoved", "toiss",
                        id, f->path, *kind ? -EIO : 0, error, message);
}

static int end_as_told(Fake *f) {
        _cleanup_(freep) char *own = f->opt.job_error ? strdup(f->opt.job_error) : NULL;
        char *message = own ? strchr(own, '=') : NULL;

        if (!message)
                return end(f, "", "Slot 4 (version 4.0) was written and boots next");
        *message++ = '\0';
        return end(f, own, message);
}

/* Reads what the rate allows. */
static int read_image(Fake *f) {
        uint64_t allowed = f->opt.rate > 0 ? f->opt.rate * (now_monotonic() - f->started) /
                                                             USEC_PER_SEC
                                           : UINT64_MAX;
        char buffer[CHUNK];

        while (f->done < allowed) {
                ssize_t n;

                if (poll(&(struct pollfd){.fd = f->image_fd, .events = POLLIN}, 1, 0) == 0)
                        return 0;
                n = read(f->image_fd, buffer, sizeof(buffer));
                if (n < 0)
                        return -errno;
                if (n == 0) {
                        f->image_over = true;
                        return 0;
                }
                if (f->sink_fd >= 0 && write(f->sink_fd, buffer, (size_t) n) != n)
                        return -EIO;
                f->done += (uint64_t) n;
        }
        return 0;
}

static int on_tick(sd_event_source *s, uint64_t usec _unused_, void *userdata) {
        Fake *f = userdata;
        uint64_t now = now_monotonic();
        bool writing = f->has_image && f->phase == WRITE_PHASE;
        int r = 0;

        if (f->opt.die && f->phase == 1)
                _exit(1);
        if (writing)
                r = read_image(f);
        if (r < 0)
                return end(f, "BadInput", strerror(-r));
        if (writing ? f->image_over : now >= f->phase_end) {
                if (f->phase + 1 == n_phases(f))
                        return end_as_told(f);
                f->phase++;
                f->phase_end = now + f->opt.step_msec * 1000;
                f->started = now;
        }
        announce(f);
        r = sd_event_source_set_time_relative(s, TICK_USEC);
        return r < 0 ? r : sd_event_source_set_enabled(s, SD_EVENT_ONESHOT);
}

static int on_cancel(sd_bus_message *m, void *userdata, sd_bus_error *e) {
        Fake *f = userdata;

        fake_log(f, "Cancel");
        if (f->opt.no_cancel)
                return sd_bus_error_set(e, API_ERROR_PREFIX "NotCancellable",
                                "The boot switch has been made");
        (void) sd_bus_reply_method_return(m, NULL);
        return f->opt.slow_cancel ? 1 : end(f, "Cancelled", "The update was cancelled");
}

static int on_caller_gone(sd_bus_track *t _unused_, void *userdata) {
        Fake *f = userdata;

        if (f->job == 0)
                return 0;
        fake_log(f, "the caller left");
        return end(f, "Cancelled", "The caller left");
}

static int get_job(sd_bus *bus _unused_, const char *path _unused_, const char *interface _unused_,
                const char *property, sd_bus_message *reply, void *userdata,
                sd_bus_error *e _unused_) {
        Fake *f = userdata;
        bool writing = f->has_image && f->phase == WRITE_PHASE;

        if (str_eq(property, "Id"))
                return sd_bus_message_append(reply, "t", f->job);
        if (str_eq(property, "Type"))
                return sd_bus_message_append(reply, "s", f->type);
        if (str_eq(property, "Slot"))
                return sd_bus_message_append(reply, "s", "4");
        if (str_eq(property, "Phase"))
                return sd_bus_message_append(reply, "s", phase_name(f));
        if (str_eq(property, "Progress"))
                return sd_bus_message_append(reply, "d",
                                writing && f->total > 0 ? (double) f->done / (double) f->total
                                                        : -1.0);
        if (str_eq(property, "BytesDone"))
                return sd_bus_message_append(reply, "t", writing ? f->done : UINT64_C(0));
        if (str_eq(property, "BytesTotal"))
                return sd_bus_message_append(reply, "t", writing ? f->total : UINT64_C(0));
        if (str_eq(property, "EstimatedCompletion"))
                return sd_bus_message_append(reply, "t", now_realtime() + 90 * USEC_PER_SEC);
        if (str_eq(property, "PointOfNoReturn"))
                return sd_bus_message_append(reply, "b", f->opt.no_cancel);
        return sd_bus_message_append(reply, "b", !f->opt.no_cancel);
}

#define CHANGES(name, type)                                                                        \
        SD_BUS_PROPERTY(name, type, get_job, 0, SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE)

const sd_bus_vtable fake_job_vtable[] = {
                SD_BUS_VTABLE_START(0),
                SD_BUS_PROPERTY("Id", "t", get_job, 0, SD_BUS_VTABLE_PROPERTY_CONST),
                SD_BUS_PROPERTY("Type", "s", get_job, 0, SD_BUS_VTABLE_PROPERTY_CONST),
                CHANGES("Slot", "s"),
                CHANGES("Phase", "s"),
                CHANGES("Progress", "d"),
                CHANGES("BytesDone", "t"),
                CHANGES("BytesTotal", "t"),
                CHANGES("EstimatedCompletion", "t"),
                CHANGES("PointOfNoReturn", "b"),
                CHANGES("Cancellable", "b"),
                SD_BUS_METHOD("Cancel", "", "", on_cancel, SD_BUS_VTABLE_UNPRIVILEGED),
                SD_BUS_VTABLE_END,
};

int fake_job_begin(Fake *f, sd_bus_message *m, const char *type, int image_fd, uint64_t size) {
        static uint64_t last = 6;
        int r;

        if (f->job != 0)
                return sd_bus_reply_method_errorf(m, API_ERROR_PREFIX "Busy",
                                "Job %" PRIu64 " (%s) is running", f->job, f->type);
        f->job = ++last;
        f->type = type;
        f->phase = 0;
        f->has_image = image_fd >= 0;
        f->image_fd = image_fd;
        f->image_over = false;
        f->done = 0;
        f->total = size;
        f->phase_end = now_monotonic() + f->opt.step_msec * 1000;
        f->sink_fd = f->opt.sink && f->has_image
                                     ? open(f->opt.sink, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC,
                                                       0600)
                                     : -1;
        snprintf(f->path, sizeof(f->path), API_JOB_PATH "/%" PRIu64, f->job);
        r = sd_bus_add_object_vtable(
                        f->bus, &f->job_slot, f->path, API_JOB_INTERFACE, fake_job_vtable, f);
        if (r >= 0 && !f->detached)
                r = sd_bus_track_new(f->bus, &f->caller, on_caller_gone, f);
        if (r >= 0 && !f->detached)
                r = sd_bus_track_add_sender(f->caller, m);
        if (r >= 0)
                r = sd_bus_emit_signal(f->bus, API_PATH, API_MANAGER_INTERFACE, "JobNew", "to",
                                f->job, f->path);
        if (r >= 0)
                r = sd_event_add_time_relative(
                                f->event, &f->timer, CLOCK_MONOTONIC, TICK_USEC, 1, on_tick, f);
        return r < 0 ? r : sd_bus_reply_method_return(m, "to", f->job, f->path);
}
