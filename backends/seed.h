/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* backends/seed.h - inside the seed backend: what its files share. A slot is a configured device.
 * What is known of it is in a record in the state directory, for devices that do not run cannot be
 * looked into; a record counts only while its device has the file system that it names. */
#pragma once

#include "backends/layout.h"
#include "os/block.h"
#include "os/btrfs-device.h"
#include "os/btrfs-super.h"

typedef struct Seed {
        SlotBackend base; /* must stay first */
        const World *world;
        Layout layout; /* of the file system that / is on */
        bool sealed;   /* / is on a sealed device without a sprout: the layout is read-only */
        int state_fd;
        const SeedDevice *target; /* what seed_target() has decided */
} Seed;

static inline Seed *to_seed(SlotBackend *b) {
        if (b->ops != &seed_slot_ops)
                abort();
        return (Seed *) b;
}

typedef enum DeviceKind {
        DEVICE_MISSING,
        DEVICE_FOREIGN,    /* something on it that is not ours */
        DEVICE_SPARE,      /* nothing on it that anybody needs */
        DEVICE_SEALED,     /* a seed: complete by itself, and the base of a sprout */
        DEVICE_SPROUT,     /* on a seed, not merged yet */
        DEVICE_STANDALONE, /* complete by itself, not sealed */
        _DEVICE_KIND_MAX,
        _DEVICE_KIND_INVALID = -EINVAL,
} DeviceKind;

const char *device_kind_to_string(DeviceKind k);

/* What is true of one configured device now. */
typedef struct DeviceFacts {
        const SeedDevice *config;
        DeviceKind kind;
        BlockDevice block; /* .path NULL: missing */
        BtrfsSuper super;
        bool has_super;
        bool here;     /* part of the file system that / is on */
        uint64_t id;   /* there */
        uint64_t used; /* there: by chunks */
        Slot record;   /* .id NULL: there is none that counts */
        char *why;     /* of missing and foreign ones, a clause */
} DeviceFacts;

typedef struct DeviceList {
        size_t n;
        DeviceFacts *devices; /* as configured */
        DeviceFacts *sprout;  /* what takes the writes of the running file system, or NULL */
        DeviceFacts *seed;    /* what the running file system reads besides, or NULL */
} DeviceList;

void device_list_done(DeviceList *l);
int device_list_read(Seed *s, DeviceList *ret, Err **reterr);
DeviceFacts *device_find(const DeviceList *l, const char *id);

/* The record of a slot: written whole (then what is on the device is claimed no more), removed, read; 1, or 0 where there is
 * none. */
int seed_record_read(const Seed *s, const char *id, Slot *ret, Err **reterr);
int seed_record_write(const Seed *s, const Slot *slot, Err **reterr);
int seed_record_remove(const Seed *s, const char *id, Err **reterr);

/* What is on the device now may be dropped, and what becomes of it above @seed (may be NULL), too: that until the same is
 * called with what it became. Written before the record goes. Durable. */
int seed_claim(const Seed *s, const DeviceFacts *d, const BtrfsSuper *seed, Err **reterr);
bool seed_claimed(const Seed *s, const DeviceFacts *d);

/* Was the running system opened for changes in place, in this boot? 1, and the transaction that is
 * open, or NULL; else 0. */
int seed_transaction(const Seed *s, char **ret, Err **reterr);

/* The verbs that have a file of their own. */
int seed_in_place(SlotBackend *b, const char *transaction, Err **reterr);
int seed_copy_booted(SlotBackend *b, const char *job, Err **reterr);
int seed_open_before(SlotBackend *b, const Slot *booted, int *ret_fd, Err **reterr);
int seed_list(SlotBackend *b, SlotList **ret, Err **reterr);
int seed_target(SlotBackend *b, const SlotList *slots, const char *next, char **ret_id,
                char **ret_note, Err **reterr);
int seed_scrub(SlotBackend *b, const WorkArgs *args, Err **reterr);
int seed_prepare(SlotBackend *b, const char *job, int *ret_fd, Err **reterr);
int seed_merge(SlotBackend *b, const WorkArgs *args, Err **reterr);
int seed_read_device(SlotBackend *b, const char *id, int *ret_fd, uint64_t *ret_size, Err **reterr);
int seed_check_device(
                SlotBackend *b, const char *id, const uint8_t *super, uint64_t size, Err **reterr);
int seed_claim_device(SlotBackend *b, const char *id, const uint8_t *super, int *ret_fd,
                uint64_t *ret_size, Err **reterr);
int seed_open_device(SlotBackend *b, const char *id, Slot *ret, int *ret_root_fd, Err **reterr);
int seed_hazard(SlotBackend *b, unsigned nth, Hazard *ret, Err **reterr);
int seed_lost(SlotBackend *b, const char *id, char **ret_text, Err **reterr);
int seed_space(SlotBackend *b, bool alone, FsSpace *ret, char **ret_exclusive, Err **reterr);

/* ERR_NOT_SUPPORTED where the running kernel has a hazard that is refused. */
int seed_check_kernel(Seed *s, Err **reterr);

/* Bytes that the running file system uses, and what a device of @size must have besides to take them all by a merge. */
uint64_t seed_slack(uint64_t size);
int seed_bytes_used(Seed *s, uint64_t *ret, Err **reterr);

/* How far a merge is, in bytes. */
typedef struct MergeProgress {
        uint64_t total; /* by chunks on the device that goes out */
        uint64_t left;  /* the same, as it was last seen */
        uint64_t from;  /* what had been read then */
        uint64_t chunk; /* the largest that there can be */
        uint64_t told;
} MergeProgress;

/* Chunks count when they are gone, and then whole; in between what was read of the next one does,
 * a chunk at most: metadata and what a stopped removal has read are read again. Never falls. */
uint64_t seed_merge_done(MergeProgress *p, uint64_t left, uint64_t read);

/* Opens the layout of the file system that / is on, as it is now. */
int seed_reopen(Seed *s, Err **reterr);
