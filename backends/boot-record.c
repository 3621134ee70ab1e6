/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <fcntl.h>

#include "backends/boot-record.h"
#include "base/kv.h"
#include "os/file.h"

#define RECORD     "@abupdate/boot.conf"
#define RECORD_MAX (16 * 1024)

void boot_record_done(BootRecord *r) {
        free(r->target);
        free(r->fallback);
        *r = (BootRecord){0};
}

static int record_parse(const char *text, size_t size, BootRecord *ret, Err **reterr) {
        _cleanup_(boot_record_done) BootRecord rec = {0};
        _cleanup_(kv_freep) Kv *kv = NULL;
        int r = kv_parse(text, size, &kv, reterr);

        if (r >= 0)
                r = kv_get_u64(kv, "TargetId", 0, &rec.target_id, reterr);
        if (r >= 0)
                r = kv_get_u64(kv, "TriesLeft", 0, &rec.tries_left, reterr);
        if (r >= 0)
                r = kv_get_u64(kv, "FallbackId", 0, &rec.fallback_id, reterr);
        if (r < 0)
                return r;
        if (!kv_get(kv, "Target") || rec.target_id == 0 || rec.fallback_id == 0)
                return err_new(reterr, EBADMSG, "a field is missing");
        if (str_set(&rec.target, kv_get(kv, "Target")) < 0 ||
                        str_set(&rec.fallback, kv_get(kv, "Fallback")) < 0)
                return err_new(reterr, ENOMEM, "out of memory");
        *ret = rec;
        rec = (BootRecord){0};
        return 0;
}

int boot_record_read(int top_fd, BootRecord *ret, Err **reterr) {
        _cleanup_(freep) char *text = NULL;
        size_t size;
        int r;

        *ret = (BootRecord){0};
        r = file_read_if_at(top_fd, RECORD, RECORD_MAX, &text, &size, NULL);
        if (r > 0)
                r = record_parse(text, size, ret, NULL);
        return r == -ENOMEM ? err_new(reterr, r, "out of memory") : 0;
}

int boot_record_write(int top_fd, const BootRecord *rec, Err **reterr) {
        _cleanup_(freep) char *text = NULL;
        _cleanup_(kv_freep) Kv *kv = NULL;
        int r = kv_new(&kv);

        if (r >= 0)
                r = kv_set(kv, "Target", rec->target);
        if (r >= 0)
                r = kv_setf(kv, "TargetId", "%" PRIu64, rec->target_id);
        if (r >= 0)
                r = kv_setf(kv, "TriesLeft", "%" PRIu64, rec->tries_left);
        if (r >= 0)
                r = kv_set(kv, "Fallback", rec->fallback);
        if (r >= 0)
                r = kv_setf(kv, "FallbackId", "%" PRIu64, rec->fallback_id);
        if (r >= 0)
                r = kv_format(kv, &text);
        if (r < 0)
                return err_sys(reterr, r, "write " RECORD);
        return file_write_at(top_fd, RECORD, text, strlen(text), reterr);
}

int boot_record_remove(int top_fd, Err **reterr) {
        if (unlinkat(top_fd, RECORD, 0) < 0)
                return errno == ENOENT ? 0 : err_sys(reterr, errno, "remove " RECORD);
        return fs_sync(top_fd, reterr);
}
