/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* stream/device-load.h - the other way: what device_save() wrote goes onto a block device, whole or so that nobody takes it
 * for a file system. The superblocks of Btrfs are held back until all else is there and was read back. */
#pragma once

#include "stream/device-save.h"

typedef struct DeviceLoad DeviceLoad;

typedef struct DeviceLoadArgs {
        int fd; /* file, pipe or socket, packed or not */
        uint64_t stall_usec;
        void *userdata;
        /* Bytes of the device so far; what is not 0 ends it with -ECANCELED. */
        int (*progress)(void *userdata, uint64_t done);
} DeviceLoadArgs;

/* Reads the first MiB. ERR_BAD_IMAGE where no device can begin like that. */
int device_load_open(const DeviceLoadArgs *args, DeviceLoad **ret, Err **reterr);
DeviceLoad *device_load_free(DeviceLoad *l);
DEFINE_CLEANUP(DeviceLoad, device_load_free)

/* The first superblock, as it lies there: 4 KiB. */
const uint8_t *device_load_super(const DeviceLoad *l);

/* Bytes of the image, where its end is known before it is read: not packed, in a file. Else 0. */
uint64_t device_load_size(const DeviceLoad *l);

/* Writes everything but the superblocks to @device_fd, of @size bytes. Durable; gives the SHA-256 of the whole image. A
 * power cut leaves a device without a superblock. */
int device_load_write(DeviceLoad *l, int device_fd, uint64_t size,
                uint8_t ret_digest[static DEVICE_DIGEST_SIZE], Err **reterr);

/* Reads everything back. ERR_VERIFY_FAILED where it is not what was written. */
int device_load_verify(DeviceLoad *l, int device_fd, Err **reterr);

/* The superblocks, the first one last. Durable; a cut before the end leaves none that counts. */
int device_load_finish(const DeviceLoad *l, int device_fd, Err **reterr);
