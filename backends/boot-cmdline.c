/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "backends/boot-cmdline.h"
#include "backends/boot-words.h"
#include "os/file.h"
#include "os/proc.h"

/* What a person types at the menu for one boot: another first process, a unit to stop at, a shell
 * before the root is mounted. A slot that was given it would never come up by itself. */
static const char *const of_a_boot[] = {
                "init=", "rdinit=", "systemd.unit=", "rd.systemd.unit=", "systemd.run",
                "systemd.debug_shell", "systemd.debug-shell", "rd.systemd.debug_shell",
                "rd.systemd.debug-shell", "rd.break", "break", "break=", "single", "rescue",
                "emergency", "recovery", "-b", "-s", "s", "S", "1", "2", "3", "4", "5", NULL};

/* A command line without some words; those with '=' or '.' in them are beginnings of words. */
static int without(const char *line, const char *const words[], char **ret) {
        _cleanup_(freep) char *copy = strdup(line), *kept = strdup("");
        char *save = NULL;

        for (char *w = copy && kept ? strtok_r(copy, " \t\n", &save) : NULL; w;
                        w = strtok_r(NULL, " \t\n", &save)) {
                char *more;

                if (word_among(w, words))
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

        return r < 0 ? r : without(lasting, words_of_a_slot, ret);
}

/* What a version brings, but for what names a root. */
static int brought_options(const char *line, char **ret) {
        return without(line, words_of_a_slot, ret);
}

/* Takes each option out that names the root, and with @devices those that name its devices. */
static int drop_names(char **flags, bool devices) {
        int r = mount_option_drop(flags, "subvol");

        if (r >= 0)
                r = mount_option_drop(flags, "subvolid");
        return r >= 0 && devices ? mount_option_drop(flags, "device") : r;
}

/* How the root is mounted, but for what names it: "compress=zstd,device=/dev/sdb". @devices: without
 * its devices. */
static int common_flags(const char *line, bool devices, char **ret) {
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
                r = drop_names(&flags, devices);
        if (r >= 0)
                *ret = MOVE(flags);
        return r;
}

static int add_flag(char **flags, const char *flag) {
        char *more = str_printf("%s%s%s", *flags, **flags ? "," : "", flag);

        if (!more)
                return -ENOMEM;
        free(*flags);
        *flags = more;
        return 0;
}

/* Which disks the file system has, and that one has gone, no version can know: the running kernel
 * was told, and its root is on the same ones. */
static int add_disks(char **flags, const char *running) {
        _cleanup_(freep) char *all = NULL;
        char *save = NULL;
        int r = common_flags(running, /* devices= */ false, &all);

        for (char *f = r >= 0 ? strtok_r(all, ",", &save) : NULL; r >= 0 && f;
                        f = strtok_r(NULL, ",", &save))
                if (str_after(f, "device=") || str_eq(f, "degraded"))
                        r = add_flag(flags, f);
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

static int read_running(const World *w, char **ret, Err **reterr) {
        int r = file_read_at(w->root_fd, "proc/cmdline", 64 * 1024, ret, NULL, reterr);

        return r < 0 ? err_add(reterr, r, "read the kernel command line") : 0;
}

/* One place that words come from. */
typedef struct Source {
        const char *line;
        int (*options)(const char *line, char **ret);
} Source;

/* The first that says something. */
static Source choose(const World *w, const Slot *slot, const char *rest, const char *running) {
        if (rest)
                return (Source){rest, brought_options};
        if (w->config->cmdline)
                return (Source){w->config->cmdline, configured_options};
        if (slot->cmdline)
                return (Source){slot->cmdline, brought_options};
        return (Source){running, running_options};
}

int boot_cmdline_make(
                const World *w, const Slot *slot, const char *rest, char **ret, Err **reterr) {
        _cleanup_(freep) char *running = NULL, *common = NULL, *flags = NULL, *root = NULL;
        bool seed = str_eq(w->config->backend, "seed");
        bool needs_running = !rest && !w->config->cmdline;
        _cleanup_(freep) char *text = NULL;
        bool brought;
        Source from;
        int r;

        if (!slot->boot_options)
                return err_kind(reterr, ERR_NOT_SUPPORTED, EOPNOTSUPP,
                                "slot %s cannot be named in a boot entry", slot->id);
        r = needs_running ? read_running(w, &running, reterr) : 0;
        if (r < 0)
                return r;
        from = choose(w, slot, rest, running);
        brought = from.line == slot->cmdline;
        if (brought) /* a hand may have written the record */
                r = words_check(from.line, "Cmdline= of the slot", reterr);
        if (r < 0)
                return r;
        r = from.options(from.line, &common);
        if (r >= 0)
                r = common_flags(from.line, seed || brought, &flags);
        if (r >= 0 && brought && !seed)
                r = add_disks(&flags, running);
        if (r >= 0)
                root = with_flags(slot->boot_options, flags);
        if (root)
                text = str_printf("%s%s%s", root, *common ? " " : "", common);
        if (!text)
                return err_new(reterr, ENOMEM, "out of memory");
        if (brought && !words_fit(text))
                return err_kind(reterr, ERR_WRONG_LAYOUT, EMEDIUMTYPE,
                                "with what names its root, the kernel command line of slot %s is "
                                "longer than a kernel reads: set Cmdline= in [Boot]",
                                slot->id);
        *ret = MOVE(text);
        return 0;
}
