/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* daemon/event.h - what operators grep for: structured journal entries with fixed ids, explained in
 * systemd/abupdate.catalog. Fields ABUPDATE_JOB=, _TYPE=, _SLOT=, _VERSION=, _ERROR=, _UID=. */
#pragma once

#include "daemon/job.h"
#include "daemon/world.h"

#define EVENT_DAEMON_STARTED "1881806216bc4942b15172bef3063be6"
#define EVENT_JOB_STARTED    "a526daf0b5db4ee8a5ecc7189ac0e125"
#define EVENT_JOB_FINISHED   "1afff77cb0af4d3c9e3bd4861a4d411b"
#define EVENT_JOB_FAILED     "88f51c9bdc034db7820479998f1d10b0"
#define EVENT_WORKER_DIED    "d24c1036107f4fbdb11c71ed8adf3a07"
#define EVENT_SLOT_STAGED    "f484e9a397474e5e9f39709516bd5c81"
#define EVENT_SLOT_ARMED     "fb667e7b908d4ccbb88d89c63deb14bd"
#define EVENT_SLOT_BLESSED   "eb095a8cfe9b4bffbcdeeb2c5fde1359"
#define EVENT_SLOT_CONDEMNED "b75593c85bb64a3ca2de273e3f4fbced"
#define EVENT_FALLBACK       "0ddd0bec04aa4cf7bc3f97403d3d2bad"
#define EVENT_ROLLBACK       "8e058c0267e64900b820a5fff29eb580"

void event_daemon_started(void);

/* @uid: of who asked for it, 0 for the daemon itself. */
void event_job_started(const Job *j, uid_t uid);
void event_job_ended(const Job *j, uid_t uid);

/* What is different between two worlds; @old NULL: the first one, of which only a fallback is news. */
void event_world(const World *old, const World *fresh);
