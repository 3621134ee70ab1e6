/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <fcntl.h>
#include <openssl/evp.h>
#include <sys/stat.h>
#include <sys/statvfs.h>

#include "backends/boot-copies.h"
#include "backends/boot-files.h"
#include "base/kv.h"
#include "os/boot-partition.h"
#include "os/file.h"
#include "stream/hex.h"

#define KERNELS BOOT_HOME "/kernels"

/* Of the digest 16 bytes are in the name. For folders, records and entries 256 KiB are left free. */
enum { NAME_BYTES = 16, BLOCK = 256 * 1024, LEFT_FREE = 256 * 1024 };

/* One file of a slot on its way to the boot partition. */
typedef struct Copy {
        const char *kind;
        int from_fd;
        uint64_t size;
        char *name;
        bool there; /* with the right content */
} Copy;

static void copy_done(Copy *c) {
        fd_close(c->from_fd);
        free(c->name);
}

void boot_paths_done(BootPaths *p) {
        free(p->linux_path);
        free(p->initrd);
        *p = (BootPaths){0};
}

static void md_ctx_freep(EVP_MD_CTX **ctx) {
        EVP_MD_CTX_free(*ctx);
}

/* Reads @from_fd to its end, and writes it to @to_fd unless that is -1. @ret: "<kind>-<digest>". */
static int digest(int from_fd, int to_fd, const char *kind, char **ret, Err **reterr) {
        _cleanup_(md_ctx_freep) EVP_MD_CTX *ctx = EVP_MD_CTX_new();
        _cleanup_(freep) uint8_t *buf = malloc(BLOCK);
        uint8_t sum[EVP_MAX_MD_SIZE];
        char text[2 * NAME_BYTES + 1];
        off_t at = 0;
        ssize_t n;
        int r = 0;

        if (!buf || !ctx || EVP_DigestInit_ex(ctx, EVP_sha256(), NULL) != 1)
                return err_new(reterr, ENOMEM, "out of memory");
        while ((n = pread(from_fd, buf, BLOCK, at)) != 0) {
                if (n < 0 && errno == EINTR)
                        continue;
                if (n < 0)
                        return err_sys(reterr, errno, "read the %s", kind);
                if (EVP_DigestUpdate(ctx, buf, (size_t) n) != 1)
                        return err_new(reterr, EIO, "libcrypto cannot hash");
                if (to_fd >= 0)
                        r = fd_write_all(to_fd, buf, (size_t) n);
                if (r < 0)
                        return err_sys(reterr, r, "write the %s", kind);
                at += n;
        }
        if (EVP_DigestFinal_ex(ctx, sum, NULL) != 1)
                return err_new(reterr, EIO, "libcrypto cannot hash");
        *ret = str_printf("%s-%s", kind, hex_write(text, sum, NAME_BYTES));
        return *ret ? 0 : err_new(reterr, ENOMEM, "out of memory");
}

/* Is the file of that name there, with what its name says? 1, 0 (torn: *@ret_size bytes of it, or
 * absent), or an error. Reads it from the disk. */
