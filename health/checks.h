/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* health/checks.h - the administrator's checks of a booted system: programs in folders, run one
 * after another. Judges nothing: it says what they said. */
#pragma once

#include "base/err.h"

/* What the checks of this boot said, one line a check that did not pass: "error " where it was
 * required or "warning " where it was wanted, then a sentence. Below the machine's root. */
#define CHECKS_RESULT "run/abupdate/health"

/* Runs every executable file in the folders of required and of wanted checks below @root, each in a
 * process group of its own that is killed after @limit_usec (0: never). A file of the same name in
 * etc/ takes the place of the one in usr/lib/. Writes CHECKS_RESULT. Returns how many required ones
 * did not pass; an error only where nothing could be run or written. */
int checks_run(const char *root, uint64_t limit_usec, Err **reterr);

/* The first required check that did not pass at this boot, as a sentence. NULL: none, or none was
 * run. New string. */
char *checks_failure(int root_fd);
