/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* base/kv.h - strict "Key=Value" text: slot.conf, the journal's records, manifests.
 * Every key at most once, lines end with \n, no blank lines, no comments, nothing guessed. */
#pragma once

#include "base/err.h"

typedef struct Kv Kv;

/* Key: a letter, then letters, digits, '.', '-'; at most 64. Value: at most 4096 bytes of valid
 * UTF-8 without control characters. */
int kv_new(Kv **ret);
Kv *kv_free(Kv *kv);
DEFINE_CLEANUP(Kv, kv_free)

/* Reads @size bytes of @text. Errors: -EBADMSG with line number and reason in the story,
 * -ENOMEM. */
int kv_parse(const char *text, size_t size, Kv **ret, Err **reterr);

/* The value or NULL; borrowed until the next kv_set() of the same key. */
const char *kv_get(const Kv *kv, const char *key);

/* As a number or yes/no; @fallback where the key is absent. -EBADMSG where the value is
 * something else. */
int kv_get_u64(const Kv *kv, const char *key, uint64_t fallback, uint64_t *ret, Err **reterr);
int kv_get_bool(const Kv *kv, const char *key, bool fallback, bool *ret, Err **reterr);

/* Sets or replaces; a NULL or empty value removes the key. -EINVAL where key or value may not be
 * written. */
int kv_set(Kv *kv, const char *key, const char *value);
int kv_setf(Kv *kv, const char *key, const char *fmt, ...) _printf_(3, 4);

/* Number of keys, and the one at @index in the order they were set. */
size_t kv_count(const Kv *kv);
const char *kv_key(const Kv *kv, size_t index);

/* The text, one line a key, in the order they were set. New string. */
int kv_format(const Kv *kv, char **ret);
