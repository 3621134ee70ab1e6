/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "update/version.h"

static bool digit(char c) {
        return c >= '0' && c <= '9';
}

/* Of a byte in a part without digits; a digit ends the part as the end of the text does. */
static int rank(char c) {
        return c == '~' ? -1 : c == '\0' || digit(c) ? 0 : 1 + (unsigned char) c;
}

static int compare_parts(const char **a, const char **b) {
        while (rank(**a) != 0 || rank(**b) != 0) {
                if (rank(**a) != rank(**b))
                        return rank(**a) - rank(**b);
                ++*a;
                ++*b;
        }
        return 0;
}

static int compare_numbers(const char **a, const char **b) {
        size_t n, m;
        int r;

        *a += strspn(*a, "0");
        *b += strspn(*b, "0");
        n = strspn(*a, "0123456789");
        m = strspn(*b, "0123456789");
        if (n != m)
                return n < m ? -1 : 1;
        r = memcmp(*a, *b, n);
        *a += n;
        *b += n;
        return r;
}

int version_compare(const char *a, const char *b) {
        while (*a || *b) {
                int r = compare_parts(&a, &b);

                if (r == 0)
                        r = compare_numbers(&a, &b);
                if (r != 0)
                        return r;
        }
        return 0;
}
