/* SPDX-License-Identifier: LGPL-2.1-or-later */
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
                r = program_run((const char *const[]){"btrfstune", "-S", "1", device, NULL}, NULL,
                                reterr);
        if (r < 0)
                return err_add(reterr, r, "seal %s", device);
        *ret_text = str_printf("%s is sealed", device);
        return 1;
}
