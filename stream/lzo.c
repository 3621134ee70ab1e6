/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <endian.h>

#include "stream/lzo.h"

/* How many literals the instruction before copied, which decides what a small instruction means. */
enum { AFTER_MATCH = 0, AFTER_RUN = 4 };

typedef struct Lzo {
        const uint8_t *in, *in_end;
        uint8_t *out, *out_start, *out_end;
} Lzo;

static bool take(Lzo *z, uint8_t *ret) {
        if (z->in == z->in_end)
                return false;
        *ret = *z->in++;
        return true;
}

static bool copy_literals(Lzo *z, size_t n) {
        if ((size_t) (z->in_end - z->in) < n || (size_t) (z->out_end - z->out) < n)
                return false;
        memcpy(z->out, z->in, n);
        z->in += n;
        z->out += n;
        return true;
}

/* Source and destination may overlap: that is how runs are packed. */
static bool copy_match(Lzo *z, size_t distance, size_t n) {
        if ((size_t) (z->out - z->out_start) < distance || (size_t) (z->out_end - z->out) < n)
                return false;
        for (; n > 0; n--, z->out++)
                *z->out = z->out[-(ssize_t) distance];
        return true;
}

/* A length whose bits in the instruction are all zero goes on in bytes: 255 for each zero byte, then the rest. */
static bool long_length(Lzo *z, size_t base, size_t *length) {
        uint8_t b;

        if (*length != 0)
                return true;
        *length = base;
        for (;;) {
                if (!take(z, &b))
                        return false;
                if (b != 0)
                        break;
                *length += 255;
        }
        *length += b;
        return true;
}

ssize_t lzo1x_unpack(const uint8_t *in, size_t in_size, uint8_t *out, size_t out_size) {
        Lzo z = {in, in + in_size, out, out, out + out_size};
        size_t state = AFTER_MATCH, length, distance, trailing;
        uint8_t op, low, high;

        if (in_size > 0 && in[0] > 17) {
                z.in++;
                length = in[0] - 17u;
                if (!copy_literals(&z, length))
                        return -EBADMSG;
                state = length < 4 ? length : AFTER_RUN;
        }

        for (;;) {
                if (!take(&z, &op))
                        return -EBADMSG;

                if (op < 16 && state == AFTER_MATCH) {
                        length = op;
                        if (!long_length(&z, 15, &length) || !copy_literals(&z, length + 3))
                                return -EBADMSG;
                        state = AFTER_RUN;
                        continue;
                }

                trailing = op & 3;
                if (op < 16 || op >= 64) {
                        if (!take(&z, &high))
                                return -EBADMSG;
                        if (op >= 64) {
                                length = (op >> 5) + 1u;
                                distance = ((size_t) high << 3) + (op >> 2 & 7) + 1;
                        } else {
                                length = state == AFTER_RUN ? 3 : 2;
                                distance = ((size_t) high << 2) + (op >> 2) +
                                           (state == AFTER_RUN ? 2049 : 1);
                        }
                } else {
                        length = op & (op >= 32 ? 31 : 7);
                        if (!long_length(&z, op >= 32 ? 31 : 7, &length))
                                return -EBADMSG;
                        length += 2;
                        if (!take(&z, &low) || !take(&z, &high))
                                return -EBADMSG;
                        distance = (size_t) (low >> 2) + ((size_t) high << 6);
                        distance += op >= 32 ? 1 : 16384 + ((size_t) (op & 8) << 11);
                        trailing = low & 3;
                        if (op < 32 && distance == 16384)
                                return z.in == z.in_end ? z.out - z.out_start : -EBADMSG;
                }
                if (!copy_match(&z, distance, length) || !copy_literals(&z, trailing))
                        return -EBADMSG;
                state = trailing;
        }
}

static uint32_t get_le32(const uint8_t *p) {
        uint32_t v;

        memcpy(&v, p, sizeof(v));
        return le32toh(v);
}

ssize_t lzo_extent_unpack(
                const uint8_t *in, size_t in_size, size_t sector, uint8_t *out, size_t out_size) {
        size_t at = 4, done = 0, total;

        total = in_size >= 4 ? get_le32(in) : 0;
        if (total < 4 || total > in_size)
                return -EBADMSG;

        while (at < total && done < out_size) {
                size_t room = sector - at % sector, want;
                uint8_t piece[65536];
                size_t length;
                ssize_t n;

                if (room < 4)
                        at += room;
                if (at > total || total - at < 4)
                        return -EBADMSG;
                length = get_le32(in + at);
                at += 4;
                if (length > total - at)
                        return -EBADMSG;
                n = lzo1x_unpack(in + at, length, piece, sector);
                if (n < 0)
                        return n;
                want = out_size - done < (size_t) n ? out_size - done : (size_t) n;
                memcpy(out + done, piece, want);
                done += want;
                at += length;
        }
        return (ssize_t) done;
}
