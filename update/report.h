/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* update/report.h - the machine as one JSON object, for the daemon and for people without one.
 * The members are listed in dbus/worker-api.h. */
#pragma once

#include "update/machine.h"

/* New reference. */
int report_world(Machine *m, const Facts *f, json_object **ret, Err **reterr);

/* For a machine that cannot be read: what is known of it, and @problem as its only problem. @m
 * may be NULL. */
int report_unreadable(const char *problem, json_object **ret);
