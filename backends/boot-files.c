/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Kernels and initrds on the boot partition: copies of those in the slots, a folder for each. A
 * loader cannot read them from a slot: not through Btrfs, and not a sprout's from its seed. */
#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include "backends/boot-files.h"
#include "backends/kernel.h"
#include "os/boot-partition.h"
#include "os/file.h"
#include "os/proc.h"

/* Content of a slot: links inside it are fine, out of it never. */
static int open_inside(int root_fd, const char *path) {
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
                _cleanup_(fd_closep) int fd = path ? open_inside(root_fd, path) : -1;

                if (!path)
                        return -ENOMEM;
                if (fd >= 0) {
                        *ret = MOVE(path);
                        return 1;
                }
        }
        return 0;
}

int boot_files_find(int root_fd, char **ret_kernel, char **ret_initrd, Err **reterr) {
        static const char *const kernels[] = {"usr/lib/modules/%/vmlinuz", "boot/vmlinuz-%",
                        "lib/modules/%/vmlinuz", NULL};
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
                r = find_file(root_fd, kernels, versions[n], &kernel);
                if (r > 0)
                        r = find_file(root_fd, initrds, versions[n], &initrd) < 0 ? -ENOMEM : 1;
        }
        if (r < 0)
                return err_new(reterr, r, "out of memory");
        if (r == 0)
                return err_kind(reterr, ERR_WRONG_LAYOUT, EMEDIUMTYPE,
                                "the new version has no kernel that could be booted: neither "
                                "/usr/lib/modules/*/vmlinuz nor /boot/vmlinuz-* with modules");
        *ret_kernel = MOVE(kernel);
        *ret_initrd = MOVE(initrd);
        return 0;
}

static int copy_file(int from_fd, int dir_fd, const char *name, Err **reterr) {
        _cleanup_(fd_closep) int to_fd = openat(
                        dir_fd, name, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0600);
        ssize_t n;

        if (to_fd < 0)
                return err_sys(reterr, errno, "write %s", name);
        while ((n = sendfile(to_fd, from_fd, NULL, 1 << 20)) != 0)
                if (n < 0 && errno != EINTR)
                        return err_sys(reterr, errno, "write %s", name);
        return fsync(to_fd) < 0 ? err_sys(reterr, errno, "write %s", name) : 0;
}

static int copy_kernel(int root_fd, int dir_fd, Err **reterr) {
        _cleanup_(freep) char *kernel = NULL, *initrd = NULL;
        _cleanup_(fd_closep) int kernel_fd = -1, initrd_fd = -1;
        int r = boot_files_find(root_fd, &kernel, &initrd, reterr);

        if (r < 0)
                return r;
        kernel_fd = open_inside(root_fd, kernel);
        if (kernel_fd < 0)
                return err_sys(reterr, kernel_fd, "open /%s", kernel);
        r = copy_file(kernel_fd, dir_fd, "linux", reterr);
        if (r < 0 || !initrd)
                return r;
        initrd_fd = open_inside(root_fd, initrd);
        if (initrd_fd < 0)
                return err_sys(reterr, initrd_fd, "open /%s", initrd);
        return copy_file(initrd_fd, dir_fd, "initrd", reterr);
}

int boot_files_bring(int boot_fd, const char *slot, int root_fd, Err **reterr) {
        _cleanup_(freep) char *name = str_printf("slot-%s", slot);
        _cleanup_(fd_closep) int home_fd = -1, dir_fd = -1;
        int r = name ? boot_files_drop(boot_fd, slot, reterr)
                     : err_new(reterr, ENOMEM, "out of memory");

        if (r >= 0)
                r = dir_make_at(boot_fd, BOOT_HOME, 0755, reterr);
        if (r >= 0)
                home_fd = r = dir_open_at(boot_fd, BOOT_HOME, reterr);
        if (r >= 0)
                r = dir_make_at(home_fd, name, 0700, reterr);
        if (r >= 0)
                dir_fd = r = dir_open_at(home_fd, name, reterr);
        if (r >= 0)
                r = copy_kernel(root_fd, dir_fd, reterr);
        if (r >= 0)
                r = fs_sync(boot_fd, reterr);
        return r < 0 ? err_add(reterr, r, "bring the kernel of slot %s to the boot partition", slot)
                     : 0;
}

