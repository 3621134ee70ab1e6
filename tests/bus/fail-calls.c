/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Preloaded into a daemon: the file that FAIL_CALLS names holds two counters, of allocations and of forks. One that is not
 * zero is counted down, and the call at which it reaches zero fails, once. What json-c allocates does not count: its
 * parser (0.16) uses the copy of a key that it could not make. */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/types.h>
#include <unistd.h>

void *__libc_malloc(size_t size);
void *__libc_calloc(size_t n, size_t size);
void *__libc_realloc(void *p, size_t size);

enum { ALLOCATIONS, FORKS, _COUNTERS };

static int *counters;

__attribute__((constructor)) static void open_counters(void) {
        const char *name = getenv("FAIL_CALLS");
        int fd = name ? open(name, O_RDWR | O_CLOEXEC) : -1;
        void *p;

        /* workers are not to fail */
        unsetenv("LD_PRELOAD");
        if (fd < 0)
                return;
        p = mmap(NULL, _COUNTERS * sizeof(int), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
        close(fd);
        if (p != MAP_FAILED)
                counters = p;
}

static int fails(int which, void *caller) {
        Dl_info from;

        if (!counters || counters[which] <= 0)
                return 0;
        if (dladdr(caller, &from) && from.dli_fname && strstr(from.dli_fname, "libjson-c"))
                return 0;
        return --counters[which] == 0;
}

static void *no_memory(void) {
        errno = ENOMEM;
        return NULL;
}

#define FAILS fails(ALLOCATIONS, __builtin_return_address(0))

void *malloc(size_t size) {
        return FAILS ? no_memory() : __libc_malloc(size);
}

void *calloc(size_t n, size_t size) {
        return FAILS ? no_memory() : __libc_calloc(n, size);
}

void *realloc(void *p, size_t size) {
        return FAILS ? no_memory() : __libc_realloc(p, size);
}

char *strdup(const char *s) {
        size_t n = strlen(s) + 1;
        char *copy = FAILS ? no_memory() : __libc_malloc(n);

        return copy ? memcpy(copy, s, n) : NULL;
}

pid_t fork(void) {
        pid_t (*real)(void) = (pid_t(*)(void)) dlsym(RTLD_NEXT, "fork");

        if (!fails(FORKS, __builtin_return_address(0)))
                return real();
        errno = EAGAIN;
        return -1;
}
