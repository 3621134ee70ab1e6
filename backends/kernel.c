/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include "backends/kernel.h"
#include "os/file.h"

/* lib may be a link to usr/lib inside the tree, never one that leads out of it. */
static int open_dir_in(int root_fd, const char *path) {
        struct open_how how = {
                        .flags = O_RDONLY | O_DIRECTORY | O_CLOEXEC,
                        .resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS,
        };

        return (int) syscall(SYS_openat2, root_fd, path, &how, sizeof(how));
}

static int open_modules(int root_fd) {
        int fd = open_dir_in(root_fd, "usr/lib/modules");

        return fd >= 0 ? fd : open_dir_in(root_fd, "lib/modules");
}

int kernel_versions(int root_fd, char ***ret, Err **reterr) {
        _cleanup_(strv_freep) char **names = NULL;
        _cleanup_(fd_closep) int fd = open_modules(root_fd);
        size_t kept = 0;
        int r;

        if (fd < 0) {
                *ret = calloc(1, sizeof(**ret));
                return *ret ? 0 : err_new(reterr, ENOMEM, "out of memory");
        }
        r = dir_names(fd, &names, reterr);
        if (r < 0)
                return r;
        for (size_t i = 0; names[i]; i++) {
                _cleanup_(freep) char *name = MOVE(names[i]);
                _cleanup_(freep) char *index = str_printf("%s/modules.dep", name);
                _cleanup_(freep) char *image = str_printf("%s/vmlinuz", name);

                if (!index || !image)
                        return err_new(reterr, ENOMEM, "out of memory");
                if (faccessat(fd, index, F_OK, 0) == 0 || faccessat(fd, image, F_OK, 0) == 0)
                        names[kept++] = MOVE(name);
        }
        *ret = MOVE(names);
        return 0;
}

bool kernel_image_inside(int root_fd) {
        static const char *const dirs[] = {"boot", "usr/lib/modules", "lib/modules"};

        for (size_t i = 0; i < ARRAY_SIZE(dirs); i++) {
                _cleanup_(fd_closep) int fd = open_dir_in(root_fd, dirs[i]);
                _cleanup_(strv_freep) char **names = NULL;

                if (fd < 0 || dir_names(fd, &names, NULL) < 0)
                        continue;
                for (char **n = names; *n; n++) {
                        _cleanup_(freep) char *image = str_printf("%s/vmlinuz", *n);

                        if (i == 0 ? str_after(*n, "vmlinuz") != NULL
                                   : image && faccessat(fd, image, F_OK, 0) == 0)
                                return true;
                }
        }
        return false;
}
