/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* backends/slot.h - a slot as the facts on disk tell it. Plain data; who changes it is in
 * update/. */
#pragma once

#include "base/err.h"

typedef enum SlotState {
        SLOT_EMPTY,      /* nothing in it (seed backend: a spare device) */
        SLOT_INCOMPLETE, /* something is missing: cannot be booted */
        SLOT_STAGED,     /* complete, never proven */
        SLOT_TRIAL,      /* staged, and armed or running */
        SLOT_GOOD,
        SLOT_BAD,
        _SLOT_STATE_MAX,
        _SLOT_STATE_INVALID = -EINVAL,
} SlotState;

const char *slot_state_to_string(SlotState s);
SlotState slot_state_from_string(const char *s);

typedef struct Slot {
        char *id;
        SlotState state; /* on disk never "trial": that follows from the boot backend's facts */
        char *version;
        char *reason; /* why it is in this state, one clause, may be NULL */
        bool pinned;
        bool booted;
        bool read_only;
        uint64_t created;   /* usec of the real time clock; nothing is ordered by it */
        uint64_t blessed;   /* rising with each blessing; 0: never proven */
        uint64_t proven;    /* usec of the real time clock at the last blessing, 0: not known */
        uint64_t size;      /* bytes of file data, 0: not known */
        uint64_t exclusive; /* bytes that this slot alone brought, 0: not known */
        uint64_t epoch;     /* of its image, 0 where it had none */
        uint64_t tries;     /* boots that it had when it was armed on trial, 0: never was */
        char *subvolumes;   /* "name:/place name:/place", the root first */
        char *kernel;       /* version of the newest kernel in it, may be NULL */
        char *cmdline; /* what its version brings for its kernel to be told; NULL: nothing, "": no words */
        char *transaction; /* open in-place transaction on it, may be NULL */
        bool changed;      /* the running system was opened for changes in place in this boot */
        char *fallback; /* slot to boot until that is committed; NULL: this one, which is not changed itself */
        uint64_t boot_key;  /* how a boot backend knows it: the id of its root subvolume */
        char *boot_options; /* the same for a command line: root= and rootflags=; may be NULL */
        /* where versions are devices */
        char *device;         /* "/dev/sda2", NULL: it is missing, or versions are no devices */
        char *device_kind;    /* one word, may be NULL */
        char *depends;        /* the slot whose device this one still reads, may be NULL */
        char *fsid;           /* of the file system on the device, may be NULL */
        uint64_t device_size; /* bytes */
        uint64_t to_merge;    /* bytes that are still on the device of @depends, 0: not known */
} Slot;

typedef struct SlotList {
        size_t n;
        Slot *slots; /* in rising order of id */
} SlotList;

void slot_done(Slot *s);
SlotList *slot_list_free(SlotList *l);
DEFINE_CLEANUP(SlotList, slot_list_free)

/* Borrowed, or NULL. NULL and "" as id find nothing. */
Slot *slot_find(const SlotList *l, const char *id);
Slot *slot_booted(const SlotList *l);

/* Is there a version in it, and whole? */
bool slot_holds_version(const Slot *s);

/* Has it proven itself? Not while a transaction changes what would boot. */
bool slot_proven(const Slot *s);

/* The most recently proven slot that is still good and is not @except (may be NULL). */
Slot *slot_newest_good(const SlotList *l, const Slot *except);

/* An empty list may have no array: nothing is added to NULL. */
#define slots_foreach(s, list)                                                                     \
        for (Slot *s = (list)->slots, *s##_end = s ? s + (list)->n : s; s != s##_end; s++)

/* The text of slot.conf, and back. The reader gives errors with the line; what it does not know
 * it ignores. */
int slot_format(const Slot *s, char **ret);
int slot_parse(const char *text, size_t size, Slot *ret, Err **reterr);
