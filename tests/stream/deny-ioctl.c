/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A kernel that lacks an ioctl: LD_PRELOAD=deny-ioctl.so DENY_IOCTL=0x40809440 DENY_ERRNO=25 PROGRAM */
#include <dlfcn.h>
#include <stdarg.h>

#include "base/util.h"

int ioctl(int fd, unsigned long request, ...);

int ioctl(int fd, unsigned long request, ...) {
        const char *denied = getenv("DENY_IOCTL"), *code = getenv("DENY_ERRNO");
        int (*real)(int, unsigned long, ...);
        void *arg;
        va_list ap;

        va_start(ap, request);
        arg = va_arg(ap, void *);
        va_end(ap);

        if (denied && strtoul(denied, NULL, 0) == request) {
                errno = code ? (int) strtol(code, NULL, 10) : ENOTTY;
                return -1;
        }
        *(void **) &real = dlsym(RTLD_NEXT, "ioctl");
        return real(fd, request, arg);
}
