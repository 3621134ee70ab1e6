/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* stream/times.h - the times of directories, kept back for a while: whatever is made in a directory changes them, so
 * setting them once later is both right and cheap. Bounded: a full table says so and is emptied. */
#pragma once

#include <time.h>

#include "stream/tree.h"

#define TIMES_MAX      4096u
#define TIMES_TEXT_MAX (512u << 10)

typedef struct DirTime {
        uint32_t path; /* where it begins in the text */
        uint32_t hash;
        struct timespec times[2]; /* atime, mtime */
} DirTime;

typedef struct Times {
        DirTime *items;
        uint32_t *slots; /* hash table of index + 1 */
        char *text;
        size_t count, text_size;
        struct timespec root[2];
        bool root_known;
} Times;

int times_init(Times *t);
void times_done(Times *t);

/* 1 if @path is known to be a directory here (its times are replaced), else 0. */
int times_update(Times *t, const char *path, const struct timespec times[static 2]);

/* Adds a directory that is not there; -ENOSPC when the table is full. The root always has room. */
int times_add(Times *t, const char *path, const struct timespec times[static 2]);

/* Is @path or something below it in the table? */
bool times_has_below(const Times *t, const char *path);

/* Sets all times on the disk, but those of the root, and empties the table. Returns -errno and *@ret_path (borrowed
 * until the next call) on failure. */
int times_flush(Times *t, Tree *tree, const char **ret_path);

/* The root as well: at the end. */
int times_finish(Times *t, Tree *tree, const char **ret_path);
