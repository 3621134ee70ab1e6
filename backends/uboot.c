/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* U-Boot takes the first slot of BOOT_ORDER whose BOOT_<slot>_LEFT is not 0, and takes one off where
 * it is set, in hexadecimal as all its numbers; where each is 0 it takes the last one.
 * BOOT_<slot>_ARGS is its command line, BOOT_<slot>_FILES are kernel and initrd on the boot
 * partition. All of it is in U-Boot's environment, read and written by fw_printenv and fw_setenv.
 *
 * Each variable is a write of the environment by itself, which a redundant environment makes atomic.
 * The commit is BOOT_ORDER with the slot in front; what else it needs is written before. */
#include <ctype.h>

#include "backends/boot-backend.h"
#include "backends/boot-cmdline.h"
#include "backends/boot-copies.h"
#include "backends/boot-files.h"
#include "os/boot-partition.h"
#include "os/process.h"

enum { ENVIRONMENT_MAX = 1 << 20, LEFT_MAX = 255 };

typedef struct Uboot {
        BootBackend base; /* must stay first */
        const World *world;
        int boot_fd; /* -1: U-Boot reads the slots */
        char *config;
} Uboot;

/* One slot of BOOT_ORDER. */
typedef struct Choice {
        char *slot, *args;
        int left; /* -1: not counted */
} Choice;

typedef struct Order {
        size_t n;
        Choice *choices;
} Order;

static void order_done(Order *o) {
        for (size_t i = 0; i < o->n; i++) {
                free(o->choices[i].slot);
                free(o->choices[i].args);
        }
        free(o->choices);
        *o = (Order){0};
}

static Uboot *to_uboot(BootBackend *b) {
        if (b->ops != &uboot_boot_ops)
                abort();
        return (Uboot *) b;
}

static BootBackend *uboot_close(BootBackend *base) {
        Uboot *b = to_uboot(base);

        fd_close(b->boot_fd);
        free(b->config);
        free(b);
        return NULL;
}

static int uboot_open(const World *w, BootBackend **ret, Err **reterr) {
        _cleanup_(boot_backend_closep) BootBackend *base = NULL;
        Uboot *b = calloc(1, sizeof(*b));
        int r = 0;

        if (!b)
                return err_new(reterr, ENOMEM, "out of memory");
        *b = (Uboot){{&uboot_boot_ops}, w, -1, str_printf("%s/etc/fw_env.config", w->root)};
        base = &b->base;
        if (!b->config)
                return err_new(reterr, ENOMEM, "out of memory");
        if (!w->config->kernel_in_slot)
                r = boot_partition_open(w->root_fd, &b->boot_fd, reterr);
        if (r < 0)
                return r;
        *ret = MOVE(base);
        return 0;
}

/* The value of @name in what fw_printenv says. */
static int variable(const char *text, const char *name, char **ret) {
        size_t n = strlen(name);

        *ret = NULL;
        for (const char *line = text; line; line = strchr(line, '\n')) {
                line += *line == '\n';
                if (strncmp(line, name, n) != 0 || line[n] != '=')
                        continue;
                *ret = strndup(line + n + 1, strcspn(line + n + 1, "\n"));
                return *ret ? 0 : -ENOMEM;
        }
        return 0;
}

static int variable_of(const char *text, const char *slot, const char *what, char **ret) {
        _cleanup_(freep) char *name = str_printf("BOOT_%s_%s", slot, what);

        return name ? variable(text, name, ret) : -ENOMEM;
}

/* As U-Boot reads it: what is no number is 0, and its slot is passed over. */
static int count_of(const char *left) {
        unsigned long n = isxdigit((unsigned char) *left) ? strtoul(left, NULL, 16) : 0;

        return n < LEFT_MAX ? (int) n : LEFT_MAX;
}

