/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "tests/unit/folder.h"

char dir[64];
int dir_fd;

int make_folder(void **state _unused_) {
        dir_fd = temp_dir_make(dir);
        return 0;
}

int remove_folder(void **state _unused_) {
        close(dir_fd);
        temp_dir_remove(dir);
        return 0;
}
