/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <fcntl.h>
#include <stdarg.h>

#include "dbus/api.h"
#include "tests/client/fake.h"

#define FIRST_DAY  UINT64_C(1790000000) /* of slot 1; each next one is a day younger */
#define DAY_LENGTH UINT64_C(86400)

void fake_log(Fake *f, const char *fmt, ...) {
        va_list ap;

        if (!f->log)
                return;
        va_start(ap, fmt);
        vfprintf(f->log, fmt, ap);
        va_end(ap);
        fputc('\n', f->log);
        fflush(f->log);
}

/* Whether --fail= names this method; then the error is in @e. */
static bool told_to_fail(Fake *f, sd_bus_message *m, sd_bus_error *e) {
        _cleanup_(freep) char *own = f->opt.fail ? strdup(f->opt.fail) : NULL;
        _cleanup_(freep) char *full = NULL;
        char *name = own ? strchr(own, '=') : NULL, *message = name ? strchr(name + 1, '=') : NULL;

        if (!message)
                return false;
        *name++ = *message++ = '\0';
        if (!str_eq(own, sd_bus_message_get_member(m)))
                return false;
        full = strchr(name, '.') ? strdup(name) : str_printf(API_ERROR_PREFIX "%s", name);
        (void) sd_bus_error_set(e, full, message);
        return true;
}

/* Reads a{sv} of scalars into the log, and the size where there is one. */
static int log_options(Fake *f, sd_bus_message *m, uint64_t *ret_size) {
        int r = sd_bus_message_enter_container(m, 'a', "{sv}");

        while (r >= 0 && (r = sd_bus_message_enter_container(m, 'e', "sv")) > 0) {
                const char *key, *contents;
                union {
                        const char *s;
                        uint64_t t;
                        int b;
                } v = {0};

                r = sd_bus_message_read(m, "s", &key);
                if (r >= 0)
                        r = sd_bus_message_peek_type(m, NULL, &contents);
                if (r >= 0)
                        r = sd_bus_message_enter_container(m, 'v', contents);
                if (r >= 0)
                        r = sd_bus_message_read_basic(m, *contents, &v);
                if (r < 0)
                        return r;
                if (*contents == 's')
                        fake_log(f, "  %s=%s", key, v.s);
                else if (*contents == 't')
                        fake_log(f, "  %s=%" PRIu64, key, v.t);
                else
                        fake_log(f, "  %s=%s", key, v.b ? "yes" : "no");
                if (str_eq(key, "detach"))
                        f->detached = v.b;
                if (str_eq(key, "size") && ret_size)
                        *ret_size = v.t;
                (void) sd_bus_message_exit_container(m);
                r = sd_bus_message_exit_container(m);
        }
        return r < 0 ? r : sd_bus_message_exit_container(m);
}

static int on_update(sd_bus_message *m, void *userdata, sd_bus_error *e) {
        Fake *f = userdata;
        const char *name;
        uint64_t size = 0;
        int fd, r = sd_bus_message_read(m, "hs", &fd, &name);

        if (r < 0)
                return r;
        fake_log(f, "%s %s", sd_bus_message_get_member(m), name);
        f->detached = false;
        r = log_options(f, m, &size);
        if (r < 0)
                return r;
        if (told_to_fail(f, m, e))
                return -EIO;
        if (str_eq(sd_bus_message_get_member(m), "Plan"))
                return sd_bus_reply_method_return(m, "a(sst)", 3, "check", "look at the image",
                                UINT64_C(0), "write", "receive image.send", size, "arm",
                                "boot slot 4 next", UINT64_C(0));
        return fake_job_begin(f, m, "update", fcntl(fd, F_DUPFD_CLOEXEC, 3), size);
}

