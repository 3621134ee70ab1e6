/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <sys/stat.h>

#include "backends/seal.h"
#include "os/btrfs-super.h"
#include "os/file.h"
#include "os/process.h"
#include "os/toplevel.h"

static int replay_log(const char *device, Err **reterr) {
        _cleanup_(fd_closep) int fd = -1;
        int r = toplevel_open_device(device, /* read_only= */ false, &fd, reterr);

        return r < 0 ? r : fs_sync(fd, reterr);
}

static int find_sprout(const char *device, const BtrfsSuper *super, char **ret, Err **reterr) {
        struct stat st;

        if (stat(device, &st) < 0)
                return err_sys(reterr, errno, "look at %s", device);
        return super_find_sprout(super, st.st_rdev, ret, reterr);
}

/* A sprout remembers the generation of its seed, and btrfstune makes a new one. */
static int set_flag(const char *device, const BtrfsSuper *super, Err **reterr) {
        _cleanup_(freep) char *sprout = NULL;

        if (find_sprout(device, super, &sprout, NULL) > 0)
                return super_set_seed(device, true, reterr);
        return program_run(
                        (const char *const[]){"btrfstune", "-S", "1", device, NULL}, NULL, reterr);
}

int seed_seal(const char *device, char **ret_text, Err **reterr) {
        BtrfsSuper super;
        int r = super_read(device, &super, reterr);

        if (r >= 0 && super.seed)
                return 0;
        if (r >= 0 && (super.num_devices != 1 || super.renamed_fsid))
                r = err_new(reterr, EOPNOTSUPP, "a file system of %" PRIu64 " devices%s is no seed",
                                super.num_devices,
                                super.renamed_fsid ? ", with its id changed," : "");
        if (r >= 0 && super.log_tree)
                r = replay_log(device, reterr);
        if (r >= 0)
                r = set_flag(device, &super, reterr);
        if (r < 0)
                return err_add(reterr, r, "seal %s", device);
        *ret_text = str_printf("%s is sealed", device);
        return 1;
}

int seed_unseal(const char *device, char **ret_text, Err **reterr) {
        _cleanup_(freep) char *sprout = NULL;
        BtrfsSuper super;
        int r = super_read(device, &super, reterr);

        if (r < 0 || !super.seed)
                return r < 0 ? err_add(reterr, r, "unseal %s", device) : 0;
        r = find_sprout(device, &super, &sprout, reterr);
        if (r >= 0)
                r = super_set_seed(device, false, reterr);
        if (r == -EBUSY)
                return err_add(reterr, r,
                                "%s is mounted, or a sprout on it is; nothing was changed", device);
        if (r < 0)
                return err_add(reterr, r, "unseal %s", device);
        *ret_text = str_printf("%s is not sealed any more%s%s%s", device, sprout ? ". " : "",
                        str_or(sprout, ""),
                        sprout ? " builds on it: it cannot be mounted until this is sealed again, "
                                 "and never more once this was written to"
                               : "");
        return *ret_text ? 1 : err_new(reterr, ENOMEM, "out of memory");
}
