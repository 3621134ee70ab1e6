/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* update/transaction.h - what the two kinds of in-place transactions share, and the one for versions that are devices. */
#pragma once

#include "update/job.h"

/* What the changed system calls itself; where it still has the old name, @transaction tells them apart. New string. */
int transaction_version(
                Job *j, const Slot *booted, const char *transaction, char **ret, Err **reterr);

/* In place where SlotOps has in_place(): the running system gets a sprout and is changed there, while its own device
 * boots next as it was. A power cut at any moment before the end of commit boots that. */
int sprout_begin(Job *j, Err **reterr);
int sprout_commit(Job *j, const Slot *booted, Err **reterr);
int sprout_abort(Job *j, const Slot *booted, Err **reterr);
