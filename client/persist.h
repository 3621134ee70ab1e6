/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* client/persist.h - an update that was asked for and is to be had, written down so that it survives this process and the
 * machine: a file of root below /var/lib/abupdate (in a unit: $STATE_DIRECTORY). It holds what the command said and no
 * byte of the image; what of that has been received the daemon knows. */
#pragma once

#include "base/kv.h"
#include "client/client.h"

/* Writes down update @where as @o says it, in place of what was written down before. Durable; a power cut leaves the old or the
 * new one. -EINVAL for an image that cannot be opened a second time. */
int persist_write(const Options *o, const char *where, Err **reterr);

/* Reads it into @o; what it points to stays with *@ret, and so does *@ret_where. ERR_NOTHING_TO_DO where there is
 * none, -EBADMSG where it cannot be read. */
int persist_read(Options *o, Kv **ret, const char **ret_where, Err **reterr);

/* Forgets it; 0 also where there is none. */
int persist_drop(Err **reterr);

/* Can the same update, begun again, never end in another way than by @r with @e? (Done, or refused.) */
bool persist_is_settled(int r, const Err *e);
