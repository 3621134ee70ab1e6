/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* update/epoch.h - the epoch that this machine has reached: no image of an earlier one is ever installed again. Kept in two
 * files with a checksum each, so that one torn or damaged copy loses nothing. */
#pragma once

#include "base/err.h"

/* The highest that any valid copy says; 0 where there is none. Never an error: the caller has a floor of his own. */
uint64_t epoch_read(int state_fd);

/* Raises it, never lowers it. Durable; one copy is written after the other. Repeatable. */
int epoch_raise(int state_fd, uint64_t epoch, Err **reterr);
