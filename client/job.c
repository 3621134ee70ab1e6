/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <signal.h>
#include <systemd/sd-event.h>

#include "client/facts.h"
#include "client/job.h"
#include "client/progress.h"
#include "dbus/api.h"

#define TICK_USEC (USEC_PER_SEC / 5)
#define SLOTS_MAX 8

typedef struct Follow {
        Client *client;
        sd_event *event;
        Progress *progress;
        Download *download;
        bool feeding; /* the download has not ended */

        uint64_t id; /* 0: the daemon has not answered */
        char *path;
        char *phase;
        ProgressFacts facts;

        unsigned signals; /* how often the person asked to stop */
        bool cancelling;
        bool left; /* there is nothing more to wait for */
        bool over; /* the job or the call is at its end */
        int status;
        char *error, *message;
        sd_bus_message *reply;
        Err *why; /* why we stop to follow, or what broke the job from this side */

        /* calls and matches under way; none may outlive this */
        sd_bus_slot *slots[SLOTS_MAX];
        size_t n_slots;
} Follow;

/* Where the next call or match leaves its slot. */
static sd_bus_slot **next_slot(Follow *f) {
        return &f->slots[f->n_slots < SLOTS_MAX - 1 ? f->n_slots++ : SLOTS_MAX - 1];
}

static void follow_done(Follow *f) {
        for (size_t i = 0; i < SLOTS_MAX; i++)
                f->slots[i] = sd_bus_slot_unref(f->slots[i]);
        f->progress = progress_free(f->progress);
        f->why = err_free(f->why);
        sd_bus_message_unref(f->reply);
        free(f->path);
        free(f->phase);
        free(f->error);
        free(f->message);
}

void job_end_done(JobEnd *end) {
        free(end->message);
        end->message = NULL;
        end->reply = sd_bus_message_unref(end->reply);
}

/* Not sd_event_exit(), which takes the bus down with it. */
static int leave(Follow *f) {
        f->left = true;
        return 0;
}

/* The daemon answers to Cancel itself only when it refuses; else the job's end is the answer. */
static int on_cancel_reply(sd_bus_message *m, void *userdata, sd_bus_error *e _unused_) {
        Follow *f = userdata;
        _cleanup_(err_freep) Err *why = NULL;

        if (f->over || !sd_bus_message_is_method_error(m, NULL))
                return 0;
        (void) bus_error(
                        f->client, -sd_bus_message_get_errno(m), sd_bus_message_get_error(m), &why);
        if (err_kind_of(why) == ERR_UNKNOWN_JOB)
                return 0; /* it ended while we asked */
        progress_note(f->progress, "The job goes on: %s. Press Ctrl-C again to leave it.",
                        err_text(why));
        return 0;
}

static void cancel(Follow *f) {
        int r;

        if (f->cancelling || f->id == 0)
                return;
        f->cancelling = true;
        r = sd_bus_call_method_async(f->client->bus, next_slot(f), API_NAME, f->path,
                        API_JOB_INTERFACE, "Cancel", on_cancel_reply, f, NULL);
        if (r < 0)
                progress_note(f->progress, "Cannot ask the job to cancel: %s", strerror(-r));
}

static int on_signal(sd_event_source *s _unused_, const struct signalfd_siginfo *si _unused_,
                void *userdata) {
        Follow *f = userdata;

        f->signals++;
        if (f->id == 0) {
                (void) err_kind(&f->why, ERR_CANCELLED, ECANCELED,
                                "Stopped before the job began. Nothing was changed");
                return leave(f);
        }
        if (f->signals == 1) {
                progress_note(f->progress,
                                "Cancelling job %" PRIu64 ". Press Ctrl-C again to leave "
                                "without waiting.",
                                f->id);
                cancel(f);
                return 0;
        }
        (void) err_kind(&f->why, ERR_CANCELLED, ECANCELED,
                        "Left job %" PRIu64 " while it was stopping: 'abctl jobs' shows whether it "
                        "is still there, 'abctl status' how the machine stands",
                        f->id);
        return leave(f);
}

static int on_tick(sd_event_source *s, uint64_t usec _unused_, void *userdata) {
        Follow *f = userdata;
        int r;

        progress_tick(f->progress);
        r = sd_event_source_set_time_relative(s, TICK_USEC);
        return r < 0 ? r : sd_event_source_set_enabled(s, SD_EVENT_ONESHOT);
}

