/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The daemon from start to end: name, first look at the machine, calls, idle, stop. */
#include <malloc.h>
#include <signal.h>
#include <systemd/sd-daemon.h>

#include "base/log.h"
#include "daemon/event.h"
#include "daemon/request.h"

/* Calls wait so long for the first look at the machine; less than clients wait for an answer. */
#define OPEN_TIMEOUT (20 * USEC_PER_SEC)

/* All calls that wait, but not the one whose job runs. */
static void dismiss_requests(Manager *m) {
        Request *r = m->requests, *next;

        for (; r; r = next) {
                next = r->next;
                if (r == m->owner)
                        continue;
                request_fail(r, ERR_BUSY, "the daemon is being stopped: try again");
                request_free(r);
        }
}

static void dismiss_checkers(Manager *m) {
        for (size_t i = 0; i < m->n_checkers; i++) {
                (void) sd_bus_reply_method_errorf(m->checkers[i], API_ERROR_PREFIX "Busy",
                                "the daemon is being stopped: try again");
                sd_bus_message_unref(m->checkers[i]);
        }
        m->n_checkers = 0;
}

static void stop(Manager *m, const char *why) {
        if (m->stopping)
                return;
        log_debug("Stopping: %s", why);
        m->stopping = true;
        (void) sd_notify(false, "STOPPING=1");
        dismiss_requests(m);
        /* A job past its point of no return is short and waited for. */
        if (m->job)
                (void) job_cancel(m->job, /* by_hand= */ false, /* reterr= */ NULL);
        manager_touch(m);
}

static int on_signal(sd_event_source *s, const struct signalfd_siginfo *si, void *userdata) {
        (void) s;
        stop(userdata, strsignal((int) si->ssi_signo));
        return 0;
}

static bool idle(const Manager *m) {
        return !manager_busy(m) && !m->recover_wanted && !m->world.transaction;
}

static int on_name_back(sd_bus_message *answer, void *userdata, sd_bus_error *e) {
        Manager *m = userdata;

        (void) e;
        m->leaving = false;
        if (sd_bus_message_is_method_error(answer, NULL))
                stop(m, "the name was taken by another daemon");
        return 0;
}

/* Everything that was sent to us before the name was free has been dispatched by now. What comes later starts a new
 * daemon. */
static int on_name_released(sd_bus_message *answer, void *userdata, sd_bus_error *e) {
        Manager *m = userdata;

        (void) answer, (void) e;
        if (idle(m))
                (void) sd_event_exit(m->event, EXIT_SUCCESS);
        else if (sd_bus_request_name_async(m->bus, NULL, API_NAME, 0, on_name_back, m) < 0)
                stop(m, "the name is gone");
        return 0;
}

static int on_idle(sd_event_source *s, uint64_t usec, void *userdata) {
        Manager *m = userdata;

        (void) s, (void) usec;
        m->idle_timer = sd_event_source_disable_unref(m->idle_timer);
        if (!idle(m) || m->leaving || m->stopping ||
                        now_monotonic() < m->last_activity + m->idle_usec) {
                manager_touch(m);
                return 0;
        }
        m->leaving = true;
        if (sd_bus_release_name_async(m->bus, NULL, API_NAME, on_name_released, m) < 0)
                return sd_event_exit(m->event, EXIT_SUCCESS);
        return 0;
}

void manager_touch(Manager *m) {
        if (m->stopping && !m->job) {
                dismiss_checkers(m); /* at the exit the bus is flushed and closed */
                (void) sd_event_exit(m->event, EXIT_SUCCESS);
                return;
        }
        if (m->idle_timer || m->idle_usec == UINT64_MAX || !m->open || !idle(m))
                return;
        (void) sd_event_add_time(m->event, &m->idle_timer, CLOCK_MONOTONIC,
                        m->last_activity + m->idle_usec, /* accuracy= */ USEC_PER_SEC / 10, on_idle,
                        m);
}

static int on_message(sd_bus_message *msg, void *userdata, sd_bus_error *e) {
        Manager *m = userdata;

        (void) e;
        if (sd_bus_message_is_signal(msg, "org.freedesktop.DBus.Local", "Disconnected"))
                stop(m, "the bus is gone");
        else if (sd_bus_message_is_signal(msg, "org.freedesktop.DBus", "NameOwnerChanged"))
                request_name_changed(m, msg);
        else if (sd_bus_message_is_method_call(msg, NULL, NULL))
                m->last_activity = now_monotonic();
        return 0;
}

