/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* backends/bls.h - entries by the Boot Loader Specification (type 1), as systemd-boot reads,
 * counts and orders them. What is done with them is in bls.c. */
#pragma once

#include "base/err.h"

typedef struct BlsEntry {
        char *file; /* its name in loader/entries */
        char *id;   /* that without counters and .conf */
        char *slot; /* NULL: not ours */
        int left;   /* tries; -1: not counted */
        int done;
        char *title, *version, *sort_key, *machine_id, *linux_path, *initrd, *options;
} BlsEntry;

typedef struct BlsList {
        size_t n;
        BlsEntry *entries; /* in the order in which the loader shows them, its choice first */
} BlsList;

void bls_entry_done(BlsEntry *e);
void bls_list_done(BlsList *l);

/* All entries in the directory. @prefix: what the names of ours begin with. One that cannot be
 * read is left out, as the loader does. */
int bls_list(int entries_fd, const char *prefix, BlsList *ret, Err **reterr);

/* Takes away what a power cut left of ours on its way to become an entry; no loader reads it. */
int bls_remove_drafts(int entries_fd, const char *prefix, Err **reterr);

/* Our first entry of @slot, or NULL. Borrowed. */
BlsEntry *bls_find(const BlsList *l, const char *slot);

/* Our entries are ordered by number: the highest is the loader's choice. 0: it has none. */
unsigned bls_rank(const BlsEntry *e, const char *prefix);
char *bls_sort_key(const char *prefix, unsigned rank);

/* The name that slot and counters give; NULL: no memory. */
char *bls_file_name(const char *prefix, const BlsEntry *e);

/* Writes the entry under that name; e->file follows. Durable; old or
 * new after a power cut. */
int bls_write(int entries_fd, const char *prefix, BlsEntry *e, Err **reterr);
