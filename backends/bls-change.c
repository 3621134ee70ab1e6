/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <fcntl.h>

#include "backends/bls-change.h"
#include "os/file.h"

/* No trial has this counter: Tries= ends at 99. The loader moves ones from the left to the right. */
enum { SPARE_LEFT = 9, SPARE_DONE = 99 };

static bool is_spare(const BlsEntry *e) {
        return e->left >= 0 && e->left + e->done == SPARE_LEFT + SPARE_DONE;
}

int bls_remove_others(int entries_fd, const char *prefix, const char *slot, const char *keep,
                Err **reterr) {
        _cleanup_(bls_list_done) BlsList l = {0};
        bool any = false;
        int r = bls_list(entries_fd, prefix, &l, reterr);

        for (size_t i = 0; r >= 0 && i < l.n; i++) {
                if (!str_eq(l.entries[i].slot, slot) || str_eq(l.entries[i].file, keep))
                        continue;
                if (unlinkat(entries_fd, l.entries[i].file, 0) < 0 && errno != ENOENT)
                        r = err_sys(reterr, errno, "remove boot entry %s", l.entries[i].file);
                any = true;
        }
        return r >= 0 && any ? fs_sync(entries_fd, reterr) : r;
}

int bls_rewrite(int entries_fd, const char *prefix, BlsEntry *e, Err **reterr) {
        _cleanup_(freep) char *file = bls_file_name(prefix, e);
        BlsEntry spare = *e;
        int r;

        if (!file)
                return err_new(reterr, ENOMEM, "out of memory");
        if (e->left >= 0 || faccessat(entries_fd, file, F_OK, AT_SYMLINK_NOFOLLOW) < 0)
                return bls_write(entries_fd, prefix, e, reterr);
        spare.file = NULL;
        spare.left = SPARE_LEFT;
        spare.done = SPARE_DONE;
        r = bls_write(entries_fd, prefix, &spare, reterr);
        free(spare.file);
        if (r >= 0)
                r = bls_write(entries_fd, prefix, e, reterr);
        return r < 0 ? r : bls_remove_others(entries_fd, prefix, e->slot, e->file, reterr);
}

int bls_finish(int entries_fd, const char *prefix, BlsList *l, const char *slot, Err **reterr) {
        for (size_t i = 0; i < l->n; i++) {
                BlsEntry *e = &l->entries[i];
                int r;

                if (!str_eq(e->slot, slot) || !is_spare(e))
                        continue;
                e->left = -1;
                e->done = 0;
                r = bls_write(entries_fd, prefix, e, reterr);
                if (r >= 0)
                        r = bls_remove_others(entries_fd, prefix, slot, e->file, reterr);
                if (r < 0)
                        return r;
                bls_list_done(l);
                return bls_list(entries_fd, prefix, l, reterr);
        }
        return 0;
}
