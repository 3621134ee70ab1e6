/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* stream/file.h - one regular file while the stream works on it. Knows what the kernel takes away on the way (setuid
 * bits and capabilities on chown and write, times on write) and gives it back, so that a file ends as sent in whatever
 * order its commands come. Knows no paths but for messages. */
#pragma once

#include <sys/stat.h>
#include <sys/uio.h>

#include "stream/command.h"
#include "stream/input.h"

#define FILE_CAPS_MAX 64
#define HELD_PARTS    16u
#define HELD_BLOCKS   2u

/* Data that goes to one place in one call, still where the input put it. */
typedef struct Held {
        struct iovec parts[HELD_PARTS];
        unsigned count;
        uint64_t offset, size;
        Block *blocks[HELD_BLOCKS]; /* with a reference each */
} Held;

typedef struct File {
        int fd; /* writable; -1: not made yet, so that it can be made with the mode it will have */
        char *path; /* for messages */
        bool busy;  /* its writer has work for it: see writer.h */
        bool old;   /* it was there before */
        Held held;
        bool owner_known, mode_known; /* on the inode */
        uid_t uid;
        gid_t gid;
        mode_t mode;
        bool owner_due, mode_due; /* as they must be */
        uid_t want_uid;
        gid_t want_gid;
        mode_t want_mode;
        struct timespec times[2]; /* atime, mtime as they must be at the end */
        bool times_known;
        bool times_due; /* they are not on the inode now */
        uint8_t caps[FILE_CAPS_MAX];
        size_t caps_size; /* 0: none */
        bool caps_lost;   /* they are not on the inode now */
} File;

/* A file that is not made yet. */
int file_new(const char *path, File **ret, Err **reterr);
File *file_free(File *f);
DEFINE_CLEANUP(File, file_free)

/* Takes @fd of the inode that has just been made with @mode; -1: unknown, it may have inherited one. */
void file_made(File *f, int fd, uid_t uid, gid_t gid, int mode);

/* Takes @fd of one that was there before, which is as @st says; reads its capabilities. */
int file_opened(File *f, int fd, const struct stat *st, Err **reterr);

/* These only take note. file_hold() returns false where the data does not fit what is held: write that first. */
bool file_hold(File *f, const uint8_t *data, uint32_t size, uint64_t offset, Block *block);
void file_chown(File *f, uid_t uid, gid_t gid);
void file_chmod(File *f, mode_t mode);
void file_set_times(File *f, const struct timespec *atime, const struct timespec *mtime);

/* Writes what is held and lets its blocks go (those also on failure). */
int file_write_held(File *f, Held *h, Err **reterr);
void held_drop(Held *h);

/* Makes owner and mode as they were noted. */
int file_settle(File *f, Err **reterr);

/* That, and gives back what was lost. The last thing to do before file_free(). */
int file_finish(File *f, Err **reterr);

/* These act at once; nothing may be held. */
int file_encoded_write(File *f, const Command *c, Err **reterr);

/* Shares @size bytes of @src_fd; copies where the kernel cannot share. The source range must exist. */
int file_clone(File *f, int src_fd, uint64_t src_offset, uint64_t size, uint64_t offset,
                Err **reterr);
int file_truncate(File *f, uint64_t size, Err **reterr);
int file_allocate(File *f, uint32_t mode, uint64_t offset, uint64_t size, Err **reterr);
int file_set_xattr(File *f, const char *name, const uint8_t *data, size_t size, Err **reterr);
int file_remove_xattr(File *f, const char *name, Err **reterr);

/* For the parts of this module. */
int file_error(const File *f, Err **reterr, int code, const char *verb);
void file_touched(File *f);

/* A story for a system call that failed on a path of the stream: what does not fit the tree is the stream's fault. */
int apply_error(Err **reterr, int code, const char *verb, const char *path);
