/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <fcntl.h>
#include <libeconf.h>
#include <linux/openat2.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include "os/os-release.h"

static void econf_freep(econf_file **f) {
        if (*f)
                econf_freeFile(*f);
}

enum { RELEASE_MAX = 64 * 1024 };

static int open_release(int root_fd) {
        struct open_how how = {
                        /* the tree is not ours: a fifo in the place of the file must not hold us */
                        .flags = O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY,
                        .resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS,
        };
        int fd = (int) syscall(SYS_openat2, root_fd, "etc/os-release", &how, sizeof(how));

        return fd >= 0 ? fd
                       : (int) syscall(SYS_openat2, root_fd, "usr/lib/os-release", &how,
                                         sizeof(how));
}

/* os-release(5) knows both quotes of the shell; the parser takes off the double ones. */
static char *unquote(char *value) {
        size_t n = strlen(value);

        if (n < 2 || value[0] != '\'' || value[n - 1] != '\'')
                return value;
        value[n - 1] = '\0';
        return value + 1;
}

int os_release_version(int root_fd, char **ret, Err **reterr) {
        static const char *const keys[] = {"IMAGE_VERSION", "VERSION_ID"};
        _cleanup_(econf_freep) econf_file *file = NULL;
        _cleanup_(fd_closep) int fd = open_release(root_fd);
        struct stat st;
        char path[64];

        *ret = NULL;
        if (fd < 0 || fstat(fd, &st) < 0 || !S_ISREG(st.st_mode) || st.st_size > RELEASE_MAX)
                return 0;
        snprintf(path, sizeof(path), "/proc/self/fd/%i", fd);
        if (econf_readFile(&file, path, "=", "#") != ECONF_SUCCESS)
                return 0;
        for (size_t i = 0; i < ARRAY_SIZE(keys); i++) {
                _cleanup_(freep) char *value = NULL;
                const char *text;

                if (econf_getStringValue(file, NULL, keys[i], &value) != ECONF_SUCCESS || !value)
                        continue;
                text = unquote(value);
                if (!*text)
                        continue;
                *ret = str_printable(text);
                return *ret ? 0 : err_new(reterr, ENOMEM, "out of memory");
        }
        return 0;
}