static int on_open_timer(sd_event_source *s, uint64_t usec, void *userdata) {
        (void) s, (void) usec;
        manager_open(userdata);
        return 0;
}

void manager_fail(Manager *m, const char *why) {
        log_error("Stopping: %s", why);
        (void) sd_event_exit(m->event, EXIT_FAILURE);
}

/* Until now the bus has kept the calls for us, in its own memory and in their order. */
void manager_open(Manager *m) {
        int r;

        if (m->open)
                return;
        m->open_timer = sd_event_source_disable_unref(m->open_timer);
        m->last_activity = now_monotonic();
        r = sd_bus_attach_event(m->bus, m->event, SD_EVENT_PRIORITY_NORMAL);
        if (r < 0) {
                manager_fail(m, "Cannot listen to the bus");
                return;
        }
        m->open = true;
        manager_touch(m);
}

static int add_signals(Manager *m) {
        static const int signals[] = {SIGTERM, SIGINT};
        sigset_t set;
        int r = 0;

        (void) sigemptyset(&set);
        (void) sigaddset(&set, SIGCHLD);
        for (size_t i = 0; i < ARRAY_SIZE(signals); i++)
                (void) sigaddset(&set, signals[i]);
        if (sigprocmask(SIG_BLOCK, &set, NULL) < 0)
                return -errno;
        for (size_t i = 0; i < ARRAY_SIZE(signals) && r >= 0; i++)
                r = sd_event_add_signal(m->event, NULL, signals[i], on_signal, m);
        return r;
}

static int set_up(Manager *m, Err **reterr) {
        int r;

        r = sd_event_default(&m->event);
        if (r >= 0)
                r = add_signals(m);
        if (r < 0)
                return err_sys(reterr, r, "set up the event loop");

        r = sd_bus_open_system_with_description(&m->bus, "system");
        if (r < 0)
                return err_sys(reterr, r, "connect to the system bus");

        r = sd_bus_add_filter(m->bus, NULL, on_message, m);
        if (r >= 0)
                r = bus_manager_add(m);
        if (r >= 0)
                r = bus_slot_add(m);
        if (r < 0)
                return err_sys(reterr, r, "put objects on the bus");

        r = sd_bus_request_name(m->bus, API_NAME, 0);
        if (r == -EEXIST || r == -EALREADY)
                return err_new(reterr, r, "another daemon owns the name %s", API_NAME);
        if (r < 0)
                return err_sys(reterr, r, "own the name %s", API_NAME);
        return 0;
}

static void tear_down(Manager *m) {
        m->job = job_free(m->job);
        while (m->requests)
                request_free(m->requests);
        dismiss_checkers(m);
        sd_event_source_disable_unref(m->show_timer);
        sd_event_source_disable_unref(m->idle_timer);
        sd_event_source_disable_unref(m->open_timer);
        sd_bus_slot_unref(m->job_slot);
        sd_bus_flush_close_unref(m->bus);
        sd_event_unref(m->event);
        world_done(&m->world);
        result_done(&m->world_error);
        free(m->shown_state);
}

int manager_run(Manager *m) {
        _cleanup_(err_freep) Err *e = NULL;
        int r;

        /* Fixed, so that it does not grow with the messages of others: what is big goes back to the kernel. */
        (void) mallopt(M_MMAP_THRESHOLD, 128 * 1024);

        m->next_id = 1;
        r = set_up(m, &e);
        if (r >= 0) {
                event_daemon_started();
                (void) sd_event_add_time_relative(m->event, &m->open_timer, CLOCK_MONOTONIC,
                                OPEN_TIMEOUT, /* accuracy= */ 0, on_open_timer, m);
                manager_recover(m);
                r = sd_event_loop(m->event);
                if (r < 0)
                        err_sys(&e, r, "event loop");
        }
        if (r < 0)
                log_error("%s", err_text(e));
        tear_down(m);
        return r < 0 ? EXIT_FAILURE : r;
}