/* Reads a{sv} of a Job's properties; what is not in it stays as it was. */
static int take_properties(Follow *f, sd_bus_message *m) {
        _cleanup_(json_unrefp) json_object *o = NULL;
        int r = json_from_bus(m, &o);

        if (r < 0)
                return r;
        if (*jstr(o, "phase")) {
                if (!str_eq(f->phase, jstr(o, "phase"))) {
                        f->facts.done = f->facts.total = 0;
                        f->facts.fraction = -1;
                }
                r = str_set(&f->phase, jstr(o, "phase"));
                if (r < 0)
                        return r;
        }
        f->facts.phase = f->phase;
        if (json_object_object_get_ex(o, "progress", NULL))
                f->facts.fraction = jdouble(o, "progress");
        if (json_object_object_get_ex(o, "bytes-done", NULL))
                f->facts.done = ju64(o, "bytes-done");
        if (json_object_object_get_ex(o, "bytes-total", NULL))
                f->facts.total = ju64(o, "bytes-total");
        f->facts.no_return |= jbool(o, "point-of-no-return");
        progress_update(f->progress, &f->facts);
        return 0;
}

static int on_properties(sd_bus_message *m, void *userdata, sd_bus_error *e _unused_) {
        Follow *f = userdata;

        if (f->id == 0 || !str_eq(sd_bus_message_get_path(m), f->path))
                return 0;
        if (sd_bus_message_skip(m, "s") < 0)
                return 0;
        (void) take_properties(f, m); /* a strange signal costs a step of the bar, no more */
        return 0;
}

static int on_all_properties(sd_bus_message *m, void *userdata, sd_bus_error *e _unused_) {
        Follow *f = userdata;

        if (!f->over && !sd_bus_message_is_method_error(m, NULL))
                (void) take_properties(f, m);
        return 0;
}

static int on_removed(sd_bus_message *m, void *userdata, sd_bus_error *e _unused_) {
        Follow *f = userdata;
        const char *error, *message;
        uint64_t id;
        int status;

        if (sd_bus_message_read(m, "tois", &id, NULL, &status, &error) < 0 ||
                        sd_bus_message_read(m, "s", &message) < 0)
                return 0;
        if (f->id == 0 || id != f->id)
                return 0;
        f->over = true;
        f->status = status;
        if (str_set(&f->error, error) < 0 || str_set(&f->message, message) < 0)
                return -ENOMEM;
        return leave(f);
}

static int on_owner(sd_bus_message *m, void *userdata, sd_bus_error *e _unused_) {
        Follow *f = userdata;
        const char *new_owner;

        if (sd_bus_message_read(m, "sss", NULL, NULL, &new_owner) < 0 || *new_owner || f->over)
                return 0;
        if (f->id == 0)
                return 0; /* the call itself fails, and says so better */
        (void) err_kind(&f->why, ERR_NO_DAEMON, EPIPE,
                        "abupdated went away while job %" PRIu64 " was running: 'journalctl -u "
                        "abupdated' says why, 'abctl status' how the machine stands",
                        f->id);
        return leave(f);
}

static int on_disconnected(sd_bus_message *m _unused_, void *userdata, sd_bus_error *e _unused_) {
        Follow *f = userdata;

        (void) bus_error(f->client, -ECONNRESET, NULL, &f->why);
        return leave(f);
}

/* The call was answered: with the job's number, or with all there is to say. */
static int on_reply(sd_bus_message *m, void *userdata, sd_bus_error *e _unused_) {
        Follow *f = userdata;
        const char *path;
        int r;

        if (sd_bus_message_is_method_error(m, NULL)) {
                (void) bus_error(f->client, -sd_bus_message_get_errno(m),
                                sd_bus_message_get_error(m), &f->why);
                return leave(f);
        }
        if (!sd_bus_message_has_signature(m, "to")) {
                f->over = true;
                f->reply = sd_bus_message_ref(m);
                return leave(f);
        }
        r = sd_bus_message_read(m, "to", &f->id, &path);
        if (r < 0)
                return r;
        r = str_set(&f->path, path);
        if (r < 0)
                return r;
        progress_job(f->progress, f->id);
        if (f->client->opt.detach)
                return leave(f);
        return sd_bus_call_method_async(f->client->bus, next_slot(f), API_NAME, f->path,
                        "org.freedesktop.DBus.Properties", "GetAll", on_all_properties, f, "s",
                        API_JOB_INTERFACE);
}

static int on_download(
                sd_event_source *s, int fd _unused_, uint32_t revents _unused_, void *userdata) {
        Follow *f = userdata;
        _cleanup_(freep) char *note = NULL;
        _cleanup_(err_freep) Err *e = NULL;
        int r = download_step(f->download, &note, &e);

        if (r == DOWNLOAD_GOES_ON) {
                if (note)
                        progress_note(f->progress, "%s", note);
                return 0;
        }
        f->feeding = false;
        (void) sd_event_source_set_enabled(s, SD_EVENT_OFF);
        if (r == DOWNLOAD_ENDED)
                return 0;
        /* the job must not take the broken end of the image for its end: it is still open */
        f->why = MOVE(e);
        if (f->id == 0)
                return leave(f);
        cancel(f);
        return 0;
}

