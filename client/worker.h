/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* client/worker.h - one job without daemon and bus: a worker process of abupdated, started and followed from here
 * (dbus/worker-api.h). Knows no verb. */
#pragma once

#include "client/image.h"
#include "client/json.h"

typedef struct WorkerEnd {
        json_object *world; /* the machine as the worker left it; NULL where it could not be read */
        json_object *result; /* the worker's last packet */
} WorkerEnd;

void worker_end_done(WorkerEnd *end);

/* Gives @order (borrowed) to a worker, with @image where there is one (else NULL), shows progress, and cancels on Ctrl-C. On
 * failure -errno with the job's error; @ret has the world then, too. */
int worker_run(Client *c, json_object *order, const Image *image, WorkerEnd *ret, Err **reterr);
