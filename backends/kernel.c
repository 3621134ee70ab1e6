/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include "backends/kernel.h"
#include "os/file.h"

/* What Linux builds for a loader, by the names that distributions and makers of devices install it under. */
const char *const kernel_names[] = {
                "vmlinuz", "Image", "Image.gz", "zImage", "uImage", "vmlinux", "kernel", NULL};

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

/* A folder called "kernel" is with all modules. */
static int holds_kernel(int modules_fd, const char *version) {
        for (const char *const *name = kernel_names; *name; name++) {
                _cleanup_(freep) char *path = str_printf("%s/%s", version, *name);
                struct stat st;

                if (!path)
                        return -ENOMEM;
                if (fstatat(modules_fd, path, &st, 0) == 0 && S_ISREG(st.st_mode))
                        return 1;
        }
        return 0;
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

                r = !index                               ? -ENOMEM
                    : faccessat(fd, index, F_OK, 0) == 0 ? 1
                                                         : holds_kernel(fd, name);
                if (r < 0)
                        return err_new(reterr, r, "out of memory");
                if (r > 0)
                        names[kept++] = MOVE(name);
        }
        *ret = MOVE(names);
        return 0;
}

/* "vmlinuz" and what begins with it; another name alone, or with a version behind. */
static bool is_kernel(const char *file) {
        for (const char *const *name = kernel_names; *name; name++) {
                const char *rest = str_after(file, *name);

                if (rest && (name == kernel_names || !*rest || *rest == '-'))
                        return true;
        }
        return false;
}

bool kernel_image_inside(int root_fd) {
        static const char *const dirs[] = {"boot", "usr/lib/modules", "lib/modules"};

        for (size_t i = 0; i < ARRAY_SIZE(dirs); i++) {
                _cleanup_(fd_closep) int fd = open_dir_in(root_fd, dirs[i]);
                _cleanup_(strv_freep) char **names = NULL;

                if (fd < 0 || dir_names(fd, &names, NULL) < 0)
                        continue;
                for (char **n = names; *n; n++)
                        if (i == 0 ? is_kernel(*n) : holds_kernel(fd, *n) > 0)
                                return true;
        }
        return false;
}
