/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* dbus/api.h - the names on the bus, shared by daemon and client. The shape is in org.abupdate1.xml. */
#pragma once

#define API_NAME              "org.abupdate1"
#define API_PATH              "/org/abupdate1"
#define API_SLOT_PATH         "/org/abupdate1/slot"
#define API_JOB_PATH          "/org/abupdate1/job"
#define API_MANAGER_INTERFACE "org.abupdate1.Manager"
#define API_SLOT_INTERFACE    "org.abupdate1.Slot"
#define API_JOB_INTERFACE     "org.abupdate1.Job"
#define API_ERROR_PREFIX      "org.abupdate1.Error."

/* polkit actions: one per class of calls */
#define API_ACTION_UPDATE    "org.abupdate1.update"
#define API_ACTION_DOWNGRADE "org.abupdate1.downgrade"
#define API_ACTION_ROLLBACK  "org.abupdate1.rollback"
#define API_ACTION_MARK      "org.abupdate1.mark"
#define API_ACTION_PRUNE     "org.abupdate1.prune"
#define API_ACTION_MERGE     "org.abupdate1.merge"
#define API_ACTION_DEVICE    "org.abupdate1.device"
#define API_ACTION_CANCEL    "org.abupdate1.cancel"
