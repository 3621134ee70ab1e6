/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* daemon/worker.h - one job as a process (dbus/worker-api.h). */
#pragma once

/* Takes the order from descriptor 3, does it on the machine below @root, tells how it went. Returns an exit status. */
int worker_main(const char *root);
