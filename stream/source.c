/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <sys/stat.h>

#include "stream/source.h"

static const char *unreadable_kind(mode_t mode) {
        switch (mode & S_IFMT) {
        case S_IFDIR: return "a directory";
        case S_IFCHR: return "a character device";
        case S_IFBLK: return "a block device";
        case S_IFLNK: return "a symbolic link";
        default: return NULL;
        }
}

int source_init(Source *s, int fd, int stop_fd, Err **reterr) {
        const char *kind;
        struct statx st;
        int flags;

        *s = (Source){.fd = fd, .stop_fd = stop_fd, .feeder.fd = -1};
        flags = fcntl(fd, F_GETFL);
        if (flags < 0 || statx(fd, "", AT_EMPTY_PATH | AT_STATX_DONT_SYNC, STATX_TYPE, &st) < 0)
                return err_kind(reterr, ERR_BAD_INPUT, -EBADF, "The image is not an open file");

        kind = unreadable_kind(st.stx_mode);
        if (kind)
                return err_kind(reterr, ERR_BAD_INPUT, S_ISDIR(st.stx_mode) ? -EISDIR : -EINVAL,
                                "The image is %s; give a file, a pipe or a socket", kind);
        if (flags & O_PATH)
                return err_kind(reterr, ERR_BAD_INPUT, -EBADF,
                                "The image was opened as a path only (O_PATH), not for reading");
        if ((flags & O_ACCMODE) == O_WRONLY)
                return err_kind(reterr, ERR_BAD_INPUT, -EBADF,
                                "The image was opened for writing only");

        s->polls = !S_ISREG(st.stx_mode);
        atomic_init(&s->bytes, 0);
        atomic_init(&s->last_usec, now_monotonic());
        return 0;
}

void source_done(Source *s) {
        feeder_done(&s->feeder);
}

/* Returns when a read would not block. */
static int source_wait(Source *s, Err **reterr) {
        for (;;) {
                struct pollfd fds[2] = {
                                {.fd = s->stop_fd, .events = POLLIN},
                                {.fd = s->fd, .events = POLLIN},
                };

                if (poll(fds, 2, s->polls ? -1 : 0) < 0) {
                        if (errno == EINTR)
                                continue;
                        return err_sys(reterr, -errno, "Cannot wait for the image");
                }
                if (fds[0].revents)
                        return err_new(reterr, -ECANCELED, "Stopped while reading the image");
                if (fds[1].revents || !s->polls)
                        return 0;
        }
}

int source_open(Source *s, Err **reterr) {
        const int file = s->fd;
        int r;

        if (s->polls)
                return 0;
        r = feeder_start(file, &s->feeder, reterr);
        if (r < 0)
                return r;
        s->fd = s->feeder.fd;
        s->polls = true;
        r = source_wait(s, reterr);
        if (r >= 0)
                r = feeder_wanted(&s->feeder, reterr);
        if (r == 0) {
                s->fd = file;
                s->polls = false;
        }
        return r < 0 ? r : 0;
}

/* A pipe does not say why it ends. */
static int source_end(Source *s, Err **reterr) {
        int r = s->feeder.pid > 0 ? feeder_result(&s->feeder) : 0;

        return r < 0 ? err_kind(reterr, ERR_BAD_INPUT, r, "Cannot read the image: %s", strerror(-r))
                     : 0;
}

int source_skip(Source *s, uint64_t at, uint64_t to, void *buf, size_t size, Err **reterr) {
        if (at > to)
                return err_kind(reterr, ERR_CONFLICT, -ESPIPE,
                                "The image was handed over from byte %" PRIu64
                                " on, and it is needed from byte %" PRIu64 " on",
                                at, to);
        if (!s->polls) {
                if (to > at && lseek(s->fd, (off_t) (to - at), SEEK_CUR) < 0)
                        return err_kind(reterr, ERR_BAD_INPUT, -errno,
                                        "Cannot go on in the image: %s", strerror(errno));
                at = to;
        }
        while (at < to) {
                size_t n;
                int r = source_read(s, buf, to - at < size ? (size_t) (to - at) : size, &n, reterr);

                if (r < 0)
                        return r;
                if (n == 0)
                        return err_kind(reterr, ERR_TRUNCATED, -EBADMSG,
                                        "The image ends early, after %" PRIu64 " bytes", at);
                at += n;
        }
        atomic_store(&s->bytes, to);
        return 0;
}

int source_read(Source *s, void *buf, size_t size, size_t *ret, Err **reterr) {
        size_t done = 0;
        int r;

        while (done < size) {
                ssize_t n;

                r = source_wait(s, reterr);
                if (r < 0)
                        return r;
                n = read(s->fd, (uint8_t *) buf + done, size - done);
                if (n < 0) {
                        if (errno == EINTR || errno == EAGAIN)
                                continue;
                        return err_kind(reterr, ERR_BAD_INPUT, -errno, "Cannot read the image: %s",
                                        strerror(errno));
                }
                if (n == 0) {
                        r = source_end(s, reterr);
                        if (r < 0)
                                return r;
                        break;
                }
                done += (size_t) n;
                atomic_fetch_add(&s->bytes, (uint64_t) n);
                atomic_store(&s->last_usec, now_monotonic());
        }
        *ret = done;
        return 0;
}
