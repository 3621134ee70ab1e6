/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* backends/slot-backend.h - where versions live. One const table of verbs a backend; the
 * procedure in update/ knows only this. A NULL verb means "this backend cannot". */
#pragma once

#include "backends/slot.h"
#include "os/btrfs.h"
#include "os/config.h"

/* The machine: everything below it is reached by @root_fd. Borrowed, outlives every backend. */
typedef struct World {
        const char *root;
        int root_fd;
        const Config *config;
} World;

typedef struct SlotBackend SlotBackend;

/* What becomes of long work from here on. */
typedef enum WorkWish {
        WORK_GOES_ON,
        WORK_WAITS, /* nothing is moved until it goes on */
        WORK_ENDS,  /* with -ECANCELED */
} WorkWish;

typedef struct WorkArgs {
        void *userdata;
        WorkWish (*progress)(
                        void *userdata, uint64_t done, uint64_t total); /* many times a second */
        uint64_t wait_usec; /* merge(): for deleted subvolumes to give their space back */
} WorkArgs;

/* What the running kernel does wrong. Static strings. */
typedef struct Hazard {
        const char *name; /* a word, for the documentation */
        const char *text, *advice;
        bool refused; /* no new version is begun on such a kernel */
} Hazard;

/* Every verb may be repeated. @job names the quarantine: a path component. "Durable" says what a
 * power cut after the return keeps; before the return it leaves the state before or what
 * recovery removes with clean(). */
