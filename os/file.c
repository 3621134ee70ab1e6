/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <fcntl.h>
#include <linux/magic.h>
#include <sys/stat.h>
#include <sys/vfs.h>

#include "os/file.h"

enum { FIRST_READ = 4095, DRAFT_MAX = 64 * 1024 };

int file_read_if_at(int dir_fd, const char *path, size_t max, char **ret, size_t *ret_size,
                Err **reterr) {
        int r;

        if (faccessat(dir_fd, path, F_OK, AT_SYMLINK_NOFOLLOW) < 0 && errno == ENOENT)
                return 0;
        r = file_read_at(dir_fd, path, max, ret, ret_size, reterr);
        return r < 0 ? r : 1;
}

int file_read_at(int dir_fd, const char *path, size_t max, char **ret, size_t *ret_size,
                Err **reterr) {
        _cleanup_(fd_closep) int fd = -1;
        _cleanup_(freep) char *buf = NULL;
        struct stat st;
        size_t size = 0, room;

        /* O_NONBLOCK: a fifo in the place of the file must not hold us */
        fd = openat(dir_fd, path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY);
        if (fd < 0)
                return err_sys(reterr, errno, "open %s", path);
        if (fstat(fd, &st) < 0)
                return err_sys(reterr, errno, "stat %s", path);
        if (!S_ISREG(st.st_mode))
                return err_new(reterr, EBADMSG, "read %s: not a regular file", path);

        /* the size of files in /proc says nothing: read until the end */
        room = st.st_size > FIRST_READ ? (size_t) st.st_size : FIRST_READ;
        if (room > max)
                room = max;
        for (;;) {
                ssize_t n;

                if (!buf || size == room + 1) {
                        char *more;

                        if (buf)
                                room = room < max / 2 ? 2 * room : max;
                        more = realloc(buf, room + 1);
                        if (!more)
                                return err_new(reterr, ENOMEM, "read %s: out of memory", path);
                        buf = more;
                }
                n = read(fd, buf + size, room + 1 - size);
                if (n < 0 && errno == EINTR)
                        continue;
                if (n < 0)
                        return err_sys(reterr, errno, "read %s", path);
                if (n == 0)
                        break;
                size += (size_t) n;
                if (size > max)
                        return err_new(reterr, EFBIG, "read %s: larger than %zu bytes", path, max);
        }
        buf[size] = '\0';
        if (ret_size)
                *ret_size = size;
        *ret = MOVE(buf);
        return 0;
}

int fd_write_all(int fd, const void *data, size_t size) {
        const char *at = data;

        while (size > 0) {
                ssize_t n = write(fd, at, size);

                if (n < 0 && errno == EINTR)
                        continue;
                if (n < 0)
                        return -errno;
                at += n;
                size -= (size_t) n;
        }
        return 0;
}

