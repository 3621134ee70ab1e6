/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* One job as a process: takes the order, opens the machine, recovers, does the job, tells the world and the result. */
#include <signal.h>

#include "base/log.h"
#include "daemon/worker-link.h"
#include "daemon/worker.h"
#include "dbus/worker-api.h"
#include "os/sandbox.h"
#include "update/jobs.h"
#include "update/records.h"
#include "update/report.h"

static volatile sig_atomic_t cancelled, by_hand, paused;

static void on_sigterm(int sig, siginfo_t *info, void *context _unused_) {
        if (sig == SIGINT || (info->si_code == SI_QUEUE && info->si_int == WORKER_BY_HAND))
                by_hand = 1;
        cancelled = 1;
}

static void on_sigusr(int sig) {
        paused = sig == SIGUSR1;
}

/* Without SA_RESTART: a read that waits for a slow pipe must wake up. */
static int catch_signals(void) {
        struct sigaction stop = {.sa_sigaction = on_sigterm, .sa_flags = SA_SIGINFO},
                         ignore = {.sa_handler = SIG_IGN}, pause = {.sa_handler = on_sigusr};

        return sigaction(SIGTERM, &stop, NULL) < 0 || sigaction(SIGINT, &stop, NULL) < 0 ||
                                               sigaction(SIGUSR1, &pause, NULL) < 0 ||
                                               sigaction(SIGUSR2, &pause, NULL) < 0 ||
                                               sigaction(SIGPIPE, &ignore, NULL) < 0
                               ? -errno
                               : 0;
}

static void sink_ready(void *userdata) {
        worker_link_send(userdata, worker_packet("ready"), -1);
}

static void sink_progress(void *userdata, Phase phase, uint64_t done, uint64_t total) {
        worker_link_progress(userdata, phase_to_string(phase), done, total);
}

static void sink_slot(void *userdata, const char *id) {
        json_object *o = worker_packet("slot");

        if (o)
                json_object_object_add(o, "slot", json_object_new_string(id));
        worker_link_send(userdata, o, -1);
}

static void sink_point_of_no_return(void *userdata) {
        worker_link_send(userdata, worker_packet("point-of-no-return"), -1);
}

static bool sink_cancelled(void *userdata _unused_) {
        return cancelled;
}

/* Who has paused it or taken it back has said what they want; who ends the service has not. */
static bool sink_interrupted(void *userdata _unused_) {
        return cancelled && !by_hand && !paused;
}

static bool sink_paused(void *userdata _unused_) {
        return paused;
}

static bool order_bool(json_object *o, const char *key, bool fallback) {
        json_object *v = NULL;

        return json_object_object_get_ex(o, key, &v) ? json_object_get_boolean(v) : fallback;
}

/* "" where it is absent. */
static const char *order_text(json_object *o, const char *key) {
        return str_or(json_text(o, key), "");
}

typedef struct Work {
        json_object *order;
        json_object *result; /* members that a type adds to its result */
        Job job;
} Work;

static int do_update(Work *w, bool dry_run, Err **reterr) {
        _cleanup_(plan_done) Plan plan = {0};
        const UpdateOptions options = {
                        .name = str_or(json_text(w->order, "name"), "the image"),
                        .size = json_object_get_uint64(json_object_object_get(w->order, "size")),
                        .offset = json_object_get_uint64(
                                        json_object_object_get(w->order, "offset")),
                        .version = json_text(w->order, "version"),
                        .accept = json_text(w->order, "accept"),
                        .arm = order_bool(w->order, "arm", true),
                        .reinstall = order_bool(w->order, "reinstall", false),
                        .allow_downgrade = order_bool(w->order, "allow-downgrade", false),
        };
        int manifest_fd = order_bool(w->order, "manifest", false) ? WORKER_MANIFEST_FD : -1;
        json_object *steps;
        int r = job_update(&w->job, WORKER_IMAGE_FD, manifest_fd, &options, dry_run, &plan, reterr);

        if (r < 0 || !dry_run)
                return r;
        steps = json_object_new_array();
        for (size_t i = 0; i < plan.n_steps; i++) {
                json_object *s = json_object_new_object();

                json_object_object_add(s, "phase",
                                json_object_new_string(phase_to_string(plan.steps[i].phase)));
                json_object_object_add(s, "text", json_object_new_string(plan.steps[i].text));
                json_object_object_add(s, "bytes", json_object_new_uint64(plan.steps[i].bytes));
                json_object_array_add(steps, s);
        }
        json_object_object_add(w->result, "steps", steps);
        return job_says(&w->job, reterr, "version %s would be installed in slot %s",
                        str_or(plan.version, "(as the image says)"), plan.slot);
}

