/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* os/config-repeats.h - what libeconf keeps quiet about: a key that stands twice in one file, of
 * which only the first counts. */
#pragma once

#include "base/err.h"

/* Calls @tell for every key of the file at @path that stood there before. A file that cannot be read
 * has none. Negative is what @tell returned. */
int config_repeats(const char *path,
                int (*tell)(void *userdata, unsigned line, const char *section, const char *key),
                void *userdata);
