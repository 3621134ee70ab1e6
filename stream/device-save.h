/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* stream/device-save.h - every byte of a block device into a file: holes for zeros where the file takes them, or packed,
 * with the SHA-256 of what the device holds. Knows nothing of what that is. */
#pragma once

#include "stream/decompress.h"

#define DEVICE_DIGEST_SIZE 32

typedef struct DeviceSave {
        int device_fd;
        uint64_t size; /* bytes of the device */
        int out_fd; /* file, pipe or socket; written from where it stands, a file is cut there before */
        Compression compression; /* none or zstd */
        uint64_t stall_usec;     /* for a reader who takes no byte; 0: waits for ever */
        void *userdata;
        /* Called many times a second; what is not 0 ends it with -ECANCELED. */
        int (*progress)(void *userdata, uint64_t done, uint64_t total);
} DeviceSave;

/* A file is on disk on return. Errors: those of the device and of the file, ERR_BAD_INPUT for what cannot be written to,
 * ERR_STALLED; then what was written stays, for its owner to delete. */
int device_save(const DeviceSave *s, uint8_t ret_digest[static DEVICE_DIGEST_SIZE], Err **reterr);
