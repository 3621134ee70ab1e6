/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* client/device.c - the device of a slot as a file, and back. */
#include "client/device-files.h"
#include "client/job.h"
#include "client/verbs.h"

static int append_options(sd_bus_message *m, const Client *c, const DeviceCall *d) {
        int r = sd_bus_message_open_container(m, 'a', "{sv}");

        if (r >= 0 && d->compress)
                r = sd_bus_message_append(m, "{sv}", "compress", "b", 1);
        if (r >= 0 && d->digest >= 0)
                r = sd_bus_message_append(m, "{sv}", "digest", "h", d->digest);
        if (r >= 0 && d->sha256)
                r = sd_bus_message_append(m, "{sv}", "sha256", "s", d->sha256);
        if (r >= 0 && d->restore && c->opt.accept)
                r = sd_bus_message_append(m, "{sv}", "accept", "s", c->opt.accept);
        return r < 0 ? r : sd_bus_message_close_container(m);
}

int verb_device(Client *c, int argc, char *argv[], Err **reterr) {
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *m = NULL;
        _cleanup_(device_call_done) DeviceCall d = DEVICE_CALL_NONE;
        int r = bus_open(c, reterr);

        if (r >= 0)
                r = device_call_open(c, argc, argv, &d, reterr);
        if (r >= 0)
                r = bus_method(c, d.restore ? "Restore" : "Export", &m, reterr);
        if (r < 0)
                return r;
        r = sd_bus_message_append(m, "hs", d.fd, d.slot);
        if (r >= 0)
                r = append_options(m, c, &d);
        if (r < 0)
                return bus_broken(r, reterr);
        d.fd = fd_close(d.fd); /* the message has one of its own */
        r = job_verb(c, m, /* download= */ NULL, reterr);
        return r < 0 ? r : device_call_end(&d, r, reterr);
}
