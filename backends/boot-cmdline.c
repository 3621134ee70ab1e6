/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "backends/boot-cmdline.h"
#include "os/file.h"
#include "os/proc.h"

/* What only one slot can be told. */
static const char *const of_a_slot[] = {"root=", "rootflags=", "rootfstype=", "BOOT_IMAGE=",
                "initrd=", "abupdate.", "ro", "rw", NULL};

/* What a person types at the menu for one boot: another first process, a unit to stop at, a shell
 * before the root is mounted. A slot that was given it would never come up by itself. */
static const char *const of_a_boot[] = {
                "init=", "rdinit=", "systemd.unit=", "rd.systemd.unit=", "systemd.run",
                "systemd.debug_shell", "systemd.debug-shell", "rd.systemd.debug_shell",
                "rd.systemd.debug-shell", "rd.break", "break", "break=", "single", "rescue",
                "emergency", "recovery", "-b", "-s", "s", "S", "1", "2", "3", "4", "5", NULL};

static bool begins_or_is(const char *const words[], const char *w) {
        for (; *words; words++)
                if (strpbrk(*words, "=.") ? str_after(w, *words) != NULL : str_eq(w, *words))
                        return true;
        return false;
}

/* A command line without some words; those with '=' or '.' in them are beginnings of words. */
static int without(const char *line, const char *const words[], char **ret) {
        _cleanup_(freep) char *copy = strdup(line), *kept = strdup("");
        char *save = NULL;

        for (char *w = copy && kept ? strtok_r(copy, " \t\n", &save) : NULL; w;
                        w = strtok_r(NULL, " \t\n", &save)) {
                char *more;

                if (begins_or_is(words, w))
                        continue;
                more = str_printf("%s%s%s", kept, *kept ? " " : "", w);
                if (!more)
                        return -ENOMEM;
                free(kept);
                kept = more;
        }
        if (!copy || !kept)
                return -ENOMEM;
        *ret = MOVE(kept);
        return 0;
}

/* What was configured is taken as it is. */
static int configured_options(const char *line, char **ret) {
        static const char *const flags[] = {"rootflags=", NULL};

        return strstr(line, flags[0]) ? without(line, flags, ret) : str_set(ret, line);
}

static int running_options(const char *line, char **ret) {
        _cleanup_(freep) char *lasting = NULL;
        int r = without(line, of_a_boot, &lasting);

        return r < 0 ? r : without(lasting, of_a_slot, ret);
}

/* How the root is mounted, but for what names it: "compress=zstd,device=/dev/sdb". @seed: the devices
 * belong to one slot. */
static int common_flags(const char *line, bool seed, char **ret) {
        _cleanup_(freep) char *copy = strdup(line), *flags = strdup("");
        char *save = NULL;
        int r = copy && flags ? 0 : -ENOMEM;

        for (char *w = r >= 0 ? strtok_r(copy, " \t\n", &save) : NULL; r >= 0 && w;
                        w = strtok_r(NULL, " \t\n", &save)) {
                const char *value = str_after(w, "rootflags=");

                if (value)
                        r = str_set(&flags, value);
        }
        if (r >= 0)
                r = mount_option_drop(&flags, "subvol");
        if (r >= 0)
                r = mount_option_drop(&flags, "subvolid");
        if (r >= 0 && seed)
                r = mount_option_drop(&flags, "device");
        if (r >= 0)
                *ret = MOVE(flags);
        return r;
}

/* What names the root of a slot, with @flags in its rootflags=. */
static char *with_flags(const char *options, const char *flags) {
        const char *at = strstr(options, "rootflags=");
        size_t n = at ? (size_t) (at - options) + strcspn(at, " ") : 0;

        if (!at || !flags || !*flags)
                return strdup(options);
        return str_printf("%.*s,%s%s", (int) n, options, flags, options + n);
}

/* @rest: an older command line, to go on with what it has in common; NULL: as configured. */
int boot_cmdline_make(
                const World *w, const Slot *slot, const char *rest, char **ret, Err **reterr) {
        _cleanup_(freep) char *running = NULL, *common = NULL, *flags = NULL, *root = NULL;
        const char *line = rest ? rest : w->config->cmdline;
        char *text = NULL;
        int r;

        if (!slot->boot_options)
                return err_kind(reterr, ERR_NOT_SUPPORTED, EOPNOTSUPP,
                                "slot %s cannot be named in a boot entry", slot->id);
        if (!line) {
                r = file_read_at(w->root_fd, "proc/cmdline", 64 * 1024, &running, NULL, reterr);
                if (r < 0)
                        return err_add(reterr, r, "read the kernel command line");
                line = running;
        }
        r = rest                 ? without(rest, of_a_slot, &common)
            : w->config->cmdline ? configured_options(line, &common)
                                 : running_options(line, &common);
        if (r >= 0)
                r = common_flags(line, str_eq(w->config->backend, "seed"), &flags);
        if (r >= 0)
                root = with_flags(slot->boot_options, flags);
        if (root)
                text = str_printf("%s%s%s", root, *common ? " " : "", common);
        if (!text)
                return err_new(reterr, ENOMEM, "out of memory");
        *ret = text;
        return 0;
}
