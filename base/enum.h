/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* base/enum.h - one string table for every enum that leaves the process. */
#pragma once

#include "base/util.h"

/* Defines T_to_string() and T_from_string() over names[_MAX]; an unknown word is @invalid
 * (-EINVAL). */
#define DEFINE_ENUM(prefix, T, names, max, invalid)                                                \
        const char *prefix##_to_string(T v) {                                                      \
                return v >= 0 && v < (max) ? names[v] : NULL;                                      \
        }                                                                                          \
        T prefix##_from_string(const char *s) {                                                    \
                for (int i = 0; i < (max); i++)                                                    \
                        if (str_eq(names[i], s))                                                   \
                                return (T) i;                                                      \
                return (invalid);                                                                  \
        }
