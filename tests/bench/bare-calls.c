/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* bare-calls SOURCE TARGET: how long does a file system take for a tree, whoever asks it? Names and contents of SOURCE are
 * read into memory first. Then TARGET gets each of them by one call for the name, one for the data and one for the times,
 * names in one thread and data in another, and syncfs. No input is read, nothing is unpacked, checked or hashed; owners,
 * hard links and attributes are left out: less than any program must do that makes this tree.
 *
 * Says "ready" and waits for a line; at the end it says the seconds of CPU since. */
#include <fcntl.h>
#include <fts.h>
#include <pthread.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include "base/util.h"

/* So many files may wait for their data, each with a descriptor. */
enum { AHEAD = 1024, WAKE = 32 };

typedef struct Item {
        char *name, *content;
        size_t parent;
        mode_t mode;
        size_t size;
        struct timespec times[2];
        int fd;
} Item;

static Item *items;
static size_t n_items, n_made, n_filled;
static bool all_made;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t moved = PTHREAD_COND_INITIALIZER;

static void die(const char *what, const char *name) {
        fprintf(stderr, "bare-calls: %s %s: %s\n", what, name, strerror(errno));
        exit(1);
}

static void read_content(Item *i, const char *path) {
        _cleanup_(fd_closep) int fd = -1;
        ssize_t got = 0;

        i->content = calloc(1, i->size + 1);
        if (!i->content)
                die("no memory for", path);
        if (S_ISLNK(i->mode)) {
                if (readlink(path, i->content, i->size) < 0)
                        die("read", path);
                return;
        }
        fd = open(path, O_RDONLY | O_CLOEXEC);
        if (fd < 0)
                die("open", path);
        for (size_t at = 0; at < i->size; at += (size_t) got) {
                got = pread(fd, i->content + at, i->size - at, (off_t) at);
                if (got <= 0)
                        die("read", path);
        }
}

/* A directory stands before what is in it. The top is its own parent. */
static void load(char *source) {
        char *const tops[] = {source, NULL};
        FTS *walk = fts_open(tops, FTS_PHYSICAL | FTS_NOCHDIR, NULL);

        if (!walk)
                die("read", source);
        for (FTSENT *e = fts_read(walk); e; e = fts_read(walk)) {
                Item *i;

                if (e->fts_info == FTS_DP)
                        continue;
                if (e->fts_info == FTS_DNR || e->fts_info == FTS_ERR || e->fts_info == FTS_NS)
                        die("read", e->fts_path);
                if ((n_items & (n_items - 1)) == 0)
                        items = reallocarray(items, n_items ? 2 * n_items : 1, sizeof(*items));
                if (!items)
                        die("no memory for", e->fts_path);
                i = &items[n_items];
                *i = (Item){.name = strdup(e->fts_level ? e->fts_name : "tree"),
                                .parent = e->fts_level ? (size_t) e->fts_parent->fts_number : 0,
                                .mode = e->fts_statp->st_mode,
                                .size = (size_t) e->fts_statp->st_size,
                                .times = {e->fts_statp->st_atim, e->fts_statp->st_mtim},
                                .fd = -1};
                e->fts_number = (long) n_items++;
                if (S_ISREG(i->mode) || S_ISLNK(i->mode))
                        read_content(i, e->fts_accpath);
        }
        fts_close(walk);
}

static void make(Item *i, int dir_fd) {
        if (S_ISDIR(i->mode)) {
                if (mkdirat(dir_fd, i->name, i->mode & 07777) < 0)
                        die("make", i->name);
                i->fd = openat(dir_fd, i->name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        } else if (S_ISREG(i->mode))
                i->fd = openat(dir_fd, i->name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC,
                                i->mode & 07777);
        else if (S_ISLNK(i->mode)) {
                if (symlinkat(i->content, dir_fd, i->name) < 0 ||
                                utimensat(dir_fd, i->name, i->times, AT_SYMLINK_NOFOLLOW) < 0)
                        die("make", i->name);
                return;
        }
        if (i->fd < 0)
                die("make", i->name);
}

static void fill(Item *i) {
        ssize_t put = 0;

        if (!S_ISREG(i->mode))
                return;
        for (size_t at = 0; at < i->size; at += (size_t) put) {
                put = pwrite(i->fd, i->content + at, i->size - at, (off_t) at);
                if (put <= 0)
                        die("write", i->name);
        }
        if (futimens(i->fd, i->times) < 0)
                die("set the times of", i->name);
        i->fd = fd_close(i->fd);
}

static void *fill_all(void *unused) {
        size_t to = 0;
        bool last = false;

        (void) unused;
        for (size_t i = 0; !last;) {
                pthread_mutex_lock(&lock);
                pthread_cond_signal(&moved);
                while (n_made == i && !all_made)
                        pthread_cond_wait(&moved, &lock);
                to = n_made;
                last = all_made;
                pthread_mutex_unlock(&lock);
                for (; i < to; i++)
                        fill(&items[i]);
                pthread_mutex_lock(&lock);
                n_filled = i;
                pthread_mutex_unlock(&lock);
        }
        return NULL;
}

static void tell(size_t made, bool all) {
        pthread_mutex_lock(&lock);
        n_made = made;
        all_made = all;
        pthread_cond_signal(&moved);
        while (!all && made - n_filled > AHEAD)
                pthread_cond_wait(&moved, &lock);
        pthread_mutex_unlock(&lock);
}

static double cpu_seconds(void) {
        struct rusage u;

        getrusage(RUSAGE_SELF, &u);
        return (double) (u.ru_utime.tv_sec + u.ru_stime.tv_sec) +
               (double) (u.ru_utime.tv_usec + u.ru_stime.tv_usec) / 1e6;
}

int main(int argc, char **argv) {
        struct rlimit files = {0}; /* every directory stays open */
        _cleanup_(fd_closep) int target = -1;
        pthread_t filler;
        double before;

        if (argc != 3) {
                fputs("bare-calls SOURCE TARGET\n", stderr);
                return 2;
        }
        getrlimit(RLIMIT_NOFILE, &files);
        files.rlim_cur = files.rlim_max;
        setrlimit(RLIMIT_NOFILE, &files);
        load(argv[1]);
        target = open(argv[2], O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (target < 0)
                die("open", argv[2]);
        puts("ready");
        fflush(stdout);
        if (getchar() == EOF)
                return 1;

        before = cpu_seconds();
        if (pthread_create(&filler, NULL, fill_all, NULL) != 0)
                die("start", "a thread");
        for (size_t i = 0; i < n_items; i++) {
                make(&items[i], i ? items[items[i].parent].fd : target);
                if (i % WAKE == 0)
                        tell(i + 1, /* all= */ false);
        }
        tell(n_items, /* all= */ true);
        pthread_join(filler, NULL);
        for (size_t i = 0; i < n_items; i++)
                if (S_ISDIR(items[i].mode) && futimens(items[i].fd, items[i].times) < 0)
                        die("set the times of", items[i].name);
        if (syncfs(target) < 0)
                die("sync", argv[2]);
        printf("%.3f\n", cpu_seconds() - before);
        return 0;
}
