/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* tests/unit/fake.h - a machine without Btrfs: slots and boot choice are a plain struct, quarantine
 * and state directory are real folders. Every call that the procedure makes is numbered, and call
 * number k can be told to fail, or to be the last thing that happens. Calls into the layers beside
 * the two backends (journal, history, stream, subvolumes) are counted too: the linker's --wrap puts
 * fake-calls.c in front of them. */
#pragma once

#include "tests/unit/unit.h"
#include "update/jobs.h"

enum { FAKE_SLOTS = 12 };

typedef struct FakeSlot {
        char id[16]; /* "": none */
        char version[64], reason[256], subvolumes[64], kernel[32], transaction[16], fallback[16];
        uint64_t key, blessed;
        SlotState state;
        bool pinned, read_only;
} FakeSlot;

typedef struct FakeDisk {
        FakeSlot slots[FAKE_SLOTS];
        uint64_t last_key, booted_key, default_key;
        struct {
                char target[16], fallback[16];
                uint64_t target_key, fallback_key;
                unsigned tries;
        } trial; /* what a boot loader has beside the default */
        unsigned boots;
        char exclusive[16];
} FakeDisk;

typedef enum FaultMode {
        FAULT_NONE,
        FAULT_BEFORE, /* the call fails and has done nothing */
        FAULT_AFTER,  /* the call does its work, then fails */
        FAULT_FROM,   /* it and every later one fails: the disk is gone */
        FAULT_PAIR,   /* it fails, and call number at2, too */
        FAULT_DIE, /* nothing after it runs, no cleanup; only calls that change something count */
} FaultMode;

typedef struct Fake {
        FakeDisk *disk;
        jmp_buf grave; /* where FAULT_DIE goes */
        char dir[64];
        int dir_fd, root_fd, staging_fd, state_fd;
        uint64_t job; /* number of the next job */

        /* what is to go wrong, and what did */
        FaultMode mode;
        unsigned at, at2, calls, hits;
        char hit[32]; /* name of the first call that failed */

        /* configuration, and what the loader has against it */
        unsigned keep;
        Verification verification;
        const char *problem;

        /* the image that stream_open() finds */
        struct {
                const char *name, *version; /* version NULL: its tree does not say */
                const char *second;         /* another subvolume, or NULL */
                bool incremental, wrong_uuid;
        } image;

        /* the sink */
        unsigned cancel_at,
                        cancel_asked; /* the how manieth question is answered with yes; 0: none */
        unsigned ready, no_return, asked_late; /* ... behind the point of no return */
        char slot[16];
        JobSink sink;
} Fake;

extern Fake *the_fake; /* for fake-calls.c */

/* A machine: slots 1 (good), 2 (good), 3 (good, running and next). */
Fake *fake_new(void);
Fake *fake_free(Fake *f);
DEFINE_CLEANUP(Fake, fake_free)

/* Everything as after fake_new(), no faults; the folders are emptied. */
void fake_reset(Fake *f);

/* No fault from now on, and the count begins anew. */
void fake_heal(Fake *f);
void fake_break(Fake *f, FaultMode mode, unsigned at);

FakeSlot *fake_slot(Fake *f, const char *id);
FakeSlot *fake_add_slot(
                Fake *f, const char *id, SlotState state, const char *version, uint64_t blessed);

/* As a loader would: arms without any check. */
void fake_arm(Fake *f, const char *id, unsigned tries, const char *fallback);

/* The machine goes down and comes up, counting a try as the initrd does. */
void fake_reboot(Fake *f);

/* A machine made of the fake; free with machine_free(). */
Machine *fake_machine(Fake *f);

/* Everything that counts, as text to compare: slots, choice, trial, quarantine, refused versions;
 * with or without reasons. */
char *fake_dump(Fake *f, bool reasons);

/* Fails the test where the machine would not boot a complete, proven or counted slot. */
void fake_assert_bootable(Fake *f);

/* How often the history has this job; *@ret_status is the last one's. */
unsigned fake_history_count(Fake *f, uint64_t job, const char *type, int *ret_status);
bool fake_journal_idle(Fake *f);
unsigned fake_quarantines(Fake *f);

/* Numbers a call. Before it: negative where it has to fail. After it: the same. */
int fake_before(const char *what, Err **reterr);
int fake_after(Err **reterr);

extern const SlotOps fake_slot_ops;
extern const BootOps fake_boot_ops;
