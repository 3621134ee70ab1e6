/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* daemon/fields.h - JSON objects into plain structs, by table: read strictly, compared and freed by the same table.
 * Knows nothing of what the fields mean. A missing key is the zero of its type; NULL is the empty string. */
#pragma once

#include <json-c/json.h>

#include "base/err.h"
#include "dbus/worker-api.h"

typedef enum FieldType {
        FIELD_STRING, /* char * */
        FIELD_NAME,   /* char *, empty or name_ok() */
        FIELD_U64,    /* uint64_t */
        FIELD_INT,    /* int */
        FIELD_BOOL,   /* int, as sd-bus has it */
        FIELD_STRINGS /* char **, NULL-terminated, NULL where empty */
} FieldType;

typedef struct Field {
        const char *key; /* in JSON */
        FieldType type;
        size_t offset;
        const char *property; /* on the bus, where it is one that changes */
} Field;

#define STRING_MAX  WORKER_STRING_MAX
#define STRINGS_MAX 256u

/* Parses exactly one JSON object of at most @depth levels. The caller puts the result. -EBADMSG, -ENOMEM. */
int json_parse_object(const char *text, size_t size, int depth, json_object **ret, Err **reterr);

/* Reads @n fields of @object into @base, which was zeroed before. After a failure fields_done() cleans up.
 * Strings longer than STRING_MAX or with a NUL inside, lists longer than STRINGS_MAX, numbers out of range and wrong
 * types are -EBADMSG. */
int fields_read(json_object *object, const Field *fields, size_t n, void *base, Err **reterr);
void fields_done(const Field *fields, size_t n, void *base);
bool field_equal(const Field *field, const void *a, const void *b);

/* The array below @key, or NULL where it is absent; -EBADMSG where it is something else or longer than @max. */
int json_array(json_object *object, const char *key, size_t max, json_object **ret, Err **reterr);

static inline void json_putp(json_object **o) {
        if (*o)
                json_object_put(*o);
}
