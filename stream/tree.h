/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* stream/tree.h - names below one subvolume, and nothing else: every path is resolved beneath its root, through no
 * symbolic link, magic link or mount. Keeps the directories that were used last open. */
#pragma once

#include <sys/stat.h>

#include "base/err.h"

#define TREE_DIRS 64u

typedef struct Dir {
        char *path; /* NULL: a free place; "" is the root */
        uint32_t hash;
        int fd;
        uint64_t used;
        bool looked;   /* the rest is known */
        bool setgid;   /* new inodes get its group */
        bool inherits; /* new inodes get ACLs, properties or flags from it */
        gid_t gid;
} Dir;

typedef struct Tree {
        int root_fd; /* owned */
        bool plain;  /* no directory hands anything on to what is made in it */
        uint64_t clock;
        Dir dirs[TREE_DIRS];
        size_t last;
} Tree;

void tree_init(Tree *t, int root_fd);
void tree_done(Tree *t);

/* The directory at @path ("" is the root). Valid until two other directories have been asked for.
 * Returns -errno without a story: the caller knows what it was for. */
int tree_dir(Tree *t, const char *path, Dir **ret);

/* The directory that holds @path, and its last component, which points into @path. */
int tree_parent(Tree *t, const char *path, Dir **ret, const char **ret_name);

/* The same for something to be made there: what it takes over from its directory is known then. */
int tree_maker(Tree *t, const char *path, Dir **ret, const char **ret_name);

/* The subvolume is new and its root says what all in it hand on, until tree_special(). */
int tree_begin_new(Tree *t);

/* The directory at @path hands on something else now. */
void tree_special(Tree *t, const char *path);

/* @path or something above it has been moved or removed: close what is kept of it. */
void tree_forget(Tree *t, const char *path);

/* Is a directory open at @path? False says nothing. */
bool tree_has_dir(const Tree *t, const char *path);

/* lstat() beneath the root. */
int tree_stat(Tree *t, const char *path, struct stat *ret);

/* Opens an existing regular file; never a device, fifo or link (-EINVAL, -ELOOP). */
int tree_open_file(Tree *t, const char *path, int flags, int *ret_fd, struct stat *ret_st);

/* The same after tree_stat() has just said that it is one. */
int tree_open_known_file(Tree *t, const char *path, int flags, int *ret_fd);

/* The same below any directory, at the price of two walks. */
int open_file_beneath(int root_fd, const char *path, int *ret_fd, struct stat *ret_st);

/* Is @path equal to @top or below it? */
bool path_is_below(const char *path, const char *top);
