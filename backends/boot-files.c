/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include "backends/boot-files.h"
#include "backends/kernel.h"
#include "os/file.h"
#include "os/proc.h"

int boot_files_open(int root_fd, const char *path) {
        struct open_how how = {
                        .flags = O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY,
                        .resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS | RESOLVE_NO_XDEV,
        };
        int fd = (int) syscall(SYS_openat2, root_fd, path, &how, sizeof(how));
        struct stat st;

        if (fd < 0)
                return -errno;
        if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode))
                return fd_close(fd), -ENOENT;
        return fd;
}

/* The first of @patterns, with @version in the place of '%', that is a file in the tree. */
static int find_file(int root_fd, const char *const patterns[], const char *version, char **ret) {
        for (; *patterns; patterns++) {
                const char *percent = strchr(*patterns, '%');
                _cleanup_(freep) char *path = str_printf("%.*s%s%s", (int) (percent - *patterns),
                                *patterns, version, percent + 1);
                _cleanup_(fd_closep) int fd = path ? boot_files_open(root_fd, path) : -1;

                if (!path)
                        return -ENOMEM;
                if (fd >= 0) {
                        *ret = MOVE(path);
                        return 1;
                }
        }
        return 0;
}

static int find_kernel(int root_fd, const char *version, char **ret) {
        int r = 0;

        for (const char *const *name = kernel_names; r == 0 && *name; name++) {
                _cleanup_(freep) char *usr = str_printf("usr/lib/modules/%%/%s", *name),
                                      *boot = str_printf("boot/%s-%%", *name),
                                      *lib = str_printf("lib/modules/%%/%s", *name);
                const char *const patterns[] = {usr, boot, lib, NULL};

                r = usr && boot && lib ? find_file(root_fd, patterns, version, ret) : -ENOMEM;
        }
        return r;
}

int boot_files_find(int root_fd, char **ret_kernel, char **ret_initrd, Err **reterr) {
        static const char *const initrds[] = {"usr/lib/modules/%/initrd", "boot/initrd.img-%",
                        "boot/initramfs-%.img", "boot/initrd-%", NULL};
        _cleanup_(strv_freep) char **versions = NULL;
        _cleanup_(freep) char *kernel = NULL, *initrd = NULL;
        size_t n = 0;
        int r = kernel_versions(root_fd, &versions, reterr);

        if (r < 0)
                return r;
        while (versions[n])
                n++;
        r = 0;
        while (r == 0 && n-- > 0) {
                r = find_kernel(root_fd, versions[n], &kernel);
                if (r > 0)
                        r = find_file(root_fd, initrds, versions[n], &initrd) < 0 ? -ENOMEM : 1;
        }
        if (r < 0)
                return err_new(reterr, r, "out of memory");
        if (r == 0)
                return err_kind(reterr, ERR_WRONG_LAYOUT, EMEDIUMTYPE,
                                "the new version has no kernel that could be booted: neither "
                                "/usr/lib/modules/*/vmlinuz nor /boot/vmlinuz-* with modules, nor "
                                "Image, zImage and the like in their places");
        *ret_kernel = MOVE(kernel);
        *ret_initrd = MOVE(initrd);
        return 0;
}

/* Parts of a version that must be those of its slot. */
static const char *const of_a_version[] = {"/", "/usr", "/etc", "/bin", "/sbin", "/lib", "/lib32",
                "/lib64", "/libx32", "/lib/modules", "/usr/lib", "/usr/lib/modules"};

int boot_fstab_fit(int root_fd, Err **reterr) {
        for (size_t i = 0; i < ARRAY_SIZE(of_a_version); i++) {
                _cleanup_(freep) char *options = NULL, *value = NULL;
                int r = fstab_options(root_fd, of_a_version[i], &options, reterr);

                if (r < 0)
                        return r;
                r = mount_names_subvol(options, &value);
                if (r < 0)
                        return err_new(reterr, r, "out of memory");
                if (r > 0)
                        return err_kind(reterr, ERR_WRONG_LAYOUT, EMEDIUMTYPE,
                                        "etc/fstab of the new version mounts %s with %s, which "
                                        "would defeat the switch; its maker has to take %s out",
                                        of_a_version[i], options,
                                        i == 0 ? "subvol= and subvolid=" : "the line");
        }
        return 0;
}

int boot_files_fit(int root_fd, Err **reterr) {
        _cleanup_(freep) char *kernel = NULL, *initrd = NULL;
        int r = boot_files_find(root_fd, &kernel, &initrd, reterr);

        return r < 0 ? r : boot_fstab_fit(root_fd, reterr);
}
