/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* update/kept-record.h - a place in an image as strict text and back. */
#pragma once

#include "stream/receive.h"

#define KEPT_RECORD_MAX 4096u

/* New string. -ENOMEM */
int kept_format(const Manifest *m, uint64_t number, const StreamPosition *p, char **ret);

/* -EBADMSG: no such record, of another image, or of another version of abupdate. Without a story: nothing depends on it. */
int kept_parse(const char *text, size_t size, const Manifest *m, uint64_t *ret_number,
                StreamPosition *ret);

/* Of whatever image. */
int kept_summary(const char *text, size_t size, char **ret_version, uint64_t *ret_bytes);