/* Every other method that changes something: up to three strings and flags, maybe options. */
static int on_change(sd_bus_message *m, void *userdata, sd_bus_error *e) {
        Fake *f = userdata;
        const char *member = sd_bus_message_get_member(m);
        char type;
        int r;

        if (f->opt.silent)
                return 1;
        fake_log(f, "%s", member);
        while ((r = sd_bus_message_peek_type(m, &type, NULL)) > 0) {
                const char *s;
                int b;

                if (type == 'a')
                        r = log_options(f, m, NULL);
                else if (type == 's') {
                        r = sd_bus_message_read(m, "s", &s);
                        if (r >= 0)
                                fake_log(f, "  '%s'", s);
                } else {
                        r = sd_bus_message_read(m, "b", &b);
                        if (r >= 0)
                                fake_log(f, "  %s", b ? "yes" : "no");
                }
                if (r < 0)
                        return r;
        }
        if (told_to_fail(f, m, e))
                return -EIO;
        if (str_eq(member, "Begin"))
                return sd_bus_reply_method_return(m, "so", "4", API_SLOT_PATH "/_34");
        return fake_job_begin(f, m, "change", -1, 0);
}

static int on_list_slots(sd_bus_message *m, void *userdata, sd_bus_error *e) {
        Fake *f = userdata;
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *reply = NULL;
        int r;

        if (told_to_fail(f, m, e))
                return -EIO;
        r = sd_bus_message_new_method_return(m, &reply);
        if (r >= 0)
                r = sd_bus_message_open_container(reply, 'a', "(sssstbo)");
        for (unsigned i = 0; i < f->opt.slots && r >= 0; i++) {
                const FakeSlot *s = &f->slots[i];
                _cleanup_(freep) char *path = fake_slot_path(s);

                r = sd_bus_message_append(reply, "(sssstbo)", s->id, s->state, s->version,
                                s->reason, s->created, s->pinned, path);
        }
        if (r >= 0)
                r = sd_bus_message_close_container(reply);
        return r < 0 ? r : sd_bus_send(NULL, reply, NULL);
}

static int on_list_jobs(sd_bus_message *m, void *userdata, sd_bus_error *e) {
        Fake *f = userdata;

        if (told_to_fail(f, m, e))
                return -EIO;
        if (f->job == 0)
                return sd_bus_reply_method_return(m, "a(tssdo)", 0);
        return sd_bus_reply_method_return(m, "a(tssdo)", 1, f->job, f->type, "write", 0.5, f->path);
}

static int on_history(sd_bus_message *m, void *userdata, sd_bus_error *e) {
        Fake *f = userdata;
        uint32_t max;
        int r = sd_bus_message_read(m, "u", &max);

        if (r < 0)
                return r;
        fake_log(f, "GetHistory %u", max);
        if (told_to_fail(f, m, e))
                return -EIO;
        return sd_bus_reply_method_return(m, "aa{sv}", 2, 8, "time", "t", FIRST_DAY * USEC_PER_SEC,
                        "job", "t", UINT64_C(6), "type", "s", "update", "slot", "s", "4", "version",
                        "s", "4.0", "status", "i", -28, "error", "s", "NoSpace", "message", "s",
                        "12.0 MiB are short, of the 40.0 MiB that the image needs", 8, "time", "t",
                        (FIRST_DAY - DAY_LENGTH) * USEC_PER_SEC, "job", "t", UINT64_C(5), "type",
                        "s", "rollback", "slot", "s", "3", "version", "s", "3.0", "status", "i", 0,
                        "error", "s", "", "message", "s", "Slot 3 boots next");
}

static int on_check(sd_bus_message *m, void *userdata, sd_bus_error *e) {
        Fake *f = userdata;

        if (told_to_fail(f, m, e))
                return -EIO;
        if (!f->opt.findings)
                return sd_bus_reply_method_return(m, "a(ssss)", 0);
        return sd_bus_reply_method_return(m, "a(ssss)", 2, f->opt.findings, "/etc/fstab",
                        "line 3 mounts / with subvol=", "Remove subvol= from line 3.", "info",
                        "slot 1", "it is old", "");
}

