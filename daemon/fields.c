/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <limits.h>

#include "daemon/fields.h"

#define AT(T, base, field) ((T *) ((char *) (base) + (field)->offset))

static void tokener_freep(json_tokener **t) {
        if (*t)
                json_tokener_free(*t);
}

int json_parse_object(const char *text, size_t size, int depth, json_object **ret, Err **reterr) {
        _cleanup_(tokener_freep) json_tokener *tok = json_tokener_new_ex(depth);
        _cleanup_(json_putp) json_object *o = NULL;

        if (!tok)
                return err_sys(reterr, ENOMEM, "parse JSON");
        if (size == 0 || size > INT_MAX)
                return err_new(reterr, EBADMSG, "JSON text of %zu bytes", size);

        json_tokener_set_flags(tok, JSON_TOKENER_STRICT | JSON_TOKENER_VALIDATE_UTF8);
        o = json_tokener_parse_ex(tok, text, (int) size);
        if (!o || json_tokener_get_error(tok) != json_tokener_success)
                return err_new(reterr, EBADMSG, "not JSON: %s",
                                json_tokener_error_desc(json_tokener_get_error(tok)));
        if (json_tokener_get_parse_end(tok) != size)
                return err_new(reterr, EBADMSG, "JSON text goes on after its end");
        if (!json_object_is_type(o, json_type_object))
                return err_new(reterr, EBADMSG, "JSON text is not an object");

        *ret = MOVE(o);
        return 0;
}

static int bad(const Field *f, const char *what, Err **reterr) {
        return err_new(reterr, EBADMSG, "\"%s\" is not %s", f->key, what);
}

static int read_string(json_object *o, const Field *f, char **ret, Err **reterr) {
        const char *s;
        size_t n;

        if (!json_object_is_type(o, json_type_string))
                return bad(f, "a string", reterr);

        s = json_object_get_string(o);
        n = (size_t) json_object_get_string_len(o);
        if (n > STRING_MAX || strlen(s) != n)
                return bad(f, "a string of a sane length", reterr);
        if (f->type == FIELD_NAME && n > 0 && !name_ok(s))
                return bad(f, "a name", reterr);
        if (n == 0)
                return 0;

        *ret = strdup(s);
        return *ret ? 0 : err_sys(reterr, ENOMEM, "read \"%s\"", f->key);
}

static int read_strings(json_object *o, const Field *f, char ***ret, Err **reterr) {
        size_t n;
        int r;

        if (!json_object_is_type(o, json_type_array))
                return bad(f, "a list", reterr);
        n = json_object_array_length(o);
        if (n > STRINGS_MAX)
                return bad(f, "a list of a sane length", reterr);
        if (n == 0)
                return 0;

        /* in place, so that fields_done() finds it after a failure */
        *ret = calloc(n + 1, sizeof(**ret));
        if (!*ret)
                return err_sys(reterr, ENOMEM, "read \"%s\"", f->key);
        for (size_t i = 0; i < n; i++) {
                r = read_string(json_object_array_get_idx(o, i), f, &(*ret)[i], reterr);
                if (r < 0)
                        return r;
                if (!(*ret)[i] && !((*ret)[i] = strdup("")))
                        return err_sys(reterr, ENOMEM, "read \"%s\"", f->key);
        }
        return 0;
}

static int read_field(json_object *o, const Field *f, void *base, Err **reterr) {
        int64_t v;

        switch (f->type) {
        case FIELD_STRING:
        case FIELD_NAME: return read_string(o, f, AT(char *, base, f), reterr);
        case FIELD_U64:
                if (!json_object_is_type(o, json_type_int))
                        return bad(f, "a number", reterr);
                /* json-c clips negative numbers to 0 here */
                if (json_object_get_int64(o) < 0)
                        return bad(f, "a number that is not negative", reterr);
                *AT(uint64_t, base, f) = json_object_get_uint64(o);
                return 0;
        case FIELD_INT:
                if (!json_object_is_type(o, json_type_int))
                        return bad(f, "a number", reterr);
                v = json_object_get_int64(o);
                if (v < INT_MIN || v > INT_MAX)
                        return bad(f, "a number in range", reterr);
                *AT(int, base, f) = (int) v;
                return 0;
        case FIELD_BOOL:
                if (!json_object_is_type(o, json_type_boolean))
                        return bad(f, "true or false", reterr);
                *AT(int, base, f) = json_object_get_boolean(o);
                return 0;
        case FIELD_STRINGS: return read_strings(o, f, AT(char **, base, f), reterr);
        }
        abort();
}

int fields_read(json_object *object, const Field *fields, size_t n, void *base, Err **reterr) {
        json_object *o;
        int r;

        if (!json_object_is_type(object, json_type_object))
                return err_new(reterr, EBADMSG, "an item is not an object");

        for (size_t i = 0; i < n; i++) {
                if (!json_object_object_get_ex(object, fields[i].key, &o))
                        continue;
                r = read_field(o, &fields[i], base, reterr);
                if (r < 0)
                        return r;
        }
        return 0;
}

static void strings_free(char **l) {
        for (size_t i = 0; l && l[i]; i++)
                free(l[i]);
        free(l);
}

void fields_done(const Field *fields, size_t n, void *base) {
        for (size_t i = 0; i < n; i++) {
                const Field *f = &fields[i];

                if (f->type == FIELD_STRING || f->type == FIELD_NAME) {
                        free(*AT(char *, base, f));
                        *AT(char *, base, f) = NULL;
                } else if (f->type == FIELD_STRINGS) {
                        strings_free(*AT(char **, base, f));
                        *AT(char **, base, f) = NULL;
                }
        }
}

static bool strings_equal(char *const *a, char *const *b) {
        size_t i = 0;

        if (!a || !b)
                return a == b;
        while (a[i] && str_eq(a[i], b[i]))
                i++;
        return a[i] == b[i]; /* both at their end */
}

bool field_equal(const Field *f, const void *a, const void *b) {
        switch (f->type) {
        case FIELD_STRING:
        case FIELD_NAME: return str_eq(*AT(char *const, a, f), *AT(char *const, b, f));
        case FIELD_U64: return *AT(const uint64_t, a, f) == *AT(const uint64_t, b, f);
        case FIELD_INT:
        case FIELD_BOOL: return *AT(const int, a, f) == *AT(const int, b, f);
        case FIELD_STRINGS: return strings_equal(*AT(char **const, a, f), *AT(char **const, b, f));
        }
        abort();
}

int json_array(json_object *object, const char *key, size_t max, json_object **ret, Err **reterr) {
        json_object *o;

        *ret = NULL;
        if (!json_object_object_get_ex(object, key, &o))
                return 0;
        if (!json_object_is_type(o, json_type_array))
                return err_new(reterr, EBADMSG, "\"%s\" is not a list", key);
        if (json_object_array_length(o) > max)
                return err_new(reterr, EBADMSG, "\"%s\" has more than %zu items", key, max);
        *ret = o;
        return 0;
}