static int is_whole(int kernels_fd, const char *name, const char *kind, uint64_t *ret_size,
                Err **reterr) {
        _cleanup_(fd_closep) int fd =
                        openat(kernels_fd, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
        _cleanup_(freep) char *found = NULL;
        struct stat st;
        int r;

        *ret_size = 0;
        if (fd < 0 && errno == ENOENT)
                return 0;
        if (fd < 0 || fstat(fd, &st) < 0)
                return err_sys(reterr, errno, "open %s", name);
        *ret_size = (uint64_t) st.st_size;
        (void) posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
        r = digest(fd, -1, kind, &found, NULL);
        if (r == -ENOMEM)
                return err_new(reterr, r, "out of memory");
        return r >= 0 && str_eq(found, name);
}

static int open_kernels(int boot_fd, Err **reterr) {
        int r = dir_make_at(boot_fd, BOOT_HOME, 0755, reterr);

        if (r >= 0)
                r = dir_make_at(boot_fd, KERNELS, 0700, reterr);
        return r < 0 ? r : dir_open_at(boot_fd, KERNELS, reterr);
}

static int look(int root_fd, int kernels_fd, const char *path, Copy *c, uint64_t *ret_torn,
                Err **reterr) {
        struct stat st;
        int r;

        c->from_fd = boot_files_open(root_fd, path);
        if (c->from_fd < 0 || fstat(c->from_fd, &st) < 0)
                return err_sys(reterr, c->from_fd < 0 ? c->from_fd : errno, "open /%s", path);
        c->size = (uint64_t) st.st_size;
        r = digest(c->from_fd, -1, c->kind, &c->name, reterr);
        if (r >= 0)
                r = is_whole(kernels_fd, c->name, c->kind, ret_torn, reterr);
        c->there = r > 0;
        return r < 0 ? r : 0;
}

static uint64_t in_blocks(uint64_t size, uint64_t block) {
        return (size + block - 1) / block * block;
}

/* Does all that is missing fit, in the place of what is torn? -EAGAIN: without @spare it would. */
static int check_room(int boot_fd, const Copy copies[2], uint64_t torn, const char *const spare[],
                Err **reterr) {
        uint64_t need = LEFT_FREE, room, block, held = 0;
        struct statvfs fs;
        bool any = false;
        int r;

        if (fstatvfs(boot_fd, &fs) < 0)
                return err_sys(reterr, errno, "see how full the boot partition is");
        block = fs.f_frsize ? fs.f_frsize : 512;
        room = (uint64_t) fs.f_bavail * block + torn / block * block;
        for (int i = 0; i < 2; i++)
                if (copies[i].name && !copies[i].there) {
                        need += in_blocks(copies[i].size, block);
                        any = true;
                }
        if (!any || need <= room)
                return 0;
        r = spare ? boot_copies_held(boot_fd, spare,
                                    (const char *const[2]){copies[0].name, copies[1].name}, &held,
                                    reterr)
                  : 0;
        if (r < 0)
                return r;
        if (held > 0 && need <= room + held)
                return err_new(reterr, EAGAIN, "kernels of bad slots are in the way");
        return err_kind(reterr, ERR_NO_SPACE, ENOSPC,
                        "%.1f MiB are short on the boot partition: kernel and initrd need %.1f "
                        "MiB, %.1f MiB are free; delete a version with another kernel ('abctl "
                        "list', "
                        "'abctl discard SLOT'), or what else is there",
                        (double) (need - room) / (1 << 20), (double) need / (1 << 20),
                        (double) room / (1 << 20));
}

/* Under its own name at once: what a power cut leaves does not match it, and FAT might know a file that
 * was renamed by both names. */
static int write_copy(int kernels_fd, const Copy *c, Err **reterr) {
        _cleanup_(freep) char *written = NULL;
        _cleanup_(fd_closep) int fd = -1;
        uint64_t size;
        int r;

        if (unlinkat(kernels_fd, c->name, 0) < 0 && errno != ENOENT)
                return err_sys(reterr, errno, "remove the torn %s", c->name);
        fd = openat(kernels_fd, c->name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC,
                        0600);
        if (fd < 0)
                return err_sys(reterr, errno, "create %s", c->name);
        r = digest(c->from_fd, fd, c->kind, &written, reterr);
        if (r >= 0 && fsync(fd) < 0)
                r = err_sys(reterr, errno, "write %s", c->name);
        if (r >= 0 && fsync(kernels_fd) < 0)
                r = err_sys(reterr, errno, "sync the folder of the kernels");
        if (r < 0) {
                (void) unlinkat(kernels_fd, c->name, 0);
                return r;
        }
        r = is_whole(kernels_fd, c->name, c->kind, &size, reterr);
        return r == 0 ? err_kind(reterr, ERR_VERIFY_FAILED, EIO,
                                        "%s reads back as something else from the boot partition",
                                        c->name)
                      : r;
}

static int write_needs(int boot_fd, const char *slot, const Copy copies[2], Err **reterr) {
        _cleanup_(freep) char *folder = str_printf(BOOT_HOME "/slot-%s", slot),
                              *path = str_printf("%s/files", str_or(folder, "")), *text = NULL,
                              *old = NULL;
        _cleanup_(kv_freep) Kv *kv = NULL;
        int r;

        if (!folder || !path || kv_new(&kv) < 0 || kv_set(kv, "Kernel", copies[0].name) < 0 ||
                        kv_set(kv, "Initrd", copies[1].name) < 0 || kv_format(kv, &text) < 0)
                return err_new(reterr, ENOMEM, "out of memory");
        r = dir_make_at(boot_fd, folder, 0755, reterr);
        if (r < 0)
                return r;
        if (file_read_if_at(boot_fd, path, 4096, &old, NULL, NULL) > 0 && str_eq(old, text))
                return 0;
        return file_write_at(boot_fd, path, text, strlen(text), reterr);
}

static int bring(int boot_fd, const char *slot, int root_fd, const char *const spare[],
                Copy copies[2], Err **reterr) {
        _cleanup_(freep) char *kernel = NULL, *initrd = NULL;
        _cleanup_(fd_closep) int kernels_fd = -1;
        uint64_t torn[2] = {0};
        int r = boot_files_find(root_fd, &kernel, &initrd, reterr);

        if (r >= 0)
                r = kernels_fd = open_kernels(boot_fd, reterr);
        if (r >= 0)
                r = look(root_fd, kernels_fd, kernel, &copies[0], &torn[0], reterr);
        if (r >= 0 && initrd)
                r = look(root_fd, kernels_fd, initrd, &copies[1], &torn[1], reterr);
        if (r >= 0)
                r = check_room(boot_fd, copies,
                                (copies[0].there ? 0 : torn[0]) + (copies[1].there ? 0 : torn[1]),
                                spare, reterr);
        for (int i = 0; r >= 0 && i < 2; i++)
                if (copies[i].name && !copies[i].there)
                        r = write_copy(kernels_fd, &copies[i], reterr);
        if (r >= 0)
                r = write_needs(boot_fd, slot, copies, reterr);
        return r < 0 ? r : fs_sync(boot_fd, reterr);
}

int boot_copies_bring(int boot_fd, const char *slot, int root_fd, const char *const spare[],
                Err **reterr) {
        Copy copies[2] = {{.kind = "linux", .from_fd = -1}, {.kind = "initrd", .from_fd = -1}};
        int r = bring(boot_fd, slot, root_fd, spare, copies, reterr);

        copy_done(&copies[0]);
        copy_done(&copies[1]);
        return r < 0 ? err_add(reterr, r, "bring the kernel of slot %s to the boot partition", slot)
                     : 0;
}

/* The path of what the slot needs of that kind; NULL: it needs none. */
static int find_copy(int boot_fd, const char *slot, const char *kind, const char *name, char **ret,
                Err **reterr) {
        _cleanup_(fd_closep) int kernels_fd = -1;
        uint64_t size;
        int r;

        *ret = NULL;
        if (!name)
                return 0;
        kernels_fd = r = dir_open_at(boot_fd, KERNELS, reterr);
        if (r >= 0)
                r = name_ok(name) ? is_whole(kernels_fd, name, kind, &size, reterr) : 0;
        if (r < 0)
                return r;
        if (r == 0)
                return faccessat(kernels_fd, name, F_OK, AT_SYMLINK_NOFOLLOW) < 0
                                       ? err_kind(reterr, ERR_WRONG_LAYOUT, ENOENT,
                                                         "the %s of slot %s is not on the boot "
                                                         "partition",
                                                         kind, slot)
                                       : err_kind(reterr, ERR_VERIFY_FAILED, EIO,
                                                         "the %s of slot %s on the boot partition "
                                                         "is damaged",
                                                         kind, slot);
        *ret = str_printf("/" KERNELS "/%s", name);
        return *ret ? 0 : err_new(reterr, ENOMEM, "out of memory");
}

/* What an installer has written: a folder with both. */
static int find_folder(int boot_fd, const char *slot, BootPaths *ret, Err **reterr) {
        _cleanup_(boot_paths_done) BootPaths p = {
                        str_printf("/" BOOT_HOME "/slot-%s/linux", slot),
                        str_printf("/" BOOT_HOME "/slot-%s/initrd", slot),
        };

        if (!p.linux_path || !p.initrd)
                return err_new(reterr, ENOMEM, "out of memory");
        if (faccessat(boot_fd, p.linux_path + 1, F_OK, 0) < 0)
                return err_kind(reterr, ERR_WRONG_LAYOUT, ENOENT,
                                "the kernel of slot %s is not on the boot partition", slot);
        if (faccessat(boot_fd, p.initrd + 1, F_OK, 0) < 0)
                free(MOVE(p.initrd));
        *ret = p;
        p = (BootPaths){0};
        return 0;
}

int boot_copies_find(int boot_fd, const char *slot, BootPaths *ret, Err **reterr) {
        _cleanup_(freep) char *path = str_printf(BOOT_HOME "/slot-%s/files", slot), *text = NULL;
        _cleanup_(boot_paths_done) BootPaths p = {0};
        _cleanup_(kv_freep) Kv *kv = NULL;
        size_t size = 0;
        int r = path ? file_read_if_at(boot_fd, path, 4096, &text, &size, reterr)
                     : err_new(reterr, ENOMEM, "out of memory");

        if (r < 0)
                return r;
        if (r == 0)
                return find_folder(boot_fd, slot, ret, reterr);
        r = kv_parse(text, size, &kv, reterr);
        if (r >= 0 && !kv_get(kv, "Kernel"))
                r = err_new(reterr, EBADMSG, "no kernel is named");
        if (r < 0)
                return err_add(reterr, r, "read %s of the boot partition", path);
        r = find_copy(boot_fd, slot, "linux", kv_get(kv, "Kernel"), &p.linux_path, reterr);
        if (r >= 0)
                r = find_copy(boot_fd, slot, "initrd", kv_get(kv, "Initrd"), &p.initrd, reterr);
        if (r < 0)
                return r;
        *ret = p;
        p = (BootPaths){0};
        return 0;
}
