/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <fcntl.h>
#include <linux/btrfs.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/uio.h>
#include <sys/xattr.h>

#include "stream/encoded.h"
#include "stream/file.h"

#define CAPS_NAME "security.capability"
#define COPY_SIZE (256u << 10)
#define SHOWN_MAX 160u

/* A path for people: printable, and of a long one the end. */
static char *path_shown(const char *path) {
        size_t n = strlen(path), skip = n > SHOWN_MAX ? n - SHOWN_MAX : 0;
        _cleanup_(freep) char *text = str_printable(path + skip);

        if (!text)
                return NULL;
        return n == 0 ? strdup(".") : str_printf("%s%s", skip ? "..." : "", text);
}

int apply_error(Err **reterr, int code, const char *verb, const char *path) {
        _cleanup_(freep) char *text = path_shown(path);
        const char *shown = str_or(text, "?");

        switch (-code) {
        case ELOOP:
        case EXDEV:
                return err_kind(reterr, ERR_UNSAFE_PATH, code,
                                "Cannot %s %s: the path leads through a link or a mount", verb,
                                shown);
        case ENOENT:
        case EEXIST:
        case ENOTDIR:
        case EISDIR:
        case ENOTEMPTY:
        case ENODATA:
                return err_kind(reterr, ERR_BAD_STREAM, code,
                                "Cannot %s %s: %s; the stream does not fit what it builds on", verb,
                                shown, strerror(-code));
        default: return err_sys(reterr, code, "Cannot %s %s", verb, shown);
        }
}

static int file_error(const File *f, Err **reterr, int code, const char *verb) {
        return apply_error(reterr, code, verb, f->path);
}

int file_new(int fd, const char *path, const struct stat *st, bool made, File **ret, Err **reterr) {
        _cleanup_(file_freep) File *f = calloc(1, sizeof(*f));
        ssize_t n;

        if (!f) {
                fd_close(fd);
                return err_sys(reterr, -ENOMEM, "Cannot write a file");
        }
        *f = (File){
                        .fd = fd,
                        .path = strdup(path),
                        .owner_known = true,
                        .mode_known = true,
                        .uid = st->st_uid,
                        .gid = st->st_gid,
                        .mode = st->st_mode & 07777,
        };
        if (!f->path)
                return err_sys(reterr, -ENOMEM, "Cannot write a file");

        if (!made) {
                f->times[0] = st->st_atim;
                f->times[1] = st->st_mtim;
                f->times_known = true;
                n = fgetxattr(fd, CAPS_NAME, f->caps, sizeof(f->caps));
                if (n < 0 && errno != ENODATA && errno != EOPNOTSUPP)
                        return file_error(f, reterr, -errno, "read the capabilities of");
                f->caps_size = n > 0 ? (size_t) n : 0;
        }

        *ret = MOVE(f);
        return 0;
}

File *file_free(File *f) {
        if (f) {
                fd_close(f->fd);
                free(f->path);
                free(f);
        }
        return NULL;
}

int file_finish(File *f, Err **reterr) {
        if (f->caps_lost && f->caps_size > 0 &&
                        fsetxattr(f->fd, CAPS_NAME, f->caps, f->caps_size, 0) < 0)
                return file_error(f, reterr, -errno, "set the capabilities of");
        f->caps_lost = false;
        if (f->times_known && f->times_due && futimens(f->fd, f->times) < 0)
                return file_error(f, reterr, -errno, "set the times of");
        f->times_due = false;
        return 0;
}

/* After a change of the contents. */
static void file_touched(File *f) {
        f->times_due = f->caps_lost = true;
}

int file_write(File *f, const uint8_t *data, uint32_t size, uint64_t offset, Err **reterr) {
        while (size > 0) {
                ssize_t n = pwrite(f->fd, data, size, (off_t) offset);

                if (n < 0) {
                        if (errno == EINTR)
                                continue;
                        return file_error(f, reterr, -errno, "write");
                }
                data += n;
                offset += (uint64_t) n;
                size -= (uint32_t) n;
        }
        file_touched(f);
        return 0;
}

int file_encoded_write(File *f, const Command *c, Err **reterr) {
        struct iovec iov = {(void *) (uintptr_t) c->data, c->data_size};
        struct btrfs_ioctl_encoded_io_args args = {
                        .iov = &iov,
                        .iovcnt = 1,
                        .offset = (int64_t) c->file_offset,
                        .len = c->unencoded_file_len,
                        .unencoded_len = c->unencoded_len,
                        .unencoded_offset = c->unencoded_offset,
                        .compression = c->compression,
        };
        _cleanup_(freep) uint8_t *plain = NULL;
        int r;

        do
                r = ioctl(f->fd, BTRFS_IOC_ENCODED_WRITE, &args) < 0 ? -errno : 0;
        while (r == -EINTR);
        file_touched(f);
        if (r == 0)
                return 0;
        /* What this kernel, file or sector size cannot take as it is, or has no contiguous room for. */
        if (r != -ENOTTY && r != -EINVAL && r != -EOPNOTSUPP && r != -ENOSPC && r != -EPERM)
                return file_error(f, reterr, r, "write compressed data to");

        plain = malloc(c->unencoded_len);
        if (!plain)
                return err_sys(reterr, -ENOMEM, "Cannot unpack data");
        r = encoded_unpack(c->compression, c->data, c->data_size, plain, c->unencoded_len, reterr);
        if (r < 0)
                return err_add(reterr, r, "Byte %llu of the stream",
                                (unsigned long long) c->offset);
        return file_write(f, plain + c->unencoded_offset, (uint32_t) c->unencoded_file_len,
                        c->file_offset, reterr);
}