static int read_choice(const char *text, const char *slot, Choice *ret) {
        _cleanup_(freep) char *left = NULL;
        int r;

        *ret = (Choice){.slot = strdup(slot), .left = -1};
        if (!ret->slot)
                return -ENOMEM;
        r = variable_of(text, slot, "LEFT", &left);
        if (r >= 0 && left)
                ret->left = count_of(left);
        return r < 0 ? r : variable_of(text, slot, "ARGS", &ret->args);
}

static int parse_order(const char *text, Order *ret) {
        _cleanup_(order_done) Order o = {0};
        _cleanup_(freep) char *words = NULL;
        char *save = NULL;
        int r = variable(text, "BOOT_ORDER", &words);

        for (char *w = r >= 0 && words ? strtok_r(words, " \t", &save) : NULL; r >= 0 && w;
                        w = strtok_r(NULL, " \t", &save)) {
                Choice *more = reallocarray(o.choices, o.n + 1, sizeof(*more));

                if (!more)
                        return -ENOMEM;
                o.choices = more;
                r = read_choice(text, w, &o.choices[o.n++]);
        }
        if (r < 0)
                return r;
        *ret = o;
        o = (Order){0};
        return 0;
}

static int environment_read(Uboot *b, char **ret, Err **reterr) {
        const char *const argv[] = {"fw_printenv", "-c", b->config, NULL};
        int r = program_read(argv, NULL, ENVIRONMENT_MAX, ret, reterr);

        return r < 0 ? err_add(reterr, r, "read the environment of U-Boot") : 0;
}

static int order_read(Uboot *b, Order *ret, Err **reterr) {
        _cleanup_(freep) char *text = NULL;
        int r = environment_read(b, &text, reterr);

        if (r < 0)
                return r;
        r = parse_order(text, ret);
        return r < 0 ? err_new(reterr, r, "out of memory") : 0;
}

static Choice *order_find(const Order *o, const char *slot) {
        for (size_t i = 0; i < o->n; i++)
                if (str_eq(o->choices[i].slot, slot))
                        return &o->choices[i];
        return NULL;
}

/* @value NULL takes the variable out. */
static int set(Uboot *b, const char *name, const char *value, Err **reterr) {
        const char *const argv[] = {"fw_setenv", "-c", b->config, name, value, NULL};
        int r = program_run(argv, NULL, reterr);

        return r < 0 ? err_add(reterr, r, "set %s in the environment of U-Boot", name) : 0;
}

static int set_of(Uboot *b, const char *slot, const char *what, const char *value, Err **reterr) {
        _cleanup_(freep) char *name = str_printf("BOOT_%s_%s", slot, what);

        return name ? set(b, name, value, reterr) : err_new(reterr, ENOMEM, "out of memory");
}

static const Choice *first_but(const Order *o, const Choice *not_this) {
        for (size_t i = 0; i < o->n; i++)
                if (o->choices[i].left != 0 && &o->choices[i] != not_this)
                        return &o->choices[i];
        return NULL;
}

static int fill_facts(const Order *o, const SlotList *slots, BootFacts *f) {
        const Slot *booted = slot_booted(slots), *slot, *fallback;
        const Choice *next = booted ? order_find(o, booted->id) : NULL, *then;
        int r = 0;

        /* its last try is under way: U-Boot leaves it with the next boot; unless another is armed */
        if (!next || next->left != 0 || next != o->choices)
                next = first_but(o, NULL);
        if (!next && o->n > 0)
                next = &o->choices[o->n - 1];
        slot = slot_find(slots, next ? next->slot : NULL);
        f->next_known = slot != NULL;
        if (slot)
                r = str_set(&f->next, slot->id);
        if (r >= 0 && slot && next->left >= 0) {
                then = first_but(o, next);
                fallback = slot_find(slots, then ? then->slot : NULL);
                f->tries_left = next->left;
                r = str_set(&f->trial, slot->id);
                if (r >= 0 && fallback)
                        r = str_set(&f->fallback, fallback->id);
        }
        for (size_t i = 0; r >= 0 && i < o->n; i++)
                if (o->choices[i].left == 0 && &o->choices[i] != next && !f->exhausted)
                        r = str_set(&f->exhausted, o->choices[i].slot);
        return r;
}