static int do_check(Work *w, Err **reterr) {
        _cleanup_(finding_list_done) FindingList l = {0};
        json_object *list;
        int r = machine_check(w->job.m, &w->job.facts, &l, reterr);

        if (r < 0)
                return r;
        list = json_object_new_array();
        for (size_t i = 0; i < l.n; i++) {
                json_object *f = json_object_new_object();

                json_object_object_add(
                                f, "severity", json_object_new_string(l.findings[i].severity));
                json_object_object_add(f, "subject", json_object_new_string(l.findings[i].subject));
                json_object_object_add(f, "problem", json_object_new_string(l.findings[i].problem));
                json_object_object_add(f, "advice", json_object_new_string(l.findings[i].advice));
                json_object_array_add(list, f);
        }
        json_object_object_add(w->result, "findings", list);
        return job_says(&w->job, reterr, l.n == 0 ? "nothing is wrong" : "%zu findings", l.n);
}

static int do_inspect(Work *w, Err **reterr) {
        json_object *image = NULL;
        int r = job_inspect(&w->job, WORKER_MANIFEST_FD, &image, reterr);

        if (r >= 0)
                json_object_object_add(w->result, "image", image);
        return r;
}

static int do_begin(Work *w, Err **reterr) {
        int r;

        if (!order_bool(w->order, "in-place", false))
                return err_kind(reterr, ERR_NOT_SUPPORTED, EOPNOTSUPP,
                                "a transaction changes the running system in place; ask for that "
                                "with --in-place");
        r = job_begin_in_place(&w->job, reterr);
        if (r < 0)
                return r;
        r = job_refresh(&w->job, reterr);
        if (r >= 0 && facts_booted(&w->job.facts))
                json_object_object_add(w->result, "transaction",
                                json_object_new_string(str_or(
                                                facts_booted(&w->job.facts)->transaction, "")));
        return r;
}

static int do_mark(Work *w, Err **reterr) {
        const char *verdict = order_text(w->order, "verdict"), *slot = order_text(w->order, "slot");

        if (str_eq(verdict, "good"))
                return job_mark_good(&w->job, slot, reterr);
        if (str_eq(verdict, "bad"))
                return job_mark_bad(&w->job, slot, order_text(w->order, "reason"), reterr);
        return err_kind(reterr, ERR_INVALID_ARGUMENT, EINVAL,
                        "the verdict is '%s'; there are good and bad", verdict);
}

static int run_update(Work *w, Err **reterr) {
        return do_update(w, /* dry_run= */ false, reterr);
}

static int run_plan(Work *w, Err **reterr) {
        return do_update(w, /* dry_run= */ true, reterr);
}

static int run_rollback(Work *w, Err **reterr) {
        return job_rollback(&w->job, order_text(w->order, "slot"), reterr);
}

static int run_prune(Work *w, Err **reterr) {
        return job_prune(&w->job, reterr);
}

static int run_merge(Work *w, Err **reterr) {
        return job_merge(&w->job, order_bool(w->order, "scheduled", false), reterr);
}

static int run_export(Work *w, Err **reterr) {
        const ExportOptions options = {
                        .out_fd = WORKER_IMAGE_FD,
                        .digest_fd = order_bool(w->order, "digest", false) ? WORKER_MANIFEST_FD
                                                                           : -1,
                        .compress = order_bool(w->order, "compress", false),
        };

        return job_export(&w->job, order_text(w->order, "slot"), &options, reterr);
}

static int run_restore(Work *w, Err **reterr) {
        const RestoreOptions options = {
                        .digest = json_text(w->order, "sha256"),
                        .accept = json_text(w->order, "accept"),
        };

        return job_restore(
                        &w->job, WORKER_IMAGE_FD, order_text(w->order, "slot"), &options, reterr);
}

static int run_discard(Work *w, Err **reterr) {
        return job_discard(&w->job, order_text(w->order, "slot"), reterr);
}

static int run_pin(Work *w, Err **reterr) {
        return job_pin(&w->job, order_text(w->order, "slot"), order_bool(w->order, "pinned", true),
                        reterr);
}

static int run_commit(Work *w, Err **reterr) {
        return job_commit(&w->job, order_text(w->order, "transaction"), reterr);
}

