/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* stream/file.h - one regular file while the stream works on it. Knows what the kernel takes away on the way (setuid
 * bits and capabilities on chown and write, times on write) and gives it back, so that a file ends as sent in whatever
 * order its commands come. Knows no paths but for messages. */
#pragma once

#include <sys/stat.h>

#include "stream/command.h"
#include "stream/input.h"

#define FILE_CAPS_MAX 64

typedef struct File {
        int fd;     /* writable */
        char *path; /* for messages */
        bool owner_known, mode_known;
        uid_t uid;
        gid_t gid;
        mode_t mode;
        struct timespec times[2]; /* atime, mtime as they must be at the end */
        bool times_known;
        bool times_due; /* they are not on the inode now */
        uint8_t caps[FILE_CAPS_MAX];
        size_t caps_size; /* 0: none */
        bool caps_lost;   /* they are not on the inode now */
} File;

/* Takes @fd. For a file just made, @made tells its owner and mode; for one that was there before, @st is what
 * fstat() said, and its capabilities are read. */
int file_new(int fd, const char *path, const struct stat *st, bool made, File **ret, Err **reterr);
File *file_free(File *f);
DEFINE_CLEANUP(File, file_free)

/* Gives back what was lost. The last thing to do before file_free(). */
int file_finish(File *f, Err **reterr);

int file_write(File *f, const uint8_t *data, uint32_t size, uint64_t offset, Err **reterr);
int file_encoded_write(File *f, const Command *c, Err **reterr);

/* Shares @size bytes of @src_fd; copies where the kernel cannot share. The source range must exist. */
int file_clone(File *f, int src_fd, uint64_t src_offset, uint64_t size, uint64_t offset,
                Err **reterr);
int file_truncate(File *f, uint64_t size, Err **reterr);
int file_allocate(File *f, uint32_t mode, uint64_t offset, uint64_t size, Err **reterr);
int file_chown(File *f, uid_t uid, gid_t gid, Err **reterr);
int file_chmod(File *f, mode_t mode, Err **reterr);
void file_set_times(File *f, const struct timespec *atime, const struct timespec *mtime);
int file_set_xattr(File *f, const char *name, const uint8_t *data, size_t size, Err **reterr);
int file_remove_xattr(File *f, const char *name, Err **reterr);

/* A story for a system call that failed on a path of the stream: what does not fit the tree is the stream's fault. */
int apply_error(Err **reterr, int code, const char *verb, const char *path);
