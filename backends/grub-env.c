/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "backends/grub.h"
#include "os/file.h"
#include "os/process.h"

/* Two sectors by the format; everything that is said fits into the first. */
enum { BLOCK = 1024, SECTOR = 512, LIST_MAX = 160 };

void grub_env_done(GrubEnv *e) {
        free(e->next);
        free(e->fallback);
        free(e->slots);
        *e = (GrubEnv){.left = -1, .copy = -1};
}

static const char *copy_name(int copy) {
        return copy == 0 ? "grubenv-0" : "grubenv-1";
}

/* Runs grub-editenv on an open file. @ret: what it says; NULL drops that. */
static int editenv(int fd, const char *const words[], char **ret, Err **reterr) {
        static const char *const programs[] = {"grub-editenv", "grub2-editenv"};
        const int fds[] = {fd, -1};
        char path[64];
        const char *argv[16] = {NULL, path};
        int r = -ENOENT;

        snprintf(path, sizeof(path), "/proc/self/fd/%i", fd);
        for (size_t n = 2; *words; n++) {
                if (n + 1 >= ARRAY_SIZE(argv))
                        abort();
                argv[n] = *words++;
        }
        for (size_t i = 0; r == -ENOENT && i < ARRAY_SIZE(programs); i++) {
                _cleanup_(err_freep) Err *why = NULL;

                argv[0] = programs[i];
                r = ret ? program_read(argv, fds, 4 * BLOCK, ret, &why)
                        : program_run(argv, fds, &why);
                if (r < 0 && r != -ENOENT && reterr)
                        *reterr = MOVE(why);
        }
        return r == -ENOENT ? err_new(reterr, r, "Boot=grub needs grub-editenv, and there is none")
                            : r;
}

static int take_line(GrubEnv *e, char *line, uint64_t *end) {
        char *value = strchr(line, '=');
        uint64_t number;

        if (!value)
                return 0;
        *value++ = '\0';
        if (str_eq(line, "abupdate_next"))
                return str_set(&e->next, *value ? value : NULL);
        if (str_eq(line, "abupdate_fallback"))
                return str_set(&e->fallback, *value ? value : NULL);
        if (str_eq(line, "abupdate_slots"))
                return str_set(&e->slots, *value ? value : NULL);
        if (str_eq(line, "abupdate_left") && parse_u64(value, &number) >= 0 && number <= 99)
                e->left = (int) number;
        if (str_eq(line, "abupdate_serial") && parse_u64(value, &number) >= 0)
                e->serial = number;
        if (str_eq(line, "abupdate_end"))
                (void) parse_u64(value, end);
        return 0;
}

