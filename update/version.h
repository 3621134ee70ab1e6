/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* update/version.h - which of two versions is newer. */
#pragma once

#include "base/util.h"

/* Below, equal to or above 0 as @a is older than, as new as or newer than @b.
 *
 * Both are read from the left, in turns: a part without digits, compared by its bytes, then a number, compared by its
 * value, whatever its length. In a part without digits "~" is older than the end, and the end is older than everything else;
 * so 1.0~rc1 < 1.0 < 1.0-2 < 1.0.1 < 1.9 < 1.10. */
int version_compare(const char *a, const char *b);
