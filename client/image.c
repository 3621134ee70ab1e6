/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <fcntl.h>
#include <stdarg.h>
#include <sys/stat.h>

#include "client/image.h"

void image_done(Image *i) {
        i->fd = fd_close(i->fd);
        if (i->manifest > 0)
                i->manifest = fd_close(i->manifest);
        i->download = download_free(i->download);
        free(i->name);
        i->name = NULL;
}

static const char *last_component(const char *path) {
        const char *slash = strrchr(path, '/');

        return slash && slash[1] ? slash + 1 : path;
}

static int bad_input(Err **reterr, int code, const char *fmt, ...) _printf_(3, 4);
static int bad_input(Err **reterr, int code, const char *fmt, ...) {
        _cleanup_(freep) char *text = NULL;
        va_list ap;
        int n;

        va_start(ap, fmt);
        n = vasprintf(&text, fmt, ap);
        va_end(ap);
        if (n < 0) {
                text = NULL;
                return -ENOMEM;
        }
        return err_kind(reterr, ERR_BAD_INPUT, code, "%s", text);
}

/* People forget or add the ending of a compressed image. */
static int no_such_file(const char *path, Err **reterr) {
        static const char *const endings[] = {".zst", ".send", ".send.zst", ".xz", ".gz"};

        for (size_t i = 0; i < ARRAY_SIZE(endings); i++) {
                _cleanup_(freep) char *with = str_printf("%s%s", path, endings[i]);
                _cleanup_(freep) char *without = NULL;
                size_t n = strlen(path), k = strlen(endings[i]);

                if (with && access(with, F_OK) >= 0)
                        return bad_input(reterr, ENOENT, "There is no %s: did you mean %s?", path,
                                        with);
                if (n > k && str_eq(path + n - k, endings[i]))
                        without = strndup(path, n - k);
                if (without && access(without, F_OK) >= 0)
                        return bad_input(reterr, ENOENT, "There is no %s: did you mean %s?", path,
                                        without);
        }
        return bad_input(reterr, ENOENT, "There is no file %s", path);
}

static int check_kind(const char *where, const struct stat *st, Err **reterr) {
        if (S_ISDIR(st->st_mode))
                return bad_input(reterr, EISDIR,
                                "%s is a directory: an image is a file that 'btrfs send' wrote",
                                where);
        if (S_ISCHR(st->st_mode) || S_ISBLK(st->st_mode))
                return bad_input(reterr, EINVAL,
                                "%s is a device: an image is a file that 'btrfs send' wrote",
                                where);
        if (S_ISREG(st->st_mode) && st->st_size == 0)
                return bad_input(reterr, ENODATA, "%s is empty: did a copy or a download fail?",
                                where);
        return 0;
}

static int open_path(const char *path, Image *i, Err **reterr) {
        struct stat st;
        int r;

        /* look first: opening a pipe waits for its writer, and opening a device may do anything */
        if (stat(path, &st) < 0) {
                if (errno == ENOENT)
                        return no_such_file(path, reterr);
                return bad_input(reterr, errno, "Cannot look at %s: %s", path, strerror(errno));
        }
        r = check_kind(path, &st, reterr);
        if (r < 0)
                return r;
        i->fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
        if (i->fd < 0)
                return bad_input(reterr, errno, "Cannot open %s: %s", path, strerror(errno));
        if (fstat(i->fd, &st) < 0)
                return bad_input(reterr, errno, "Cannot look at %s: %s", path, strerror(errno));
        i->size = S_ISREG(st.st_mode) ? (uint64_t) st.st_size : 0;
        i->name = strdup(last_component(path));
        return i->name ? 0 : err_sys(reterr, ENOMEM, "Cannot open %s", path);
}

static int open_stdin(Image *i, Err **reterr) {
        struct stat st;
        off_t at;
        int r;

        if (isatty(STDIN_FILENO))
                return bad_input(reterr, EINVAL,
                                "'-' reads the image from the standard input, and that is a "
                                "terminal: put 'zstdcat FILE |' in front or '<FILE' behind");
        if (fstat(STDIN_FILENO, &st) < 0)
                return bad_input(reterr, errno, "Cannot read the standard input: %s",
                                strerror(errno));
        r = check_kind("The standard input", &st, reterr);
        if (r < 0)
                return r;
        i->fd = fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, 3);
        if (i->fd < 0)
                return err_sys(reterr, errno, "Cannot read the standard input");
        at = S_ISREG(st.st_mode) ? lseek(i->fd, 0, SEEK_CUR) : -1;
        if (at >= 0 && at < st.st_size)
                i->size = (uint64_t) (st.st_size - at);
        i->name = strdup("-");
        return i->name ? 0 : err_sys(reterr, ENOMEM, "Cannot read the standard input");
}

static int open_url(const char *url, unsigned retries, Image *i, Err **reterr) {
        int r = download_start(url, retries, /* offset= */ 0, &i->download, reterr);

        if (r < 0)
                return r;
        i->fd = download_take_pipe(i->download);
        i->size = download_size(i->download);
        i->name = strdup(download_name(i->download));
        return i->name ? 0 : err_sys(reterr, ENOMEM, "Cannot load %s", url);
}

int image_open(const char *where, unsigned retries, Image *ret, Err **reterr) {
        _cleanup_(image_done) Image i = {.fd = -1};
        int r;

        if (str_eq(where, "-"))
                r = open_stdin(&i, reterr);
        else if (strstr(where, "://"))
                r = open_url(where, retries, &i, reterr);
        else
                r = open_path(where, &i, reterr);
        if (r < 0)
                return r;
        *ret = i;
        i = (Image){.fd = -1};
        return 0;
}
