/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* stream/receive.h - the whole engine in one call: an image on a descriptor becomes read-only subvolumes in a
 * directory. Nothing of the image is trusted; nothing is written outside the new subvolumes. Knows nothing of slots. */
#pragma once

#include <time.h>

#include "stream/input.h"

/* What the stream says of one of its subvolumes, in its first command. */
typedef struct StreamSubvol {
        char name[256];   /* a path component that passed the gate */
        uint8_t uuid[16]; /* of the subvolume that was sent */
        uint64_t ctransid;
        bool incremental;
        uint8_t parent_uuid[16]; /* what it builds on, where incremental */
        uint64_t parent_ctransid;
        uint64_t bytes;  /* file data written so far (clones not counted) */
        uint64_t inodes; /* created so far */
} StreamSubvol;

/* What a stream may do. 0 means no limit of its own. */
typedef struct StreamLimits {
        uint64_t bytes; /* file data written, all subvolumes together */
        uint64_t inodes;
        uint64_t file_size;  /* also the largest offset */
        uint64_t subvols;    /* streams one after another */
        uint64_t version;    /* of the stream format */
        bool forbid_devices; /* device nodes */
        bool forbid_setuid;  /* setuid, setgid, file capabilities */
        bool forbid_xattrs;  /* security.* and trusted.* beyond capabilities */
} StreamLimits;

/* Does @s build on what was announced of it? ERR_PARENT_MISSING. */
int stream_check_parent(const ManifestSubvol *announced, const StreamSubvol *s, Err **reterr);

/* May data come from subvolume @uuid, which the image does not bring itself? From what @m builds on. ERR_PARENT_MISSING. */
int stream_check_source(const Manifest *m, const uint8_t uuid[static 16], Err **reterr);

/* What @m announces, and nothing beyond it; NULL: no limits. */
StreamLimits stream_limits(const Manifest *m);

/* A place between two commands, in a subvolume: what a new engine must know to go on there. */
typedef struct StreamPosition {
        Restart restart;        /* where reading the image must begin */
        uint64_t offset;        /* of the command that comes next, in the stream */
        uint32_t version;       /* of the stream */
        StreamSubvol subvol;    /* as it is so far */
        uint64_t subvols;       /* begun, this one too */
        uint64_t bytes, inodes; /* of all */
        bool root_known;        /* the times that its root gets in the end */
        struct timespec root[2];
} StreamPosition;

typedef struct StreamArgs {
        int input_fd; /* file, pipe or socket; borrowed; read from where it stands */

        /* What was signed: each chunk is hashed and compared before anything of it is unpacked or parsed. Only until
         * stream_open() returns; NULL: anything may come. The limits, and the identity of the subvolumes, are the caller's
         * to take from it. */
        const Manifest *manifest;
        StreamLimits limits;

        /* Go on there: its subvolume is in dest_fd, writable, as it was when checkpoint() was told of that place. Only with
         * a manifest, and for stream_receive() only. NULL: begin at the beginning. */
        const StreamPosition *resume;
        uint64_t at; /* the byte of the image that @input_fd stands at; no later than where reading must begin */
        uint64_t stall_usec; /* give up (-ETIMEDOUT, ERR_STALLED) after so long without a byte; 0: never */
        void *userdata;

        /* The base of an incremental subvolume, or the source of a clone that is not in this image: a read-only subvolume
         * whose received UUID, or else whose own UUID, is @uuid. Gives a descriptor that the engine closes. -ENOENT with a
         * story (ERR_PARENT_MISSING) where there is none. The engine itself looks in what this image has received so far,
         * first. */
        int (*find_base)(void *userdata, const uint8_t uuid[16], uint64_t ctransid, int *ret_fd,
                        Err **reterr);

        /* A subvolume is about to be made (its facts are known) / has been finished: read-only, marked as received, synced.
         * A negative return stops everything. Either may be NULL. */
        int (*subvol_begin)(void *userdata, const StreamSubvol *s, Err **reterr);
        int (*subvol_done)(void *userdata, const StreamSubvol *s, Err **reterr);

        /* For stream_check(): data are taken from a file of the subvolume @uuid, which may be the one that is being made. A
         * negative return stops everything. May be NULL. */
        int (*clone_source)(void *userdata, const uint8_t uuid[static 16], Err **reterr);

        /* At a command after which at least that much of the stream and of time has passed since the last one: a copy of the
         * subvolume made now, once it is on the disk, is where resume can go on. NULL: never. A negative return stops
         * everything. */
        int (*checkpoint)(void *userdata, const StreamPosition *p, Err **reterr);
        uint64_t checkpoint_bytes, checkpoint_usec;

        /* Called a few times a second at most, also while the image stalls: bytes of the image read so far. Returns
         * non-zero to stop (-ECANCELED, ERR_CANCELLED). May be NULL. */
        int (*progress)(void *userdata, uint64_t input_bytes);

        /* Every MiB of the image as it was read (the last may be shorter), in order, before anything of it is unpacked
         * or parsed: the place to compare hashes. The bytes that were seen here are the bytes that are applied. Called
         * from the engine's own reading thread. A negative return stops everything. May be NULL. */
        int (*chunk)(void *userdata, const uint8_t *data, size_t size, Err **reterr);
} StreamArgs;

typedef struct Stream Stream;

/* Looks at the input: magic, compression, header, first command. Creates nothing. @args is copied. Starts a thread that
 * reads and unpacks ahead, with all signals blocked: give up what rights the process does not need before this.
 * Errors: -EBADMSG (ERR_BAD_STREAM), ERR_TRUNCATED, ERR_STALLED, ERR_BAD_INPUT for what is not readable as an image. */
int stream_open(const StreamArgs *args, Stream **ret, Err **reterr);
Stream *stream_free(Stream *s);
DEFINE_CLEANUP(Stream, stream_free)

/* The first subvolume, for checks before anything is written. Valid as long as @s. */
const StreamSubvol *stream_first(const Stream *s);

/* Applies everything up to the end of the input: the subvolumes are made in @dest_fd, a directory on Btrfs, borrowed, a
 * real descriptor (not O_PATH). On success every subvolume is read-only, has its received UUID and has
 * been synced (syncfs). On failure or after a power cut what was made so far stays in dest_fd: half-written and
 * writable, for the caller to delete. Not repeatable: open again. */
int stream_receive(Stream *s, int dest_fd, Err **reterr);

/* Instead of stream_receive(): reads everything up to the end of the input through the gate and changes nothing. Calls
 * subvol_begin and subvol_done as stream_receive() does, and clone_source. */
int stream_check(Stream *s, Err **reterr);

/* How many commands have been parsed in this process: tests prove with it that nothing unverified was. */
unsigned long stream_parse_count(void);