typedef struct SlotOps {
        const char *name; /* the word in abupdated.conf */

        int (*open)(const World *w, SlotBackend **ret, Err **reterr);
        SlotBackend *(*close)(SlotBackend *b);

        /* All slots, from facts alone. */
        int (*list)(SlotBackend *b, SlotList **ret, Err **reterr);

        /* Which slot takes a new version, where that is not one with a new number; everything that
         * stands in the way is found here. @next: what boots next, which is spared. *@ret_note says
         * in a clause what is going to happen to it. Changes nothing. prepare() is for this one. */
        int (*target)(SlotBackend *b, const SlotList *slots, const char *next, char **ret_id,
                        char **ret_note, Err **reterr);

        /* Directory of journal and history; a new descriptor. Made where it is missing. */
        int (*state_dir)(SlotBackend *b, int *ret_fd, Err **reterr);

        /* Space for new slots, @alone: for one that shares nothing with the others; *@ret_exclusive the exclusive operation
         * that runs, "" for none. */
        int (*space)(SlotBackend *b, bool alone, FsSpace *ret, char **ret_exclusive, Err **reterr);

        /* Reads everything that a new version will stand on, where the configuration asks for it, and compares it with
         * its checksums. Cannot wait. ERR_BAD_DEVICE: something is lost. Changes nothing. */
        int (*scrub)(SlotBackend *b, const WorkArgs *args, Err **reterr);

        /* An empty quarantine; gives the directory into which the image's subvolumes are
         * received. Not durable. */
        int (*prepare)(SlotBackend *b, const char *job, int *ret_fd, Err **reterr);

        /* The base of an incremental image: a read-only subvolume of a complete slot, by
         * received UUID or UUID. New descriptor. ERR_PARENT_MISSING names what is here. */
        int (*find_base)(SlotBackend *b, const uint8_t uuid[16], int *ret_fd, Err **reterr);

        /* The directory for what an update that was cut off has received: on the file system of the quarantines, outside of
         * them. New descriptor; -ENOENT where it is absent and @make is false. */
        int (*kept)(SlotBackend *b, bool make, int *ret_fd, Err **reterr);

        /* Instead of receiving: the quarantine's image becomes a copy of the booted slot. */
        int (*copy_booted)(SlotBackend *b, const char *job, Err **reterr);

        /* Notes that @transaction changes the running system, which prepare() has given a sprout to write
         * on; NULL: none does any more. A reboot forgets it, and what was changed. NULL member: what is
         * changed would stay. Durable. */
        int (*in_place)(SlotBackend *b, const char *transaction, Err **reterr);

        /* Makes the bootable tree in the quarantine from what was received, at the places that
         * @draft->subvolumes says, with the configuration carried over; gives its top.
         * Everything is synced. */
        int (*build)(SlotBackend *b, const char *job, const Slot *draft, int *ret_root_fd,
                        Err **reterr);

        /* The quarantine becomes slot @draft->id, whole or not at all. Durable. -EEXIST where
         * that slot is there. */
        int (*place)(SlotBackend *b, const char *job, const Slot *draft, Err **reterr);

        /* The top of the tree of a slot that is there; a new descriptor. NULL: it cannot be looked into. */
        int (*open_root)(SlotBackend *b, const Slot *slot, int *ret_fd, Err **reterr);

        /* The top of the tree of the booted slot as it was before its open transaction; a new descriptor.
         * NULL: nobody knows. */
        int (*open_before)(SlotBackend *b, const Slot *booted, int *ret_fd, Err **reterr);

        /* Writes the slot's facts. Durable; old or new after a power cut. */
        int (*record)(SlotBackend *b, const Slot *slot, Err **reterr);

        /* Takes slots away (@ids ends with NULL), each at once or not at all; their space comes
         * back with reclaim(). Absent is fine. Durable. */
        int (*discard)(SlotBackend *b, const char *const ids[], Err **reterr);

        /* Empties every quarantine, and what discard() left. Durable. *@ret_count: how many were
         * found, may be NULL. */
        int (*clean)(SlotBackend *b, unsigned *ret_count, Err **reterr);

        /* The booted slot stops to need the device of another one (Slot->depends), which keeps its
         * content. May take hours. Where it fails or is ended, the system works as before, and the
         * next call goes on from there; so after a power cut. Durable. */
        int (*merge)(SlotBackend *b, const WorkArgs *args, Err **reterr);

        /* Puts right what somebody else's hand did to the running system's devices, and what would keep
         * it from booting again. 1 and a sentence where there was something, else 0. Durable. */
        int (*heal)(SlotBackend *b, char **ret_text, Err **reterr);

        /* What the running kernel is known to do wrong to such slots: 1 and the hazard number @nth, from 0 on, or 0 where
         * there are no more. NULL: nothing. */
        int (*hazard)(SlotBackend *b, unsigned nth, Hazard *ret, Err **reterr);

        /* Why a job for slot @id had to fail: its device, or one that the running system needs, is not there any more. 1
         * and a sentence with what to do, else 0. Changes nothing. */
        int (*lost)(SlotBackend *b, const char *id, char **ret_text, Err **reterr);

        /* The device of slot @id for reading past every cache, and its bytes: sealed, so that nobody writes to it.
         * ERR_NOT_SEALED, ERR_BAD_DEVICE. */
        int (*read_device)(SlotBackend *b, const char *id, int *ret_fd, uint64_t *ret_size,
                        Err **reterr);

        /* May the image of a device, which has this first superblock and @size bytes (0: not known), go onto the
         * device of slot @id? ERR_BAD_IMAGE, ERR_BAD_DEVICE, ERR_AMBIGUOUS_DEVICE. Changes nothing. */
        int (*check_device)(SlotBackend *b, const char *id, const uint8_t *super, uint64_t size,
                        Err **reterr);

        /* What is on the device goes, and it is open for writing, by nobody else. Durable: a spare from the
         * beginning to the end, until the slot in it is recorded. */
        int (*claim_device)(SlotBackend *b, const char *id, const uint8_t *super, int *ret_fd,
                        uint64_t *ret_size, Err **reterr);

        /* The slot on a device that was written to, and the top of its tree, for as long as that descriptor is
         * open. */
        int (*open_device)(
                        SlotBackend *b, const char *id, Slot *ret, int *ret_root_fd, Err **reterr);

        /* Waits until deleted slots gave their space back, at most @usec. -ETIMEDOUT is
         * harmless. */
        int (*reclaim)(SlotBackend *b, uint64_t usec, Err **reterr);
} SlotOps;

struct SlotBackend {
        const SlotOps *ops;
};

extern const SlotOps snapshot_slot_ops;
extern const SlotOps seed_slot_ops;
extern const SlotOps none_slot_ops;

/* By the word in the configuration. ERR_BAD_CONFIG lists the words. */
int slot_backend_open(const World *w, SlotBackend **ret, Err **reterr);
SlotBackend *slot_backend_close(SlotBackend *b);
DEFINE_CLEANUP(SlotBackend, slot_backend_close)
