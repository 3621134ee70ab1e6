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

/* Appends @size bytes, and behind them the SHA-256 of what @fd (-1: nothing) gives; @path is for the story. Takes @data and
 * @fd over, on failure too. Waits while too much is under way. Errors also of what was appended before. */
int records_add(Records *q, void *data, size_t size, int fd, const char *path, Err **reterr);

/* Waits for all; once. */
int records_end(Records *q, uint8_t ret[static MANIFEST_DIGEST_SIZE], uint64_t *ret_bytes,
                Err **reterr);