static int add_sources(Follow *f) {
        static const char properties[] =
                        "type='signal',sender='" API_NAME
                        "',interface='org.freedesktop.DBus.Properties',"
                        "member='PropertiesChanged',path_namespace='" API_JOB_PATH "'";
        static const char owner[] = "type='signal',sender='org.freedesktop.DBus',"
                                    "member='NameOwnerChanged',arg0='" API_NAME "'";
        static const char gone[] = "type='signal',sender='org.freedesktop.DBus.Local',"
                                   "member='Disconnected'";
        sd_bus *bus = f->client->bus;
        sigset_t set;
        int r;

        (void) sigemptyset(&set);
        (void) sigaddset(&set, SIGINT);
        (void) sigaddset(&set, SIGTERM);
        if (sigprocmask(SIG_BLOCK, &set, NULL) < 0)
                return -errno;
        (void) signal(SIGPIPE,
                        SIG_IGN); /* whoever reads our output must not end the job by leaving */

        r = sd_event_add_signal(f->event, NULL, SIGINT, on_signal, f);
        if (r >= 0)
                r = sd_event_add_signal(f->event, NULL, SIGTERM, on_signal, f);
        if (r >= 0)
                r = sd_event_add_time_relative(
                                f->event, NULL, CLOCK_MONOTONIC, TICK_USEC, 0, on_tick, f);
        if (r >= 0 && f->download)
                r = sd_event_add_io(
                                f->event, NULL, download_fd(f->download), EPOLLIN, on_download, f);
        if (r >= 0)
                r = sd_bus_add_match_async(bus, next_slot(f), gone, on_disconnected, NULL, f);
        if (r >= 0)
                r = sd_bus_add_match_async(bus, next_slot(f), owner, on_owner, NULL, f);
        if (r >= 0)
                r = sd_bus_add_match_async(bus, next_slot(f), properties, on_properties, NULL, f);
        if (r >= 0)
                r = sd_bus_match_signal_async(bus, next_slot(f), API_NAME, API_PATH,
                                API_MANAGER_INTERFACE, "JobRemoved", on_removed, NULL, f);
        return r;
}

/* "Slot 2, version 1.0, is booted; the next boot takes slot 2." */
static char *machine_stands(Client *c) {
        _cleanup_(json_unrefp) json_object *machine = NULL;
        const char *next;

        if (facts_machine(c, &machine, NULL) < 0)
                return NULL;
        next = jstr(machine, "next");
        return str_printf("%s%s%s is booted; the next boot takes %s%s",
                        *jstr(machine, "booted") ? "Slot " : "Version ",
                        *jstr(machine, "booted") ? jstr(machine, "booted") : "",
                        *jstr(machine, "booted") ? "" : jstr(machine, "version"),
                        *next ? "slot " : "none of the slots", next);
}

static int judge(Follow *f, JobEnd *ret, Err **reterr) {
        _cleanup_(freep) char *stands = NULL;
        int r;

        if (f->why && (!f->over || f->status != 0)) {
                *reterr = err_free(*reterr);
                *reterr = MOVE(f->why);
                return err_code(*reterr);
        }
        if (f->over && (f->status != 0 || (f->error && *f->error))) {
                r = bus_job_error(f->status, str_or(f->error, ""), str_or(f->message, ""), reterr);
                stands = f->signals > 0 && reterr ? machine_stands(f->client) : NULL;
                if (stands && err_kind_of(*reterr) == ERR_CANCELLED)
                        return err_kind(reterr, ERR_CANCELLED, r,
                                        "Job %" PRIu64 " was cancelled. %s", f->id, stands);
                if (stands)
                        return err_kind(reterr, err_kind_of(*reterr), r, "%s. %s", f->message,
                                        stands);
                return r;
        }
        if (f->over && f->signals > 0)
                progress_note(f->progress, "The job was done before it could be stopped.");
        *ret = (JobEnd){
                        .id = f->id,
                        .message = MOVE(f->message),
                        .detached = !f->over,
                        .reply = MOVE(f->reply),
        };
        return 0;
}

int job_run(Client *c, sd_bus_message *call, Download *download, JobEnd *ret, Err **reterr) {
        _cleanup_(sd_event_unrefp) sd_event *event = NULL;
        _cleanup_(follow_done) Follow f = {.client = c, .download = download, .facts.fraction = -1};
        int r;

        r = progress_new(c, &f.progress, reterr);
        if (r < 0)
                return r;
        r = sd_event_new(&event);
        if (r < 0)
                return err_sys(reterr, r, "Cannot follow the job");
        f.event = event;
        f.feeding = download != NULL;
        r = add_sources(&f);
        if (r >= 0)
                r = sd_bus_call_async(c->bus, next_slot(&f), call, on_reply, &f, BUS_PATIENT);
        if (r >= 0)
                r = sd_bus_attach_event(c->bus, event, SD_EVENT_PRIORITY_NORMAL);
        while (r >= 0 && !f.left)
                r = sd_event_run(event, UINT64_MAX);
        (void) sd_bus_detach_event(c->bus);
        if (r < 0)
                return err_sys(reterr, r, "Cannot follow the job");
        progress_end(f.progress, f.over && f.status == 0);
        return judge(&f, ret, reterr);
}
