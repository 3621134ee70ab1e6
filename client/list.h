/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* client/list.h - the table of slots that status and list share. */
#pragma once

#include "client/client.h"
#include "client/json.h"
#include "client/term.h"

/* Prints at most @max rows of facts_slots(), but every slot that is booted, next, good or pinned; says how many it left
 * out. @full: with sizes. */
int slots_print(json_object *slots, size_t max, bool full, Err **reterr);

/* The colour of a slot's state. */
Paint slot_paint(const char *state);
