/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <ftw.h>

#include "tests/unit/unit.h"

int temp_dir_make(char ret_path[static 64]) {
        const char *base = access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp";
        int fd;

        snprintf(ret_path, 64, "%s/abupdate-unit-XXXXXX", base);
        assert_non_null(mkdtemp(ret_path));
        fd = open(ret_path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        assert_true(fd >= 0);
        return fd;
}

static int remove_one(const char *path, const struct stat *st _unused_, int type _unused_,
                struct FTW *ftw _unused_) {
        return remove(path);
}

void temp_dir_remove(const char *path) {
        assert_int_equal(nftw(path, remove_one, 16, FTW_DEPTH | FTW_PHYS), 0);
}

void put_file(int dir_fd, const char *path, const char *text) {
        _cleanup_(freep) char *copy = strdup(path);
        size_t size = strlen(text);
        int fd;

        assert_non_null(copy);
        for (char *slash = strchr(copy, '/'); slash; slash = strchr(slash + 1, '/')) {
                *slash = '\0';
                assert_true(mkdirat(dir_fd, copy, 0755) >= 0 || errno == EEXIST);
                *slash = '/';
        }
        fd = openat(dir_fd, path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
        assert_true(fd >= 0);
        assert_int_equal(write(fd, text, size), size);
        close(fd);
}

char *get_file(int dir_fd, const char *path) {
        int fd = openat(dir_fd, path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
        struct stat st;
        char *text;

        if (fd < 0)
                return NULL;
        assert_int_equal(fstat(fd, &st), 0);
        text = calloc(1, (size_t) st.st_size + 1);
        assert_non_null(text);
        assert_int_equal(read(fd, text, (size_t) st.st_size), st.st_size);
        close(fd);
        return text;
}

void assert_story(Err **e, ErrKind kind, const char *part) {
        assert_non_null(*e);
        if (!strstr(err_text(*e), part))
                fail_msg("'%s' does not say '%s'", err_text(*e), part);
        assert_string_equal(err_kind_name(err_kind_of(*e)), err_kind_name(kind));
        *e = err_free(*e);
}
