/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <stdarg.h>

#include "base/kv.h"

enum { KEY_MAX = 64, VALUE_MAX = 4096, ENTRIES_MAX = 4096 };

struct Kv {
        size_t n;
        struct Entry {
                char *key, *value;
        } * entries;
};

int kv_new(Kv **ret) {
        Kv *kv = calloc(1, sizeof(*kv));

        if (!kv)
                return -ENOMEM;
        *ret = kv;
        return 0;
}

Kv *kv_free(Kv *kv) {
        if (kv) {
                for (size_t i = 0; i < kv->n; i++) {
                        free(kv->entries[i].key);
                        free(kv->entries[i].value);
                }
                free(kv->entries);
                free(kv);
        }
        return NULL;
}

static bool key_ok(const char *key) {
        static const char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
        static const char all[] =
                        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789.-";
        size_t n = strnlen(key, KEY_MAX + 1);

        return n > 0 && n <= KEY_MAX && strchr(letters, key[0]) && strspn(key, all) == n;
}

/* What str_printable() would leave alone is what a value may hold. */
static int value_ok(const char *value) {
        _cleanup_(freep) char *printable = NULL;

        if (strnlen(value, VALUE_MAX + 1) > VALUE_MAX)
                return 0;
        printable = str_printable(value);
        if (!printable)
                return -ENOMEM;
        return str_eq(printable, value);
}

static struct Entry *find(const Kv *kv, const char *key) {
        for (size_t i = 0; i < kv->n; i++)
                if (str_eq(kv->entries[i].key, key))
                        return &kv->entries[i];
        return NULL;
}

static int append(Kv *kv, const char *key, const char *value) {
        _cleanup_(freep) char *k = strdup(key), *v = strdup(value);
        struct Entry *entries;

        if (!k || !v)
                return -ENOMEM;
        if (kv->n >= ENTRIES_MAX)
                return -E2BIG;
        entries = reallocarray(kv->entries, kv->n + 1, sizeof(*entries));
        if (!entries)
                return -ENOMEM;
        kv->entries = entries;
        kv->entries[kv->n++] = (struct Entry){MOVE(k), MOVE(v)};
        return 0;
}

static int parse_line(Kv *kv, char *line, size_t number, Err **reterr) {
        char *eq = strchr(line, '=');
        int r;

        if (!eq)
                return err_new(reterr, EBADMSG, "line %zu: no '='", number);
        *eq = '\0';
        if (!key_ok(line))
                return err_new(reterr, EBADMSG, "line %zu: not a key", number);
        if (find(kv, line))
                return err_new(reterr, EBADMSG, "line %zu: %s= for the second time", number, line);
        r = value_ok(eq + 1);
        if (r == 0)
                return err_new(reterr, EBADMSG,
                                "line %zu: %s= has a value that is too long or not plain text",
                                number, line);
        if (r > 0)
                r = append(kv, line, eq + 1);
        return r < 0 ? err_sys(reterr, r, "line %zu", number) : 0;
}

int kv_parse(const char *text, size_t size, Kv **ret, Err **reterr) {
        _cleanup_(kv_freep) Kv *kv = NULL;
        _cleanup_(freep) char *copy = NULL;
        char *line, *nl;
        size_t number = 0;
        int r;

        if (memchr(text, '\0', size))
                return err_new(reterr, EBADMSG, "NUL in the text");
        if (size > 0 && text[size - 1] != '\n')
                return err_new(reterr, EBADMSG, "the last line has no end");
        copy = strndup(text, size);
        if (!copy)
                return err_new(reterr, ENOMEM, "out of memory");
        r = kv_new(&kv);
        if (r < 0)
                return err_new(reterr, r, "out of memory");

        for (line = copy; *line; line = nl + 1) {
                nl = strchr(line, '\n');
                *nl = '\0';
                r = parse_line(kv, line, ++number, reterr);
                if (r < 0)
                        return r;
        }
        *ret = MOVE(kv);
        return 0;
}

const char *kv_get(const Kv *kv, const char *key) {
        struct Entry *e = find(kv, key);

        return e ? e->value : NULL;
}

int kv_get_u64(const Kv *kv, const char *key, uint64_t fallback, uint64_t *ret, Err **reterr) {
        const char *v = kv_get(kv, key);

        if (!v) {
                *ret = fallback;
                return 0;
        }
        if (parse_u64(v, ret) < 0)
                return err_new(reterr, EBADMSG, "%s=%s is not a number", key, v);
        return 0;
}

int kv_get_bool(const Kv *kv, const char *key, bool fallback, bool *ret, Err **reterr) {
        const char *v = kv_get(kv, key);

        if (!v) {
                *ret = fallback;
                return 0;
        }
        if (parse_bool(v, ret) < 0)
                return err_new(reterr, EBADMSG, "%s=%s is neither yes nor no", key, v);
        return 0;
}

static void remove_entry(Kv *kv, struct Entry *e) {
        free(e->key);
        free(e->value);
        memmove(e, e + 1, (size_t) (kv->entries + kv->n - (e + 1)) * sizeof(*e));
        kv->n--;
}

int kv_set(Kv *kv, const char *key, const char *value) {
        struct Entry *e = find(kv, key);
        int r;

        if (!value || !*value) {
                if (e)
                        remove_entry(kv, e);
                return 0;
        }
        if (!key_ok(key))
                return -EINVAL;
        r = value_ok(value);
        if (r <= 0)
                return r < 0 ? r : -EINVAL;
        return e ? str_set(&e->value, value) : append(kv, key, value);
}

int kv_setf(Kv *kv, const char *key, const char *fmt, ...) {
        _cleanup_(freep) char *value = NULL;
        va_list ap;
        int n;

        va_start(ap, fmt);
        n = vasprintf(&value, fmt, ap);
        va_end(ap);
        if (n < 0) {
                value = NULL;
                return -ENOMEM;
        }
        return kv_set(kv, key, value);
}

size_t kv_count(const Kv *kv) {
        return kv->n;
}

const char *kv_key(const Kv *kv, size_t index) {
        return index < kv->n ? kv->entries[index].key : NULL;
}

int kv_format(const Kv *kv, char **ret) {
        _cleanup_(freep) char *text = NULL;
        _cleanup_(fclosep) FILE *f = NULL;
        size_t size = 0;

        f = open_memstream(&text, &size);
        if (!f)
                return -ENOMEM;
        for (size_t i = 0; i < kv->n; i++)
                fprintf(f, "%s=%s\n", kv->entries[i].key, kv->entries[i].value);
        if (fflush(f) != 0)
                return -ENOMEM;
        fclose(MOVE(f));
        *ret = MOVE(text);
        return 0;
}
