/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <inttypes.h>

#include "daemon/auth.h"

#define POLKIT_NAME      "org.freedesktop.PolicyKit1"
#define POLKIT_PATH      "/org/freedesktop/PolicyKit1/Authority"
#define POLKIT_INTERFACE "org.freedesktop.PolicyKit1.Authority"

#define ALLOW_USER_INTERACTION UINT32_C(1)

/* A person may have to find his password; a daemon may not. */
#define WAIT_INTERACTIVE (120 * USEC_PER_SEC)
#define WAIT_ALONE       (25 * USEC_PER_SEC)

struct Auth {
        sd_bus *bus;
        sd_bus_slot *slot;
        char *id; /* for withdrawing; NULL once answered */
        AuthHandler handler;
        void *userdata;
        bool interactive;
};

static const char *refusal(const Auth *a, bool challenge) {
        if (!challenge)
                return "polkit does not allow it";
        if (!a->interactive)
                return "authentication is needed, and the call did not allow to ask for it";
        return "authentication is needed, and nobody can be asked for it";
}

static bool timed_out(const sd_bus_error *e) {
        return sd_bus_error_has_name(e, SD_BUS_ERROR_NO_REPLY) ||
               sd_bus_error_has_name(e, SD_BUS_ERROR_TIMEOUT);
}

static const char *failure(const sd_bus_error *e) {
        if (sd_bus_error_has_name(e, SD_BUS_ERROR_SERVICE_UNKNOWN) ||
                        sd_bus_error_has_name(e, SD_BUS_ERROR_NAME_HAS_NO_OWNER))
                return "without polkit only root may do that";
        if (timed_out(e))
                return "polkit did not answer";
        return "polkit cannot be asked";
}

static int on_answer(sd_bus_message *m, void *userdata, sd_bus_error *ret_error) {
        const sd_bus_error *e = sd_bus_message_get_error(m);
        int granted = false, challenge = false;
        const char *why = NULL;
        Auth *a = userdata;

        (void) ret_error;
        if (e)
                why = failure(e);
        else if (!sd_bus_message_has_signature(m, "(bba{ss})") ||
                        sd_bus_message_enter_container(m, 'r', "bba{ss}") <= 0 ||
                        sd_bus_message_read(m, "bb", &granted, &challenge) <= 0) {
                granted = false;
                why = "polkit's answer makes no sense";
        } else if (!granted)
                why = refusal(a, challenge);

        /* After a timeout polkit may still be asking somebody: then auth_free() withdraws. */
        if (!e || !timed_out(e)) {
                free(a->id);
                a->id = NULL;
        }
        a->handler(granted, why, a->userdata);
        return 1;
}

static int append_detail(sd_bus_message *m, const char *key, const char *value) {
        return sd_bus_message_append(m, "{ss}", key, value);
}

static int append_details(sd_bus_message *m, const char *action, json_object *facts) {
        const char *class = strrchr(action, '.');
        int r;

        r = sd_bus_message_open_container(m, 'a', "{ss}");
        if (r >= 0)
                r = append_detail(m, "class", class ? class + 1 : action);
        if (facts && json_object_object_length(facts) > 0) {
                json_object_object_foreach(facts, key, value) {
                        if (r >= 0)
                                r = append_detail(m, key, json_object_get_string(value));
                }
        }
        return r < 0 ? r : sd_bus_message_close_container(m);
}

int auth_ask(sd_bus *bus, const char *caller, const char *action, json_object *facts,
                bool interactive, AuthHandler handler, void *userdata, Auth **ret) {
        static uint64_t counter;
        _cleanup_(auth_freep) Auth *a = calloc(1, sizeof(*a));
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *m = NULL;
        _cleanup_(freep) char *id = str_printf("abupdated-%" PRIu64, ++counter);
        int r;

        if (!a || !id)
                return -ENOMEM;
        a->bus = sd_bus_ref(bus);
        a->handler = handler;
        a->userdata = userdata;
        a->interactive = interactive;

        r = sd_bus_message_new_method_call(
                        bus, &m, POLKIT_NAME, POLKIT_PATH, POLKIT_INTERFACE, "CheckAuthorization");
        if (r >= 0)
                r = sd_bus_message_append(
                                m, "(sa{sv})s", "system-bus-name", 1, "name", "s", caller, action);
        if (r >= 0)
                r = append_details(m, action, facts);
        if (r >= 0)
                r = sd_bus_message_append(
                                m, "us", interactive ? ALLOW_USER_INTERACTION : UINT32_C(0), id);
        if (r >= 0)
                r = sd_bus_call_async(bus, &a->slot, m, on_answer, a,
                                interactive ? WAIT_INTERACTIVE : WAIT_ALONE);
        if (r < 0)
                return r;

        a->id = MOVE(id);
        *ret = MOVE(a);
        return 0;
}

Auth *auth_free(Auth *a) {
        if (a) {
                sd_bus_slot_unref(a->slot);
                if (a->id)
                        (void) sd_bus_call_method_async(a->bus, NULL, POLKIT_NAME, POLKIT_PATH,
                                        POLKIT_INTERFACE, "CancelCheckAuthorization", NULL, NULL,
                                        "s", a->id);
                sd_bus_unref(a->bus);
                free(a->id);
                free(a);
        }
        return NULL;
}
