/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* health/units.h - which units keep a boot from being complete, as systemctl tells it. */
#pragma once

#include "base/err.h"

/* Why boot-complete.target was not reached, as a sentence: the failed units that it requires itself,
 * else all that have failed, a few of them. New string; NULL: no memory. */
char *units_failure(void);
