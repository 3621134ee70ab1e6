/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The count of Boot=default-subvolume, before the root is mounted. On most boots nothing is on trial,
 * and nothing is written then: not even a log is replayed. */
#include <fcntl.h>
#include <sys/utsname.h>

#include "backends/boot-record.h"
#include "backends/default-subvolume.h"
#include "backends/kernel.h"
#include "backends/slot.h"
#include "os/btrfs.h"
#include "os/file.h"
#include "os/proc.h"
#include "os/toplevel.h"

enum { SLOT_CONF_MAX = 64 * 1024 };

/* The slot's own record wins: blessed, but cut off before the boot record went away. */
static bool already_good(int top_fd, const char *slot_id) {
        _cleanup_(freep) char *path = str_printf("@abupdate/slots/%s/slot.conf", slot_id),
                              *text = NULL;
        _cleanup_(slot_done) Slot slot = {0};
        size_t size;

        return name_ok(slot_id) && path &&
               file_read_at(top_fd, path, SLOT_CONF_MAX, &text, &size, NULL) >= 0 &&
               slot_parse(text, size, &slot, NULL) >= 0 && slot_proven(&slot);
}

/* 1 where the default subvolume is on trial, as @rec says. */
static int read_trial(int top_fd, BootRecord *rec, Err **reterr) {
        uint64_t key;
        int r = default_subvol_get(top_fd, &key, reterr);

        if (r >= 0)
                r = boot_record_read(top_fd, rec, reterr);
        if (r < 0)
                return r;
        return rec->target && rec->target_id == key && !already_good(top_fd, rec->target);
}

/* Whoever asks for these wants nothing written to a file system that is damaged. */
static int asks_for_rescue(const char *flags) {
        static const char *const words[] = {"rescue", "nologreplay", "norecovery", NULL};
        int r = 0;

        for (const char *const *w = words; r == 0 && *w; w++) {
                _cleanup_(freep) char *value = NULL;

                r = mount_option_get(flags, *w, &value);
                if (r >= 0)
                        r = value != NULL;
        }
        return r;
}

/* What a trial consists of was committed before it began, so that a log that is not replayed hides
 * none. */
static int look(const char *device, const char *flags, Err **reterr) {
        _cleanup_(boot_record_done) BootRecord rec = {0};
        _cleanup_(fd_closep) int top_fd = -1;
        int r = toplevel_look_at(device, flags, &top_fd, reterr);

        return r < 0 ? r : read_trial(top_fd, &rec, reterr);
}

/* Can the kernel that runs be that of the subvolume? A loader that reads kernels from the default
 * subvolume took it from the one that was given up. */
static bool has_modules(int top_fd, uint64_t id) {
        _cleanup_(strv_freep) char **versions = NULL;
        _cleanup_(fd_closep) int root_fd = -1;
        _cleanup_(freep) char *path = NULL;
        struct utsname kernel;

        if (uname(&kernel) < 0 || subvol_path(top_fd, id, &path, NULL) < 0)
                return false;
        root_fd = *path ? dir_open_at(top_fd, path, NULL) : fcntl(top_fd, F_DUPFD_CLOEXEC, 0);
        if (root_fd < 0 || kernel_versions(root_fd, &versions, NULL) < 0)
                return false;
        for (char **v = versions; *v; v++)
                if (str_eq(*v, kernel.release))
                        return true;
        return false;
}

static int go_back(int top_fd, const BootRecord *rec, char **ret_text, Err **reterr) {
        bool fits = has_modules(top_fd, rec->fallback_id);
        int r = default_subvol_set(top_fd, rec->fallback_id, reterr);

        if (r >= 0)
                r = fs_sync(top_fd, reterr);
        if (r < 0)
                return err_add(reterr, r, "go back from slot %s", rec->target);
        *ret_text = str_printf("slot %s used up its tries, going back to slot %s%s", rec->target,
                        str_or(rec->fallback, "before it"),
                        fits ? "" : ", which has no modules for this kernel");
        return fits ? COUNT_FELL_BACK : COUNT_OTHER_KERNEL;
}

static int take_one(int top_fd, BootRecord *rec, char **ret_text, Err **reterr) {
        int r;

        rec->tries_left--;
        r = boot_record_write(top_fd, rec, reterr);
        *ret_text = str_printf("slot %s is on trial, %" PRIu64 " tries left after this one",
                        rec->target, rec->tries_left);
        return r < 0 ? err_add(reterr, r, "count a try of slot %s", rec->target) : COUNT_TRY;
}

int default_subvolume_count(const char *device, const char *flags, char **ret_text, Err **reterr) {
        _cleanup_(boot_record_done) BootRecord rec = {0};
        _cleanup_(fd_closep) int top_fd = -1;
        int r = asks_for_rescue(flags);

        if (r > 0) {
                *ret_text = str_printf("rootflags=%s: nothing is counted", flags);
                return COUNT_NOTHING;
        }
        r = r < 0 ? err_new(reterr, r, "out of memory") : look(device, flags, reterr);
        if (r > 0) {
                r = toplevel_open_with(device, flags, &top_fd, reterr);
                if (r >= 0)
                        r = read_trial(top_fd, &rec, reterr);
        }
        if (r < 0)
                return err_add(reterr, r, "count a try");
        if (r == 0) {
                *ret_text = str_printf("nothing on trial");
                return COUNT_NOTHING;
        }
        return rec.tries_left > 0 ? take_one(top_fd, &rec, ret_text, reterr)
                                  : go_back(top_fd, &rec, ret_text, reterr);
}
