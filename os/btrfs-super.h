/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* os/btrfs-super.h - the superblock of a Btrfs device, read past the kernel: for devices that are
 * not mounted, and for what the kernel does not tell. Writes nothing but whole superblocks. */
#pragma once

#include <sys/types.h>

#include "base/err.h"

typedef struct BtrfsSuper {
        uint8_t fsid[16];
        uint8_t device_uuid[16];
        uint64_t device_id;
        uint64_t num_devices; /* writable ones: a seed below does not count */
        uint64_t generation;
        uint64_t total_bytes, used_bytes; /* of the file system */
        bool seed;
        bool log_tree;     /* a log waits to be replayed */
        bool renamed_fsid; /* metadata_uuid differs: cannot be a seed */
        uint16_t csum_type;
        char label[256];
} BtrfsSuper;

enum { SUPER_SIZE = 4096, SUPER_COPIES = 3 };

/* All valid copies of one superblock; each says itself where it belongs. */
typedef struct SuperCopies {
        size_t n;
        uint8_t blocks[SUPER_COPIES][SUPER_SIZE];
} SuperCopies;

/* Where copy @copy lies on a device that is large enough for it. */
uint64_t super_offset(unsigned copy);

/* What the first superblock, of SUPER_SIZE bytes, says. -ENODATA where it is none. */
int super_parse(const uint8_t *block, BtrfsSuper *ret, Err **reterr);

/* The first superblock. -ENODATA where there is none, or its checksum is wrong. */
int super_read(const char *device, BtrfsSuper *ret, Err **reterr);

/* -ENODATA where there is none. */
int super_copies_read(const char *device, SuperCopies *ret, Err **reterr);

/* -EBADMSG where they are of another file system than the one on the device, or of another device
 * of it. Durable; a power cut leaves every copy old or new, each of them valid. */
int super_copies_write(const char *device, const SuperCopies *c, Err **reterr);

/* The first superblock, as any other copy, of SUPER_SIZE bytes, has it. -EOPNOTSUPP for other
 * checksums than CRC-32C. */
int super_first_of(const uint8_t *copy, uint8_t *ret, Err **reterr);

/* Copies of another device's superblock, kept in the first MiB of @device, which the kernel leaves
 * alone on a device that it was given: there they are at hand before anything can be mounted. To be
 * written before the device is added. Durable. */
int super_stash(const char *device, const SuperCopies *c, Err **reterr);
int super_stash_read(const char *device, SuperCopies *ret, Err **reterr);

/* All valid copies of the device's superblock as one file below @dir_fd. Durable. */
int super_save(const char *device, int dir_fd, const char *name, Err **reterr);

/* Sets or clears the seed flag in every copy. The generation stays, so sprouts stay mountable once
 * it is set again. -EBUSY while the device is in use or a log waits, -EOPNOTSUPP for other checksums
 * than CRC-32C. Durable. */
int super_set_seed(const char *device, bool seed, Err **reterr);

/* Is there another block device than @device with a part of the file system @fsid, whatever its device id? 1 and its
 * path, or 0. Not the paths of a multipath map or the members of a RAID: what is on them is on that. */
int super_find_fsid(const uint8_t fsid[16], dev_t device, char **ret_path, Err **reterr);

/* Overwrites every copy; @fd is open for writing. Not durable. */
int super_wipe(int fd, Err **reterr);

/* Is there another block device with this file system and this device id? 1 and its path, or 0. A
 * copy made by dd is one: the kernel would take either. As above. */
int super_find_twin(const BtrfsSuper *super, dev_t device, char **ret_path, Err **reterr);

/* Is there a block device that builds on the seed @seed, as it is now or would be once it is sealed again? 1 and its path, or
 * 0. One that was merged does not. As above. */
int super_find_sprout(const BtrfsSuper *seed, dev_t device, char **ret_path, Err **reterr);
