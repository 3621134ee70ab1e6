/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* backends/parts.h - the text of slot.conf's Subvolumes=: which subvolume stands where. */
#pragma once

#include "base/err.h"

/* One pair. */
typedef struct Part {
        char *name;
        char *place;
} Part;

typedef struct PartList {
        size_t n;
        Part *parts; /* a place comes before the places inside it */
} PartList;

void part_list_done(PartList *l);
int part_list_parse(const char *text, PartList *ret, Err **reterr);
