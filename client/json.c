/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <ctype.h>

#include "client/json.h"

static json_object *member(json_object *o, const char *key, json_type type) {
        json_object *v = NULL;

        if (!o || !json_object_is_type(o, json_type_object) ||
                        !json_object_object_get_ex(o, key, &v) || !json_object_is_type(v, type))
                return NULL;
        return v;
}

const char *jstr(json_object *o, const char *key) {
        json_object *v = member(o, key, json_type_string);

        return v ? json_object_get_string(v) : "";
}

uint64_t ju64(json_object *o, const char *key) {
        json_object *v = member(o, key, json_type_int);

        return v ? json_object_get_uint64(v) : 0;
}

double jdouble(json_object *o, const char *key) {
        json_object *v = member(o, key, json_type_double);

        return v ? json_object_get_double(v) : 0;
}

bool jbool(json_object *o, const char *key) {
        json_object *v = member(o, key, json_type_boolean);

        return v && json_object_get_boolean(v);
}

json_object *jarray(json_object *o, const char *key) {
        return member(o, key, json_type_array);
}

int jset(json_object *o, const char *key, json_object *value) {
        if (!o || !value || json_object_object_add(o, key, value) < 0) {
                json_object_put(value);
                return -ENOMEM;
        }
        return 0;
}

int jset_str(json_object *o, const char *key, const char *value) {
        return jset(o, key, json_object_new_string(str_or(value, "")));
}

int jset_u64(json_object *o, const char *key, uint64_t value) {
        return jset(o, key, json_object_new_uint64(value));
}

int jset_bool(json_object *o, const char *key, bool value) {
        return jset(o, key, json_object_new_boolean(value));
}

int jappend(json_object *array, json_object *value) {
        if (!array || !value || json_object_array_add(array, value) < 0) {
                json_object_put(value);
                return -ENOMEM;
        }
        return 0;
}

/* "RebootRequired" -> "reboot-required"; lower case stays, and so do paths and the names of interfaces. */
static char *key_name(const char *s) {
        char *out, *o;

        if (strpbrk(s, "./"))
                return strdup(s);
        o = out = malloc(2 * strlen(s) + 1);
        for (const char *p = s; out && *p; p++) {
                if (isupper((unsigned char) *p) && p > s && p[-1] != '-')
                        *o++ = '-';
                *o++ = (char) tolower((unsigned char) *p);
        }
        if (out)
                *o = '\0';
        return out;
}

static int basic_from_bus(sd_bus_message *m, char type, json_object **ret) {
        union {
                const char *s;
                uint8_t y;
                int b, i, h;
                int16_t n;
                uint16_t q;
                uint32_t u;
                int64_t x;
                uint64_t t;
                double d;
        } v;
        int r = sd_bus_message_read_basic(m, type, &v);

        if (r < 0)
                return r;
        switch (type) {
        case 's':
        case 'o':
        case 'g': *ret = json_object_new_string(v.s); break;
        case 'y': *ret = json_object_new_int(v.y); break;
        case 'b': *ret = json_object_new_boolean(v.b); break;
        case 'n': *ret = json_object_new_int(v.n); break;
        case 'q': *ret = json_object_new_int(v.q); break;
        case 'i': *ret = json_object_new_int(v.i); break;
        case 'u': *ret = json_object_new_int64(v.u); break;
        case 'x': *ret = json_object_new_int64(v.x); break;
        case 't': *ret = json_object_new_uint64(v.t); break;
        case 'd': *ret = json_object_new_double(v.d); break;
        case 'h': *ret = NULL; return 0;
        default: return -EBADMSG;
        }
        return *ret ? 0 : -ENOMEM;
}

static int dict_from_bus(sd_bus_message *m, const char *contents, json_object **ret) {
        _cleanup_(json_unrefp) json_object *o = json_object_new_object();
        _cleanup_(freep) char *entry = strndup(contents + 1, strlen(contents) - 2);
        int r;

        if (!o || !entry)
                return -ENOMEM;
        r = sd_bus_message_enter_container(m, 'a', contents);
        while (r >= 0 && (r = sd_bus_message_enter_container(m, 'e', entry)) > 0) {
                _cleanup_(freep) char *key = NULL;
                json_object *value = NULL;
                const char *s;

                r = sd_bus_message_read_basic(m, *entry, &s);
                if (r < 0)
                        return r;
                key = key_name(s);
                if (!key)
                        return -ENOMEM;
                r = json_from_bus(m, &value);
                if (r >= 0 && json_object_object_add(o, key, value) < 0)
                        r = -ENOMEM;
                if (r >= 0)
                        r = sd_bus_message_exit_container(m);
        }
        if (r < 0)
                return r;
        *ret = MOVE(o);
        return sd_bus_message_exit_container(m);
}

/* An array or a structure: one value after the other. */
static int list_from_bus(sd_bus_message *m, char type, const char *contents, json_object **ret) {
        _cleanup_(json_unrefp) json_object *o = json_object_new_array();
        int r;

        if (!o)
                return -ENOMEM;
        r = sd_bus_message_enter_container(m, type, contents);
        while (r >= 0 && (r = sd_bus_message_at_end(m, /* complete= */ 0)) == 0) {
                json_object *value = NULL;

                r = json_from_bus(m, &value);
                if (r >= 0 && json_object_array_add(o, value) < 0)
                        r = -ENOMEM;
        }
        if (r < 0)
                return r;
        *ret = MOVE(o);
        return sd_bus_message_exit_container(m);
}

int json_from_bus(sd_bus_message *m, json_object **ret) {
        const char *contents;
        char type;
        int r;

        *ret = NULL;
        r = sd_bus_message_peek_type(m, &type, &contents);
        if (r <= 0)
                return r < 0 ? r : -EBADMSG;
        switch (type) {
        case 'v':
                r = sd_bus_message_enter_container(m, type, contents);
                if (r >= 0)
                        r = json_from_bus(m, ret);
                return r < 0 ? r : sd_bus_message_exit_container(m);
        case 'a':
                /* keys that are no strings do not occur in this interface */
                if (contents[0] == '{' && (contents[1] == 's' || contents[1] == 'o'))
                        return dict_from_bus(m, contents, ret);
                return list_from_bus(m, type, contents, ret);
        case 'r': return list_from_bus(m, type, contents, ret);
        default: return basic_from_bus(m, type, ret);
        }
}
