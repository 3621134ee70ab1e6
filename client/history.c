/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* client/history.c - what was done to this machine, and what is wrong with it. */
#include "client/bus.h"
#include "client/job.h"
#include "client/out.h"
#include "client/text.h"
#include "client/verbs.h"

#define LINES_DEFAULT 50

enum { COL_TIME, COL_JOB, COL_TYPE, COL_SLOT, COL_VERSION, COL_RESULT, COL_MESSAGE, COL_MAX };

static const Column columns[COL_MAX] = {
                [COL_TIME] = {"TIME", 0},
                [COL_JOB] = {"JOB", SCOLS_FL_RIGHT},
                [COL_TYPE] = {"TYPE", 0},
                [COL_SLOT] = {"SLOT", 0},
                [COL_VERSION] = {"VERSION", 0},
                [COL_RESULT] = {"RESULT", 0},
                [COL_MESSAGE] = {"MESSAGE", SCOLS_FL_WRAP},
};

static const char *or_dash(const char *s) {
        return *s ? s : "-";
}

static void event_line(struct libscols_table *t, json_object *event) {
        struct libscols_line *line = table_line(t);
        const char *error = jstr(event, "error");
        char when[WHEN_SIZE], job[24];

        snprintf(job, sizeof(job), "%" PRIu64, ju64(event, "job"));
        table_cell(line, COL_TIME, format_when(when, ju64(event, "time")), PAINT_PLAIN);
        table_cell(line, COL_JOB, job, PAINT_PLAIN);
        table_cell(line, COL_TYPE, jstr(event, "type"), PAINT_PLAIN);
        table_cell(line, COL_SLOT, or_dash(jstr(event, "slot")), PAINT_PLAIN);
        table_cell(line, COL_VERSION, or_dash(jstr(event, "version")), PAINT_PLAIN);
        table_cell(line, COL_RESULT, *error ? error : "done", *error ? PAINT_RED : PAINT_GREEN);
        table_cell(line, COL_MESSAGE, jstr(event, "message"), PAINT_PLAIN);
}

static int print_events(json_object *events, Err **reterr) {
        _cleanup_(table_freep) struct libscols_table *t = NULL;
        int r;

        if (json_object_array_length(events) == 0) {
                printf("Nothing has happened yet.\n");
                return 0;
        }
        r = table_new(columns, COL_MAX, &t, reterr);
        if (r < 0)
                return r;
        for (size_t i = 0; i < json_object_array_length(events); i++)
                event_line(t, json_object_array_get_idx(events, i));
        return table_print(t, reterr);
}

int verb_history(Client *c, int argc _unused_, char *argv[] _unused_, Err **reterr) {
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *m = NULL, *reply = NULL;
        _cleanup_(json_unrefp) json_object *events = NULL;
        uint64_t lines = LINES_DEFAULT;
        int r;

        if (c->opt.lines &&
                        (parse_u64(c->opt.lines, &lines) < 0 || lines == 0 || lines > UINT32_MAX))
                return err_kind(reterr, ERR_INVALID_ARGUMENT, EINVAL,
                                "--lines= wants a number from 1 on, not '%s'", c->opt.lines);
        r = bus_method(c, "GetHistory", &m, reterr);
        if (r < 0)
                return r;
        r = sd_bus_message_append(m, "u", (uint32_t) lines);
        if (r < 0)
                return bus_broken(r, reterr);
        r = bus_call(c, m, /* timeout= */ 0, &reply, reterr);
        if (r < 0)
                return r;
        r = json_from_bus(reply, &events);
        if (r < 0)
                return bus_broken(r, reterr);
        if (c->json != JSON_OFF) {
                out_json(c, events);
                return EXIT_DONE;
        }
        term_page(c);
        r = print_events(events, reterr);
        return r < 0 ? r : EXIT_DONE;
}

static Paint severity_paint(const char *severity) {
        return str_eq(severity, "error")     ? PAINT_RED
               : str_eq(severity, "warning") ? PAINT_YELLOW
                                             : PAINT_DIM;
}

/* A finding as an object; its four strings are borrowed from the message. */
static int finding_json(json_object *array, const char *const f[4]) {
        static const char *const keys[] = {"severity", "subject", "problem", "advice"};
        json_object *o = json_object_new_object();
        int r = o ? 0 : -ENOMEM;

        for (size_t i = 0; i < ARRAY_SIZE(keys) && r >= 0; i++)
                r = jset_str(o, keys[i], f[i]);
        if (r < 0) {
                json_object_put(o);
                return r;
        }
        return jappend(array, o);
}

static void finding_text(json_object *o) {
        _cleanup_(freep) char *subject = str_printable(jstr(o, "subject"));
        _cleanup_(freep) char *problem = str_printable(jstr(o, "problem"));
        _cleanup_(freep) char *advice = str_printable(jstr(o, "advice"));
        const char *severity = jstr(o, "severity");

        printf("%s%s%s: %s: %s\n", paint(severity_paint(severity)), severity, paint(PAINT_PLAIN),
                        str_or(subject, ""), str_or(problem, ""));
        if (advice && *advice)
                printf("    %s\n", advice);
}

static int read_findings(sd_bus_message *m, json_object **ret, bool *ret_errors) {
        _cleanup_(json_unrefp) json_object *findings = json_object_new_array();
        const char *f[4];
        bool errors = false;
        int r = findings ? sd_bus_message_enter_container(m, 'a', "(ssss)") : -ENOMEM;

        while (r >= 0 && (r = sd_bus_message_read(m, "(ssss)", &f[0], &f[1], &f[2], &f[3])) > 0) {
                errors |= str_eq(f[0], "error");
                r = finding_json(findings, f);
        }
        if (r < 0)
                return r;
        *ret = MOVE(findings);
        *ret_errors = errors;
        return 0;
}

int verb_check(Client *c, int argc _unused_, char *argv[] _unused_, Err **reterr) {
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *m = NULL;
        _cleanup_(json_unrefp) json_object *findings = NULL;
        _cleanup_(job_end_done) JobEnd end = {0};
        bool errors;
        size_t n;
        int r = bus_method(c, "Check", &m, reterr);

        if (r >= 0)
                r = job_run(c, m, /* download= */ NULL, &end, reterr);
        if (r < 0)
                return r;
        r = end.reply ? read_findings(end.reply, &findings, &errors) : -EBADMSG;
        if (r < 0)
                return bus_broken(r, reterr);
        n = json_object_array_length(findings);
        if (c->json != JSON_OFF)
                out_json(c, findings);
        else if (n == 0)
                say(c, "Everything is in order.");
        else
                for (size_t i = 0; i < n; i++)
                        finding_text(json_object_array_get_idx(findings, i));
        return errors ? EXIT_FAILED : EXIT_DONE;
}
