/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* base/err.h - an error is a negative errno plus a story: what was tried, on what, why it
 * failed, what to do. Each layer adds one clause in front; nobody below the edges logs it. */
#pragma once

#include "base/util.h"

/* The stable names that leave the process: on the bus as org.abupdate1.Error.<name>, in the
 * history, in JSON. Append only. The table in err.c is the single source of names and of abctl's
 * exit codes. */
typedef enum ErrKind {
        ERR_FAILED,            /* nothing more precise fits */
        ERR_INVALID_ARGUMENT,  /* the caller asked for something that has no meaning */
        ERR_NOT_SUPPORTED,     /* this backend, kernel or build cannot */
        ERR_BAD_CONFIG,        /* a configuration file is wrong: the text names file and line */
        ERR_NOT_BTRFS,         /* the root file system is something else */
        ERR_WRONG_LAYOUT,      /* fstab or the kernel command line defeats the boot switch */
        ERR_READ_ONLY,         /* the file system turned read-only */
        ERR_BAD_INPUT,         /* not a file or pipe one can read an image from */
        ERR_BAD_STREAM,        /* not a send stream, or a broken one */
        ERR_TRUNCATED,         /* the image ends too early */
        ERR_STALLED,           /* no byte for too long */
        ERR_UNSAFE_PATH,       /* the stream leaves its subvolume */
        ERR_FORBIDDEN_CONTENT, /* device nodes, setuid, ... that the policy does not allow */
        ERR_LIMIT_EXCEEDED,    /* more bytes, inodes, ... than allowed */
        ERR_PARENT_MISSING,    /* the base of an incremental image is not here */
        ERR_UNKNOWN_SUBVOLUME, /* the image brings a subvolume that has no place */
        ERR_NOT_SIGNED,        /* no signature, and one is asked for */
        ERR_VERIFY_FAILED,     /* what was written is not what was meant */
        ERR_ALREADY_INSTALLED, /* this version is here */
        ERR_REFUSED,           /* this version was rolled back or condemned */
        ERR_NO_SPACE,          /* the text says how many bytes are short */
        ERR_QUOTA,             /* a quota group is full */
        ERR_BUSY,              /* another job, or another exclusive operation, is running */
        ERR_CONFLICT,          /* somebody else changed the boot choice meanwhile */
        ERR_UNKNOWN_SLOT,
        ERR_UNKNOWN_JOB,
        ERR_SLOT_IN_USE, /* booted or next */
        ERR_SLOT_PINNED,
        ERR_NO_FALLBACK, /* nothing good is left to go back to */
        ERR_NOTHING_TO_DO,
        ERR_TRANSACTION_OPEN, /* a transaction must be ended first */
        ERR_NO_TRANSACTION,
        ERR_CANCELLED,
        ERR_NOT_CANCELLABLE, /* the point of no return has passed */
        ERR_WORKER_DIED,
        ERR_NO_MEMORY,
        ERR_ACCESS_DENIED, /* the policy forbids it; the bus says so in its own words */
        ERR_NO_DAEMON,     /* the client alone: no bus, or nobody answers there */
        ERR_BAD_MANIFEST,  /* not in the form that a manifest has */
        ERR_BAD_SIGNATURE, /* of a trusted key, but not valid */
        ERR_UNKNOWN_KEY,   /* signed, by nobody who is trusted here */
        ERR_REVOKED_KEY,
        ERR_NO_KEYS,          /* no key is installed: nothing can be trusted */
        ERR_BAD_IMAGE,        /* the image is not the one that was signed */
        ERR_NOT_COMPATIBLE,   /* made for another kind of machine */
        ERR_DOWNGRADE,        /* older than what is installed, or of an earlier epoch */
        ERR_EXPIRED,          /* ValidUntil= has passed */
        ERR_BAD_DEVICE,       /* a device cannot take a version: missing, foreign, in use, small */
        ERR_AMBIGUOUS_DEVICE, /* two devices say that they are the same */
        ERR_NOT_SEALED,       /* the running device is no seed */
        _ERR_KIND_MAX,
        _ERR_KIND_INVALID = -EINVAL,
} ErrKind;

typedef struct Err Err;

/* Starts a story and returns @code (a negative errno, or a positive one that is negated). The
 * kind follows from the code: -ENOSPC is ERR_NO_SPACE, -EDQUOT ERR_QUOTA, -EROFS ERR_READ_ONLY,
 * -ENOMEM ERR_NO_MEMORY, -EBUSY ERR_BUSY, -ECANCELED ERR_CANCELLED, else ERR_FAILED. With
 * @reterr NULL only the code is returned. The text of errno is added by err_sys() alone. */
int err_new(Err **reterr, int code, const char *fmt, ...) _printf_(3, 4);

/* The same with a kind of its own. */
int err_kind(Err **reterr, ErrKind kind, int code, const char *fmt, ...) _printf_(4, 5);

/* The same as err_new(), with ": " and the text of @code behind: for a system call that failed. */
int err_sys(Err **reterr, int code, const char *fmt, ...) _printf_(3, 4);

/* Puts one clause and ": " in front of the story and returns @r; starts one if there is none. */
int err_add(Err **reterr, int r, const char *fmt, ...) _printf_(3, 4);

/* Never NULL; of a NULL error "out of memory", for that is when there is none. */
const char *err_text(const Err *e);
ErrKind err_kind_of(const Err *e);
int err_code(const Err *e);
Err *err_free(Err *e);
DEFINE_CLEANUP(Err, err_free)

/* "NoSpace" and back; the exit code of abctl for a kind. */
const char *err_kind_name(ErrKind kind);
ErrKind err_kind_from_name(const char *name);
int err_kind_exit(ErrKind kind);
