/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* stream/apply-internal.h - what the parts of the applier share. */
#pragma once

#include "stream/apply.h"
#include "stream/bases.h"
#include "stream/file.h"
#include "stream/times.h"
#include "stream/tree.h"
#include "stream/writer.h"

typedef enum NodeKind { NODE_NONE, NODE_FILE, NODE_DIR, NODE_LINK, NODE_OTHER } NodeKind;

/* The inode that commands work on just now. The kernel sends all of one inode in a row. */
typedef struct Node {
        NodeKind kind;
        char path[PATH_MAX];
        File *file;            /* of NODE_FILE */
        char parked[PATH_MAX]; /* the name the stream gave it first, if that was another */
        bool owner_known;      /* of the other kinds */
        uid_t uid;
        gid_t gid;
} Node;

/* A create that waits for the rename which usually follows it: the kernel makes every inode under a name of its own
 * in the root and moves it then. */
typedef struct Pending {
        CommandKind kind; /* 0: none */
        char path[PATH_MAX];
        char target[PATH_MAX]; /* of a symlink */
        uint64_t mode, rdev;
} Pending;

typedef struct CloneSource {
        uint8_t uuid[16];
        char path[PATH_MAX];
        int fd; /* -1: none */
} CloneSource;

typedef struct Frozen {
        uint64_t ino;
        uint32_t flags; /* FS_XFLAG_IMMUTABLE, FS_XFLAG_APPEND */
} Frozen;

struct Applier {
        const StreamArgs *args;
        Writer *writer;
        int dest_fd; /* where subvolumes are made; borrowed */
        Bases bases;
        uid_t uid; /* what new inodes get */
        gid_t gid;
        mode_t umask;
        int cwd_fd;

        bool open;
        uint8_t uuid[16]; /* of the subvolume that is being made */
        uint64_t ctransid;
        Tree tree;
        Times times;
        Node node;
        Pending pending;
        CloneSource source;
        Frozen *frozen;
        size_t frozen_count;
};

/* Makes @path the current inode; what it is may then be read from a->node.kind. */
int node_use(Applier *a, const char *path, Err **reterr);

/* The same for what has just been made. Takes @file. */
void node_made(Applier *a, const char *path, NodeKind kind, File *file);

/* Makes the current inode if it is a file that is not there yet. */
int node_birth(Applier *a, Err **reterr);

/* That, and everything noted of its contents is in it: for calls that act at once. */
int node_ready(Applier *a, Err **reterr);

/* Finishes the current inode. */
int node_drop(Applier *a, Err **reterr);

/* Makes what waits, under @path. */
int pending_make(Applier *a, const char *path, Err **reterr);

int apply_rename(Applier *a, const Command *c, Err **reterr);
int apply_link(Applier *a, const Command *c, Err **reterr);
int apply_remove(Applier *a, const Command *c, Err **reterr);

int apply_data(Applier *a, const Command *c, Err **reterr);
int apply_clone(Applier *a, const Command *c, Err **reterr);
void clone_source_done(CloneSource *s);

int apply_chmod(Applier *a, const Command *c, Err **reterr);
int apply_chown(Applier *a, const Command *c, Err **reterr);
int apply_utimes(Applier *a, const Command *c, Err **reterr);
int apply_xattr(Applier *a, const Command *c, Err **reterr);
int apply_fileattr(Applier *a, const Command *c, Err **reterr);

/* Takes immutable and append-only off @path, or off it and its directory, until the end. True if there was one. */
bool apply_thaw(Applier *a, const char *path);
bool apply_thaw_around(Applier *a, const char *path);

/* Sets these flags where they belong: at the end. */
int apply_freeze(Applier *a, Err **reterr);

/* Sets the times that were kept back. */
int apply_dir_times(Applier *a, bool at_end, Err **reterr);
