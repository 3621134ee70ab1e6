/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* update/incoming.h - the subvolumes that an image brings: are they those that were announced, where do they belong, and are
 * they on disk what they should be? Asks the engine and the slots; changes nothing. */
#pragma once

#include "stream/receive.h"
#include "update/machine.h"

typedef struct Incoming {
        Machine *m;
        const Manifest *manifest; /* borrowed; NULL: nobody says what comes */
        int image_fd;             /* where they are made; borrowed, -1: nowhere yet */
        char *subvolumes;         /* for slot.conf: "name:/place ..." */
        size_t n;
        struct IncomingSubvol {
                char *name;
                uint8_t uuid[16];
        } items[MANIFEST_SUBVOLS_MAX];
        uint64_t written; /* file data that came with the image */
        uint64_t size;    /* what the files take on disk */
} Incoming;

void incoming_done(Incoming *in);

/* All that had come before @p has come. */
int incoming_resume(Incoming *in, const StreamPosition *p, Err **reterr);

/* For the callbacks of the engine. */
int incoming_find_base(Incoming *in, const uint8_t uuid[static 16], int *ret_fd, Err **reterr);
int incoming_begin(Incoming *in, const StreamSubvol *s, Err **reterr);
int incoming_end(Incoming *in, const StreamSubvol *s, Err **reterr);

/* After the engine has ended: did all come that were announced? */
int incoming_complete(const Incoming *in, Err **reterr);

/* Reads everything below @image_fd back from the disk; with a manifest every byte, against the tree digests, but for files
 * that were found right with the base and that nothing has changed since (stream/contents.h). @progress as
 * in TreeDigestArgs, with the bytes of all subvolumes. Errors: ERR_VERIFY_FAILED, -ECANCELED. */
int incoming_verify(Incoming *in, int image_fd, int (*progress)(void *userdata, uint64_t bytes),
                void *userdata, Err **reterr);
