/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "os/file.h"
#include "os/unreadable.h"

/* Past the page cache lengths and addresses are whole blocks, of up to 64 KiB. */
enum { BLOCK = 64 << 10, READ_SIZE = 1 << 20 };

typedef struct Search {
        const atomic_bool *stop;
        size_t n, max;
        char **found;
        void *buffer;
} Search;

static bool is_over(const Search *s) {
        return s->n == s->max || atomic_load(s->stop);
}

static bool is_lost(const Search *s, int dir_fd, const char *name) {
        _cleanup_(fd_closep) int fd = openat(dir_fd, name,
                        O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | O_NOATIME | O_DIRECT);
        off_t at = 0;
        ssize_t n = 0;

        if (fd < 0)
                return errno == EIO;
        /* packed files are read through it all the same */
        (void) posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
        while (!is_over(s) && (n = pread(fd, s->buffer, READ_SIZE, at)) > 0)
                at += n;
        return n < 0 && errno == EIO;
}

static int search(Search *s, int dir_fd, const char *path, Err **reterr);

/* Takes over @path. */
static int look_at(Search *s, int dir_fd, const char *name, char *path, Err **reterr) {
        _cleanup_(freep) char *owned = path;
        bool lost = false;
        struct stat st;

        if (!path)
                return err_new(reterr, ENOMEM, "out of memory");
        if (fstatat(dir_fd, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
                lost = errno == EIO;
        else if (S_ISREG(st.st_mode))
                lost = is_lost(s, dir_fd, name);
        else if (S_ISDIR(st.st_mode)) {
                _cleanup_(fd_closep) int fd = dir_open_at(dir_fd, name, NULL);

                if (fd >= 0)
                        return search(s, fd, path, reterr);
                lost = fd == -EIO;
        }
        if (lost)
                s->found[s->n++] = MOVE(owned);
        return 0;
}

static int search(Search *s, int dir_fd, const char *path, Err **reterr) {
        _cleanup_(strv_freep) char **names = NULL;
        int r = dir_names(dir_fd, &names, NULL);

        if (r == -EIO) {
                s->found[s->n] = strdup(*path ? path : ".");
                if (!s->found[s->n])
                        return err_new(reterr, ENOMEM, "out of memory");
                s->n++;
        }
        if (r < 0)
                return r == -ENOMEM ? err_new(reterr, r, "out of memory") : 0;
        for (char **n = names; r >= 0 && *n && !is_over(s); n++)
                r = look_at(s, dir_fd, *n, str_printf("%s%s%s", path, *path ? "/" : "", *n),
                                reterr);
        return r;
}

int unreadable_files(int dir_fd, size_t max, const atomic_bool *stop, char ***ret, Err **reterr) {
        _cleanup_(strv_freep) char **found = calloc(max + 1, sizeof(*found));
        _cleanup_(freep) void *buffer = aligned_alloc(BLOCK, READ_SIZE);
        Search s = {.stop = stop, .max = max, .found = found, .buffer = buffer};
        int r;

        if (!found || !buffer)
                return err_new(reterr, ENOMEM, "out of memory");
        r = search(&s, dir_fd, "", reterr);
        if (r < 0)
                return r;
        *ret = MOVE(found);
        return 0;
}
