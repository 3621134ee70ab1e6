/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* update/journal.h - what the running job was about to do, for whoever comes after a power cut.
 * Two alternating records with a sequence number and a checksum in one file: a torn write leaves
 * the other record. A hint only: facts on disk win, and a journal that cannot be read is an
 * empty one. */
#pragma once

#include "base/err.h"
#include "update/phase.h"

typedef struct Journal {
        int dir_fd; /* owned */
        uint64_t seq;
        /* the record */
        Phase phase;
        uint64_t job;
        uint64_t started;   /* usec, real time: tells one job 7 from another */
        uint64_t last_slot; /* highest number ever given to a slot */
        char *type;
        char *boot_id;
        char *slot; /* the slot the job works on */
        char *from; /* the slot it leaves: rollback, abort */
        char *next; /* the slot that booted next before it */
        char *version;
} Journal;

/* Takes @dir_fd over, on failure too. Anything in the place of the file that is none of ours is
 * replaced at the first write. */
int journal_open(int dir_fd, Journal **ret, Err **reterr);
Journal *journal_free(Journal *j);
DEFINE_CLEANUP(Journal, journal_free)

/* Writes the fields as the next record. Durable; the record before is still there if this one is
 * torn. The only fdatasync() of the whole program is in here, so that a test can stop it at each
 * record. */
int journal_write(Journal *j, Err **reterr);

/* Forgets the job, keeps last_slot; in memory only. */
void journal_reset(Journal *j);
