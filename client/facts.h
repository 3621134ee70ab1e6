/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* client/facts.h - the machine as the daemon publishes it, as JSON. The keys are those that --json prints (abctl(1)).
 * Reads only; prints nothing. */
#pragma once

#include "client/client.h"
#include "client/json.h"

/* The properties of the Manager; "booted", "next" and "good" are slot ids, "" where there is none. */
int facts_machine(Client *c, json_object **ret, Err **reterr);

/* The slots, newest first, each with "booted", "next" and "good" of @machine. */
int facts_slots(Client *c, json_object *machine, json_object **ret, Err **reterr);

/* The newest @max of them and those that are booted, next, good or pinned, without sizes, kernel and devices; *@ret_older
 * are left out. Quick with a thousand slots. */
int facts_recent_slots(Client *c, json_object *machine, size_t max, json_object **ret,
                size_t *ret_older, Err **reterr);

/* Adds "booted", "next" and "good" to each slot and puts the newest first; the two above have done so. Returns 0 or -ENOMEM. */
int facts_mark_slots(json_object *machine, json_object *slots);

/* The running jobs with all properties. */
int facts_jobs(Client *c, json_object **ret, Err **reterr);

/* The id behind an object path of a slot, "" for "/". New string or NULL. */
char *facts_slot_id(const char *path);

/* Finds the slot with this id in an array of facts_slots(). Borrowed or NULL. */
json_object *facts_find_slot(json_object *slots, const char *id);
