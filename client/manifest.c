/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <fcntl.h>
#include <poll.h>
#include <sys/mman.h>

#include "client/image.h"
#include "client/manifest.h"
#include "stream/manifest.h"

char *manifest_beside(const char *image) {
        size_t n = strlen(image);

        if (str_eq(image, "-"))
                return NULL;
        /* a query stays behind the name */
        if (strstr(image, "://"))
                n = strcspn(image, "?#");
        return str_printf("%.*s.manifest%s", (int) n, image, image + n);
}

/* 1: more may come; 0: that was the end. */
static int read_some(int fd, char *text, size_t *size, const char *where, Err **reterr) {
        ssize_t n = read(fd, text + *size, MANIFEST_SIZE_MAX + 1 - *size);

        if (n < 0 && errno == EINTR)
                return 1;
        if (n < 0)
                return err_kind(reterr, ERR_BAD_INPUT, errno, "Cannot read %s: %s", where,
                                strerror(errno));
        *size += (size_t) n;
        if (*size > MANIFEST_SIZE_MAX)
                return err_kind(reterr, ERR_BAD_MANIFEST, EFBIG,
                                "%s has more than %u bytes: that is no manifest", where,
                                MANIFEST_SIZE_MAX);
        return n > 0;
}

/* The pipe of a download ends only when the download has. */
static int read_download(Image *i, char *text, size_t *size, const char *where, Err **reterr) {
        int r = 1;

        while (r > 0) {
                struct pollfd fds[] = {{.fd = i->fd, .events = POLLIN},
                                {.fd = i->download ? download_fd(i->download) : -1,
                                                .events = POLLIN}};
                _cleanup_(freep) char *note = NULL;

                if (poll(fds, 2, -1) < 0 && errno != EINTR)
                        return err_sys(reterr, errno, "Cannot read %s", where);
                if (fds[0].revents) {
                        r = read_some(i->fd, text, size, where, reterr);
                        continue;
                }
                if (fds[1].revents) {
                        switch (download_step(i->download, &note, reterr)) {
                        case DOWNLOAD_FAILED: return -EIO;
                        case DOWNLOAD_ENDED: i->download = download_free(i->download); break;
                        case DOWNLOAD_GOES_ON: break;
                        }
                }
        }
        return r;
}

int manifest_load(const char *where, unsigned retries, char **ret, size_t *ret_size, Err **reterr) {
        _cleanup_(freep) char *text = malloc(MANIFEST_SIZE_MAX + 2);
        _cleanup_(image_done) Image i = {.fd = -1};
        size_t size = 0;
        int r;

        if (!text)
                return err_new(reterr, ENOMEM, "out of memory");
        r = image_open(where, retries, &i, reterr);
        if (r >= 0)
                r = read_download(&i, text, &size, where, reterr);
        if (r < 0)
                return r;
        text[size] = '\0';
        *ret = MOVE(text);
        *ret_size = size;
        return 0;
}

int manifest_open(
                const char *image, const char *where, unsigned retries, int *ret_fd, Err **reterr) {
        _cleanup_(freep) char *beside = where ? NULL : manifest_beside(image), *text = NULL;
        bool url = beside && strstr(beside, "://");
        _cleanup_(fd_closep) int fd = -1;
        size_t size;
        int r;

        *ret_fd = -1;
        if (!where && !beside)
                return 0;
        if (beside && !url && access(beside, F_OK) < 0 && errno == ENOENT)
                return 0;
        r = manifest_load(str_or(where, beside), retries, &text, &size, url ? NULL : reterr);
        /* a server need not have one; what the machine thinks of that, it says itself */
        if (r < 0)
                return url ? 0 : r;
        fd = memfd_create("manifest", MFD_CLOEXEC);
        if (fd < 0 || write(fd, text, size) != (ssize_t) size || lseek(fd, 0, SEEK_SET) != 0)
                return err_sys(reterr, errno, "Cannot hand the manifest over");
        /* 0 stands for none */
        *ret_fd = fcntl(fd, F_DUPFD_CLOEXEC, 3);
        return *ret_fd < 0 ? err_sys(reterr, errno, "Cannot hand the manifest over") : 0;
}
