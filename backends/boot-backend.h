/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* backends/boot-backend.h - what the boot loader takes next. One const table of verbs a backend. */
#pragma once

#include "backends/slot-backend.h"

typedef struct BootBackend BootBackend;

/* What the loader will do and did, in ids of slots; NULL where it is no slot. Owned by the
 * struct. */
typedef struct BootFacts {
        char *next;      /* the slot that the loader takes next */
        bool next_known; /* false: it would take something that is no slot */
        char *trial;     /* the slot whose boots are counted */
        int tries_left;  /* of that slot; -1: nothing is counted */
        char *fallback;  /* the slot that the loader goes back to then; NULL: no slot */
        char *exhausted; /* the slot that used up its tries and was left by the loader */
        char *problem;   /* why the loader does not follow us, with the way out; NULL: it does */
} BootFacts;

void boot_facts_done(BootFacts *f);

typedef struct BootOps {
        const char *name;
        bool atomic;  /* arm() has one commit point */
        bool cmdline; /* arm() tells the kernel what Slot->cmdline says; else somebody else does */

        int (*open)(const World *w, BootBackend **ret, Err **reterr);
        BootBackend *(*close)(BootBackend *b);

        int (*facts)(BootBackend *b, const SlotList *slots, BootFacts *ret, Err **reterr);

        /* May the slot with this top be booted by this loader: its fstab, its kernel?
         * ERR_WRONG_LAYOUT says why not. */
        int (*fits)(BootBackend *b, int slot_root_fd, Err **reterr);

        /* Brings what the loader needs of the slot with this top to where it reads it, before that
         * slot is placed. Nothing boots from it yet. Before anything has changed: -ENOSPC, or
         * -EAGAIN where there will be room when forget() has taken some of @spare (ids, NULL at the
         * end; may be NULL). Durable; repeatable; forget() takes it away. NULL: the loader reads the
         * slot itself. */
        int (*bring)(BootBackend *b, const Slot *slot, int slot_root_fd, const char *const spare[],
                        Err **reterr);

        /* THE SWITCH. Everything that @slot consists of is on disk when this is called. With
         * @tries the loader goes back to @fallback (may be NULL: to what it takes now) after so
         * many boots without bless(); 0: for good. Durable; after a power cut inside the old
         * choice or the new one holds, never another. */
        int (*arm)(BootBackend *b, const Slot *slot, unsigned tries, const Slot *fallback,
                        Err **reterr);

        /* The slot has proven itself: no more counting. Durable. Fine where it is not counted. */
        int (*bless)(BootBackend *b, const Slot *slot, Err **reterr);

        /* The slot is about to be discarded: nothing of the loader may point at it any more.
         * Durable. */
        int (*forget)(BootBackend *b, const Slot *slot, Err **reterr);

        /* The slot has used up its tries and stays: nothing of the loader points at it, but what
         * bring() brought is there for arm(). Durable. NULL: the same as forget(). */
        int (*condemn)(BootBackend *b, const Slot *slot, Err **reterr);

        /* What power cuts have left where the loader reads goes; what any of @slots needs stays.
         * NULL: nothing can be left. */
        int (*clean)(BootBackend *b, const SlotList *slots, Err **reterr);

        /* Slot->boot_options may have changed: what the loader knows of the slot follows, the
         * choice and the count stay. Durable; old or new after a power cut. NULL: it knows none. */
        int (*follow)(BootBackend *b, const Slot *slot, Err **reterr);
} BootOps;

struct BootBackend {
        const BootOps *ops;
};

extern const BootOps default_subvolume_boot_ops;
extern const BootOps bls_boot_ops;
extern const BootOps grub_boot_ops;
extern const BootOps uboot_boot_ops;
extern const BootOps exec_boot_ops;
extern const BootOps none_boot_ops;

int boot_backend_open(const World *w, BootBackend **ret, Err **reterr);
BootBackend *boot_backend_close(BootBackend *b);
DEFINE_CLEANUP(BootBackend, boot_backend_close)
