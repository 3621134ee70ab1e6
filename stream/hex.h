/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* stream/hex.h - digests as text: two lower-case digits a byte, nothing else is read. */
#pragma once

#include "base/util.h"

static inline int hex_digit(char c) {
        return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* Reads 2 * @size digits of @text and looks at nothing behind them. */
static inline bool hex_read(const char *text, uint8_t *ret, size_t size) {
        for (size_t i = 0; i < size; i++) {
                int high = hex_digit(text[2 * i]), low = high < 0 ? -1 : hex_digit(text[2 * i + 1]);

                if (low < 0)
                        return false;
                ret[i] = (uint8_t) (high << 4 | low);
        }
        return true;
}

/* Writes 2 * @size digits and a NUL. */
static inline char *hex_write(char *buf, const uint8_t *data, size_t size) {
        static const char digits[] = "0123456789abcdef";

        for (size_t i = 0; i < size; i++) {
                buf[2 * i] = digits[data[i] >> 4];
                buf[2 * i + 1] = digits[data[i] & 15];
        }
        buf[2 * size] = '\0';
        return buf;
}
