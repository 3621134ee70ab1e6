/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Who needs a copy on the boot partition? Whoever names it: the needs of a slot, or a text that the
 * loader reads. What nobody names goes; where a text cannot be read, nothing goes. */
#include <fcntl.h>
#include <sys/stat.h>

#include "backends/boot-copies.h"
#include "os/boot-partition.h"
#include "os/file.h"

#define KERNELS BOOT_HOME "/kernels"

enum { TEXT_MAX = 64 * 1024 };

static int add_text(int dir_fd, const char *name, FILE *f, Err **reterr) {
        _cleanup_(freep) char *text = NULL;
        struct stat st;
        size_t size = 0;
        int r;

        if (fstatat(dir_fd, name, &st, AT_SYMLINK_NOFOLLOW) >= 0 && !S_ISREG(st.st_mode))
                return 0;
        r = file_read_if_at(dir_fd, name, TEXT_MAX, &text, &size, reterr);
        /* what a power cut has torn may have zeros in it, and names behind them */
        for (size_t i = 0; r > 0 && i < size; i++)
                (void) fputc(text[i] ? text[i] : '\n', f);
        (void) fputc('\n', f);
        return r < 0 ? r : 0;
}

/* 0 where there is no such folder. */
static int open_if_there(int dir_fd, const char *path, Err **reterr) {
        return faccessat(dir_fd, path, F_OK, AT_SYMLINK_NOFOLLOW) < 0 && errno == ENOENT
                               ? 0
                               : dir_open_at(dir_fd, path, reterr);
}

static bool is_entry(const char *name) {
        size_t n = strlen(name);

        return n > 5 && str_eq(name + n - 5, ".conf");
}

/* Every boot entry by the specification. */
static int add_entries(int boot_fd, FILE *f, Err **reterr) {
        _cleanup_(strv_freep) char **names = NULL;
        _cleanup_(fd_closep) int dir_fd = -1;
        int fd = open_if_there(boot_fd, BOOT_ENTRIES, reterr), r = fd;

        if (r <= 0)
                return r;
        dir_fd = fd;
        r = dir_names(dir_fd, &names, reterr);
        for (char **n = names; r >= 0 && n && *n; n++)
                if (is_entry(*n))
                        r = add_text(dir_fd, *n, f, reterr);
        return r;
}

static bool in_list(const char *const *list, const char *word) {
        for (; list && *list; list++)
                if (str_eq(*list, word))
                        return true;
        return false;
}

/* The needs of each slot but @without, and its entry in GRUB's menu. */
static int add_slots(int home_fd, const char *const without[], FILE *f, Err **reterr) {
        static const char *const files[] = {"files", "entry.cfg", "entry.spare"};
        _cleanup_(strv_freep) char **names = NULL;
        int r = dir_names(home_fd, &names, reterr);

        for (char **n = names; r >= 0 && n && *n; n++)
                for (size_t i = 0; r >= 0 && i < ARRAY_SIZE(files); i++) {
                        _cleanup_(freep) char *path = str_printf("%s/%s", *n, files[i]);

                        if (!path)
                                return err_new(reterr, ENOMEM, "out of memory");
                        if (str_after(*n, "slot-") && !in_list(without, str_after(*n, "slot-")))
                                r = add_text(home_fd, path, f, reterr);
                }
        return r;
}

/* All that may name a copy: @words, the boot entries (@boot_fd -1: not those), and what is said of the slots but @without. */
static int read_texts(int boot_fd, int home_fd, const char *words, const char *const without[],
                char **ret, Err **reterr) {
        char *text = NULL;
        size_t size = 0;
        FILE *f = open_memstream(&text, &size);
        int r = 0;

        if (!f)
                return err_new(reterr, ENOMEM, "out of memory");
        fprintf(f, "%s\n", str_or(words, ""));
        if (boot_fd >= 0)
                r = add_entries(boot_fd, f, reterr);
        if (r >= 0)
                r = add_slots(home_fd, without, f, reterr);
        if (fclose(f) != 0 && r >= 0)
                r = err_new(reterr, ENOMEM, "out of memory");
        if (r < 0)
                free(text);
        else
                *ret = text;
        return r;
}

static int remove_file(int dir_fd, const char *name, Err **reterr) {
        return unlinkat(dir_fd, name, 0) < 0 && errno != ENOENT
                               ? err_sys(reterr, errno, "remove %s", name)
                               : 0;
}

static int remove_folder(int home_fd, const char *name, Err **reterr) {
        _cleanup_(strv_freep) char **names = NULL;
        _cleanup_(fd_closep) int dir_fd = -1;
        int fd = open_if_there(home_fd, name, reterr), r = fd;

        if (r <= 0)
                return r;
        dir_fd = fd;
        r = dir_names(dir_fd, &names, reterr);
        for (char **n = names; r >= 0 && n && *n; n++)
                r = remove_file(dir_fd, *n, reterr);
        if (r >= 0 && unlinkat(home_fd, name, AT_REMOVEDIR) < 0)
                r = err_sys(reterr, errno, "remove %s", name);
        return r;
}

/* Has it come to need what is in that folder? An entry may name the folder of a slot that is not
 * there: then it stays. */
static bool is_gone(const SlotList *slots, const char *folder, const char *texts) {
        _cleanup_(freep) char *inside = str_printf("/" BOOT_HOME "/%s/", folder);
        const Slot *s = slot_find(slots, str_or(str_after(folder, "slot-"), ""));

        return str_after(folder, "slot-") && inside && !strstr(texts, inside) &&
               (!s || s->state == SLOT_EMPTY);
}

