/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* backends/boot-record.h - what lies beside the default subvolume: which slot is on trial. What it
 * means is in default-subvolume.c. */
#pragma once

#include "base/err.h"

typedef struct BootRecord {
        char *target; /* slot on trial; NULL: there is no record */
        uint64_t target_id;
        uint64_t tries_left;
        char *fallback; /* slot, or NULL where the fallback is none */
        uint64_t fallback_id;
} BootRecord;

void boot_record_done(BootRecord *r);

/* A record that cannot be read is no record: the default subvolume alone decides then, and it
 * names a complete slot. Only -ENOMEM. */
int boot_record_read(int top_fd, BootRecord *ret, Err **reterr);

/* Old or new after a power cut. */
int boot_record_write(int top_fd, const BootRecord *rec, Err **reterr);

/* Durable. Absent is fine. */
int boot_record_remove(int top_fd, Err **reterr);
