/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Files that a maker writes: whole or not there, also after a power cut. */
#include <fcntl.h>

#include "client/image-verbs.h"

int image_sync_names(const char *path, Err **reterr) {
        const char *slash = strrchr(path, '/');
        _cleanup_(freep) char *dir =
                        slash ? strndup(path, (size_t) (slash - path) + 1) : strdup(".");
        _cleanup_(fd_closep) int fd = -1;

        if (!dir)
                return err_new(reterr, ENOMEM, "out of memory");
        fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        return fd >= 0 && fsync(fd) == 0 ? 0 : err_sys(reterr, errno, "Cannot sync %s", dir);
}

int image_write_draft(const char *path, const void *data, size_t size, Err **reterr) {
        _cleanup_(freep) char *draft = str_printf("%s.new", path);
        _cleanup_(fd_closep) int fd = -1;

        if (!draft)
                return err_new(reterr, ENOMEM, "out of memory");
        fd = open(draft, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
        if (fd < 0 || write(fd, data, size) != (ssize_t) size || fsync(fd) < 0)
                return err_sys(reterr, errno, "Cannot write %s", draft);
        return 0;
}

int image_take_draft(const char *path, Err **reterr) {
        _cleanup_(freep) char *draft = str_printf("%s.new", path);

        if (!draft)
                return err_new(reterr, ENOMEM, "out of memory");
        if (rename(draft, path) < 0)
                return err_sys(reterr, errno, "Cannot make %s", path);
        return image_sync_names(path, reterr);
}

int image_remove(const char *path, Err **reterr) {
        if (unlink(path) == 0)
                return image_sync_names(path, reterr);
        return errno == ENOENT ? 0 : err_sys(reterr, errno, "Cannot delete %s", path);
}

void image_drop_draft(const char *path) {
        _cleanup_(freep) char *draft = str_printf("%s.new", path);

        if (draft)
                (void) unlink(draft);
}
