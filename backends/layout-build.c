/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* From read-only subvolumes as they were received to one bootable tree, and back from the booted
 * tree to such subvolumes. Snapshots are not recursive, so every part is made by itself and put
 * at its place. */
#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include "backends/layout.h"
#include "backends/parts.h"
#include "os/file.h"
#include "os/process.h"

/* The content of a slot is not ours: no symbolic link of it may lead us out of it. */
static int open_inside(int root_fd, const char *path, Err **reterr) {
        struct open_how how = {
                        .flags = O_RDONLY | O_DIRECTORY | O_CLOEXEC,
                        .resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS,
        };
        int fd = (int) syscall(SYS_openat2, root_fd, *path ? path : ".", &how, sizeof(how));

        return fd < 0 ? err_sys(reterr, errno, "open /%s in the slot", path) : fd;
}

/* Opens the directory that @path lies in, making what is missing; *@ret_name is the last
 * component, in @path. */
static int open_parent(int root_fd, const char *path, const char **ret_name, Err **reterr) {
        _cleanup_(fd_closep) int fd = open_inside(root_fd, "", reterr);
        const char *slash;

        if (fd < 0)
                return fd;
        while ((slash = strchr(path, '/'))) {
                _cleanup_(freep) char *name = strndup(path, (size_t) (slash - path));
                int next;

                if (!name)
                        return err_new(reterr, ENOMEM, "out of memory");
                next = dir_make_at(fd, name, 0755, reterr);
                if (next >= 0)
                        next = open_inside(fd, name, reterr);
                if (next < 0)
                        return next;
                close(fd);
                fd = next;
                path = slash + 1;
        }
        *ret_name = path;
        return MOVE_FD(fd);
}

static int put_part(int root_fd, int image_fd, const Part *p, Err **reterr) {
        _cleanup_(fd_closep) int source_fd = -1, parent_fd = -1;
        const char *name;

        source_fd = dir_open_at(image_fd, p->name, reterr);
        if (source_fd < 0)
                return source_fd;
        parent_fd = open_parent(root_fd, p->place + 1, &name, reterr);
        if (parent_fd < 0)
                return err_add(reterr, parent_fd, "put subvolume %s at %s", p->name, p->place);
        /* the empty directory that stands where the maker had the subvolume */
        if (unlinkat(parent_fd, name, AT_REMOVEDIR) < 0 && errno != ENOENT)
                return err_sys(reterr, errno,
                                "put subvolume %s at %s: what the root has there cannot give way",
                                p->name, p->place);
        return subvol_snapshot(source_fd, parent_fd, name, /* read_only= */ false, reterr);
}

/* Files that belong to the machine, not to the version. cp(1) knows every kind of file and
 * attribute; both names it gets are single components below descriptors, so no link on the way
 * can redirect it. */
static int carry_path(int booted_fd, int root_fd, const char *path, Err **reterr) {
        _cleanup_(fd_closep) int source_fd = -1, dest_fd = -1;
        _cleanup_(freep) char *dir = strdup(path), *from = NULL, *to = NULL;
        const char *name;
        struct stat st;
        char *slash;

        if (!dir)
                return err_new(reterr, ENOMEM, "out of memory");
        slash = strrchr(dir, '/');
        if (slash)
                *slash = '\0';
        source_fd = open_inside(booted_fd, slash ? dir : "", /* reterr= */ NULL);
        if (source_fd == -ENOENT)
                return 0;
        if (source_fd < 0)
                return err_sys(reterr, source_fd, "open /%s", path);
        name = slash ? slash + 1 : path;
        if (fstatat(source_fd, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
                return errno == ENOENT ? 0 : err_sys(reterr, errno, "open /%s", path);
        dest_fd = open_parent(root_fd, path, &name, reterr);
        if (dest_fd < 0)
                return dest_fd;
        from = str_printf("/proc/self/fd/%i/%s", source_fd, name);
        to = str_printf("/proc/self/fd/%i/%s", dest_fd, name);
        if (!from || !to)
                return err_new(reterr, ENOMEM, "out of memory");
        return program_run((const char *const[]){"cp", "-a", "-T", "--reflink=auto",
                                           "--remove-destination", "--", from, to, NULL},
                        (const int[]){source_fd, dest_fd, -1}, reterr);
}

static int seal_parts(int root_fd, const PartList *parts, Err **reterr) {
        for (size_t i = parts->n; i-- > 0;) {
                _cleanup_(fd_closep) int fd =
                                open_inside(root_fd, parts->parts[i].place + 1, reterr);
                int r = fd < 0 ? fd : subvol_set_read_only(fd, true, reterr);

                if (r < 0)
                        return r;
        }
        return 0;
}

static int fill_root(
                const Layout *l, int image_fd, int root_fd, const PartList *parts, Err **reterr) {
        char **carry = l->world->config->carry;
        int r;

        for (size_t i = 1; i < parts->n; i++) {
                r = put_part(root_fd, image_fd, &parts->parts[i], reterr);
                if (r < 0)
                        return r;
        }
        for (; carry && *carry; carry++) {
                r = carry_path(l->world->root_fd, root_fd, *carry, reterr);
                if (r < 0)
                        return err_add(reterr, r, "carry /%s over", *carry);
        }
        return l->world->config->read_only ? seal_parts(root_fd, parts, reterr) : 0;
}

int layout_build(const Layout *l, const char *job, const Slot *draft, int *ret_root_fd,
                Err **reterr) {
        _cleanup_(part_list_done) PartList parts = {0};
        _cleanup_(fd_closep) int dir_fd = -1, image_fd = -1, source_fd = -1, root_fd = -1;
        int r;

        r = part_list_parse(draft->subvolumes, &parts, reterr);
        if (r >= 0)
                dir_fd = r = dir_open_at(l->staging_fd, job, reterr);
        if (r >= 0)
                image_fd = r = dir_open_at(dir_fd, "image", reterr);
        if (r >= 0)
                source_fd = r = dir_open_at(image_fd, parts.parts[0].name, reterr);
        if (r >= 0)
                r = subvol_delete_at(dir_fd, "root", reterr);
        if (r >= 0)
                r = subvol_snapshot(source_fd, dir_fd, "root", /* read_only= */ false, reterr);
        if (r >= 0)
                root_fd = r = dir_open_at(dir_fd, "root", reterr);
        if (r >= 0)
                r = fill_root(l, image_fd, root_fd, &parts, reterr);
        if (r >= 0)
                r = fs_sync(l->top_fd, reterr);
        if (r < 0)
                return err_add(reterr, r, "make the bootable tree");
        *ret_root_fd = MOVE_FD(root_fd);
        return 0;
}

int layout_copy(const Layout *l, const Slot *source, int image_fd, Err **reterr) {
        _cleanup_(part_list_done) PartList parts = {0};
        _cleanup_(fd_closep) int slot_fd = -1, root_fd = -1;
        int r;

        r = part_list_parse(source->subvolumes, &parts, reterr);
        if (r >= 0)
                slot_fd = r = dir_open_at(l->slots_fd, source->id, reterr);
        if (r >= 0)
                root_fd = r = dir_open_at(slot_fd, "root", reterr);
        for (size_t i = 0; r >= 0 && i < parts.n; i++) {
                _cleanup_(fd_closep) int fd =
                                open_inside(root_fd, parts.parts[i].place + 1, reterr);

                r = fd < 0 ? fd : subvol_snapshot(fd, image_fd, parts.parts[i].name, true, reterr);
        }
        return r;
}
