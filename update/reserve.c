/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <fcntl.h>
#include <sys/stat.h>

#include "update/reserve.h"

#define NAME "reserve"
#define SIZE (1024 * 1024)

/* A power cut may have left the file without its space. */
void reserve_keep(int state_fd) {
        _cleanup_(fd_closep) int fd = openat(state_fd, NAME,
                        O_WRONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0600);
        struct stat st;

        if (fd < 0 || fstat(fd, &st) < 0 || !S_ISREG(st.st_mode) || st.st_size >= SIZE)
                return;
        if (fallocate(fd, 0, 0, SIZE) < 0)
                (void) unlinkat(state_fd, NAME, 0);
}

bool reserve_release(int state_fd) {
        return unlinkat(state_fd, NAME, 0) >= 0 && syncfs(state_fd) >= 0;
}
