/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* daemon/auth.h - asks polkit, and takes everything but a clear yes for a no. */
#pragma once

#include <json-c/json.h>
#include <systemd/sd-bus.h>

#include "base/util.h"

typedef struct Auth Auth;

/* @why is a sentence for the caller where it was not granted. */
typedef void (*AuthHandler)(bool granted, const char *why, void *userdata);

/* May @caller (a unique name) do @action? @facts, a JSON object, and the class of the action are shown to polkit's rules.
 * @handler is called once, later, from the event loop, and may free the Auth. -ENOMEM or what sd-bus says. */
int auth_ask(sd_bus *bus, const char *caller, const char *action, json_object *facts,
                bool interactive, AuthHandler handler, void *userdata, Auth **ret);

/* A question without an answer is withdrawn. */
Auth *auth_free(Auth *a);
DEFINE_CLEANUP(Auth, auth_free)
