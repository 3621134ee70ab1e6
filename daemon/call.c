/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <fcntl.h>

#include "daemon/call.h"

static int no_memory(sd_bus_error *e) {
        return bus_error(e, ERR_NO_MEMORY, "out of memory");
}

static int add(Request *r, const char *key, json_object *value, sd_bus_error *e) {
        if (!value || json_object_object_add(r->order, key, value) < 0) {
                json_object_put(value);
                return no_memory(e);
        }
        return 0;
}

/* Valid UTF-8 by the bus; bytes above 0x7f are letters then, but for the C1 controls, which are 0xc2 0x80 to 0xc2 0x9f. */
static bool text_ok(const char *s) {
        size_t n = strnlen(s, TEXT_MAX + 1);

        if (n > TEXT_MAX)
                return false;
        for (size_t i = 0; i < n; i++) {
                unsigned char c = (unsigned char) s[i];

                if (c < 0x20 || c == 0x7f || (c == 0xc2 && (unsigned char) s[i + 1] < 0xa0))
                        return false;
        }
        return true;
}

int call_text(Request *r, const char *key, const char *value, sd_bus_error *e) {
        if (!text_ok(value))
                return bus_error(e, ERR_INVALID_ARGUMENT,
                                "%s: at most %u bytes without control characters are taken", key,
                                TEXT_MAX);
        return add(r, key, json_object_new_string(value), e);
}

int call_slot(Request *r, const char *value, sd_bus_error *e) {
        if (*value && !name_ok(value))
                return bus_error(e, ERR_INVALID_ARGUMENT, "that cannot be the name of a slot");
        return add(r, "slot", json_object_new_string(value), e);
}

int call_bool(Request *r, const char *key, bool value, sd_bus_error *e) {
        return add(r, key, json_object_new_boolean(value), e);
}

/* @wrong: the way of opening it that is of no use. */
static int copy_open(int fd, const char *what, int wrong, int *ret, sd_bus_error *e) {
        int flags = fcntl(fd, F_GETFL), copy;

        if (flags < 0)
                return sd_bus_error_set_errno(e, errno);
        if ((flags & O_PATH) || (flags & O_ACCMODE) == wrong)
                return bus_error(e, ERR_BAD_INPUT, "the %s was not opened for %s", what,
                                wrong == O_WRONLY ? "reading" : "writing");

        copy = fcntl(fd, F_DUPFD_CLOEXEC, 5);
        if (copy < 0)
                return sd_bus_error_set_errno(e, errno);
        *ret = copy;
        return 0;
}

int call_image(Request *r, int fd, sd_bus_error *e) {
        return copy_open(fd, "image", O_WRONLY, &r->image, e);
}

int call_manifest(Request *r, int fd, sd_bus_error *e) {
        int k = copy_open(fd, "manifest", O_WRONLY, &r->manifest, e);

        return k < 0 ? k : call_bool(r, "manifest", true, e);
}

int call_target(Request *r, int fd, sd_bus_error *e) {
        return copy_open(fd, "file", O_RDONLY, &r->image, e);
}

int call_digest(Request *r, int fd, sd_bus_error *e) {
        int k = copy_open(fd, "digest", O_RDONLY, &r->manifest, e);

        return k < 0 ? k : call_bool(r, "digest", true, e);
}

static int read_value(sd_bus_message *m, const CallOption *o, Request *r, sd_bus_error *e) {
        const char *contents, *s;
        const char type[2] = {o->type, '\0'};
        uint64_t t;
        char kind;
        int k, b;

        k = sd_bus_message_peek_type(m, &kind, &contents);
        if (k < 0)
                return k;
        if (kind != SD_BUS_TYPE_VARIANT || !str_eq(contents, type))
                return bus_error(e, ERR_INVALID_ARGUMENT, "option \"%s\" has type %s, not %s",
                                o->key, type, str_or(contents, "?"));

        switch (o->type) {
        case 'b':
                k = sd_bus_message_read(m, "v", "b", &b);
                if (k < 0)
                        return k;
                if (str_eq(o->key, "detach")) {
                        r->detach = b;
                        return 0;
                }
                return call_bool(r, o->key, b, e);
        case 's':
                k = sd_bus_message_read(m, "v", "s", &s);
                return k < 0 ? k : call_text(r, o->key, s, e);
        case 'h':
                k = sd_bus_message_read(m, "v", "h", &b);
                if (k < 0)
                        return k;
                return str_eq(o->key, "digest") ? call_digest(r, b, e) : call_manifest(r, b, e);
        case 't':
                k = sd_bus_message_read(m, "v", "t", &t);
                return k < 0 ? k : add(r, o->key, json_object_new_uint64(t), e);
        default: abort();
        }
}

static int read_option(sd_bus_message *m, const CallOption *options, unsigned *seen, Request *r,
                sd_bus_error *e) {
        _cleanup_(freep) char *printable = NULL;
        const char *key;
        unsigned i;
        int k;

        k = sd_bus_message_read_basic(m, 's', &key);
        if (k < 0)
                return k;
        for (i = 0; options[i].key && !str_eq(options[i].key, key); i++)
                ;
        if (!options[i].key) {
                printable = strnlen(key, TEXT_MAX + 1) <= TEXT_MAX ? str_printable(key) : NULL;
                return bus_error(e, ERR_INVALID_ARGUMENT, "unknown option \"%s\"",
                                str_or(printable, "..."));
        }
        if (*seen & (1u << i))
                return bus_error(e, ERR_INVALID_ARGUMENT, "option \"%s\" is given twice", key);
        *seen |= 1u << i;
        return read_value(m, &options[i], r, e);
}

int call_options(sd_bus_message *m, const CallOption *options, Request *r, sd_bus_error *e) {
        unsigned seen = 0;
        int k;

        k = sd_bus_message_enter_container(m, 'a', "{sv}");
        if (k < 0)
                return k;
        while ((k = sd_bus_message_enter_container(m, 'e', "sv")) > 0) {
                k = read_option(m, options, &seen, r, e);
                if (k >= 0)
                        k = sd_bus_message_exit_container(m);
                if (k < 0)
                        return k;
        }
        return k < 0 ? k : sd_bus_message_exit_container(m);
}
