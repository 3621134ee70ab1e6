/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* client/jobs.c - what is running, and how to stop it. */
#include "client/bus.h"
#include "client/facts.h"
#include "client/out.h"
#include "client/text.h"
#include "client/verbs.h"
#include "dbus/api.h"

enum { COL_JOB, COL_TYPE, COL_SLOT, COL_PHASE, COL_DONE, COL_BYTES, COL_LEFT, COL_CANCEL, COL_MAX };

static const Column columns[COL_MAX] = {
                [COL_JOB] = {"JOB", SCOLS_FL_RIGHT},
                [COL_TYPE] = {"TYPE", 0},
                [COL_SLOT] = {"SLOT", 0},
                [COL_PHASE] = {"PHASE", 0},
                [COL_DONE] = {"DONE", SCOLS_FL_RIGHT},
                [COL_BYTES] = {"BYTES", SCOLS_FL_RIGHT},
                [COL_LEFT] = {"LEFT", SCOLS_FL_RIGHT},
                [COL_CANCEL] = {"CANCEL", 0},
};

static void job_line(struct libscols_table *t, json_object *job) {
        struct libscols_line *line = table_line(t);
        uint64_t end = ju64(job, "estimated-completion"), now = now_realtime();
        char id[24], done[16], bytes[16], total[16], pair[40], span[16];

        snprintf(id, sizeof(id), "%" PRIu64, ju64(job, "id"));
        snprintf(done, sizeof(done), "%.0f %%", 100 * jdouble(job, "progress"));
        if (jdouble(job, "progress") < 0)
                snprintf(done, sizeof(done), "-");
        format_bytes(bytes, ju64(job, "bytes-done"));
        format_bytes(total, ju64(job, "bytes-total"));
        snprintf(pair, sizeof(pair), "%s of %s", bytes, total);
        table_cell(line, COL_JOB, id, PAINT_PLAIN);
        table_cell(line, COL_TYPE, jstr(job, "type"), PAINT_PLAIN);
        table_cell(line, COL_SLOT, *jstr(job, "slot") ? jstr(job, "slot") : "-", PAINT_PLAIN);
        table_cell(line, COL_PHASE, jstr(job, "phase"), PAINT_PLAIN);
        table_cell(line, COL_DONE, done, PAINT_PLAIN);
        table_cell(line, COL_BYTES,
                        ju64(job, "bytes-total") > 0  ? pair
                        : ju64(job, "bytes-done") > 0 ? bytes
                                                      : "-",
                        PAINT_PLAIN);
        table_cell(line, COL_LEFT, end > now ? format_span(span, (end - now) / USEC_PER_SEC) : "-",
                        PAINT_PLAIN);
        table_cell(line, COL_CANCEL, jbool(job, "cancellable") ? "yes" : "no", PAINT_PLAIN);
}

int verb_jobs(Client *c, int argc _unused_, char *argv[] _unused_, Err **reterr) {
        _cleanup_(table_freep) struct libscols_table *t = NULL;
        _cleanup_(json_unrefp) json_object *jobs = NULL;
        int r = facts_jobs(c, &jobs, reterr);

        if (r < 0)
                return r;
        if (c->json != JSON_OFF) {
                out_json(c, jobs);
                return EXIT_DONE;
        }
        if (json_object_array_length(jobs) == 0) {
                say(c, "No job is running.");
                return EXIT_DONE;
        }
        r = table_new(columns, COL_MAX, &t, reterr);
        if (r < 0)
                return r;
        for (size_t i = 0; i < json_object_array_length(jobs); i++)
                job_line(t, json_object_array_get_idx(jobs, i));
        r = table_print(t, reterr);
        return r < 0 ? r : EXIT_DONE;
}

/* The job that the person named, or the only one there is. */
static int find_job(Client *c, int argc, char *argv[], uint64_t *ret, Err **reterr) {
        _cleanup_(json_unrefp) json_object *jobs = NULL;
        size_t n;
        int r;

        if (argc > 0) {
                if (parse_u64(argv[0], ret) < 0)
                        return err_kind(reterr, ERR_INVALID_ARGUMENT, EINVAL,
                                        "A job has a number, '%s' is none: 'abctl jobs' lists them",
                                        argv[0]);
                return 0;
        }
        r = facts_jobs(c, &jobs, reterr);
        if (r < 0)
                return r;
        n = json_object_array_length(jobs);
        if (n == 0)
                return err_kind(reterr, ERR_NOTHING_TO_DO, ENOENT, "No job is running");
        if (n > 1)
                return err_kind(reterr, ERR_INVALID_ARGUMENT, EINVAL,
                                "%zu jobs are running: name one, 'abctl jobs' lists them", n);
        *ret = ju64(json_object_array_get_idx(jobs, 0), "id");
        return 0;
}

/* The path is the daemon's to choose: ask for it. */
static int job_path(Client *c, uint64_t id, char **ret, Err **reterr) {
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *m = NULL, *reply = NULL;
        const char *path;
        uint64_t t;
        int r = bus_method(c, "ListJobs", &m, reterr);

        if (r >= 0)
                r = bus_call(c, m, /* timeout= */ 0, &reply, reterr);
        if (r < 0)
                return r;
        r = sd_bus_message_enter_container(reply, 'a', "(tssdo)");
        while (r >= 0 && (r = sd_bus_message_read(reply, "(tssdo)", &t, NULL, NULL, NULL, &path)) >
                                         0)
                if (t == id) {
                        *ret = strdup(path);
                        return *ret ? 0 : bus_broken(-ENOMEM, reterr);
                }
        if (r < 0)
                return bus_broken(r, reterr);
        return err_kind(reterr, ERR_UNKNOWN_JOB, ENOENT, "There is no job %" PRIu64, id);
}

/* Says "Job N" and @done once the daemon has done it. */
static int control(Client *c, int argc, char *argv[], const char *method, const char *done,
                Err **reterr) {
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *m = NULL, *reply = NULL;
        _cleanup_(freep) char *path = NULL;
        uint64_t id;
        int r = find_job(c, argc, argv, &id, reterr);

        if (r >= 0)
                r = job_path(c, id, &path, reterr);
        if (r < 0)
                return r;
        r = sd_bus_message_new_method_call(c->bus, &m, API_NAME, path, API_JOB_INTERFACE, method);
        r = r < 0 ? bus_broken(r, reterr) : bus_call(c, m, BUS_PATIENT, &reply, reterr);
        if (r < 0)
                return r;
        say(c, "Job %" PRIu64 " %s", id, done);
        return EXIT_DONE;
}

int verb_cancel(Client *c, int argc, char *argv[], Err **reterr) {
        return control(c, argc, argv, "Cancel",
                        "was asked to stop: 'abctl jobs' shows when it is gone.", reterr);
}

int verb_pause(Client *c, int argc, char *argv[], Err **reterr) {
        return control(c, argc, argv, "Pause", "waits: 'abctl resume' lets it go on.", reterr);
}

int verb_resume(Client *c, int argc, char *argv[], Err **reterr) {
        return control(c, argc, argv, "Resume", "goes on.", reterr);
}
