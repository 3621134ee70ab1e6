/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* stream/manifest-internal.h - the fields, once: read and written from the same tables. */
#pragma once

#include "base/kv.h"
#include "stream/manifest.h"

typedef enum FieldKind {
        FIELD_TEXT,
        FIELD_NAME,   /* name_ok() */
        FIELD_PATH,   /* absolute, normal form, no blanks */
        FIELD_NUMBER, /* 0 to 2^63-1 */
        FIELD_TIME,   /* seconds, up to the year 9999 */
        FIELD_UUID,
        FIELD_DIGEST,
        FIELD_COMPRESSION,
        FIELD_ALLOW,
        FIELD_FIXED, /* always the same number: @offset */
} FieldKind;

typedef struct ManifestField {
        const char *key;
        FieldKind kind;
        bool needed;
        size_t offset; /* into Manifest or ManifestSubvol */
} ManifestField;

extern const ManifestField manifest_fields[];
extern const size_t manifest_n_fields;
extern const ManifestField manifest_subvol_fields[];
extern const size_t manifest_n_subvol_fields;

#define MANIFEST_TIME_MAX UINT64_C(253402300799)

/* "Subvolume.07.Name" */
#define SUBVOL_KEY_SIZE 32
char *manifest_subvol_key(char buf[static SUBVOL_KEY_SIZE], size_t index, const char *key);

/* Absolute, no "." or "..", no empty component, no slash at the end, no blank. */
bool manifest_path_ok(const char *path);

static inline uint64_t manifest_chunk_count(uint64_t payload_size) {
        return payload_size / MANIFEST_CHUNK_SIZE + (payload_size % MANIFEST_CHUNK_SIZE != 0);
}
