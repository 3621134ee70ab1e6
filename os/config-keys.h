/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* os/config-keys.h - the keys of abupdated.conf. Not the files: that is os/config.c. */
#pragma once

#include "os/config.h"

typedef struct ConfigKey {
        const char *section, *key;
        /* 0, -EINVAL where it is not @allowed, -ENOMEM; a list takes the place of what was set before. */
        int (*parse)(Config *c, const char *value);
        const char *allowed; /* for people */
} ConfigKey;

/* NULL: there is none. */
const ConfigKey *config_key(const char *section, const char *key);

/* What holds where no file says anything; -ENOMEM. */
int config_defaults(Config *c);

/* Adds @owned (NULL: -ENOMEM) to a list that ends with NULL, or frees it. */
int config_add(char ***strv, char *owned);