static int get_manager(sd_bus *bus _unused_, const char *path _unused_,
                const char *interface _unused_, const char *property, sd_bus_message *reply,
                void *userdata, sd_bus_error *e _unused_) {
        Fake *f = userdata;
        const FakeSlot *last = &f->slots[f->opt.slots > 0 ? f->opt.slots - 1 : 0];
        _cleanup_(freep) char *slot = f->opt.slots > 0 ? fake_slot_path(last) : strdup("/");

        if (str_eq(property, "Booted") || str_eq(property, "Next") || str_eq(property, "Good"))
                return sd_bus_message_append(reply, "o", slot);
        if (str_eq(property, "RebootRequired"))
                return sd_bus_message_append(reply, "b", f->opt.reboot_required);
        if (str_eq(property, "Capabilities"))
                return sd_bus_message_append(reply, "as", 1, "incremental");
        if (str_eq(property, "Refused"))
                return sd_bus_message_append(reply, "a(ss)", 1, "0.9", "rolled back");
        if (str_eq(property, "Problems"))
                return f->opt.problem ? sd_bus_message_append(reply, "as", 1, f->opt.problem)
                                      : sd_bus_message_append(reply, "as", 0);
        return sd_bus_message_append(reply, "s",
                        str_eq(property, "State")          ? f->opt.state
                        : str_eq(property, "Verification") ? f->opt.verification
                        : str_eq(property, "Transaction")  ? f->opt.transaction
                        : str_eq(property, "Version")      ? last->version
                        : str_eq(property, "Reason")       ? "it is the default slot"
                        : str_eq(property, "Backend")      ? (f->opt.seed ? "seed" : "snapshot")
                        : str_eq(property, "BootBackend")
                                        ? (f->opt.seed ? "bls" : "default-subvolume")
                                        : "0.1.0");
}

#define PROPERTY(name, type)                                                                       \
        SD_BUS_PROPERTY(name, type, get_manager, 0, SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE)
#define METHOD(name, in, out, handler)                                                             \
        SD_BUS_METHOD(name, in, out, handler, SD_BUS_VTABLE_UNPRIVILEGED)

const sd_bus_vtable fake_manager_vtable[] = {
                SD_BUS_VTABLE_START(0),
                PROPERTY("DaemonVersion", "s"),
                PROPERTY("Backend", "s"),
                PROPERTY("BootBackend", "s"),
                PROPERTY("Verification", "s"),
                PROPERTY("Capabilities", "as"),
                PROPERTY("State", "s"),
                PROPERTY("Reason", "s"),
                PROPERTY("Version", "s"),
                PROPERTY("Booted", "o"),
                PROPERTY("Next", "o"),
                PROPERTY("Good", "o"),
                PROPERTY("RebootRequired", "b"),
                PROPERTY("Transaction", "s"),
                PROPERTY("Refused", "a(ss)"),
                PROPERTY("Problems", "as"),
                METHOD("Update", "hsa{sv}", "to", on_update),
                METHOD("Plan", "hsa{sv}", "a(sst)", on_update),
                METHOD("Begin", "a{sv}", "so", on_change),
                METHOD("Commit", "sa{sv}", "to", on_change),
                METHOD("Abort", "s", "to", on_change),
                METHOD("Rollback", "sa{sv}", "to", on_change),
                METHOD("Mark", "sss", "to", on_change),
                METHOD("Prune", "a{sv}", "to", on_change),
                METHOD("Merge", "a{sv}", "to", on_change),
                METHOD("Discard", "s", "to", on_change),
                METHOD("Pin", "sb", "to", on_change),
                METHOD("Check", "", "a(ssss)", on_check),
                METHOD("ListSlots", "", "a(sssstbo)", on_list_slots),
                METHOD("ListJobs", "", "a(tssdo)", on_list_jobs),
                METHOD("GetHistory", "u", "aa{sv}", on_history),
                SD_BUS_SIGNAL("JobNew", "to", 0),
                SD_BUS_SIGNAL("JobRemoved", "toiss", 0),
                SD_BUS_VTABLE_END,
};
