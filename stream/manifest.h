/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* stream/manifest.h - what an image is, as its maker signed it: docs/image-format.md. Strict text to plain data and back.
 * Knows nothing of signatures (signed-text.h), keys (keys.h) or of what a machine wants (update/). */
#pragma once

#include "stream/decompress.h"

#define MANIFEST_SIZE_MAX    (1u << 20)
#define MANIFEST_HEAD_MAX    (64u << 10) /* what is before the chunks */
#define MANIFEST_CHUNK_SIZE  (1u << 20)
#define MANIFEST_SUBVOLS_MAX 64u
#define MANIFEST_DIGEST_SIZE 32u /* SHA-256 */
#define MANIFEST_FORMAT      1u

typedef struct ManifestSubvol {
        char *name; /* in the stream; name_ok() */
        char *path; /* where it belongs in the slot: "/", "/usr"; normal form, no blanks */
        uint8_t uuid[16];
        bool incremental;
        uint8_t parent[16];                   /* UUID of what it builds on, where incremental */
        uint8_t digest[MANIFEST_DIGEST_SIZE]; /* tree-digest.h */
        uint64_t bytes, inodes;               /* as the gate counts them */
} ManifestSubvol;

typedef struct Manifest {
        uint8_t id[MANIFEST_DIGEST_SIZE]; /* of what was parsed: SHA-256 of the text that is signed */
        char *compatible;
        char *version;      /* name_ok() */
        char *version_text; /* for people, may be NULL */
        char *min_daemon;   /* version of abupdate that it needs at least, may be NULL */
        char *critical;     /* fields that a reader must know, may be NULL */
        uint64_t epoch;
        uint64_t build_time;  /* seconds since 1970 */
        uint64_t valid_until; /* 0: for ever */
        uint64_t payload_size, stream_size;
        uint64_t max_file_size; /* of the largest file */
        uint64_t stream_version;
        Compression compression;
        bool allow_devices, allow_setuid, allow_xattrs;
        size_t n_subvols;
        ManifestSubvol *subvols; /* in the order of the stream */
        size_t n_chunks;
        uint8_t (*chunks)[MANIFEST_DIGEST_SIZE]; /* SHA-256 of each MiB of the payload */
} Manifest;

/* Reads the signed text: fields, empty line, chunks. Everything must be as manifest_format() would write it; only fields
 * that are not known and not named by Critical= are passed over. The text is bounded, and so is the memory: below 4 MiB.
 * Errors: -EBADMSG (ERR_BAD_MANIFEST), -EOPNOTSUPP (ERR_NOT_SUPPORTED) for another Format= or a critical field, -ENOMEM. */
int manifest_parse(const char *text, size_t size, Manifest **ret, Err **reterr);

/* The text that is signed. New string; *@ret_size without the NUL. Errors: those of manifest_parse(): what could not be
 * read back is not written. */
int manifest_format(const Manifest *m, char **ret, size_t *ret_size, Err **reterr);

Manifest *manifest_free(Manifest *m);
DEFINE_CLEANUP(Manifest, manifest_free)

/* How often manifest_parse() has begun in this process: tests prove with it that nothing unverified was parsed. */
unsigned manifest_parse_count(void);

/* May it be installed at @now, in seconds since 1970? ERR_EXPIRED. */
int manifest_check_time(const Manifest *m, uint64_t now, Err **reterr);

/* Sums over the subvolumes; they do not overflow. */
uint64_t manifest_bytes(const Manifest *m);
uint64_t manifest_inodes(const Manifest *m);
