/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Memory that runs out: LD_PRELOAD=deny-alloc.so DENY_ALLOC=N [DENY_ALLOC_FROM=1] PROGRAM
 * Allocation N fails, and with DENY_ALLOC_FROM every later one. Counted are those of the program, and from its first
 * one on those of its libraries, but of libcrypto, which does not survive that while it starts. How many there were
 * goes to the file $DENY_ALLOC_COUNT at the end. */
#include <link.h>
#include <stdatomic.h>

#include "base/util.h"

void *__libc_malloc(size_t size);
void *__libc_calloc(size_t n, size_t size);
void *__libc_realloc(void *p, size_t size);

typedef struct Range {
        uintptr_t begin, end;
} Range;

static Range program, spared;
static unsigned fail_at, fail_from;
static atomic_bool begun;
static atomic_uint count;

static int find_ranges(struct dl_phdr_info *info, size_t size _unused_, void *data _unused_) {
        Range r = {.begin = info->dlpi_addr};

        for (size_t i = 0; i < info->dlpi_phnum; i++)
                if (info->dlpi_phdr[i].p_type == PT_LOAD)
                        r.end = r.begin + info->dlpi_phdr[i].p_vaddr + info->dlpi_phdr[i].p_memsz;
        if (program.end == 0)
                program = r; /* it is the first */
        else if (strstr(info->dlpi_name, "libcrypto"))
                spared = r;
        return 0;
}

static bool in_range(const Range *r, uintptr_t at) {
        return at >= r->begin && at < r->end;
}

static unsigned number(const char *name) {
        const char *text = getenv(name);

        return text ? (unsigned) strtoul(text, NULL, 10) : 0;
}

static void __attribute__((constructor)) start(void) {
        fail_at = number("DENY_ALLOC");
        fail_from = number("DENY_ALLOC_FROM");
        dl_iterate_phdr(find_ranges, NULL);
}

static void __attribute__((destructor)) stop(void) {
        const char *path = getenv("DENY_ALLOC_COUNT");
        FILE *f;

        fail_at = 0;
        f = path ? fopen(path, "we") : NULL;
        if (f) {
                fprintf(f, "%u\n", atomic_load(&count));
                fclose(f);
        }
}

static bool runs_out(const void *caller) {
        uintptr_t at = (uintptr_t) caller;
        unsigned n;

        if (in_range(&program, at))
                atomic_store(&begun, true);
        if (!atomic_load(&begun) || in_range(&spared, at))
                return false;
        n = atomic_fetch_add(&count, 1) + 1;
        if (fail_at == 0 || n < fail_at || (n > fail_at && !fail_from))
                return false;
        errno = ENOMEM;
        return true;
}

void *malloc(size_t size) {
        return runs_out(__builtin_return_address(0)) ? NULL : __libc_malloc(size);
}

void *calloc(size_t n, size_t size) {
        return runs_out(__builtin_return_address(0)) ? NULL : __libc_calloc(n, size);
}

void *realloc(void *p, size_t size) {
        return runs_out(__builtin_return_address(0)) ? NULL : __libc_realloc(p, size);
}
