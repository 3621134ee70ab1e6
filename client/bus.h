/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* client/bus.h - the connection, calls, and what the bus answers turned into stories. Knows no verb. */
#pragma once

#include "client/client.h"

/* Long enough for whatever the daemon must do before it answers: a password, the head of an image. */
#define BUS_PATIENT UINT64_MAX

/* Connects to the system bus of this machine or of --host; once. ERR_NO_DAEMON where there is none. */
int bus_open(Client *c, Err **reterr);
void bus_close(Client *c);

/* A new call of a method of the Manager, which may ask for a password; send it with sd_bus_call*(). */
int bus_method(Client *c, const char *member, sd_bus_message **ret, Err **reterr);

/* Calls and waits. @timeout in usec, 0 is the bus' own. */
int bus_call(Client *c, sd_bus_message *m, uint64_t timeout, sd_bus_message **ret_reply,
                Err **reterr);

/* org.freedesktop.DBus.Properties.GetAll() of one object of ours. */
int bus_get_all(Client *c, const char *path, const char *interface, sd_bus_message **ret,
                Err **reterr);

/* What a failed call means for a person, as a story with a kind; @e may be unset. Returns -errno, never 0. */
int bus_error(Client *c, int r, const sd_bus_error *e, Err **reterr);

/* The same from a JobRemoved signal: @name is an error's name on the bus or its kind alone. */
int bus_job_error(int status, const char *name, const char *message, Err **reterr);

/* A failure to build or to read a message: memory, or a daemon that speaks another dialect. */
int bus_broken(int r, Err **reterr);
