/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* client/list.c - the table of slots, and the verb that prints it alone. */
#include "client/facts.h"
#include "client/out.h"
#include "client/show.h"
#include "client/text.h"
#include "client/verbs.h"

enum {
        COL_SLOT,
        COL_VERSION,
        COL_STATE,
        COL_MARKS,
        COL_CREATED,
        COL_SIZE,
        COL_OWN,
        COL_KERNEL,
        COL_MAX,
};

static const Column columns[COL_MAX] = {
                [COL_SLOT] = {"SLOT", 0},
                [COL_VERSION] = {"VERSION", SCOLS_FL_TRUNC},
                [COL_STATE] = {"STATE", 0},
                [COL_MARKS] = {"MARKS", SCOLS_FL_TRUNC},
                [COL_CREATED] = {"CREATED", 0},
                [COL_SIZE] = {"SIZE", SCOLS_FL_RIGHT},
                [COL_OWN] = {"OWN", SCOLS_FL_RIGHT},
                [COL_KERNEL] = {"KERNEL", SCOLS_FL_TRUNC},
};

/* Where the device is not there, that says more than what follows from it. */
static const char *slot_state(json_object *slot) {
        const char *kind = jstr(slot, "device-kind");

        return str_eq(kind, "missing") ? kind : jstr(slot, "state");
}

static Paint slot_paint(const char *state) {
        if (str_eq(state, "good"))
                return PAINT_GREEN;
        if (str_eq(state, "bad") || str_eq(state, "incomplete") || str_eq(state, "missing"))
                return PAINT_RED;
        if (str_eq(state, "trial") || str_eq(state, "staged"))
                return PAINT_YELLOW;
        return PAINT_PLAIN;
}

static bool is_marked(json_object *slot) {
        return jbool(slot, "booted") || jbool(slot, "next") || jbool(slot, "good") ||
               jbool(slot, "pinned");
}

static void marks_cell(struct libscols_line *line, json_object *slot) {
        char marks[64];

        snprintf(marks, sizeof(marks), "%s%s%s%s", jbool(slot, "booted") ? "booted " : "",
                        jbool(slot, "next") ? "next " : "", jbool(slot, "good") ? "good " : "",
                        jbool(slot, "pinned") ? "pinned" : "");
        if (*marks && marks[strlen(marks) - 1] == ' ')
                marks[strlen(marks) - 1] = '\0';
        table_cell(line, COL_MARKS, marks, jbool(slot, "booted") ? PAINT_BOLD : PAINT_PLAIN);
}

/* Half a number is worse than none: a column that does not fit on the terminal is left out. */
static size_t n_columns(bool full) {
        static const size_t needs[COL_MAX] = {
                        [COL_CREATED] = 57,
                        [COL_SIZE] = 66,
                        [COL_OWN] = 75,
                        [COL_KERNEL] = 82,
        };
        size_t n = full ? COL_MAX : COL_CREATED + 1, width = term_width();

        while (term_is_tty() && needs[n - 1] > width)
                n--;
        return n;
}

static void slot_line(struct libscols_table *t, json_object *slot, size_t n) {
        struct libscols_line *line = table_line(t);
        const char *version = jstr(slot, "version"), *kernel = jstr(slot, "kernel-version");
        char when[WHEN_SIZE], bytes[16];

        table_cell(line, COL_SLOT, jstr(slot, "id"), PAINT_PLAIN);
        table_cell(line, COL_VERSION, *version ? version : "-", PAINT_PLAIN);
        table_cell(line, COL_STATE, slot_state(slot), slot_paint(slot_state(slot)));
        marks_cell(line, slot);
        if (n > COL_CREATED)
                table_cell(line, COL_CREATED, format_when(when, ju64(slot, "created")),
                                PAINT_PLAIN);
        /* 0 is "not known": counting a subvolume needs quotas, and nobody switches these on for us */
        if (n > COL_SIZE)
                table_cell(line, COL_SIZE,
                                ju64(slot, "size") > 0 ? format_bytes(bytes, ju64(slot, "size"))
                                                       : "-",
                                PAINT_PLAIN);
        if (n > COL_OWN)
                table_cell(line, COL_OWN,
                                ju64(slot, "exclusive") > 0
                                                ? format_bytes(bytes, ju64(slot, "exclusive"))
                                                : "-",
                                PAINT_PLAIN);
        if (n > COL_KERNEL)
                table_cell(line, COL_KERNEL, *kernel ? kernel : "-", PAINT_PLAIN);
}

int slots_print(json_object *slots, size_t max, size_t older, bool full, Err **reterr) {
        _cleanup_(table_freep) struct libscols_table *t = NULL;
        size_t n = json_object_array_length(slots);
        int r;

        if (n == 0) {
                printf("No slots.\n");
                return 0;
        }
        r = table_new(columns, n_columns(full), &t, reterr);
        if (r < 0)
                return r;
        for (size_t i = 0; i < n; i++) {
                json_object *slot = json_object_array_get_idx(slots, i);

                if (i < max || is_marked(slot))
                        slot_line(t, slot, n_columns(full));
                else
                        older++;
        }
        r = table_print(t, reterr);
        if (r >= 0 && older > 0)
                printf("... and %zu older slots: 'abctl list' shows them all.\n", older);
        return r;
}

int show_slots(Client *c, json_object *slots, Err **reterr) {
        int r;

        if (c->json != JSON_OFF) {
                out_json(c, slots);
                return EXIT_DONE;
        }
        term_page(c);
        r = slots_print(slots, SIZE_MAX, /* older= */ 0, /* full= */ true, reterr);
        return r < 0 ? r : EXIT_DONE;
}

int verb_list(Client *c, int argc _unused_, char *argv[] _unused_, Err **reterr) {
        _cleanup_(json_unrefp) json_object *machine = NULL, *slots = NULL;
        int r = facts_machine(c, &machine, reterr);

        if (r >= 0)
                r = facts_slots(c, machine, &slots, reterr);
        return r < 0 ? r : show_slots(c, slots, reterr);
}
