/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* client/device-files.h - the files of 'abctl device': opened here, with the rights of who asks, and handed on. */
#pragma once

#include "client/client.h"

typedef struct DeviceCall {
        bool restore, compress;
        const char *slot;
        int fd;              /* the file */
        int digest;          /* of an export: where the SHA-256 comes to; -1: of a restore */
        char *sha256;        /* of a restore: what FILE.sha256 says, NULL where it is not there */
        char *path, *beside; /* of an export into a file: it gets its name when it is complete */
} DeviceCall;

#define DEVICE_CALL_NONE ((DeviceCall){.fd = -1, .digest = -1})

/* "export SLOT" with --output, "restore FILE SLOT". */
int device_call_open(Client *c, int argc, char *argv[], DeviceCall *ret, Err **reterr);

/* After the job went well: the names of an export, FILE and FILE.sha256. Returns @status. */
int device_call_end(DeviceCall *d, int status, Err **reterr);

/* What was not ended is deleted. */
void device_call_done(DeviceCall *d);
