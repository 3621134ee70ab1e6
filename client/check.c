/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* client/check.c - what is wrong with the machine, and what to do about it. */
#include "client/job.h"
#include "client/out.h"
#include "client/show.h"
#include "client/term.h"
#include "client/verbs.h"

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

int show_findings(Client *c, json_object *findings, Err **reterr _unused_) {
        size_t n = json_object_array_length(findings);
        bool errors = false, repaired = false;

        for (size_t i = 0; i < n; i++) {
                json_object *o = json_object_array_get_idx(findings, i);

                errors |= str_eq(jstr(o, "severity"), "error");
                repaired |= str_eq(jstr(o, "severity"), "info") &&
                            str_eq(jstr(o, "subject"), "devices");
        }
        if (c->json == JSON_OFF && c->opt.repair && !repaired)
                say(c, "There was nothing that could be put right now.");
        if (c->json != JSON_OFF)
                out_json(c, findings);
        else if (n == 0)
                say(c, "Everything is in order.");
        else
                for (size_t i = 0; i < n; i++)
                        finding_text(json_object_array_get_idx(findings, i));
        return errors ? EXIT_FAILED : EXIT_DONE;
}

static int read_findings(sd_bus_message *m, json_object **ret) {
        _cleanup_(json_unrefp) json_object *findings = json_object_new_array();
        const char *f[4];
        int r = findings ? sd_bus_message_enter_container(m, 'a', "(ssss)") : -ENOMEM;

        while (r >= 0 && (r = sd_bus_message_read(m, "(ssss)", &f[0], &f[1], &f[2], &f[3])) > 0) {
                r = finding_json(findings, f);
        }
        if (r < 0)
                return r;
        *ret = MOVE(findings);
        return 0;
}

int verb_check(Client *c, int argc _unused_, char *argv[] _unused_, Err **reterr) {
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *m = NULL;
        _cleanup_(json_unrefp) json_object *findings = NULL;
        _cleanup_(job_end_done) JobEnd end = {0};
        int r = bus_method(c, "Check", &m, reterr);

        if (r >= 0)
                r = job_run(c, m, /* download= */ NULL, &end, reterr);
        if (r < 0)
                return r;
        r = end.reply ? read_findings(end.reply, &findings) : -EBADMSG;
        return r < 0 ? bus_broken(r, reterr) : show_findings(c, findings, reterr);
}
