/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* base/util.h - the handful of macros and helpers that every file uses: cleanup, ownership,
 * strings. Knows nothing of Btrfs, the bus or slots. */
#pragma once

#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define _cleanup_(f)   __attribute__((cleanup(f)))
#define _printf_(a, b) __attribute__((format(printf, a, b)))
#define _unused_       __attribute__((unused))
#define ARRAY_SIZE(a)  (sizeof(a) / sizeof((a)[0]))
#define USEC_PER_SEC   UINT64_C(1000000)

/* Hand ownership on: yields the value and leaves NULL behind. */
#define MOVE(p)                                                                                    \
        ({                                                                                         \
                __typeof__(p) moved_ = (p);                                                        \
                (p) = NULL;                                                                        \
                moved_;                                                                            \
        })

/* The same for a file descriptor: yields it and leaves -1 behind. */
#define MOVE_FD(fd)                                                                                \
        ({                                                                                         \
                int moved_ = (fd);                                                                 \
                (fd) = -1;                                                                         \
                moved_;                                                                            \
        })

/* For a T *f(T *) that frees and returns NULL: defines fp() for _cleanup_(fp). */
#define DEFINE_CLEANUP(T, f)                                                                       \
        static inline void f##p(T **p) {                                                           \
                *p = f(*p);                                                                        \
        }

static inline void freep(void *p) {
        free(*(void **) p);
}

/* Closes @fd if it is one, keeps errno, returns -1: fd = fd_close(fd). */
static inline int fd_close(int fd) {
        if (fd >= 0) {
                int saved = errno;

                close(fd);
                errno = saved;
        }
        return -1;
}

static inline void fd_closep(int *fd) {
        *fd = fd_close(*fd);
}

static inline void fclosep(FILE **f) {
        if (*f)
                fclose(*f);
}

static inline void closedirp(DIR **d) {
        if (*d)
                closedir(*d);
}

/* NULL equals only NULL. */
static inline bool str_eq(const char *a, const char *b) {
        return a == b || (a && b && strcmp(a, b) == 0);
}

static inline const char *str_or(const char *s, const char *fallback) {
        return s ? s : fallback;
}

/* If @s begins with @prefix: what follows it, else NULL. */
static inline const char *str_after(const char *s, const char *prefix) {
        size_t n = strlen(prefix);

        return strncmp(s, prefix, n) == 0 ? s + n : NULL;
}

/* asprintf() that returns the new string or NULL when memory is short. */
char *str_printf(const char *fmt, ...) _printf_(1, 2);

/* Replaces *@dest by a copy of @src (NULL stays NULL). Returns 0 or -ENOMEM, then *@dest is as
 * before. */
int str_set(char **dest, const char *src);

/* Decimal only, no sign, no blanks, no leading '+', whole string. Returns 0, -EINVAL or -ERANGE. */
int parse_u64(const char *s, uint64_t *ret);

/* "yes|true|on|1" and "no|false|off|0". Returns 0 or -EINVAL. */
int parse_bool(const char *s, bool *ret);

/* Bytes with an optional suffix K, M, G, T (powers of 1024). Returns 0, -EINVAL or -ERANGE. */
int parse_size(const char *s, uint64_t *ret);

/* "1.3 GiB", for people. The buffer is the caller's, at least 16 bytes; returned for
 * convenience. */
char *format_bytes(char buf[static 16], uint64_t bytes);

/* Control characters and invalid UTF-8 of @s as \xNN, for logs and terminals: whoever chose a
 * name must not write escape sequences there. New string, or NULL when memory is short. */
char *str_printable(const char *s);

/* The same, and at most @max bytes of it, 4 or more: of what is longer the beginning, with "..." behind. */
char *str_told(const char *s, size_t max);

/* A slot, job or transaction name that may become a path component: 1 to 64 of [A-Za-z0-9._-],
 * no leading dot. */
bool name_ok(const char *s);

/* Microseconds of CLOCK_REALTIME and of CLOCK_MONOTONIC. */
uint64_t now_realtime(void);
uint64_t now_monotonic(void);

/* 16 bytes as 8-4-4-4-12 hex digits, and back. The parser returns 0 or -EINVAL. */
#define UUID_TEXT_SIZE 37
char *uuid_format(char buf[static UUID_TEXT_SIZE], const uint8_t uuid[static 16]);
int uuid_parse_text(const char *s, uint8_t ret[static 16]);
bool uuid_is_null(const uint8_t uuid[static 16]);
