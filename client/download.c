/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#include "base/log.h"
#include "client/download.h"
#include "client/fetch.h"

#define FETCH_PROGRAM   "abctl-fetch"
#define PIPE_BYTES      (1024 * 1024)
#define FD_OUT_OF_REACH 10 /* above the descriptors that the child is given */

struct Download {
        pid_t child;
        int read_fd;  /* the pipe, until somebody takes it */
        int write_fd; /* held so that the reader does not see an end before every byte was there */
        FILE *news;
        char *name;
        uint64_t size;
};

static _Noreturn void exec_fetch(const char *url, unsigned retries, uint64_t offset, int out_fd,
                int news_fd, pid_t parent) {
        char path[4096], number[16], from[24];
        ssize_t n = readlink("/proc/self/exe", path, sizeof(path) - sizeof(FETCH_PROGRAM));
        char *slash;

        snprintf(number, sizeof(number), "%u", retries);
        snprintf(from, sizeof(from), "%" PRIu64, offset);
        /* Ctrl-C goes to the whole terminal; what to do about it is decided in one place, and that is not here */
        (void) signal(SIGINT, SIG_IGN);
        if (prctl(PR_SET_PDEATHSIG, SIGKILL) < 0 || getppid() != parent)
                _exit(EXIT_FAILURE);
        if (dup2(out_fd, FETCH_OUT_FD) < 0 || dup2(news_fd, FETCH_NEWS_FD) < 0)
                _exit(EXIT_FAILURE);
        path[n > 0 ? n : 0] = '\0';
        slash = strrchr(path, '/');
        if (slash) {
                /* beside abctl: a build tree */
                memcpy(slash + 1, FETCH_PROGRAM, sizeof(FETCH_PROGRAM));
                execl(path, FETCH_PROGRAM, url, number, from, NULL);
        }
        execl(ABUPDATE_LIBEXECDIR "/" FETCH_PROGRAM, FETCH_PROGRAM, url, number, from, NULL);
        dprintf(FETCH_NEWS_FD, "failed Failed Cannot start " FETCH_PROGRAM ": %s\n",
                        strerror(errno));
        _exit(EXIT_FAILURE);
}

static int pipe_far(int ret[2]) {
        int fds[2];

        if (pipe2(fds, O_CLOEXEC) < 0)
                return -errno;
        for (int i = 0; i < 2; i++) {
                ret[i] = fcntl(fds[i], F_DUPFD_CLOEXEC, FD_OUT_OF_REACH);
                close(fds[i]);
        }
        return ret[0] < 0 || ret[1] < 0 ? -EMFILE : 0;
}

static int start_child(
                Download *d, const char *url, unsigned retries, uint64_t offset, Err **reterr) {
        int data[2] = {-1, -1}, news[2] = {-1, -1}, r;
        pid_t self = getpid();

        r = pipe_far(data);
        d->read_fd = data[0];
        d->write_fd = data[1];
        if (r >= 0)
                r = pipe_far(news);
        if (r < 0)
                return err_sys(reterr, r, "Cannot load %s", url);
        (void) fcntl(d->write_fd, F_SETPIPE_SZ, PIPE_BYTES); /* only faster */
        d->news = fdopen(news[0], "re");
        d->child = fork();
        if (d->child == 0)
                exec_fetch(url, retries, offset, d->write_fd, news[1], self);
        fd_close(news[1]);
        if (!d->news || d->child < 0)
                return err_sys(reterr, errno, "Cannot load %s", url);
        /* download_step() is asked when the descriptor is readable: nothing may wait in a buffer */
        setvbuf(d->news, NULL, _IONBF, 0);
        return 0;
}

static int take_failure(const char *text, Err **reterr) {
        const char *space = strchr(text, ' ');
        _cleanup_(freep) char *name = strndup(text, space ? (size_t) (space - text) : 0);
        ErrKind kind = name ? err_kind_from_name(name) : _ERR_KIND_INVALID;

        return err_kind(reterr, kind >= 0 ? kind : ERR_FAILED, EIO, "%s", space ? space + 1 : text);
}

DownloadStep download_step(Download *d, char **ret_note, Err **reterr) {
        char line[FETCH_LINE_MAX];
        const char *rest;

        if (!fgets(line, sizeof(line), d->news)) {
                (void) err_new(reterr, EPIPE,
                                "The download stopped: " FETCH_PROGRAM " died, see 'journalctl'");
                return DOWNLOAD_FAILED;
        }
        line[strcspn(line, "\n")] = '\0';
        rest = str_after(line, "head ");
        if (rest) {
                char *end = NULL;

                d->size = strtoull(rest, &end, 10);
                d->name = strdup(*end == ' ' ? end + 1 : end);
                return DOWNLOAD_GOES_ON;
        }
        rest = str_after(line, "note ");
        if (rest) {
                *ret_note = strdup(rest);
                return DOWNLOAD_GOES_ON;
        }
        rest = str_after(line, "failed ");
        if (rest) {
                (void) take_failure(rest, reterr);
                return DOWNLOAD_FAILED;
        }
        d->write_fd = fd_close(d->write_fd);
        return DOWNLOAD_ENDED;
}

int download_start(
                const char *url, unsigned retries, uint64_t offset, Download **ret, Err **reterr) {
        _cleanup_(download_freep) Download *d = calloc(1, sizeof(*d));
        int r;

        if (!d)
                return err_sys(reterr, ENOMEM, "Cannot load %s", url);
        *d = (Download){.read_fd = -1, .write_fd = -1};
        r = start_child(d, url, retries, offset, reterr);
        if (r < 0)
                return r;
        while (!d->name) {
                _cleanup_(freep) char *note = NULL;

                if (download_step(d, &note, reterr) != DOWNLOAD_GOES_ON)
                        return -EIO;
                if (note)
                        log_notice("%s", note);
        }
        *ret = MOVE(d);
        return 0;
}

Download *download_free(Download *d) {
        if (!d)
                return NULL;
        if (d->child > 0) {
                (void) kill(d->child, SIGKILL);
                (void) waitpid(d->child, NULL, 0);
        }
        fclosep(&d->news);
        fd_close(d->read_fd);
        fd_close(d->write_fd);
        free(d->name);
        free(d);
        return NULL;
}

int download_take_pipe(Download *d) {
        return MOVE_FD(d->read_fd);
}

uint64_t download_size(const Download *d) {
        return d->size;
}

const char *download_name(const Download *d) {
        return d->name;
}

int download_fd(const Download *d) {
        return fileno(d->news);
}
