/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <stdarg.h>
#include <time.h>
#include <wchar.h>

#include "base/util.h"

char *str_printf(const char *fmt, ...) {
        char *s = NULL;
        va_list ap;
        int n;

        va_start(ap, fmt);
        n = vasprintf(&s, fmt, ap);
        va_end(ap);
        return n < 0 ? NULL : s;
}

int str_set(char **dest, const char *src) {
        char *copy = NULL;

        if (src) {
                copy = strdup(src);
                if (!copy)
                        return -ENOMEM;
        }
        free(*dest);
        *dest = copy;
        return 0;
}

int parse_u64(const char *s, uint64_t *ret) {
        char *end = NULL;
        unsigned long long v;

        if (!s || s[0] < '0' || s[0] > '9')
                return -EINVAL;
        errno = 0;
        v = strtoull(s, &end, 10);
        if (errno != 0)
                return -errno;
        if (*end)
                return -EINVAL;
        *ret = v;
        return 0;
}

int parse_bool(const char *s, bool *ret) {
        static const char *const yes[] = {"yes", "true", "on", "1"};
        static const char *const no[] = {"no", "false", "off", "0"};

        for (size_t i = 0; i < ARRAY_SIZE(yes); i++)
                if (str_eq(s, yes[i])) {
                        *ret = true;
                        return 0;
                }
        for (size_t i = 0; i < ARRAY_SIZE(no); i++)
                if (str_eq(s, no[i])) {
                        *ret = false;
                        return 0;
                }
        return -EINVAL;
}

int parse_size(const char *s, uint64_t *ret) {
        static const char suffixes[] = "KMGT";
        _cleanup_(freep) char *digits = NULL;
        unsigned shift = 0;
        size_t n;
        uint64_t v;
        int r;

        if (!s || !*s)
                return -EINVAL;
        digits = strdup(s);
        if (!digits)
                return -ENOMEM;
        n = strlen(digits);
        const char *suffix = strchr(suffixes, digits[n - 1]);
        if (suffix) {
                shift = 10 * (unsigned) (suffix - suffixes + 1);
                digits[n - 1] = '\0';
        }
        r = parse_u64(digits, &v);
        if (r < 0)
                return r;
        if (v > UINT64_MAX >> shift)
                return -ERANGE;
        *ret = v << shift;
        return 0;
}

char *format_bytes(char buf[static 16], uint64_t bytes) {
        static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
        double v = (double) bytes;
        size_t i = 0;

        while (v >= 1024 && i + 1 < ARRAY_SIZE(units)) {
                v /= 1024;
                i++;
        }
        snprintf(buf, 16, i == 0 ? "%.0f %s" : "%.1f %s", v, units[i]);
        return buf;
}

/* Length of the UTF-8 sequence at @s when it is valid and printable, else 0. */
static size_t utf8_printable(const unsigned char *s) {
        size_t n = s[0] < 0x80         ? 1
                   : (s[0] >> 5) == 6  ? 2
                   : (s[0] >> 4) == 14 ? 3
                   : (s[0] >> 3) == 30 ? 4
                                       : 0;
        uint32_t c;

        if (n == 1)
                return s[0] >= 0x20 && s[0] != 0x7f ? 1 : 0;
        if (n == 0)
                return 0;
        c = s[0] & (0xffu >> (n + 1));
        for (size_t i = 1; i < n; i++) {
                if ((s[i] & 0xc0) != 0x80)
                        return 0;
                c = c << 6 | (s[i] & 0x3f);
        }
        if (c < (n == 2 ? 0x80u : n == 3 ? 0x800u : 0x10000u) || c > 0x10ffff)
                return 0;
        /* C1 controls, surrogates, and the marks that turn the direction of text on a terminal */
        if (c < 0xa0 || (c >= 0xd800 && c <= 0xdfff) || (c >= 0x202a && c <= 0x202e) ||
                        (c >= 0x2066 && c <= 0x2069))
                return 0;
        return n;
}

char *str_printable(const char *s) {
        char *out = malloc(strlen(s) * 4 + 1), *o = out;

        if (!out)
                return NULL;
        while (*s) {
                size_t n = utf8_printable((const unsigned char *) s);

                if (n > 0) {
                        o = mempcpy(o, s, n);
                        s += n;
                } else
                        o += sprintf(o, "\\x%02x", (unsigned char) *s++);
        }
        *o = '\0';
        return out;
}

char *str_told(const char *s, size_t max) {
        _cleanup_(freep) char *begin = strndup(s, max + 1);
        char *text = begin ? str_printable(begin) : NULL;
        size_t n = max - strlen("...");

        if (!text || strlen(text) <= max)
                return text;
        while (n > 0 && ((unsigned char) text[n] & 0xc0) == 0x80)
                n--;
        strcpy(text + n, "...");
        return text;
}

bool name_ok(const char *s) {
        static const char ok[] =
                        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-";
        size_t n = s ? strnlen(s, 65) : 0;

        return n > 0 && n <= 64 && s[0] != '.' && strspn(s, ok) == n;
}

static uint64_t now(clockid_t clock) {
        struct timespec ts = {0};

        clock_gettime(clock, &ts);
        return (uint64_t) ts.tv_sec * USEC_PER_SEC + (uint64_t) ts.tv_nsec / 1000;
}

uint64_t now_realtime(void) {
        return now(CLOCK_REALTIME);
}

uint64_t now_monotonic(void) {
        return now(CLOCK_MONOTONIC);
}

char *uuid_format(char buf[static UUID_TEXT_SIZE], const uint8_t u[static 16]) {
        char *o = buf;

        for (int i = 0; i < 16; i++) {
                if (i == 4 || i == 6 || i == 8 || i == 10)
                        *o++ = '-';
                o += sprintf(o, "%02x", u[i]);
        }
        return buf;
}

int uuid_parse_text(const char *s, uint8_t ret[static 16]) {
        uint8_t out[16];

        for (int i = 0; i < 16; i++) {
                unsigned v = 0;

                if (i == 4 || i == 6 || i == 8 || i == 10)
                        if (*s++ != '-')
                                return -EINVAL;
                for (int half = 0; half < 2; half++, s++) {
                        const char *hex = "0123456789abcdef", *p = *s ? strchr(hex, *s) : NULL;

                        if (!p)
                                return -EINVAL;
                        v = v << 4 | (unsigned) (p - hex);
                }
                out[i] = (uint8_t) v;
        }
        if (*s)
                return -EINVAL;
        memcpy(ret, out, 16);
        return 0;
}

bool uuid_is_null(const uint8_t u[static 16]) {
        static const uint8_t zero[16];

        return memcmp(u, zero, 16) == 0;
}
