/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "health/record.h"
#include "base/kv.h"
#include "os/btrfs.h"
#include "os/file.h"
#include "os/toplevel.h"

#define SLOTS "@abupdate/slots"

enum { RECORD_MAX = 64 * 1024 };

/* Is the root of slot @id the subvolume @key? */
static bool is_root(int slots_fd, const char *id, uint64_t key) {
        _cleanup_(freep) char *path = str_printf("%s/root", id);
        _cleanup_(fd_closep) int fd = path ? dir_open_at(slots_fd, path, NULL) : -1;
        SubvolInfo info;

        return fd >= 0 && subvol_info(fd, &info, NULL) >= 0 && info.id == key;
}

static int is_staged(int slots_fd, const char *id, Err **reterr) {
        _cleanup_(freep) char *path = str_printf("%s/slot.conf", id), *text = NULL;
        _cleanup_(kv_freep) Kv *record = NULL;
        size_t size;
        int r;

        if (!path)
                return err_new(reterr, ENOMEM, "out of memory");
        r = file_read_at(slots_fd, path, RECORD_MAX, &text, &size, reterr);
        if (r >= 0)
                r = kv_parse(text, size, &record, reterr);
        return r < 0 ? r : str_eq(kv_get(record, "State"), "staged");
}

int record_unproven(int root_fd, Err **reterr) {
        _cleanup_(fd_closep) int top_fd = -1, slots_fd = -1;
        _cleanup_(strv_freep) char **ids = NULL;
        SubvolInfo info;
        int r = toplevel_open(root_fd, /* read_only= */ true, &top_fd, reterr);

        if (r >= 0)
                r = subvol_info(root_fd, &info, reterr);
        if (r >= 0)
                slots_fd = r = dir_open_at(top_fd, SLOTS, reterr);
        if (r >= 0)
                r = dir_names(slots_fd, &ids, reterr);
        if (r < 0)
                return r;
        for (char **id = ids; *id; id++)
                if (is_root(slots_fd, *id, info.id))
                        return is_staged(slots_fd, *id, reterr);
        return 0;
}
