/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <json-c/json.h>

#include "health/trial.h"
#include "os/process.h"

#define STATUS_MAX (1024 * 1024)

static void json_freep(json_object **o) {
        json_object_put(*o);
}

static const char *text_of(json_object *o, const char *key) {
        json_object *value = json_object_object_get(o, key);

        return json_object_is_type(value, json_type_string) ? json_object_get_string(value) : NULL;
}

static int tries_of(json_object *slots, const char *id) {
        size_t n = json_object_is_type(slots, json_type_array) ? json_object_array_length(slots)
                                                               : 0;

        for (size_t i = 0; i < n; i++) {
                json_object *slot = json_object_array_get_idx(slots, i);

                if (id && str_eq(text_of(slot, "id"), id))
                        return json_object_get_int(json_object_object_get(slot, "tries-left"));
        }
        return -1;
}

int trial_parse(const char *json, Trial *ret, Err **reterr) {
        _cleanup_(json_freep) json_object *o = json_tokener_parse(json);
        const char *state = text_of(o, "state");

        if (!state)
                return err_new(reterr, EBADMSG, "abctl says no state");
        *ret = (Trial){
                        .running = str_eq(state, "trial"),
                        .tries_left = tries_of(
                                        json_object_object_get(o, "slots"), text_of(o, "booted")),
        };
        return 0;
}

int trial_read(Trial *ret, Err **reterr) {
        static const char *const online[] = {"abctl", "--json=short", "status", NULL};
        static const char *const offline[] = {"abctl", "--offline", "--json=short", "status", NULL};
        _cleanup_(freep) char *text = NULL;
        int r = program_read(online, NULL, STATUS_MAX, &text, NULL);

        if (r < 0)
                r = program_read(offline, NULL, STATUS_MAX, &text, reterr);
        return r < 0 ? r : trial_parse(text, ret, reterr);
}

int trial_mark(const char *verdict, const char *reason, Err **reterr) {
        _cleanup_(freep) char *why = str_printf("--reason=%s", str_or(reason, ""));
        const char *online[] = {"abctl", "--quiet", "mark", verdict, why, NULL};
        const char *offline[] = {"abctl", "--offline", "--quiet", "mark", verdict, why, NULL};
        int r;

        if (!why)
                return err_new(reterr, ENOMEM, "out of memory");
        r = program_run(online, NULL, NULL);
        return r < 0 ? program_run(offline, NULL, reterr) : 0;
}
