/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* client/out.h - the one place where abctl speaks: a sentence, a JSON value, an error with what to do about it. */
#pragma once

#include "client/client.h"
#include "client/json.h"

/* A sentence on stdout, for people: silent with --quiet and with --json. Control characters are made harmless. */
void say(const Client *c, const char *fmt, ...) _printf_(2, 3);

/* One JSON value on stdout, in the form that --json asks for. */
void out_json(const Client *c, json_object *o);

/* One JSON value on one line, whatever --json says: a line of JSON Lines. */
void out_json_line(json_object *o);

/* What went wrong, on stderr, and what to do; with --json also as a value on stdout. */
void out_error(const Client *c, const Err *e);

/* What a person can do about an error of this kind, or NULL; for texts that do not say so themselves. */
const char *advice_for(ErrKind kind, const char *text);