/* What an installer wrote, once something else has taken its place. */
static int sweep_folder(int home_fd, const char *folder, const char *texts, Err **reterr) {
        static const char *const names[] = {"linux", "initrd"};
        _cleanup_(freep) char *needs = str_printf("%s/files", folder);
        int r = 0;

        if (!needs)
                return err_new(reterr, ENOMEM, "out of memory");
        if (!str_after(folder, "slot-") || faccessat(home_fd, needs, F_OK, 0) < 0)
                return 0;
        for (size_t i = 0; r >= 0 && i < ARRAY_SIZE(names); i++) {
                _cleanup_(freep) char *path = str_printf("%s/%s", folder, names[i]);

                if (!path)
                        return err_new(reterr, ENOMEM, "out of memory");
                if (!strstr(texts, path))
                        r = remove_file(home_fd, path, reterr);
        }
        return r;
}

static int sweep_kernels(int boot_fd, const char *texts, Err **reterr) {
        _cleanup_(strv_freep) char **names = NULL;
        _cleanup_(fd_closep) int dir_fd = -1;
        int fd = open_if_there(boot_fd, KERNELS, reterr), r = fd;

        if (r <= 0)
                return r;
        dir_fd = fd;
        r = dir_names(dir_fd, &names, reterr);
        for (char **n = names; r >= 0 && n && *n; n++)
                if (!strstr(texts, *n))
                        r = remove_file(dir_fd, *n, reterr);
        return r;
}

static int drop_gone(
                int boot_fd, int home_fd, const SlotList *slots, const char *words, Err **reterr) {
        _cleanup_(strv_freep) char **names = NULL;
        _cleanup_(freep) char *texts = NULL;
        int r = read_texts(boot_fd, home_fd, words, NULL, &texts, reterr);

        if (r >= 0)
                r = dir_names(home_fd, &names, reterr);
        for (char **n = names; r >= 0 && n && *n; n++)
                if (is_gone(slots, *n, texts))
                        r = remove_folder(home_fd, *n, reterr);
        return r;
}

static int sweep(int boot_fd, int home_fd, const char *words, Err **reterr) {
        _cleanup_(strv_freep) char **names = NULL;
        _cleanup_(freep) char *texts = NULL;
        int r = read_texts(boot_fd, home_fd, words, NULL, &texts, reterr);

        if (r >= 0)
                r = dir_names(home_fd, &names, reterr);
        for (char **n = names; r >= 0 && n && *n; n++)
                r = sweep_folder(home_fd, *n, texts, reterr);
        return r < 0 ? r : sweep_kernels(boot_fd, texts, reterr);
}

int boot_copies_clean(int boot_fd, const SlotList *slots, const char *words, Err **reterr) {
        _cleanup_(fd_closep) int home_fd = -1;
        int fd = open_if_there(boot_fd, BOOT_HOME, reterr), r = fd;

        if (r <= 0)
                return r;
        home_fd = fd;
        r = drop_gone(boot_fd, home_fd, slots, words, reterr);
        if (r >= 0)
                r = sweep(boot_fd, home_fd, words, reterr);
        return r < 0 ? err_add(reterr, r, "clean the boot partition") : 0;
}

int boot_copies_drop(int boot_fd, const char *slot, const char *words, Err **reterr) {
        _cleanup_(freep) char *name = str_printf("slot-%s", slot);
        _cleanup_(fd_closep) int home_fd = -1;
        int fd = name ? open_if_there(boot_fd, BOOT_HOME, reterr)
                      : err_new(reterr, ENOMEM, "out of memory"),
            r = fd;

        if (r <= 0 || !name_ok(slot))
                return r;
        home_fd = fd;
        r = remove_folder(home_fd, name, reterr);
        /* what is left over goes with the next cleaning */
        if (r >= 0)
                (void) sweep(boot_fd, home_fd, words, NULL);
        return r < 0 ? err_add(reterr, r, "take the kernel of slot %s from the boot partition",
                                       slot)
                     : 0;
}

static uint64_t size_of(int dir_fd, const char *path) {
        struct stat st;

        return path && fstatat(dir_fd, path, &st, AT_SYMLINK_NOFOLLOW) >= 0 && S_ISREG(st.st_mode)
                               ? (uint64_t) st.st_blocks * 512
                               : 0;
}

/* What an installer wrote for it. */
static uint64_t held_in_folder(int home_fd, const char *slot) {
        _cleanup_(freep) char *kernel = str_printf("slot-%s/linux", slot),
                              *initrd = str_printf("slot-%s/initrd", slot);

        return size_of(home_fd, kernel) + size_of(home_fd, initrd);
}

int boot_copies_held(int boot_fd, const char *const spare[], const char *const keep[2],
                uint64_t *ret, Err **reterr) {
        _cleanup_(freep) char *all = NULL, *others = NULL;
        _cleanup_(fd_closep) int home_fd = -1, kernels_fd = -1;
        _cleanup_(strv_freep) char **names = NULL;
        uint64_t held = 0;
        int r = home_fd = dir_open_at(boot_fd, BOOT_HOME, reterr);

        if (r >= 0)
                r = kernels_fd = dir_open_at(boot_fd, KERNELS, reterr);
        if (r >= 0)
                r = dir_names(kernels_fd, &names, reterr);
        if (r >= 0)
                r = read_texts(-1, home_fd, NULL, NULL, &all, reterr);
        if (r >= 0)
                r = read_texts(-1, home_fd, NULL, spare, &others, reterr);
        if (r < 0)
                return r;
        for (char **n = names; *n; n++)
                if (strstr(all, *n) && !strstr(others, *n) &&
                                !(keep && (str_eq(*n, keep[0]) || str_eq(*n, keep[1]))))
                        held += size_of(kernels_fd, *n);
        for (const char *const *s = spare; s && *s; s++)
                held += held_in_folder(home_fd, *s);
        *ret = held;
        return 0;
}
