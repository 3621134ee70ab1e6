/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* os/file.h - whole small files and directories below a descriptor, read with a bound, written
 * so that a power cut leaves the old or the new content. Symbolic links are never followed in
 * the last component. */
#pragma once

#include <sys/types.h>

#include "base/err.h"

/* Reads a regular file of at most @max bytes; the text gets a NUL behind its end. Errors:
 * -ENOENT and the like from the kernel, -EFBIG, -EBADMSG for what is not a regular file.
 * @ret_size may be NULL. */
int file_read_at(int dir_fd, const char *path, size_t max, char **ret, size_t *ret_size,
                Err **reterr);

/* The same where the file need not be there: 1 when it was read, 0 when it is absent. */
int file_read_if_at(int dir_fd, const char *path, size_t max, char **ret, size_t *ret_size,
                Err **reterr);

/* All of it, however much write(2) takes at once. 0, or negative errno: then a part may be written.
 * System calls only. */
int fd_write_all(int fd, const void *data, size_t size);

/* Replaces @path by @size bytes of @data: a new file beside it, fsync, rename, fsync of the
 * directory. Repeatable. After a power cut the old or the new content is there, perhaps with a
 * file "<path>.new" beside it that the next write replaces. FAT has no such rename (Linux 6.1,
 * vfat_rename()): both names may hold one file then, and fsck.vfat empties one of them. What must be
 * there in any case needs a second file. */
int file_write_at(int dir_fd, const char *path, const void *data, size_t size, Err **reterr);

/* Removes "<path>.new", where a power cut left one. On FAT that may be the file @path itself under a
 * second name, and its space would go with it: then it is called "<path>.twin" from now on, and left
 * to fsck. Repeatable. */
int file_drop_draft_at(int dir_fd, const char *path, Err **reterr);

/* A directory for reading, as a descriptor of its own that takes every ioctl (not O_PATH).
 * Negative errno on failure. */
int dir_open_at(int dir_fd, const char *path, Err **reterr);

/* Makes @path (one level) unless it is there. Not durable by itself. */
int dir_make_at(int dir_fd, const char *path, mode_t mode, Err **reterr);

/* The names in a directory without "." and "..", sorted by strverscmp(), so that 10 comes after
 * 9; NULL-terminated. */
int dir_names(int dir_fd, char ***ret, Err **reterr);
char **strv_free(char **strv);
DEFINE_CLEANUP(char *, strv_free)

/* syncfs() with a story. */
int fs_sync(int fd, Err **reterr);