int boot_files_drop(int boot_fd, const char *slot, Err **reterr) {
        _cleanup_(freep) char *path = str_printf(BOOT_HOME "/slot-%s", slot);
        _cleanup_(strv_freep) char **names = NULL;
        _cleanup_(fd_closep) int dir_fd = -1;
        int r;

        if (!path)
                return err_new(reterr, ENOMEM, "out of memory");
        if (!name_ok(slot) || faccessat(boot_fd, path, F_OK, AT_SYMLINK_NOFOLLOW) < 0)
                return 0;
        dir_fd = dir_open_at(boot_fd, path, reterr);
        r = dir_fd < 0 ? dir_fd : dir_names(dir_fd, &names, reterr);
        for (char **n = names; r >= 0 && n && *n; n++)
                if (unlinkat(dir_fd, *n, 0) < 0 && errno != ENOENT)
                        r = err_sys(reterr, errno, "remove %s", *n);
        if (r >= 0 && unlinkat(boot_fd, path, AT_REMOVEDIR) < 0)
                r = err_sys(reterr, errno, "remove it");
        return r < 0 ? err_add(reterr, r, "take the kernel of slot %s from the boot partition",
                                       slot)
                     : 0;
}

int boot_files_fit(int root_fd, Err **reterr) {
        _cleanup_(freep) char *kernel = NULL, *initrd = NULL, *options = NULL, *value = NULL;
        int r = boot_files_find(root_fd, &kernel, &initrd, reterr);

        if (r >= 0)
                r = fstab_options(root_fd, "/", &options, reterr);
        if (r < 0)
                return r;
        r = mount_option_get(options, "subvol", &value);
        if (r >= 0 && !value)
                r = mount_option_get(options, "subvolid", &value);
        if (r < 0)
                return err_new(reterr, r, "out of memory");
        if (value)
                return err_kind(reterr, ERR_WRONG_LAYOUT, EMEDIUMTYPE,
                                "etc/fstab of the new version mounts / with %s, but its boot entry "
                                "says which subvolume that is; its maker has to take subvol= and "
                                "subvolid= out",
                                options);
        return 0;
}

/* A command line without what only one slot can be told. */
static int common_options(const char *line, char **ret) {
        static const char *const own[] = {"root=", "rootflags=", "rootfstype=", "BOOT_IMAGE=",
                        "initrd=", "abupdate."};
        _cleanup_(freep) char *copy = strdup(line), *kept = strdup("");
        char *save = NULL;

        for (char *w = copy && kept ? strtok_r(copy, " \t\n", &save) : NULL; w;
                        w = strtok_r(NULL, " \t\n", &save)) {
                bool skip = str_eq(w, "ro") || str_eq(w, "rw");
                char *more;

                for (size_t i = 0; i < ARRAY_SIZE(own); i++)
                        skip |= str_after(w, own[i]) != NULL;
                if (skip)
                        continue;
                more = str_printf("%s%s%s", kept, *kept ? " " : "", w);
                if (!more)
                        return -ENOMEM;
                free(kept);
                kept = more;
        }
        if (!copy || !kept)
                return -ENOMEM;
        *ret = MOVE(kept);
        return 0;
}

/* @rest: an older command line, to go on with what it has in common; NULL: as configured. */
int boot_files_options(
                const World *w, const Slot *slot, const char *rest, char **ret, Err **reterr) {
        _cleanup_(freep) char *running = NULL, *common = NULL;
        int r = 0;

        if (!slot->boot_options)
                return err_kind(reterr, ERR_NOT_SUPPORTED, EOPNOTSUPP,
                                "slot %s cannot be named in a boot entry", slot->id);
        if (!rest && w->config->cmdline)
                r = str_set(&common, w->config->cmdline);
        else if (!rest) {
                r = file_read_at(w->root_fd, "proc/cmdline", 64 * 1024, &running, NULL, reterr);
                if (r < 0)
                        return err_add(reterr, r, "read the kernel command line");
                rest = running;
        }
        if (r >= 0 && !common)
                r = common_options(rest, &common);
        if (r >= 0)
                *ret = str_printf("%s%s%s", slot->boot_options, *common ? " " : "", common);
        return r < 0 || !*ret ? err_new(reterr, ENOMEM, "out of memory") : 0;
}
