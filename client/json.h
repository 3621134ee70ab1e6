/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* client/json.h - the facts as abctl holds them: JSON objects, read leniently, made from what the bus sends. */
#pragma once

#include <json-c/json.h>
#include <systemd/sd-bus.h>

#include "base/util.h"

static inline json_object *json_unref(json_object *o) {
        json_object_put(o);
        return NULL;
}
DEFINE_CLEANUP(json_object, json_unref)

/* The member or its natural nothing: "", 0, false, NULL. @o may be NULL. Borrowed. */
const char *jstr(json_object *o, const char *key);
uint64_t ju64(json_object *o, const char *key);
double jdouble(json_object *o, const char *key);
bool jbool(json_object *o, const char *key);
json_object *jarray(json_object *o, const char *key);

/* Sets a member and eats @value; -ENOMEM where one of them could not be made. NULL strings become "". */
int jset(json_object *o, const char *key, json_object *value);
int jset_str(json_object *o, const char *key, const char *value);
int jset_u64(json_object *o, const char *key, uint64_t value);
int jset_bool(json_object *o, const char *key, bool value);

/* Appends and eats @value. */
int jappend(json_object *array, json_object *value);

/* Reads one complete value at the message's cursor. Dictionaries become objects, their keys "RebootRequired" become
 * "reboot-required"; structures become arrays; a descriptor becomes null. */
int json_from_bus(sd_bus_message *m, json_object **ret);
