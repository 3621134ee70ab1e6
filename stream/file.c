/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <sys/xattr.h>

#include "stream/file.h"

#define CAPS_NAME "security.capability"
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

int file_error(const File *f, Err **reterr, int code, const char *verb) {
        return apply_error(reterr, code, verb, f->path);
}

int file_new(const char *path, File **ret, Err **reterr) {
        _cleanup_(file_freep) File *f = calloc(1, sizeof(*f));

        if (!f)
                return err_sys(reterr, -ENOMEM, "Cannot write a file");
        f->fd = -1;
        f->path = strdup(path);
        if (!f->path)
                return err_sys(reterr, -ENOMEM, "Cannot write a file");

        *ret = MOVE(f);
        return 0;
}

void file_made(File *f, int fd, uid_t uid, gid_t gid, int mode) {
        f->fd = fd;
        f->uid = uid;
        f->gid = gid;
        f->mode = (mode_t) mode;
        f->owner_known = true;
        f->mode_known = mode >= 0;
}

int file_opened(File *f, int fd, const struct stat *st, Err **reterr) {
        ssize_t n;

        file_made(f, fd, st->st_uid, st->st_gid, (int) (st->st_mode & 07777));
        f->old = true;
        f->times[0] = st->st_atim;
        f->times[1] = st->st_mtim;
        f->times_known = true;
        n = fgetxattr(fd, CAPS_NAME, f->caps, sizeof(f->caps));
        if (n < 0 && errno != ENODATA && errno != EOPNOTSUPP)
                return file_error(f, reterr, -errno, "read the capabilities of");
        f->caps_size = n > 0 ? (size_t) n : 0;
        return 0;
}

File *file_free(File *f) {
        if (f) {
                held_drop(&f->held);
                fd_close(f->fd);
                free(f->path);
                free(f);
        }
        return NULL;
}

void file_chown(File *f, uid_t uid, gid_t gid) {
        f->want_uid = uid;
        f->want_gid = gid;
        f->owner_due = true;
}

void file_chmod(File *f, mode_t mode) {
        f->want_mode = mode;
        f->mode_due = true;
}

void file_set_times(File *f, const struct timespec *atime, const struct timespec *mtime) {
        f->times[0] = *atime;
        f->times[1] = *mtime;
        f->times_known = f->times_due = true;
}

int file_settle(File *f, Err **reterr) {
        if (f->owner_due && !(f->owner_known && f->uid == f->want_uid && f->gid == f->want_gid)) {
                if (fchown(f->fd, f->want_uid, f->want_gid) < 0)
                        return file_error(f, reterr, -errno, "set the owner of");
                f->uid = f->want_uid;
                f->gid = f->want_gid;
                f->owner_known = true;
                f->caps_lost = true;
                /* the kernel has taken these bits away with the old owner */
                if (f->mode_known && f->mode & (S_ISUID | S_ISGID)) {
                        if (!f->mode_due)
                                file_chmod(f, f->mode);
                        f->mode_known = false;
                }
        }
        f->owner_due = false;

        if (f->mode_due && !(f->mode_known && f->mode == f->want_mode)) {
                if (fchmod(f->fd, f->want_mode) < 0)
                        return file_error(f, reterr, -errno, "set the mode of");
                f->mode = f->want_mode;
                f->mode_known = true;
        }
        f->mode_due = false;
        return 0;
}

int file_finish(File *f, Err **reterr) {
        int r;

        r = file_settle(f, reterr);
        if (r < 0)
                return r;
        if (f->caps_lost && f->caps_size > 0 &&
                        fsetxattr(f->fd, CAPS_NAME, f->caps, f->caps_size, 0) < 0)
                return file_error(f, reterr, -errno, "set the capabilities of");
        f->caps_lost = false;
        if (f->times_known && f->times_due && futimens(f->fd, f->times) < 0)
                return file_error(f, reterr, -errno, "set the times of");
        f->times_due = false;
        return 0;
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
        int r;

        r = file_settle(f, reterr);
        if (r < 0)
                return r;
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
        int r;

        r = file_settle(f, reterr);
        if (r < 0)
                return r;
        if (fremovexattr(f->fd, name) < 0 && errno != ENODATA)
                return file_error(f, reterr, -errno, "remove an extended attribute of");
        if (str_eq(name, CAPS_NAME))
                f->caps_size = 0;
        return acl_changed(f, name, reterr);
}
