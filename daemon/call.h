/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* daemon/call.h - arguments of calls, read strictly into the order of a request. All return 0, or a negative errno with
 * the answer for the caller in @e. */
#pragma once

#include "daemon/request.h"

/* Texts for people, e.g. names of images: no control characters, at most TEXT_MAX bytes. */
#define TEXT_MAX 255u

typedef struct CallOption {
        const char *key; /* on the bus and in the order */
        char type;       /* 'b', 's', 't', or 'h': the manifest, or what takes a digest */
} CallOption;

/* Reads a{sv}. Keys that are not in @options (ended by a NULL key), keys given twice and values of another type are
 * refused by name. "detach" is kept in the request, the rest goes into the order. */
int call_options(sd_bus_message *m, const CallOption *options, Request *r, sd_bus_error *e);

int call_text(Request *r, const char *key, const char *value, sd_bus_error *e);

/* "" or a name that may be a slot's. */
int call_slot(Request *r, const char *value, sd_bus_error *e);
int call_bool(Request *r, const char *key, bool value, sd_bus_error *e);

/* A private copy of the descriptor, which must be readable; what it is is the worker's question. */
int call_image(Request *r, int fd, sd_bus_error *e);
int call_manifest(Request *r, int fd, sd_bus_error *e);

/* The same of one that must be writable: it goes to the worker in the place of the image, or of the manifest. */
int call_target(Request *r, int fd, sd_bus_error *e);
int call_digest(Request *r, int fd, sd_bus_error *e);
