/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <json-c/json.h>
#include <unistd.h>

#include "health/trial.h"
#include "os/process.h"

#define STATUS_MAX    (16 * 1024 * 1024)
#define READ_PATIENCE (60 * USEC_PER_SEC)

static void json_freep(json_object **o) {
        json_object_put(*o);
}

static const char *text_of(json_object *o, const char *key) {
        json_object *value = json_object_object_get(o, key);

        return json_object_is_type(value, json_type_string) ? json_object_get_string(value) : NULL;
}

static int number_of(json_object *o, const char *key) {
        return json_object_get_int(json_object_object_get(o, key));
}

static json_object *find_slot(json_object *slots, const char *id) {
        size_t n = json_object_is_type(slots, json_type_array) ? json_object_array_length(slots)
                                                               : 0;

        for (size_t i = 0; id && i < n; i++)
                if (str_eq(text_of(json_object_array_get_idx(slots, i), "id"), id))
                        return json_object_array_get_idx(slots, i);
        return NULL;
}

/* Not by the state of the machine: that is what a job makes of it while it runs. */
int trial_parse(const char *json, Trial *ret, Err **reterr) {
        _cleanup_(json_freep) json_object *o = json_tokener_parse(json);
        const char *backend = text_of(o, "backend"), *booted = text_of(o, "booted");
        json_object *slot = find_slot(json_object_object_get(o, "slots"), booted);

        if (!backend)
                return err_new(reterr, EBADMSG, "abctl says no state");
        if (!*backend)
                return err_new(reterr, EAGAIN, "the machine cannot be read: %s",
                                str_or(text_of(o, "reason"), ""));
        *ret = (Trial){
                        .running = slot && str_eq(text_of(o, "next"), booted) &&
                                   str_eq(text_of(slot, "state"), "trial"),
                        .tries_left = slot ? number_of(slot, "tries-left") : -1,
                        .tries = slot ? number_of(slot, "tries") : -1,
        };
        return 0;
}

static int read_once(Trial *ret, Err **reterr) {
        static const char *const online[] = {"abctl", "--json=short", "status", NULL};
        static const char *const offline[] = {"abctl", "--offline", "--json=short", "status", NULL};
        _cleanup_(freep) char *text = NULL;
        int r = program_read(online, NULL, STATUS_MAX, &text, NULL);

        if (r < 0)
                r = program_read(offline, NULL, STATUS_MAX, &text, reterr);
        return r < 0 ? r : trial_parse(text, ret, reterr);
}

/* A check is a new look at the machine; a daemon that has seen it keeps to what it saw. */
int trial_read(Trial *ret, Err **reterr) {
        static const char *const look[] = {"abctl", "--quiet", "check", NULL};
        uint64_t end = now_monotonic() + READ_PATIENCE;
        int r;

        while ((r = read_once(ret, reterr)) == -EAGAIN && now_monotonic() < end) {
                (void) program_run(look, NULL, NULL);
                sleep(1);
        }
        return r;
}

/* abctl's exit status, or negative. */
static int say(const char *const argv[], uint64_t end, Err **reterr) {
        int r;

        while ((r = program_status(argv, reterr)) == err_kind_exit(ERR_BUSY) &&
                        now_monotonic() < end)
                sleep(1);
        return r == err_kind_exit(ERR_NOTHING_TO_DO) ? 0 : r;
}

int trial_mark(const char *verdict, const char *reason, uint64_t patience_usec, Err **reterr) {
        _cleanup_(freep) char *why = str_printf("--reason=%s", str_or(reason, ""));
        const char *online[] = {"abctl", "--quiet", "mark", verdict, why, NULL};
        const char *offline[] = {"abctl", "--offline", "--quiet", "mark", verdict, why, NULL};
        const uint64_t end = now_monotonic() + patience_usec;
        int r;

        if (!why)
                return err_new(reterr, ENOMEM, "out of memory");
        r = say(online, end, reterr);
        if (r != 0)
                r = say(offline, end, reterr);
        return r > 0 ? -ECHILD : r;
}
