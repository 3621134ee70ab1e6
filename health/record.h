/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* health/record.h - the running slot by its own record, for a boot in which the machine cannot be
 * read: that needs the boot partition, and may be what the new version fails to mount. */
#pragma once

#include "base/err.h"

/* 1 where the system that runs is a slot that was never proven: no loader takes it for good. 0 where
 * it was, or where it is no slot. Writes nothing. */
int record_unproven(int root_fd, Err **reterr);
