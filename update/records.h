/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* update/records.h - what the machine remembers about versions: the history of jobs and the
 * versions that are refused. JSON, one object a line; a line that cannot be read is skipped, for
 * it is the one that a power cut tore. */
#pragma once

#include <json-c/json.h>

#include "base/err.h"

static inline void json_freep(json_object **o) {
        json_object_put(*o);
        *o = NULL;
}

/* The value of a string member, or NULL. Borrowed. */
const char *json_text(json_object *o, const char *key);

/* Makes @value a member; takes it over, on failure too. -ENOMEM, also where @value is NULL because
 * there was no memory for it. */
int json_put(json_object *o, const char *key, json_object *value);

/* New reference to an array, oldest first, the newest 200. Absent: empty. */
int history_read(int dir_fd, json_object **ret, Err **reterr);

/* Adds @entry (borrowed). Durable. Repeating it adds it once: one that equals the last one in
 * "job", "started" and "type" is left out. */
int history_add(int dir_fd, json_object *entry, Err **reterr);

/* New reference to an array of {"version","reason","time"}. */
int refused_read(int dir_fd, json_object **ret, Err **reterr);

/* Why @version is refused, or NULL. Borrowed from @refused. */
const char *refused_reason(json_object *refused, const char *version);

/* Remembers that the device of a slot, with that SHA-256 in hex digits, was given away. Durable. Repeatable. */
int exports_add(int dir_fd, const char *digest, const char *slot, const char *version,
                Err **reterr);
bool exports_have(int dir_fd, const char *digest);

/* Refuses a version from now on / no more. Durable; old or new after a power cut. Repeatable. */
int refused_add(int dir_fd, const char *version, const char *reason, Err **reterr);
int refused_remove(int dir_fd, const char *version, Err **reterr);
