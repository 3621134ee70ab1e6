/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A program of the machine's maker speaks to a loader that nobody else knows. Its verbs are those of
 * the contract, and what it promises about power cuts holds; docs/backends.md is its manual. */
#include <fcntl.h>

#include "backends/boot-backend.h"
#include "backends/boot-cmdline.h"
#include "os/process.h"

enum { FACTS_MAX = 16 * 1024 };

typedef struct Exec {
        BootBackend base; /* must stay first */
        const World *world;
        char *program;
} Exec;

static Exec *to_exec(BootBackend *b) {
        if (b->ops != &exec_boot_ops)
                abort();
        return (Exec *) b;
}

static BootBackend *exec_close(BootBackend *base) {
        Exec *b = to_exec(base);

        free(b->program);
        free(b);
        return NULL;
}

static int exec_open(const World *w, BootBackend **ret, Err **reterr) {
        _cleanup_(boot_backend_closep) BootBackend *base = NULL;
        Exec *b;

        if (!w->config->program)
                return err_kind(reterr, ERR_BAD_CONFIG, EINVAL,
                                "Boot=exec needs Program= in [Boot]");
        b = calloc(1, sizeof(*b));
        if (!b)
                return err_new(reterr, ENOMEM, "out of memory");
        *b = (Exec){{&exec_boot_ops}, w, str_printf("%s/%s", w->root, w->config->program)};
        base = &b->base;
        if (!b->program)
                return err_new(reterr, ENOMEM, "out of memory");
        *ret = MOVE(base);
        return 0;
}

/* One verb. @fd: the tree that it is about, or -1; @words end with NULL. */
static int call(Exec *b, const char *verb, const char *const words[], int fd, Err **reterr) {
        const int fds[] = {fd, -1};
        const char *argv[8] = {b->program, verb};
        int r;

        for (size_t n = 2; *words && n + 1 < ARRAY_SIZE(argv); n++)
                argv[n] = *words++;
        r = program_run(argv, fds, reterr);
        return r < 0 ? err_add(reterr, r, "%s of the boot program", verb) : 0;
}

static int take_line(BootFacts *f, char *line) {
        const struct {
                const char *key;
                char **value;
        } texts[] = {
                        {"next", &f->next},
                        {"trial", &f->trial},
                        {"fallback", &f->fallback},
                        {"exhausted", &f->exhausted},
                        {"problem", &f->problem},
        };
        char *value = strchr(line, '=');
        uint64_t number;

        if (!value)
                return -EBADMSG;
        *value++ = '\0';
        if (str_eq(line, "tries-left")) {
                if (parse_u64(value, &number) < 0 || number > 99)
                        return -EBADMSG;
                f->tries_left = (int) number;
                return 0;
        }
        for (size_t i = 0; i < ARRAY_SIZE(texts); i++)
                if (str_eq(texts[i].key, line))
                        return str_set(texts[i].value, *value ? value : NULL);
        return -EBADMSG;
}

/* What it says about slots that are not there is nothing. */
static void only_slots(BootFacts *f, const SlotList *slots) {
        char **const ids[] = {&f->next, &f->trial, &f->fallback};

        for (size_t i = 0; i < ARRAY_SIZE(ids); i++)
                if (*ids[i] && !slot_find(slots, *ids[i]))
                        free(MOVE(*ids[i]));
        f->next_known = f->next != NULL;
        if (!f->trial)
                f->tries_left = -1;
}

static int exec_facts(BootBackend *base, const SlotList *slots, BootFacts *ret, Err **reterr) {
        Exec *b = to_exec(base);
        const Slot *booted = slot_booted(slots);
        const char *const argv[] = {b->program, "facts", booted ? booted->id : "", NULL};
        _cleanup_(boot_facts_done) BootFacts f = {.tries_left = -1};
        _cleanup_(freep) char *text = NULL;
        char *save = NULL;
        int r = program_read(argv, NULL, FACTS_MAX, &text, reterr);

        if (r < 0)
                return err_add(reterr, r, "read what the boot loader takes next");
        for (char *line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
                r = take_line(&f, line);
                if (r == -EBADMSG)
                        return err_new(reterr, r, "%s facts: the line of '%s' means nothing",
                                        b->program, line);
                if (r < 0)
                        return err_new(reterr, r, "out of memory");
        }
        only_slots(&f, slots);
        *ret = f;
        f = (BootFacts){.tries_left = -1};
        return 0;
}

static int exec_fits(BootBackend *base, int slot_root_fd, Err **reterr) {
        _cleanup_(err_freep) Err *why = NULL;
        char path[64];
        int r;

        snprintf(path, sizeof(path), "/proc/self/fd/%i", slot_root_fd);
        r = call(to_exec(base), "fits", (const char *const[]){path, NULL}, slot_root_fd, &why);
        return r >= 0 ? 0 : err_kind(reterr, ERR_WRONG_LAYOUT, EMEDIUMTYPE, "%s", err_text(why));
}

static int exec_bring(BootBackend *base, const Slot *slot, int root_fd,
                const char *const spare[] _unused_, Err **reterr) {
        char path[64];

        snprintf(path, sizeof(path), "/proc/self/fd/%i", root_fd);
        return call(to_exec(base), "bring", (const char *const[]){slot->id, path, NULL}, root_fd,
                        reterr);
}

static int exec_arm(BootBackend *base, const Slot *slot, unsigned tries, const Slot *fallback,
                Err **reterr) {
        Exec *b = to_exec(base);
        _cleanup_(freep) char *options = NULL;
        char number[16];
        int r = boot_cmdline_make(b->world, slot, NULL, &options, reterr);

        snprintf(number, sizeof(number), "%u", tries);
        return r < 0 ? r
                     : call(b, "arm",
                                       (const char *const[]){slot->id, number,
                                                       fallback ? fallback->id : "", slot->version,
                                                       options, NULL},
                                       -1, reterr);
}

static int exec_bless(BootBackend *base, const Slot *slot, Err **reterr) {
        return call(to_exec(base), "bless", (const char *const[]){slot->id, NULL}, -1, reterr);
}

static int exec_forget(BootBackend *base, const Slot *slot, Err **reterr) {
        return call(to_exec(base), "forget", (const char *const[]){slot->id, NULL}, -1, reterr);
}

static int exec_follow(BootBackend *base, const Slot *slot, Err **reterr) {
        return slot->boot_options ? call(to_exec(base), "follow",
                                                    (const char *const[]){slot->id,
                                                                    slot->boot_options, NULL},
                                                    -1, reterr)
                                  : 0;
}

const BootOps exec_boot_ops = {
                .name = "exec",
                .atomic = true,
                .cmdline = true,
                .open = exec_open,
                .close = exec_close,
                .facts = exec_facts,
                .fits = exec_fits,
                .bring = exec_bring,
                .arm = exec_arm,
                .bless = exec_bless,
                .forget = exec_forget,
                .follow = exec_follow,
};
