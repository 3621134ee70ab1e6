/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <fcntl.h>
#include <sys/mman.h>

#include "client/device-files.h"

enum { DIGITS = 64 };

void device_call_done(DeviceCall *d) {
        if (d->beside)
                (void) unlink(d->beside);
        fd_close(d->fd);
        fd_close(d->digest);
        free(d->sha256);
        free(d->path);
        free(d->beside);
        *d = DEVICE_CALL_NONE;
}

static int wrong_use(Err **reterr, const char *what) {
        return err_kind(reterr, ERR_INVALID_ARGUMENT, EINVAL, "%s", what);
}

static bool is_digest(const char *text) {
        return strspn(text, "0123456789abcdef") == DIGITS;
}

static int open_output(Client *c, const char *path, DeviceCall *d, Err **reterr) {
        if (str_eq(path, "-")) {
                /* nothing of ours goes between the bytes */
                c->opt.quiet = true;
                c->json = JSON_OFF;
                c->progress = PROGRESS_NONE;
                if (isatty(STDOUT_FILENO))
                        return wrong_use(reterr, "A device is not written to a terminal");
                d->fd = fcntl(STDOUT_FILENO, F_DUPFD_CLOEXEC, 3);
                return d->fd < 0 ? err_sys(reterr, errno, "Cannot use the standard output") : 0;
        }
        d->path = strdup(path);
        d->beside = str_printf("%s.new", path);
        if (!d->path || !d->beside)
                return err_new(reterr, ENOMEM, "out of memory");
        /* every file of the system is in there */
        d->fd = open(d->beside, O_RDWR | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0600);
        return d->fd < 0 ? err_sys(reterr, errno, "Cannot make %s", d->beside) : 0;
}

static int open_export(Client *c, int argc, char *argv[], DeviceCall *d, Err **reterr) {
        const char *compress = c->opt.compress;

        if (argc != 1 || !c->opt.output)
                return wrong_use(reterr, "'abctl device export' wants a slot and --output=FILE");
        if (compress && !str_eq(compress, "zstd") && !str_eq(compress, "none"))
                return wrong_use(reterr, "--compress= wants zstd or none");
        d->slot = argv[0];
        d->compress = str_eq(compress, "zstd");
        d->digest = memfd_create("sha256", MFD_CLOEXEC);
        return d->digest < 0 ? err_sys(reterr, errno, "Cannot make a file in memory")
                             : open_output(c, c->opt.output, d, reterr);
}

/* As sha256sum writes it; only the digits count. */
static int read_digest(const char *path, char **ret, Err **reterr) {
        _cleanup_(freep) char *name = str_printf("%s.sha256", path);
        _cleanup_(fclosep) FILE *f = NULL;
        char text[DIGITS + 2] = "";

        if (!name)
                return err_new(reterr, ENOMEM, "out of memory");
        f = fopen(name, "re");
        if (!f)
                return errno == ENOENT ? 0 : err_sys(reterr, errno, "Cannot open %s", name);
        if (!fgets(text, sizeof(text), f) || !is_digest(text))
                return err_kind(reterr, ERR_BAD_INPUT, EBADMSG,
                                "%s does not begin with the 64 digits of a SHA-256", name);
        *ret = strndup(text, DIGITS);
        return *ret ? 0 : err_new(reterr, ENOMEM, "out of memory");
}

static int open_restore(Client *c, int argc, char *argv[], DeviceCall *d, Err **reterr) {
        if (argc != 2 || c->opt.output)
                return wrong_use(reterr, "'abctl device restore' wants a file and a slot");
        if (c->opt.sha256 && !is_digest(c->opt.sha256))
                return wrong_use(reterr, "--sha256= wants 64 digits, 0 to 9 and a to f");
        d->slot = argv[1];
        if (str_eq(argv[0], "-") && isatty(STDIN_FILENO))
                return wrong_use(reterr, "A device is not read from a terminal");
        d->fd = str_eq(argv[0], "-") ? fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, 3)
                                     : open(argv[0], O_RDONLY | O_CLOEXEC | O_NOCTTY);
        if (d->fd < 0)
                return err_sys(reterr, errno, "Cannot open %s", argv[0]);
        if (c->opt.sha256)
                return str_set(&d->sha256, c->opt.sha256) < 0
                                       ? err_new(reterr, ENOMEM, "out of memory")
                                       : 0;
        return str_eq(argv[0], "-") ? 0 : read_digest(argv[0], &d->sha256, reterr);
}

int device_call_open(Client *c, int argc, char *argv[], DeviceCall *ret, Err **reterr) {
        _cleanup_(device_call_done) DeviceCall d = DEVICE_CALL_NONE;
        int r;

        d.restore = str_eq(argv[0], "restore");
        if (!d.restore && !str_eq(argv[0], "export"))
                return wrong_use(reterr, "A device is for 'export' or 'restore'");
        if (c->opt.host)
                return err_kind(reterr, ERR_NOT_SUPPORTED, ENOTSUP,
                                "An open file cannot travel over ssh: run 'ssh %s abctl device "
                                "%s ...' with '-' as the file",
                                c->opt.host, argv[0]);
        r = d.restore ? open_restore(c, argc - 1, argv + 1, &d, reterr)
                      : open_export(c, argc - 1, argv + 1, &d, reterr);
        if (r < 0)
                return r;
        *ret = d;
        d = DEVICE_CALL_NONE;
        return 0;
}

/* What 'sha256sum -c' takes; of a packed file it is the sum of what is unpacked, and the name says so. */
static int write_digest(const DeviceCall *d, Err **reterr) {
        _cleanup_(freep) char *name = str_printf("%s.sha256", d->path);
        _cleanup_(fclosep) FILE *f = NULL;
        char text[DIGITS + 1] = "";
        const char *slash = strrchr(d->path, '/'), *last = slash ? slash + 1 : d->path;
        size_t n = strlen(last);

        if (pread(d->digest, text, DIGITS, 0) != DIGITS)
                return err_new(reterr, EIO, "The SHA-256 did not come");
        if (d->compress && n > 4 && str_eq(last + n - 4, ".zst"))
                n -= 4;
        f = name ? fopen(name, "we") : NULL;
        if (!f || fprintf(f, "%s  %.*s\n", text, (int) n, last) < 0 || fflush(f) != 0)
                return err_sys(reterr, errno, "Cannot write %s.sha256", d->path);
        return 0;
}

int device_call_end(DeviceCall *d, int status, Err **reterr) {
        int r;

        if (!d->path)
                return status;
        r = write_digest(d, reterr);
        if (r >= 0 && rename(d->beside, d->path) < 0)
                r = err_sys(reterr, errno, "Cannot make %s", d->path);
        if (r < 0)
                return r;
        free(MOVE(d->beside));
        return status;
}
