/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The backends that do nothing: what a machine gets that must not be touched, and the shortest
 * reading of both contracts. No slots, no switch; state lives below StateDirectory=. */
#include <fcntl.h>

#include "backends/boot-backend.h"
#include "os/file.h"

typedef struct NoneSlots {
        SlotBackend base; /* must stay first */
        const World *world;
} NoneSlots;

static int none_open(const World *w, SlotBackend **ret, Err **reterr) {
        NoneSlots *n = calloc(1, sizeof(*n));

        if (!n)
                return err_new(reterr, ENOMEM, "out of memory");
        *n = (NoneSlots){.base = {&none_slot_ops}, .world = w};
        *ret = &n->base;
        return 0;
}

static SlotBackend *none_close(SlotBackend *b) {
        free(b);
        return NULL;
}

static int none_list(SlotBackend *b _unused_, SlotList **ret, Err **reterr) {
        SlotList *l = calloc(1, sizeof(*l));

        if (!l)
                return err_new(reterr, ENOMEM, "out of memory");
        *ret = l;
        return 0;
}

static int none_state_dir(SlotBackend *b, int *ret_fd, Err **reterr) {
        const World *w = ((NoneSlots *) b)->world;
        const char *path = w->config->state_directory;
        int fd;

        if (!path)
                return err_kind(reterr, ERR_BAD_CONFIG, EINVAL,
                                "Backend=none keeps nothing by itself; set StateDirectory= in "
                                "[Update]");
        fd = dir_open_at(w->root_fd, path, reterr);
        if (fd < 0)
                return err_add(reterr, fd, "open StateDirectory=");
        *ret_fd = fd;
        return 0;
}

static int none_clean(SlotBackend *b _unused_, unsigned *ret_count, Err **reterr _unused_) {
        if (ret_count)
                *ret_count = 0;
        return 0;
}

const SlotOps none_slot_ops = {
                .name = "none",
                .open = none_open,
                .close = none_close,
                .list = none_list,
                .state_dir = none_state_dir,
                .clean = none_clean,
};

static int none_boot_open(const World *w _unused_, BootBackend **ret, Err **reterr _unused_) {
        static BootBackend the_one = {.ops = &none_boot_ops};

        *ret = &the_one;
        return 0;
}

static BootBackend *none_boot_close(BootBackend *b _unused_) {
        return NULL;
}

static int none_boot_facts(
                BootBackend *b _unused_, const SlotList *slots, BootFacts *ret, Err **reterr) {
        BootFacts f = {.tries_left = -1};
        const Slot *booted = slot_booted(slots);

        if (booted && str_set(&f.next, booted->id) < 0)
                return err_new(reterr, ENOMEM, "out of memory");
        f.next_known = booted != NULL;
        *ret = f;
        return 0;
}

const BootOps none_boot_ops = {
                .name = "none",
                .open = none_boot_open,
                .close = none_boot_close,
                .facts = none_boot_facts,
};
