/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* update/reserve.h - a little space kept aside, so that the way back still works on a disk that is
 * full of data: a full file system refuses even a record of a few bytes. */
#pragma once

#include "base/err.h"

/* Keeps space aside in the state directory unless some is kept already. Not durable, and no error
 * where there is none to keep. */
void reserve_keep(int state_fd);

/* Gives it back to the file system: durable, so that it can be used at once. False where none was
 * kept. */
bool reserve_release(int state_fd);
