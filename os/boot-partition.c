/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <fcntl.h>
#include <sys/stat.h>

#include "os/boot-partition.h"
#include "os/file.h"

int boot_partition_open(int root_fd, int *ret_fd, Err **reterr) {
        static const char *const places[] = {"boot", "efi", "boot/efi"};
        struct stat root;

        if (fstat(root_fd, &root) < 0)
                return err_sys(reterr, errno, "find the boot partition");
        for (size_t i = 0; i < ARRAY_SIZE(places); i++) {
                _cleanup_(fd_closep) int fd = dir_open_at(root_fd, places[i], NULL);
                struct stat st;

                if (fd < 0 || fstat(fd, &st) < 0 || st.st_dev == root.st_dev ||
                                (faccessat(fd, BOOT_ENTRIES, F_OK, 0) < 0 &&
                                                faccessat(fd, BOOT_HOME, F_OK, 0) < 0))
                        continue;
                *ret_fd = MOVE_FD(fd);
                return 0;
        }
        return err_kind(reterr, ERR_WRONG_LAYOUT, ENOENT,
                        "there is no boot partition: none of /boot, /efi, /boot/efi is mounted and "
                        "has " BOOT_ENTRIES " or " BOOT_HOME);
}
