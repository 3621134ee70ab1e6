/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <json-c/json.h>

#include "tests/unit/fake-memory.h"
#include "tests/unit/fake.h"

static unsigned count, fail_at, paused;
static bool fail_from, failed;

void memory_break(unsigned at, bool from) {
        count = 0;
        fail_at = at;
        fail_from = from;
        failed = false;
}

bool memory_heal(void) {
        fail_at = 0;
        return failed;
}

static bool runs_out(void) {
        if (fail_at == 0 || paused > 0)
                return false;
        count++;
        if (count != fail_at && !(fail_from && count > fail_at))
                return false;
        failed = true;
        errno = ENOMEM;
        return true;
}

/* A function that gives NULL when memory is short. */
#define WRAP(type, name, params, args)                                                             \
        type __real_##name params;                                                                 \
        type __wrap_##name params;                                                                 \
        type __wrap_##name params {                                                                \
                return runs_out() ? NULL : __real_##name args;                                     \
        }

WRAP(void *, malloc, (size_t size), (size))
WRAP(void *, calloc, (size_t n, size_t size), (n, size))
WRAP(void *, realloc, (void *p, size_t size), (p, size))
WRAP(void *, reallocarray, (void *p, size_t n, size_t size), (p, n, size))
WRAP(char *, strdup, (const char *s), (s))
WRAP(char *, strndup, (const char *s, size_t n), (s, n))
WRAP(FILE *, open_memstream, (char **p, size_t *size), (p, size))
WRAP(DIR *, fdopendir, (int fd), (fd))
WRAP(json_object *, json_object_new_object, (void), ())
WRAP(json_object *, json_object_new_array, (void), ())
WRAP(json_object *, json_object_new_int, (int32_t i), (i))
WRAP(json_object *, json_object_new_uint64, (uint64_t i), (i))
WRAP(json_object *, json_object_new_string, (const char *s), (s))
WRAP(const char *, json_object_to_json_string_ext, (json_object * o, int flags), (o, flags))

int __real_vasprintf(char **p, const char *fmt, va_list ap) _printf_(2, 0);
int __wrap_vasprintf(char **p, const char *fmt, va_list ap) _printf_(2, 0);
int __wrap_vasprintf(char **p, const char *fmt, va_list ap) {
        return runs_out() ? -1 : __real_vasprintf(p, fmt, ap);
}

int __real_json_object_object_add(json_object *o, const char *key, json_object *v);
int __wrap_json_object_object_add(json_object *o, const char *key, json_object *v);
int __wrap_json_object_object_add(json_object *o, const char *key, json_object *v) {
        return runs_out() ? -1 : __real_json_object_object_add(o, key, v);
}

int __real_json_object_array_add(json_object *o, json_object *v);
int __wrap_json_object_array_add(json_object *o, json_object *v);
int __wrap_json_object_array_add(json_object *o, json_object *v) {
        return runs_out() ? -1 : __real_json_object_array_add(o, v);
}

/* What belongs to the test. */

void __real_put_file(int dir_fd, const char *path, const char *text);
void __wrap_put_file(int dir_fd, const char *path, const char *text);
void __wrap_put_file(int dir_fd, const char *path, const char *text) {
        paused++;
        __real_put_file(dir_fd, path, text);
        paused--;
}

Machine *__real_fake_machine(Fake *f);
Machine *__wrap_fake_machine(Fake *f);
Machine *__wrap_fake_machine(Fake *f) {
        Machine *m;

        paused++;
        m = __real_fake_machine(f);
        paused--;
        return m;
}