/* 1: this copy was written to its end. */
static int read_copy(int home_fd, int copy, GrubEnv *ret, Err **reterr) {
        _cleanup_(fd_closep) int fd = openat(
                        home_fd, copy_name(copy), O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
        _cleanup_(grub_env_done) GrubEnv e = {.left = -1, .copy = copy};
        _cleanup_(err_freep) Err *why = NULL;
        _cleanup_(freep) char *text = NULL;
        char *save = NULL;
        uint64_t end = 0;
        struct stat st;
        int r;

        if (fd < 0 && errno == ENOENT)
                return 0;
        if (fd < 0 || fstat(fd, &st) < 0)
                return err_sys(reterr, errno, "open %s", copy_name(copy));
        if (!S_ISREG(st.st_mode) || st.st_size != BLOCK)
                return 0;
        r = editenv(fd, (const char *const[]){"list", NULL}, &text, &why);
        if (r == -ECHILD || r == -EFBIG)
                return 0;
        if (r < 0 && reterr)
                *reterr = MOVE(why);
        for (char *line = r >= 0 ? strtok_r(text, "\n", &save) : NULL; r >= 0 && line;
                        line = strtok_r(NULL, "\n", &save))
                if (take_line(&e, line, &end) < 0)
                        r = err_new(reterr, ENOMEM, "out of memory");
        if (r < 0 || e.serial == 0 || end != e.serial)
                return r < 0 ? r : 0;
        *ret = e;
        e = (GrubEnv){.copy = -1};
        return 1;
}

int grub_env_read(int home_fd, GrubEnv *ret, Err **reterr) {
        _cleanup_(grub_env_done) GrubEnv one = {.left = -1, .copy = -1},
                                         two = {.left = -1, .copy = -1};
        int r = read_copy(home_fd, 0, &one, reterr);

        if (r >= 0)
                r = read_copy(home_fd, 1, &two, reterr);
        if (r < 0)
                return err_add(reterr, r, "read the environment of GRUB");
        if (two.serial > one.serial) {
                *ret = two;
                two = (GrubEnv){.copy = -1};
        } else {
                *ret = one;
                one = (GrubEnv){.copy = -1};
        }
        return 0;
}

int grub_env_list(GrubEnv *e, const char *slot, bool first) {
        _cleanup_(freep) char *list = strdup(first ? slot : ""),
                              *old = strdup(str_or(e->slots, ""));
        char *save = NULL;

        for (char *w = list && old ? strtok_r(old, " ", &save) : NULL; list && w;
                        w = strtok_r(NULL, " ", &save)) {
                char *more;

                if (str_eq(w, slot) || strlen(list) + strlen(w) >= LIST_MAX)
                        continue;
                more = str_printf("%s%s%s", list, *list ? " " : "", w);
                free(list);
                list = more;
        }
        if (!list || !old)
                return -ENOMEM;
        free(e->slots);
        e->slots = *list ? MOVE(list) : NULL;
        return 0;
}

/* An empty block for grub-editenv to write into. */
static void empty_block(char block[static BLOCK]) {
        static const char head[] = "# GRUB Environment Block\n";

        memset(block, '#', BLOCK);
        memcpy(block, head, sizeof(head) - 1);
}

/* Without a file GRUB could not count: it writes only where a file is. */
static int make_copies(int home_fd, Err **reterr) {
        char block[BLOCK];
        bool any = false;
        struct stat st;
        int r = 0;

        empty_block(block);
        for (int i = 0; r >= 0 && i < 2; i++) {
                if (fstatat(home_fd, copy_name(i), &st, AT_SYMLINK_NOFOLLOW) >= 0 &&
                                S_ISREG(st.st_mode) && st.st_size == BLOCK)
                        continue;
                r = file_write_at(home_fd, copy_name(i), block, BLOCK, reterr);
                any = true;
        }
        return r >= 0 && any ? fs_sync(home_fd, reterr) : r;
}

static int format(const GrubEnv *e, char block[static BLOCK], Err **reterr) {
        _cleanup_(fd_closep) int fd = memfd_create("grubenv", MFD_CLOEXEC);
        _cleanup_(freep) char *serial = str_printf("abupdate_serial=%" PRIu64, e->serial),
                              *next = str_printf("abupdate_next=%s", str_or(e->next, "")),
                              *left = e->left < 0 ? strdup("abupdate_left=")
                                                  : str_printf("abupdate_left=%i", e->left),
                              *fallback = str_printf(
                                              "abupdate_fallback=%s", str_or(e->fallback, "")),
                              *slots = str_printf("abupdate_slots=%s", str_or(e->slots, "")),
                              *end = str_printf("abupdate_end=%" PRIu64, e->serial);
        const char *const words[] = {"set", serial, next, left, fallback, slots, end, NULL};
        int r;

        if (!serial || !next || !left || !fallback || !slots || !end)
                return err_new(reterr, ENOMEM, "out of memory");
        empty_block(block);
        if (fd < 0 || pwrite(fd, block, BLOCK, 0) != BLOCK)
                return err_sys(reterr, errno, "make an environment block");
        r = editenv(fd, words, NULL, reterr);
        if (r < 0)
                return r;
        if (pread(fd, block, BLOCK, 0) != BLOCK)
                return err_new(reterr, EIO, "grub-editenv did not write a block of %i bytes",
                                BLOCK);
        for (size_t i = SECTOR; i < BLOCK; i++)
                if (block[i] != '#')
                        return err_new(reterr, ENOSPC, "the choice does not fit into a sector");
        return 0;
}

int grub_env_write(int home_fd, GrubEnv *e, Err **reterr) {
        _cleanup_(fd_closep) int fd = -1;
        int copy = e->copy == 0 ? 1 : 0;
        char block[BLOCK];
        int r;

        e->serial++;
        r = format(e, block, reterr);
        if (r >= 0)
                r = make_copies(home_fd, reterr);
        if (r >= 0) {
                fd = openat(home_fd, copy_name(copy), O_WRONLY | O_NOFOLLOW | O_CLOEXEC);
                if (fd < 0 || pwrite(fd, block, BLOCK, 0) != BLOCK || fdatasync(fd) < 0)
                        r = err_sys(reterr, errno, "write %s", copy_name(copy));
        }
        if (r < 0)
                return err_add(reterr, r, "write the environment of GRUB");
        e->copy = copy;
        return 0;
}
