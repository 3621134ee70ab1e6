/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <zlib.h>

#include "base/kv.h"
#include "os/file.h"
#include "update/epoch.h"

static const char *const copies[] = {"epoch.a", "epoch.b"};

static uint32_t sum_of(uint64_t epoch) {
        char text[32];
        int n = snprintf(text, sizeof(text), "Epoch=%" PRIu64 "\n", epoch);

        return (uint32_t) crc32_z(0, (const unsigned char *) text, (size_t) n);
}

static int read_copy(int state_fd, const char *name, uint64_t *ret) {
        _cleanup_(freep) char *text = NULL;
        _cleanup_(kv_freep) Kv *kv = NULL;
        uint64_t epoch, sum;
        size_t size;
        int r = file_read_at(state_fd, name, 256, &text, &size, NULL);

        if (r >= 0)
                r = kv_parse(text, size, &kv, NULL);
        if (r >= 0)
                r = kv_get_u64(kv, "Epoch", 0, &epoch, NULL);
        if (r >= 0)
                r = kv_get_u64(kv, "Sum", UINT64_MAX, &sum, NULL);
        if (r >= 0 && sum != sum_of(epoch))
                r = -EBADMSG;
        if (r >= 0)
                *ret = epoch;
        return r;
}

uint64_t epoch_read(int state_fd) {
        uint64_t max = 0, epoch;

        for (size_t i = 0; i < ARRAY_SIZE(copies); i++)
                if (read_copy(state_fd, copies[i], &epoch) >= 0 && epoch > max)
                        max = epoch;
        return max;
}

int epoch_raise(int state_fd, uint64_t epoch, Err **reterr) {
        uint64_t now = epoch_read(state_fd), copy;
        char text[64];
        int n;

        if (epoch < now)
                epoch = now;
        n = snprintf(text, sizeof(text), "Epoch=%" PRIu64 "\nSum=%" PRIu32 "\n", epoch,
                        sum_of(epoch));
        for (size_t i = 0; i < ARRAY_SIZE(copies); i++) {
                int r = 0;

                /* nothing to say about epoch 0; nothing to write twice */
                if (epoch == 0 || (read_copy(state_fd, copies[i], &copy) >= 0 && copy == epoch))
                        continue;
                r = file_write_at(state_fd, copies[i], text, (size_t) n, reterr);
                if (r < 0)
                        return err_add(reterr, r, "raise the epoch to %" PRIu64, epoch);
        }
        return 0;
}
