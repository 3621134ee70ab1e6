/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <fcntl.h>

#include "update/reserve.h"

#define NAME "reserve"
#define SIZE (1024 * 1024)

void reserve_keep(int state_fd) {
        _cleanup_(fd_closep) int fd =
                        openat(state_fd, NAME, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);

        if (fd >= 0 && fallocate(fd, 0, 0, SIZE) < 0)
                (void) unlinkat(state_fd, NAME, 0);
}

bool reserve_release(int state_fd) {
        return unlinkat(state_fd, NAME, 0) >= 0 && syncfs(state_fd) >= 0;
}
