/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* stream/records.h - one SHA-256 over records in their order, while threads hash the contents that belong to them.
 * Knows nothing of what a record means. */
#pragma once

#include "stream/tree-digest.h"

typedef struct Records Records;

int records_new(const TreeDigestArgs *args, Records **ret, Err **reterr);

/* Ends the threads. */
Records *records_free(Records *q);
DEFINE_CLEANUP(Records, records_free)

/* The file that @fd is open on: so many bytes are its content; the rest is for args->found. */
typedef struct RecordFile {
        int fd; /* -1: none */
        uint64_t size, ino, transid;
} RecordFile;

/* Appends @size bytes, and behind them the SHA-256 of what @file gives; @path is for the story. Takes @data and the
 * descriptor over, on failure too. Waits while too much is under way. Errors also of what was appended before. */
int records_add(Records *q, void *data, size_t size, RecordFile file, const char *path,
                Err **reterr);

/* Waits for all; once. */
int records_end(Records *q, uint8_t ret[static MANIFEST_DIGEST_SIZE], uint64_t *ret_bytes,
                Err **reterr);
