/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* os/btrfs.h - subvolumes, the default subvolume and space of a Btrfs file system, by
 * descriptor. Thin over libbtrfsutil and ioctls; knows nothing of slots. What is durable on
 * return is said of each (measured; commit interval does not matter for it). */
#pragma once

#include "base/err.h"

typedef struct SubvolInfo {
        uint64_t id;
        uint64_t generation; /* of the last change, as of the last commit */
        uint64_t ctransid;
        uint8_t uuid[16];
        uint8_t parent_uuid[16];
        uint8_t received_uuid[16];
        bool read_only;
} SubvolInfo;

bool fs_is_btrfs(int fd);

/* Of the file system, as root=UUID= has it. */
int fs_id(int fd, uint8_t ret[16], Err **reterr);

/* The subvolume that @fd lies in. */
int subvol_id(int fd, uint64_t *ret, Err **reterr);
/* Its path from the top of the file system, "" for the top itself. Needs CAP_SYS_ADMIN. */
int subvol_path(int fd, uint64_t id, char **ret, Err **reterr);
int subvol_info(int fd, SubvolInfo *ret, Err **reterr);

/* Is @name below @parent_fd the top of a subvolume? 1, 0, or a negative errno. */
int subvol_is_at(int parent_fd, const char *name);

/* A snapshot of the subvolume at @source_fd, not recursive: subvolumes inside become empty
 * directories. Durable on return, and commits everything that was pending. -EEXIST where @name
 * is there. */
int subvol_snapshot(int source_fd, int parent_fd, const char *name, bool read_only, Err **reterr);

/* Durable on return. */
int subvol_set_read_only(int fd, bool read_only, Err **reterr);

/* Deletes @name and every subvolume inside it, read-only ones too. Absent is fine. NOT durable
 * before fs_sync(): after a power cut it may be there again, whole. Space comes back later:
 * subvol_wait_deleted(). */
int subvol_delete_at(int parent_fd, const char *name, Err **reterr);

/* Wakes the cleaner and waits until the deleted subvolumes have given their space back, at most
 * @usec. 0 or -ETIMEDOUT. */
int subvol_wait_deleted(int fd, uint64_t usec, Err **reterr);

/* The subvolume that is mounted where nobody says which. Setting is NOT durable before
 * fs_sync(). */
int default_subvol_get(int fd, uint64_t *ret, Err **reterr);
int default_subvol_set(int fd, uint64_t id, Err **reterr);

/* Space, in bytes as files see them (a DUP chunk counts once). */
typedef struct FsSpace {
        uint64_t data_free;     /* in data chunks */
        uint64_t metadata_free; /* in metadata chunks, the global reserve taken off */
        uint64_t unallocated;   /* raw, for new chunks, all writable devices */
        uint64_t reserve;       /* global reserve */
        uint64_t data_used, metadata_used;
        unsigned data_copies; /* raw bytes a byte of data takes */
        unsigned metadata_copies;
        uint64_t total; /* raw size of the devices */
} FsSpace;

int fs_space(int fd, FsSpace *ret, Err **reterr);

/* The name of the exclusive operation that is running ("balance", "device add", ...), or "" . */
int fs_exclusive_operation(int fd, char **ret, Err **reterr);
