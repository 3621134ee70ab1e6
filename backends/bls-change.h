/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* backends/bls-change.h - changes of boot entries on a partition whose file system orders nothing: at any moment each slot that
 * was proven has a whole entry. Knows no rank and no trial. */
#pragma once

#include "backends/bls.h"

/* Removes entries of @slot under other names than @keep, or all of them (NULL). Durable; repeatable. */
int bls_remove_others(int entries_fd, const char *prefix, const char *slot, const char *keep,
                Err **reterr);

/* bls_write() for an entry that may be there already and have been proven (left < 0): a second one of the slot is there
 * meanwhile, and takes over where a power cut spoils the first. Durable. */
int bls_rewrite(int entries_fd, const char *prefix, BlsEntry *e, Err **reterr);

/* Where a power cut has left such a second entry of @slot in @l: it becomes the entry, and @l is read anew.
 * Durable; repeatable. */
int bls_finish(int entries_fd, const char *prefix, BlsList *l, const char *slot, Err **reterr);
