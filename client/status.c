/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* client/status.c - the picture of the machine: what runs and why, what boots next, what is wrong. */
#include "client/facts.h"
#include "client/out.h"
#include "client/show.h"
#include "client/text.h"
#include "client/verbs.h"

#define STATUS_SLOTS_MAX 10
#define LABEL_WIDTH      13

static const struct {
        const char *state, *meaning;
        Paint colour;
} states[] = {
                {"steady", "the booted slot has proven itself and boots next", PAINT_GREEN},
                {"updating", "a job is at work", PAINT_YELLOW},
                {"staged", "another slot is armed and waits for the reboot", PAINT_YELLOW},
                {"trial", "the booted slot has yet to prove itself", PAINT_YELLOW},
                {"merging", "the old device is being merged away", PAINT_YELLOW},
                {"fallback", "an update did not hold, and an older slot runs", PAINT_RED},
};

/* Then nothing is known of it but why. */
static bool is_unreadable(json_object *machine) {
        return !*jstr(machine, "backend") && *jstr(machine, "reason");
}

static void headline(json_object *machine) {
        const bool unreadable = is_unreadable(machine);
        const char *state = unreadable ? "unknown" : jstr(machine, "state");
        const char *meaning = unreadable ? "the machine cannot be read" : "";
        _cleanup_(freep) char *printable = str_printable(state);
        Paint colour = PAINT_RED;

        for (size_t i = 0; i < ARRAY_SIZE(states); i++)
                if (str_eq(states[i].state, state)) {
                        meaning = states[i].meaning;
                        colour = states[i].colour;
                }
        printf("%s%s %s%s%s%s\n", paint(colour), term_utf8() ? "●" : "*", str_or(printable, ""),
                        paint(PAINT_PLAIN), *meaning ? ": " : "", meaning);
}

/* "   Next boot: text", the text made harmless and painted. */
static void row(const char *label, Paint colour, const char *fmt, ...) _printf_(3, 4);
static void row(const char *label, Paint colour, const char *fmt, ...) {
        _cleanup_(freep) char *text = NULL, *printable = NULL;
        va_list ap;
        int n;

        va_start(ap, fmt);
        n = vasprintf(&text, fmt, ap);
        va_end(ap);
        if (n < 0) {
                text = NULL;
                return;
        }
        printable = str_printable(text);
        printf("%*s%s %s%s%s\n", LABEL_WIDTH, label, *label ? ":" : " ",
                        colour != PAINT_PLAIN ? paint(colour) : "", str_or(printable, ""),
                        colour != PAINT_PLAIN ? paint(PAINT_PLAIN) : "");
}

/* "slot 3, version 2.0, trial" or "none". */
static char *slot_text(json_object *slots, const char *id) {
        json_object *slot = facts_find_slot(slots, id);
        const char *version = jstr(slot, "version");

        if (!*id)
                return strdup("none");
        if (!slot)
                return str_printf("slot %s", id);
        return str_printf("slot %s%s%s, %s", id, *version ? ", version " : "", version,
                        jstr(slot, "state"));
}

static void boot_rows(json_object *machine, json_object *slots) {
        const char *booted = jstr(machine, "booted"), *next = jstr(machine, "next"),
                   *good = jstr(machine, "good"), *reason = jstr(machine, "reason");
        _cleanup_(freep) char *booted_text = slot_text(slots, booted);
        _cleanup_(freep) char *next_text = slot_text(slots, next);
        _cleanup_(freep) char *good_text = slot_text(slots, good);

        if (*booted)
                row("Booted", PAINT_BOLD, "%s", str_or(booted_text, ""));
        else
                row("Booted", PAINT_YELLOW, "none of the slots, version %s",
                                *jstr(machine, "version") ? jstr(machine, "version") : "unknown");
        if (*reason)
                row("", PAINT_PLAIN, "%s", reason);
        if (str_eq(booted, next) && *next)
                row("Next boot", PAINT_PLAIN, "the same");
        else
                row("Next boot", *next ? PAINT_YELLOW : PAINT_RED, "%s", str_or(next_text, ""));
        if (!*good)
                row("Last good", PAINT_RED, "none: there is nothing to go back to");
        else if (str_eq(good, booted))
                row("Last good", PAINT_PLAIN, "the booted slot");
        else
                row("Last good", PAINT_PLAIN, "%s", str_or(good_text, ""));
        if (jbool(machine, "reboot-required"))
                row("Reboot", PAINT_YELLOW, "required to start %s",
                                *next ? str_or(next_text, "") : "the new version");
}

/* "7 update: write, 38 % (412.0 MiB of 1.1 GiB)", as far as it is known. */
static void job_row(json_object *j) {
        char done[16], total[16], percent[24] = "", bytes[48] = "";

        if (jdouble(j, "progress") >= 0)
                snprintf(percent, sizeof(percent), ", %.0f %%", 100 * jdouble(j, "progress"));
        if (ju64(j, "bytes-total") > 0)
                snprintf(bytes, sizeof(bytes), " (%s of %s)",
                                format_bytes(done, ju64(j, "bytes-done")),
                                format_bytes(total, ju64(j, "bytes-total")));
        row("Job", PAINT_YELLOW, "%" PRIu64 " %s: %s%s%s", ju64(j, "id"), jstr(j, "type"),
                        jstr(j, "phase"), percent, bytes);
}

static void job_rows(json_object *jobs) {
        for (size_t i = 0; jobs && i < json_object_array_length(jobs); i++)
                job_row(json_object_array_get_idx(jobs, i));
}