static int uboot_facts(BootBackend *base, const SlotList *slots, BootFacts *ret, Err **reterr) {
        _cleanup_(boot_facts_done) BootFacts f = {.tries_left = -1};
        _cleanup_(order_done) Order o = {0};
        int r = order_read(to_uboot(base), &o, reterr);

        if (r < 0)
                return err_add(reterr, r, "read what the boot loader takes next");
        if (fill_facts(&o, slots, &f) < 0)
                return err_new(reterr, ENOMEM, "out of memory");
        *ret = f;
        f = (BootFacts){.tries_left = -1};
        return 0;
}

static int uboot_fits(BootBackend *base _unused_, int slot_root_fd, Err **reterr) {
        return boot_files_fit(slot_root_fd, reterr);
}

static int uboot_bring(BootBackend *base, const Slot *slot, int root_fd, const char *const spare[],
                Err **reterr) {
        Uboot *b = to_uboot(base);

        return b->boot_fd < 0 ? 0 : boot_copies_bring(b->boot_fd, slot->id, root_fd, spare, reterr);
}

/* BOOT_ORDER with @first and @second in front, without @out. */
static char *order_text(const Order *o, const char *first, const char *second, const char *out) {
        char *text = NULL;
        size_t size = 0;
        FILE *f = open_memstream(&text, &size);

        if (!f)
                return NULL;
        fprintf(f, "%s", str_or(first, ""));
        if (second && !str_eq(first, second))
                fprintf(f, " %s", second);
        for (size_t i = 0; i < o->n; i++) {
                const char *slot = o->choices[i].slot;

                if (!str_eq(slot, first) && !str_eq(slot, second) && !str_eq(slot, out))
                        fprintf(f, "%s%s", ftell(f) > 0 ? " " : "", slot);
        }
        if (fclose(f) == 0)
                return text;
        free(text);
        return NULL;
}

/* An old count of the fallback would keep U-Boot from going there. */
static int open_the_way_back(Uboot *b, const Order *o, const Slot *fallback, Err **reterr) {
        const Choice *c = fallback ? order_find(o, fallback->id) : NULL;

        return c && c->left >= 0 ? set_of(b, fallback->id, "LEFT", NULL, reterr) : 0;
}

/* Both in one variable: never the kernel of one version with the initrd of another. */
static int set_files(Uboot *b, const Slot *slot, Err **reterr) {
        _cleanup_(boot_paths_done) BootPaths paths = {0};
        _cleanup_(freep) char *text = NULL;
        int r = b->boot_fd < 0 ? 0 : boot_copies_find(b->boot_fd, slot->id, &paths, reterr);

        if (r < 0 || b->boot_fd < 0)
                return r;
        text = str_printf("%s%s%s", paths.linux_path, paths.initrd ? " " : "",
                        str_or(paths.initrd, ""));
        return text ? set_of(b, slot->id, "FILES", text, reterr)
                    : err_new(reterr, ENOMEM, "out of memory");
}

static int uboot_arm(BootBackend *base, const Slot *slot, unsigned tries, const Slot *fallback,
                Err **reterr) {
        Uboot *b = to_uboot(base);
        _cleanup_(order_done) Order o = {0};
        _cleanup_(freep) char *args = NULL, *text = NULL;
        const Choice *old;
        char left[16];
        int r = order_read(b, &o, reterr);

        old = r >= 0 ? order_find(&o, slot->id) : NULL;
        if (r >= 0)
                r = boot_cmdline_make(b->world, slot, old ? old->args : NULL, &args, reterr);
        snprintf(left, sizeof(left), "%x", tries);
        if (r >= 0)
                r = set_files(b, slot, reterr);
        if (r >= 0)
                r = set_of(b, slot->id, "ARGS", args, reterr);
        if (r >= 0)
                r = open_the_way_back(b, &o, fallback, reterr);
        if (r >= 0)
                r = set_of(b, slot->id, "LEFT", tries > 0 ? left : NULL, reterr);
        if (r < 0)
                return err_add(reterr, r, "make slot %s the next boot", slot->id);
        text = order_text(&o, slot->id, fallback ? fallback->id : NULL, NULL);
        if (!text)
                return err_new(reterr, ENOMEM, "out of memory");
        r = set(b, "BOOT_ORDER", text, reterr); /* THE COMMIT */
        return r < 0 ? err_add(reterr, r, "make slot %s the next boot", slot->id) : 0;
}