/* The directory that holds @path, which may be below @dir_fd. */
static int sync_parent(int dir_fd, const char *path) {
        _cleanup_(fd_closep) int fd = -1;
        _cleanup_(freep) char *parent = NULL;
        const char *slash = strrchr(path, '/');

        if (!slash)
                return fsync(dir_fd) < 0 ? -errno : 0;
        parent = strndup(path, (size_t) (slash - path));
        if (!parent)
                return -ENOMEM;
        fd = openat(dir_fd, parent, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        return fd < 0 || fsync(fd) < 0 ? -errno : 0;
}

static bool is_fat(int fd) {
        struct statfs st;

        return fstatfs(fd, &st) >= 0 && st.f_type == MSDOS_SUPER_MAGIC;
}

/* syncfs() does not empty the cache of the disk under FAT, which has no sync_fs() (Linux 6.1); fsync() does. */
static int sync_all(int fd) {
        if (syncfs(fd) < 0 || (is_fat(fd) && fsync(fd) < 0))
                return -errno;
        return 0;
}

/* After a rename of @fd to @path. FAT keeps size and place of a file in its name, and writes them with the
 * file: a sync of the directory alone leaves an empty one behind (Linux 6.1, vfat_rename()). */
static int sync_name(int dir_fd, const char *path, int fd) {
        if (is_fat(fd))
                return sync_all(fd);
        return sync_parent(dir_fd, path);
}

/* Do both hold the same? What cannot be read holds nothing that anybody else has. */
static bool same_content(int dir_fd, const char *a, const char *b) {
        _cleanup_(freep) char *text[2] = {0};
        size_t size[2];

        return file_read_at(dir_fd, a, DRAFT_MAX, &text[0], &size[0], NULL) >= 0 &&
               file_read_at(dir_fd, b, DRAFT_MAX, &text[1], &size[1], NULL) >= 0 &&
               size[0] == size[1] && memcmp(text[0], text[1], size[0]) == 0;
}

int file_drop_draft_at(int dir_fd, const char *path, Err **reterr) {
        _cleanup_(freep) char *draft = str_printf("%s.new", path),
                              *twin = str_printf("%s.twin", path);
        int r;

        if (!draft || !twin)
                return err_new(reterr, ENOMEM, "out of memory");
        r = is_fat(dir_fd) && same_content(dir_fd, draft, path)
                            ? renameat(dir_fd, draft, dir_fd, twin)
                            : unlinkat(dir_fd, draft, 0);
        return r < 0 && errno != ENOENT ? err_sys(reterr, errno, "remove %s", draft) : 0;
}

int file_write_at(int dir_fd, const char *path, const void *data, size_t size, Err **reterr) {
        _cleanup_(freep) char *draft = str_printf("%s.new", path);
        _cleanup_(fd_closep) int old = -1, fd = -1;
        int r;

        if (!draft)
                return err_new(reterr, ENOMEM, "write %s: out of memory", path);
        r = file_drop_draft_at(dir_fd, path, reterr);
        if (r < 0)
                return err_add(reterr, r, "write %s", path);
        /* FAT gives the space of the old file back when nobody has it open any more, and not in the order of what
         * was written: until the new name is on the disk the old one must not point to what is free. */
        old = openat(dir_fd, path, O_PATH | O_NOFOLLOW | O_CLOEXEC);
        fd = openat(dir_fd, draft, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0644);
        if (fd < 0)
                return err_sys(reterr, errno, "write %s: create %s", path, draft);
        r = fd_write_all(fd, data, size);
        if (r >= 0 && fsync(fd) < 0)
                r = -errno;
        if (r >= 0 && renameat(dir_fd, draft, dir_fd, path) < 0)
                r = -errno;
        if (r < 0) {
                (void) unlinkat(dir_fd, draft, 0);
                return err_sys(reterr, r, "write %s", path);
        }
        r = sync_name(dir_fd, path, fd);
        return r < 0 ? err_sys(reterr, r, "write %s: sync its directory", path) : 0;
}

int dir_open_at(int dir_fd, const char *path, Err **reterr) {
        int fd = openat(dir_fd, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);

        return fd < 0 ? err_sys(reterr, errno, "open directory %s", path) : fd;
}

int dir_make_at(int dir_fd, const char *path, mode_t mode, Err **reterr) {
        if (mkdirat(dir_fd, path, mode) < 0 && errno != EEXIST)
                return err_sys(reterr, errno, "make directory %s", path);
        return 0;
}

char **strv_free(char **strv) {
        for (char **s = strv; s && *s; s++)
                free(*s);
        free(strv);
        return NULL;
}

static int compare_names(const void *a, const void *b) {
        return strverscmp(*(char *const *) a, *(char *const *) b);
}

int dir_names(int dir_fd, char ***ret, Err **reterr) {
        _cleanup_(strv_freep) char **names = NULL;
        _cleanup_(closedirp) DIR *d = NULL;
        struct dirent *e;
        size_t n = 0, room = 0;
        int fd;

        /* of its own: readdir() moves the offset of the open file */
        fd = openat(dir_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (fd < 0)
                return err_sys(reterr, errno, "open directory");
        d = fdopendir(fd);
        if (!d) {
                close(fd);
                return err_new(reterr, ENOMEM, "out of memory");
        }
        for (;;) {
                errno = 0;
                e = readdir(d);
                if (!e)
                        break;
                if (str_eq(e->d_name, ".") || str_eq(e->d_name, ".."))
                        continue;
                if (n + 1 >= room) {
                        char **more = reallocarray(names, room + 64, sizeof(*more));

                        if (!more)
                                return err_new(reterr, ENOMEM, "out of memory");
                        names = more;
                        room += 64;
                }
                names[n] = strdup(e->d_name);
                if (!names[n])
                        return err_new(reterr, ENOMEM, "out of memory");
                names[++n] = NULL;
        }
        if (errno != 0)
                return err_sys(reterr, errno, "read directory");
        if (!names) {
                names = calloc(1, sizeof(*names));
                if (!names)
                        return err_new(reterr, ENOMEM, "out of memory");
        }
        qsort(names, n, sizeof(*names), compare_names);
        *ret = MOVE(names);
        return 0;
}

int fs_sync(int fd, Err **reterr) {
        int r = sync_all(fd);

        return r < 0 ? err_sys(reterr, r, "sync the file system") : 0;
}
