/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* daemon/worker-link.h - the worker's end of the socket to whoever started it (dbus/worker-api.h). A starter that is gone is
 * no error of the job: packets to it are dropped. */
#pragma once

#include <json-c/json.h>

#include "base/err.h"

typedef struct WorkerLink {
        int fd;                 /* borrowed */
        uint64_t next_progress; /* usec, monotonic: not before */
        const char *last_phase;
} WorkerLink;

/* Waits for the order. New reference. -EBADMSG for what is none. */
int worker_link_order(WorkerLink *l, json_object **ret, Err **reterr);

/* @packet is consumed, NULL is dropped; @fd (or -1) travels with it, borrowed. */
void worker_link_send(WorkerLink *l, json_object *packet, int fd);

/* {"msg":@msg} */
json_object *worker_packet(const char *msg);

/* At most 20 a second within a phase. */
void worker_link_progress(WorkerLink *l, const char *phase, uint64_t done, uint64_t total);

/* The world travels as a memfd: a thousand slots do not fit into a packet. */
void worker_link_world(WorkerLink *l, json_object *world);
