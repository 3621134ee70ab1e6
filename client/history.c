/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* client/history.c - what was done to this machine, and what is wrong with it. */
#include "client/bus.h"
#include "client/job.h"
#include "client/out.h"
#include "client/show.h"
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

int show_history(Client *c, json_object *events, Err **reterr) {
        _cleanup_(table_freep) struct libscols_table *t = NULL;
        int r;

        if (c->json != JSON_OFF) {
                out_json(c, events);
                return EXIT_DONE;
        }
        if (json_object_array_length(events) == 0) {
                say(c, "Nothing has happened yet.");
                return EXIT_DONE;
        }
        term_page(c);
        r = table_new(columns, COL_MAX, &t, reterr);
        if (r < 0)
                return r;
        for (size_t i = 0; i < json_object_array_length(events); i++)
                event_line(t, json_object_array_get_idx(events, i));
        r = table_print(t, reterr);
        return r < 0 ? r : EXIT_DONE;
}

int history_lines(const Client *c, uint32_t *ret, Err **reterr) {
        uint64_t lines = LINES_DEFAULT;

        if (c->opt.lines &&
                        (parse_u64(c->opt.lines, &lines) < 0 || lines == 0 || lines > UINT32_MAX))
                return err_kind(reterr, ERR_INVALID_ARGUMENT, EINVAL,
                                "--lines= wants a number from 1 on, not '%s'", c->opt.lines);
        *ret = (uint32_t) lines;
        return 0;
}

int verb_history(Client *c, int argc _unused_, char *argv[] _unused_, Err **reterr) {
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *m = NULL, *reply = NULL;
        _cleanup_(json_unrefp) json_object *events = NULL;
        uint32_t lines;
        int r = history_lines(c, &lines, reterr);

        if (r >= 0)
                r = bus_method(c, "GetHistory", &m, reterr);
        if (r < 0)
                return r;
        r = sd_bus_message_append(m, "u", lines);
        if (r < 0)
                return bus_broken(r, reterr);
        r = bus_call(c, m, /* timeout= */ 0, &reply, reterr);
        if (r < 0)
                return r;
        r = json_from_bus(reply, &events);
        return r < 0 ? bus_broken(r, reterr) : show_history(c, events, reterr);
}
