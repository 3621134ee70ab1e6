/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* client/show.h - facts for people, or as JSON where --json says so. Where they come from does not matter here: the bus, or
 * a worker of --offline. */
#pragma once

#include "client/client.h"
#include "client/json.h"

/* The picture of the machine; @machine has "slots", but for @older ones, and maybe "jobs". Returns EXIT_REBOOT where
 * --exit-code asks. */
int show_status(Client *c, json_object *machine, size_t older, Err **reterr);

/* All slots, with sizes. */
int show_slots(Client *c, json_object *slots, Err **reterr);

/* Prints at most @max rows of slots, but every slot that is booted, next, good or pinned; says how many it left out, with
 * @older ones that are not in @slots. */
int slots_print(json_object *slots, size_t max, size_t older, bool full, Err **reterr);

/* What was done, newest first. */
int show_history(Client *c, json_object *events, Err **reterr);

/* --lines=, or its default; ERR_INVALID_ARGUMENT. */
int history_lines(const Client *c, uint32_t *ret, Err **reterr);

/* What is wrong; returns EXIT_FAILED where something is an error. */
int show_findings(Client *c, json_object *findings, Err **reterr);

/* What an update would do. */
int show_steps(Client *c, json_object *steps, Err **reterr);

/* A transaction that has been opened. */
int show_transaction(Client *c, const char *transaction, const char *slot, Err **reterr);