static void refused_rows(json_object *machine) {
        json_object *refused = jarray(machine, "refused");

        for (size_t i = 0; refused && i < json_object_array_length(refused); i++) {
                json_object *o = json_object_array_get_idx(refused, i);
                const char *reason = jstr(o, "reason");

                row(i == 0 ? "Refused" : "", PAINT_PLAIN, "version %s%s%s", jstr(o, "version"),
                                *reason ? ": " : "", reason);
        }
}

static void trust_rows(json_object *machine) {
        const char *verification = jstr(machine, "verification");

        if (*jstr(machine, "transaction"))
                row("Transaction", PAINT_YELLOW,
                                "%s is open: 'abctl commit' or 'abctl abort' ends it",
                                jstr(machine, "transaction"));
        if (*jstr(machine, "backend"))
                row("Backend", PAINT_PLAIN, "%s, booted by %s", jstr(machine, "backend"),
                                jstr(machine, "boot-backend"));
        if (str_eq(verification, "none"))
                row("Verification", PAINT_RED,
                                "none: whoever can hand in an image owns this machine");
        else if (*verification)
                row("Verification", PAINT_PLAIN, "%s", verification);
}

/* "b /dev/sda3, 8.0 GiB, sprout of a: version 2.0" */
static void device_row(json_object *slot, bool first) {
        const char *version = jstr(slot, "version"), *depends = jstr(slot, "depends-on"),
                   *kind = jstr(slot, "device-kind"), *reason = jstr(slot, "reason");
        json_object *devices = jarray(slot, "devices");
        bool known = devices && json_object_array_length(devices) > 0;
        bool missing = str_eq(kind, "missing");
        char size[16], left[16];

        if (missing && !*version) {
                row(first ? "Devices" : "", PAINT_RED, "%s %s", jstr(slot, "id"), reason);
                return;
        }
        row(first ? "Devices" : "", missing ? PAINT_RED : PAINT_PLAIN,
                        "%s %s%s%s%s%s%s%s: %s%s%s%s", jstr(slot, "id"),
                        known ? json_object_get_string(json_object_array_get_idx(devices, 0)) : "",
                        known ? ", " : "",
                        known ? format_bytes(size, ju64(slot, "device-size")) : "",
                        known ? ", " : "", kind, *depends ? " of " : "", depends,
                        *version ? "version " : "nothing", version, *reason ? ", " : "", reason);
        if (ju64(slot, "to-merge") == 0 || !*depends)
                return;
        format_bytes(left, ju64(slot, "to-merge"));
        if (jbool(slot, "booted") && str_eq(jstr(slot, "state"), "good"))
                row("", PAINT_YELLOW, "%s still reads %s from %s; 'abctl merge' ends that",
                                jstr(slot, "id"), left, depends);
        else
                row("", PAINT_PLAIN,
                                "%s reads %s from %s, until it has proven itself and is merged",
                                jstr(slot, "id"), left, depends);
}

static void device_rows(json_object *slots) {
        bool first = true;

        for (size_t i = 0; slots && i < json_object_array_length(slots); i++) {
                json_object *slot = json_object_array_get_idx(slots, i);

                if (!*jstr(slot, "device-kind"))
                        continue;
                device_row(slot, first);
                first = false;
        }
}

static void problem_rows(json_object *machine) {
        json_object *problems = jarray(machine, "problems");

        for (size_t i = 0; problems && i < json_object_array_length(problems); i++)
                row(i == 0 ? "Problem" : "", PAINT_RED, "%s",
                                json_object_get_string(json_object_array_get_idx(problems, i)));
        if (problems && json_object_array_length(problems) > 0)
                row("", PAINT_PLAIN, "'abctl check' says what to do");
}

int show_status(Client *c, json_object *machine, size_t older, Err **reterr) {
        json_object *slots = jarray(machine, "slots"), *jobs = jarray(machine, "jobs");
        int r;

        if (c->json != JSON_OFF)
                out_json(c, machine);
        else if (!c->opt.quiet) {
                term_page(c);
                headline(machine);
                if (is_unreadable(machine)) {
                        problem_rows(machine);
                        return EXIT_DONE;
                }
                boot_rows(machine, slots);
                job_rows(jobs);
                trust_rows(machine);
                device_rows(slots);
                refused_rows(machine);
                problem_rows(machine);
                printf("\n");
                r = slots_print(slots, STATUS_SLOTS_MAX, older, /* full= */ false, reterr);
                if (r < 0)
                        return r;
        }
        return c->opt.exit_code && jbool(machine, "reboot-required") ? EXIT_REBOOT : EXIT_DONE;
}

int verb_status(Client *c, int argc _unused_, char *argv[] _unused_, Err **reterr) {
        _cleanup_(json_unrefp) json_object *machine = NULL, *slots = NULL, *jobs = NULL;
        size_t older = 0;
        int r = facts_machine(c, &machine, reterr);

        /* devices are few, and each is worth a line */
        if (r >= 0 && (c->json != JSON_OFF || str_eq(jstr(machine, "backend"), "seed")))
                r = facts_slots(c, machine, &slots, reterr);
        else if (r >= 0)
                r = facts_recent_slots(c, machine, STATUS_SLOTS_MAX, &slots, &older, reterr);
        if (r >= 0)
                r = facts_jobs(c, &jobs, reterr);
        if (r < 0)
                return r;
        if (jset(machine, "slots", MOVE(slots)) < 0 || jset(machine, "jobs", MOVE(jobs)) < 0)
                return err_sys(reterr, ENOMEM, "Cannot show the status");
        return show_status(c, machine, older, reterr);
}
