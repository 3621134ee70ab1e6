/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "client/bus.h"
#include "client/agent.h"
#include "dbus/api.h"

static int no_bus(const Client *c, int r, Err **reterr) {
        if (c->opt.host)
                return err_kind(reterr, ERR_NO_DAEMON, r,
                                "Cannot reach the bus of %s: %s. Does 'ssh %s true' work there?",
                                c->opt.host, strerror(-r), c->opt.host);
        return err_kind(reterr, ERR_NO_DAEMON, r,
                        "There is no system bus to reach the daemon by: %s. In a rescue shell or a "
                        "container dbus-daemon or dbus-broker may not be running",
                        strerror(-r));
}

int bus_open(Client *c, Err **reterr) {
        int r;

        if (c->bus)
                return 0;
        if (c->opt.host)
                r = sd_bus_open_system_remote(&c->bus, c->opt.host);
        else
                r = sd_bus_open_system(&c->bus);
        if (r < 0)
                return no_bus(c, r, reterr);

        if (!c->opt.host && !c->opt.no_ask_password)
                agent_open();
        (void) sd_bus_set_allow_interactive_authorization(c->bus, !c->opt.no_ask_password);
        return 0;
}

void bus_close(Client *c) {
        agent_close();
        c->bus = sd_bus_flush_close_unref(c->bus);
}

int bus_broken(int r, Err **reterr) {
        if (r == -ENOMEM)
                return err_sys(reterr, r, "Cannot talk to the daemon");
        return err_new(reterr, r < 0 ? r : -EBADMSG,
                        "The daemon answered something this abctl does not understand: are both "
                        "of the same version? (%s)",
                        strerror(r < 0 ? -r : EBADMSG));
}

int bus_method(Client *c, const char *member, sd_bus_message **ret, Err **reterr) {
        int r = bus_open(c, reterr);

        if (r < 0)
                return r;
        r = sd_bus_message_new_method_call(
                        c->bus, ret, API_NAME, API_PATH, API_MANAGER_INTERFACE, member);
        return r < 0 ? bus_broken(r, reterr) : 0;
}

int bus_call(Client *c, sd_bus_message *m, uint64_t timeout, sd_bus_message **ret_reply,
                Err **reterr) {
        _cleanup_(sd_bus_error_free) sd_bus_error e = SD_BUS_ERROR_NULL;
        int r = sd_bus_call(c->bus, m, timeout, &e, ret_reply);

        return r < 0 ? bus_error(c, r, &e, reterr) : 0;
}

int bus_get_all(Client *c, const char *path, const char *interface, sd_bus_message **ret,
                Err **reterr) {
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *m = NULL;
        int r = bus_open(c, reterr);

        if (r < 0)
                return r;
        r = sd_bus_message_new_method_call(
                        c->bus, &m, API_NAME, path, "org.freedesktop.DBus.Properties", "GetAll");
        if (r >= 0)
                r = sd_bus_message_append(m, "s", interface);
        if (r < 0)
                return bus_broken(r, reterr);
        return bus_call(c, m, /* timeout= */ 0, ret, reterr);
}

/* What the bus itself or its libraries say, and what a person can do; @quote: with their own words behind. */
static const struct {
        const char *name, *text; /* text NULL: what the bus said is all there is */
        ErrKind kind;
        bool quote;
} foreign[] = {
                {SD_BUS_ERROR_ACCESS_DENIED,
                                "You may not do this: run it as root, or let a polkit rule allow "
                                "it",
                                ERR_ACCESS_DENIED, true},
                {SD_BUS_ERROR_INTERACTIVE_AUTHORIZATION_REQUIRED,
                                "This needs a password: run it on a terminal without "
                                "--no-ask-password, or as root",
                                ERR_ACCESS_DENIED, false},
                {SD_BUS_ERROR_SERVICE_UNKNOWN,
                                "abupdated is not running, and the bus does not know how to start "
                                "it: is it installed? See 'systemctl status abupdated'",
                                ERR_NO_DAEMON, false},
                {SD_BUS_ERROR_NAME_HAS_NO_OWNER,
                                "abupdated is not running: see 'systemctl status abupdated'",
                                ERR_NO_DAEMON, false},
                {SD_BUS_ERROR_NO_REPLY,
                                "abupdated went away or does not answer: 'journalctl -u abupdated' "
                                "says why, 'abctl status' how the machine stands",
                                ERR_NO_DAEMON, false},
                {SD_BUS_ERROR_TIMEOUT,
                                "abupdated does not answer: 'journalctl -u abupdated' says why",
                                ERR_NO_DAEMON, false},
                {SD_BUS_ERROR_DISCONNECTED,
                                "The bus went away: 'abctl status' says how the machine stands",
                                ERR_NO_DAEMON, false},
                {SD_BUS_ERROR_UNKNOWN_METHOD,
                                "The running abupdated is older than this abctl and cannot do "
                                "this: "
                                "restart it by 'systemctl restart abupdated'",
                                ERR_NOT_SUPPORTED, false},
                {SD_BUS_ERROR_INVALID_ARGS, NULL, ERR_INVALID_ARGUMENT, true},
                {SD_BUS_ERROR_LIMITS_EXCEEDED, "Too many calls at once: try again in a moment",
                                ERR_BUSY, true},
                {SD_BUS_ERROR_NO_MEMORY, "The daemon is out of memory", ERR_NO_MEMORY, false},
};

static int foreign_error(size_t i, int r, const char *said, Err **reterr) {
        if (!foreign[i].text)
                return err_kind(reterr, foreign[i].kind, r, "%s", said);
        if (foreign[i].quote && *said)
                return err_kind(reterr, foreign[i].kind, r, "%s (%s)", foreign[i].text, said);
        return err_kind(reterr, foreign[i].kind, r, "%s", foreign[i].text);
}

static int named_error(const char *name, int r, const char *said, Err **reterr) {
        const char *ours = str_after(name, API_ERROR_PREFIX);
        ErrKind kind = err_kind_from_name(ours ? ours : name);

        if (kind >= 0)
                return err_kind(reterr, kind, r, "%s", *said ? said : err_kind_name(kind));
        for (size_t i = 0; i < ARRAY_SIZE(foreign); i++)
                if (str_eq(foreign[i].name, name))
                        return foreign_error(i, r, said, reterr);
        if (str_after(name, "org.freedesktop.DBus.Error.Spawn."))
                return err_kind(reterr, ERR_NO_DAEMON, r,
                                "abupdated does not start (%s): 'systemctl status abupdated' and "
                                "'journalctl -u abupdated' say why",
                                *said ? said : name);
        return err_new(reterr, r, "%s (%s)", *said ? said : "The daemon refused", name);
}

int bus_error(Client *c, int r, const sd_bus_error *e, Err **reterr) {
        if (r == -ECONNRESET || r == -ENOTCONN || r == -EPIPE)
                return c->opt.host ? no_bus(c, r, reterr)
                                   : named_error(SD_BUS_ERROR_DISCONNECTED, r, "", reterr);
        if (!e || !e->name)
                return no_bus(c, r < 0 ? r : -EIO, reterr);
        return named_error(e->name, r < 0 ? r : -EIO, str_or(e->message, ""), reterr);
}

int bus_job_error(int status, const char *name, const char *message, Err **reterr) {
        return named_error(*name ? name : err_kind_name(ERR_FAILED), status < 0 ? status : -EIO,
                        *message ? message : "The job failed without saying why", reterr);
}
