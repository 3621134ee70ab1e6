/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <stdio.h>
#include <stdlib.h>
#include <sys/sysmacros.h>

#include "os/block-holders.h"
#include "os/file.h"

enum { TEXT_MAX = 256 };

/* The names in a folder; NULL where there is none. */
static char **names_in(int sys_fd, const char *folder) {
        _cleanup_(fd_closep) int fd = dir_open_at(sys_fd, folder, NULL);
        char **names = NULL;

        return fd >= 0 && dir_names(fd, &names, NULL) >= 0 ? names : NULL;
}

static char *holders_of(dev_t number, const char *below) {
        return str_printf("%u:%u/%sholders", major(number), minor(number), below);
}

static bool is_held(int sys_fd, dev_t number, const char *below) {
        _cleanup_(freep) char *folder = holders_of(number, below);
        _cleanup_(strv_freep) char **names = folder ? names_in(sys_fd, folder) : NULL;

        return names && names[0];
}

static bool is_partition(int sys_fd, dev_t number) {
        char path[64];

        snprintf(path, sizeof(path), "%u:%u/partition", major(number), minor(number));
        return faccessat(sys_fd, path, F_OK, 0) >= 0;
}

bool block_is_part(int sys_fd, dev_t number) {
        return is_held(sys_fd, number, "") ||
               (is_partition(sys_fd, number) && is_held(sys_fd, number, "../"));
}

static char *read_fact(int sys_fd, const char *folder, const char *holder, const char *fact) {
        _cleanup_(freep) char *path = str_printf("%s/%s/%s", folder, holder, fact);
        char *text = NULL;

        return path && file_read_if_at(sys_fd, path, TEXT_MAX, &text, NULL, NULL) > 0 ? text : NULL;
}

dev_t block_map_of(int sys_fd, dev_t number) {
        _cleanup_(freep) char *folder = holders_of(number, "");
        _cleanup_(strv_freep) char **names = folder ? names_in(sys_fd, folder) : NULL;
        _cleanup_(freep) char *uuid = NULL, *dev = NULL;
        unsigned long high;
        char *end;

        if (!names || !names[0])
                return 0;
        uuid = read_fact(sys_fd, folder, names[0], "dm/uuid");
        dev = read_fact(sys_fd, folder, names[0], "dev");
        if (!uuid || !str_after(uuid, "mpath-") || !dev)
                return 0;
        high = strtoul(dev, &end, 10);
        return *end == ':' ? makedev(high, strtoul(end + 1, NULL, 10)) : 0;
}