static int copy_range(File *f, int src_fd, uint64_t src_offset, uint64_t size, uint64_t offset,
                Err **reterr) {
        _cleanup_(freep) uint8_t *buf = malloc(COPY_SIZE);
        int r;

        if (!buf)
                return err_sys(reterr, -ENOMEM, "Cannot copy data");
        while (size > 0) {
                ssize_t n = pread(src_fd, buf, size < COPY_SIZE ? size : COPY_SIZE,
                                (off_t) src_offset);

                if (n < 0 && errno == EINTR)
                        continue;
                if (n <= 0)
                        return file_error(f, reterr, n < 0 ? -errno : -EIO,
                                        "read the source that shares data with");
                r = file_write(f, buf, (uint32_t) n, offset, reterr);
                if (r < 0)
                        return r;
                src_offset += (uint64_t) n;
                offset += (uint64_t) n;
                size -= (uint64_t) n;
        }
        return 0;
}

int file_clone(File *f, int src_fd, uint64_t src_offset, uint64_t size, uint64_t offset,
                Err **reterr) {
        struct file_clone_range range = {
                        .src_fd = src_fd,
                        .src_offset = src_offset,
                        .src_length = size,
                        .dest_offset = offset,
        };
        struct stat st;
        int r;

        if (fstat(src_fd, &st) < 0)
                return file_error(f, reterr, -errno, "share data with");
        if ((uint64_t) st.st_size < src_offset || (uint64_t) st.st_size - src_offset < size)
                return err_kind(reterr, ERR_BAD_STREAM, -EBADMSG,
                                "Cannot share data with %s: its source has only %llu bytes",
                                f->path, (unsigned long long) st.st_size);

        do
                r = ioctl(f->fd, FICLONERANGE, &range) < 0 ? -errno : 0;
        while (r == -EINTR);
        file_touched(f);
        if (r == 0)
                return 0;
        /* Other sector size, or one of the two has no checksums: the contents matter more than the sharing. */
        if (r == -EINVAL || r == -EOPNOTSUPP || r == -EXDEV)
                return copy_range(f, src_fd, src_offset, size, offset, reterr);
        return file_error(f, reterr, r, "share data with");
}

int file_truncate(File *f, uint64_t size, Err **reterr) {
        if (ftruncate(f->fd, (off_t) size) < 0)
                return file_error(f, reterr, -errno, "set the size of");
        file_touched(f);
        return 0;
}

int file_allocate(File *f, uint32_t mode, uint64_t offset, uint64_t size, Err **reterr) {
        int r;

        do
                r = fallocate(f->fd, (int) mode, (off_t) offset, (off_t) size) < 0 ? -errno : 0;
        while (r == -EINTR);
        if (r < 0)
                return file_error(f, reterr, r, "allocate room for");
        file_touched(f);
        return 0;
}

int file_chown(File *f, uid_t uid, gid_t gid, Err **reterr) {
        if (f->owner_known && f->uid == uid && f->gid == gid)
                return 0;
        if (fchown(f->fd, uid, gid) < 0)
                return file_error(f, reterr, -errno, "set the owner of");
        f->uid = uid;
        f->gid = gid;
        f->owner_known = true;
        f->caps_lost = true;
        if (f->mode_known && f->mode & (S_ISUID | S_ISGID) && fchmod(f->fd, f->mode) < 0)
                return file_error(f, reterr, -errno, "set the mode of");
        return 0;
}

int file_chmod(File *f, mode_t mode, Err **reterr) {
        if (f->mode_known && f->mode == mode)
                return 0;
        if (fchmod(f->fd, mode) < 0)
                return file_error(f, reterr, -errno, "set the mode of");
        f->mode = mode;
        f->mode_known = true;
        return 0;
}

void file_set_times(File *f, const struct timespec *atime, const struct timespec *mtime) {
        f->times[0] = *atime;
        f->times[1] = *mtime;
        f->times_known = f->times_due = true;
}

/* An access ACL holds the mode in another form: setting it sets the mode. */
static int acl_changed(File *f, const char *name, Err **reterr) {
        struct stat st;

        if (!str_eq(name, "system.posix_acl_access"))
                return 0;
        if (fstat(f->fd, &st) < 0)
                return file_error(f, reterr, -errno, "read the mode of");
        f->mode = st.st_mode & 07777;
        f->mode_known = true;
        return 0;
}

int file_set_xattr(File *f, const char *name, const uint8_t *data, size_t size, Err **reterr) {
        if (fsetxattr(f->fd, name, data, size, 0) < 0)
                return file_error(f, reterr, -errno, "set an extended attribute of");
        if (str_eq(name, CAPS_NAME)) {
                f->caps_size = size <= sizeof(f->caps) ? size : 0;
                memcpy(f->caps, data, f->caps_size);
                f->caps_lost = false;
        }
        return acl_changed(f, name, reterr);
}

int file_remove_xattr(File *f, const char *name, Err **reterr) {
        if (fremovexattr(f->fd, name) < 0 && errno != ENODATA)
                return file_error(f, reterr, -errno, "remove an extended attribute of");
        if (str_eq(name, CAPS_NAME))
                f->caps_size = 0;
        return acl_changed(f, name, reterr);
}