static int uboot_bless(BootBackend *base, const Slot *slot, Err **reterr) {
        Uboot *b = to_uboot(base);
        _cleanup_(order_done) Order o = {0};
        int r = order_read(b, &o, reterr);
        const Choice *c = r >= 0 ? order_find(&o, slot->id) : NULL;

        if (c && c->left >= 0)
                r = set_of(b, slot->id, "LEFT", NULL, reterr);
        return r < 0 ? err_add(reterr, r, "end the trial of slot %s", slot->id) : 0;
}

static int uboot_condemn(BootBackend *base, const Slot *slot, Err **reterr) {
        static const char *const variables[] = {"LEFT", "ARGS", "FILES"};
        Uboot *b = to_uboot(base);
        _cleanup_(order_done) Order o = {0};
        _cleanup_(freep) char *text = NULL;
        int r = order_read(b, &o, reterr);

        if (r >= 0 && order_find(&o, slot->id)) {
                text = order_text(&o, NULL, NULL, slot->id);
                r = text ? set(b, "BOOT_ORDER", *text ? text : NULL, reterr)
                         : err_new(reterr, ENOMEM, "out of memory");
                for (size_t i = 0; r >= 0 && i < ARRAY_SIZE(variables); i++)
                        r = set_of(b, slot->id, variables[i], NULL, reterr);
        }
        return r < 0 ? err_add(reterr, r, "take slot %s from the boot loader", slot->id) : 0;
}

static int uboot_forget(BootBackend *base, const Slot *slot, Err **reterr) {
        Uboot *b = to_uboot(base);
        _cleanup_(freep) char *words = NULL;
        int r = uboot_condemn(base, slot, reterr);

        if (r < 0 || b->boot_fd < 0)
                return r;
        r = environment_read(b, &words, reterr);
        return r < 0 ? r : boot_copies_drop(b->boot_fd, slot->id, words, reterr);
}

static int uboot_clean(BootBackend *base, const SlotList *slots, Err **reterr) {
        Uboot *b = to_uboot(base);
        _cleanup_(freep) char *words = NULL;
        int r = b->boot_fd < 0 ? 0 : environment_read(b, &words, reterr);

        return r < 0 || b->boot_fd < 0 ? r : boot_copies_clean(b->boot_fd, slots, words, reterr);
}

static int uboot_follow(BootBackend *base, const Slot *slot, Err **reterr) {
        Uboot *b = to_uboot(base);
        _cleanup_(order_done) Order o = {0};
        _cleanup_(freep) char *args = NULL;
        const Choice *c;
        int r = slot->boot_options ? order_read(b, &o, reterr) : 0;

        c = r >= 0 ? order_find(&o, slot->id) : NULL;
        if (!c || !c->args)
                return r;
        r = boot_cmdline_make(b->world, slot, c->args, &args, reterr);
        if (r >= 0 && !str_eq(args, c->args))
                r = set_of(b, slot->id, "ARGS", args, reterr);
        return r < 0 ? err_add(reterr, r, "correct the command line of slot %s", slot->id) : 0;
}

const BootOps uboot_boot_ops = {
                .name = "uboot",
                .atomic = true,
                .cmdline = true,
                .open = uboot_open,
                .close = uboot_close,
                .facts = uboot_facts,
                .fits = uboot_fits,
                .bring = uboot_bring,
                .arm = uboot_arm,
                .bless = uboot_bless,
                .forget = uboot_forget,
                .condemn = uboot_condemn,
                .clean = uboot_clean,
                .follow = uboot_follow,
};