static int run_abort(Work *w, Err **reterr) {
        return job_abort(&w->job, order_text(w->order, "transaction"), reterr);
}

static int run_recover(Work *w, Err **reterr) {
        return job_says(&w->job, reterr, "the machine is in order");
}

static const struct {
        const char *type;
        int (*run)(Work *w, Err **reterr);
        bool needs_switch; /* makes no sense where the loader does not follow */
} types[] = {
                {"update", run_update, true},
                {"plan", run_plan, true},
                {"rollback", run_rollback, true},
                {"mark", do_mark, false},
                {"prune", run_prune, false},
                {"merge", run_merge, false},
                {"export", run_export, false},
                {"restore", run_restore, true},
                {"discard", run_discard, false},
                {"pin", run_pin, false},
                {"begin", do_begin, true},
                {"commit", run_commit, true},
                {"abort", run_abort, true},
                {"check", do_check, false},
                {"inspect", do_inspect, false},
                {"recover", run_recover, false},
};

static int dispatch(Work *w, Err **reterr) {
        const char *type = order_text(w->order, "type");

        for (size_t i = 0; i < ARRAY_SIZE(types); i++) {
                if (!str_eq(types[i].type, type))
                        continue;
                if (types[i].needs_switch && !w->job.m->boot->ops->arm)
                        return err_kind(reterr, ERR_NOT_SUPPORTED, EOPNOTSUPP,
                                        "Boot=%s in [Update] of abupdated.conf cannot switch slots",
                                        w->job.m->boot->ops->name);
                w->job.type = types[i].type;
                return types[i].run(w, reterr);
        }
        return err_kind(reterr, ERR_INVALID_ARGUMENT, EINVAL, "there is no job of type '%s'", type);
}

static int work(Work *w, const char *root, Err **reterr) {
        int r = machine_open(root, &w->job.m, reterr);

        if (r >= 0)
                r = recover(w->job.m, reterr);
        if (r >= 0)
                r = job_refresh(&w->job, reterr);
        return r < 0 ? r : dispatch(w, reterr);
}

/* After a failure too: what the machine is like now is what people ask next. */
static void send_world(WorkerLink *link, Work *w, const Err *err) {
        _cleanup_(json_freep) json_object *world = NULL;
        int r = -ENODEV;

        if (w->job.m && job_refresh(&w->job, NULL) >= 0)
                r = report_world(w->job.m, &w->job.facts, &world, NULL);
        if (r < 0)
                r = report_unreadable(err ? err_text(err) : "the machine cannot be read", &world);
        if (r >= 0)
                worker_link_world(link, world);
}

static void send_result(WorkerLink *link, Work *w, int r, const Err *err) {
        json_object *o = MOVE(w->result);

        json_object_object_add(o, "code", json_object_new_int(r < 0 ? r : 0));
        json_object_object_add(o, "kind",
                        json_object_new_string(r < 0 ? err_kind_name(err_kind_of(err)) : ""));
        json_object_object_add(o, "text",
                        json_object_new_string(
                                        r < 0 ? err_text(err) : str_or(w->job.done, "done")));
        json_object_object_add(o, "slot", json_object_new_string(str_or(w->job.slot, "")));
        worker_link_send(link, o, -1);
}

static void work_done(Work *w) {
        job_done(&w->job);
        w->job.m = machine_free(w->job.m);
        json_freep(&w->result);
        json_freep(&w->order);
}

int worker_main(const char *root) {
        WorkerLink link = {.fd = WORKER_SOCKET_FD};
        const JobSink sink = {&link, sink_ready, sink_progress, sink_slot, sink_point_of_no_return,
                        sink_cancelled, sink_paused, sink_interrupted};
        _cleanup_(work_done) Work w = {.result = worker_packet("result"), .job = {.sink = &sink}};
        _cleanup_(err_freep) Err *err = NULL;
        int r = catch_signals();

        if (r >= 0)
                r = sandbox_enter(&err);
        if (r >= 0 && w.result)
                r = worker_link_order(&link, &w.order, &err);
        if (r < 0 || !w.result) {
                log_error("worker: %s", err_text(err));
                return EXIT_FAILURE;
        }
        w.job.id = json_object_get_uint64(json_object_object_get(w.order, "job"));
        w.job.started = now_realtime();
        r = work(&w, root, &err);
        send_world(&link, &w, err);
        send_result(&link, &w, r, err);
        return r < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}
