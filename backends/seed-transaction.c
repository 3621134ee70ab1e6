/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What is done to the running system in place: a fact of one boot, kept on the sprout. A reboot into
 * the sealed device leaves the sprout and all that was changed on it, and this with it. */
#include "backends/parts.h"
#include "backends/seed.h"
#include "base/kv.h"
#include "os/file.h"
#include "os/proc.h"

#define IN_PLACE LAYOUT_HOME "/in-place"

/* What it says, where it is of this boot: what lies on a device that was sealed since is not. */
static int read_fact(const Seed *s, char **ret, Err **reterr) {
        _cleanup_(freep) char *text = NULL, *boot_id = NULL;
        _cleanup_(kv_freep) Kv *kv = NULL;
        size_t size;
        int r = file_read_if_at(s->layout.top_fd, IN_PLACE, 4096, &text, &size, reterr);

        if (r > 0)
                r = kv_parse(text, size, &kv, reterr);
        if (r >= 0 && kv)
                r = proc_boot_id(s->world->root_fd, &boot_id, reterr);
        if (r < 0)
                return err_add(reterr, r, "read what was changed in place");
        if (!kv || !str_eq(kv_get(kv, "BootId"), boot_id))
                return 0;
        return str_set(ret, kv_get(kv, "Transaction")) < 0
                               ? err_new(reterr, ENOMEM, "out of memory")
                               : 1;
}

static int write_fact(const Seed *s, const char *transaction, Err **reterr) {
        _cleanup_(freep) char *text = NULL, *boot_id = NULL;
        _cleanup_(kv_freep) Kv *kv = NULL;
        int r = proc_boot_id(s->world->root_fd, &boot_id, reterr);

        if (r < 0)
                return r;
        r = kv_new(&kv);
        if (r >= 0)
                r = kv_set(kv, "BootId", boot_id);
        if (r >= 0)
                r = kv_set(kv, "Transaction", transaction);
        if (r >= 0)
                r = kv_format(kv, &text);
        if (r < 0)
                return err_new(reterr, r, "out of memory");
        return file_write_at(s->layout.top_fd, IN_PLACE, text, strlen(text), reterr);
}

int seed_transaction(const Seed *s, char **ret, Err **reterr) {
        return s->sealed ? 0 : read_fact(s, ret, reterr);
}

int seed_in_place(SlotBackend *b, const char *transaction, Err **reterr) {
        Seed *s = to_seed(b);
        _cleanup_(freep) char *open = NULL;
        int r = seed_transaction(s, &open, reterr);

        if (r < 0)
                return r;
        return transaction || open ? write_fact(s, transaction, reterr) : 0;
}

int seed_copy_booted(SlotBackend *b, const char *job, Err **reterr) {
        _cleanup_(slot_list_freep) SlotList *list = NULL;
        _cleanup_(fd_closep) int image_fd = -1;
        const Slot *booted;
        int r = seed_prepare(b, job, &image_fd, reterr);

        if (r >= 0)
                r = seed_list(b, &list, reterr);
        if (r < 0)
                return r;
        booted = slot_booted(list);
        if (!booted)
                return err_kind(reterr, ERR_WRONG_LAYOUT, EMEDIUMTYPE,
                                "the running system is not in a slot");
        r = layout_copy(&to_seed(b)->layout, booted, image_fd, reterr);
        return r < 0 ? err_add(reterr, r, "copy the running system") : 0;
}

/* What the running root was made from: that cannot have been written to since, for it was sealed until
 * the transaction began. */
int seed_open_before(SlotBackend *b, const Slot *booted, int *ret_fd, Err **reterr) {
        _cleanup_(part_list_done) PartList parts = {0};
        _cleanup_(freep) char *path = NULL;
        int fd, r = part_list_parse(booted->subvolumes, &parts, reterr);

        if (r < 0)
                return r;
        path = str_printf("%s/image/%s", booted->id, parts.parts[0].name);
        fd = path ? dir_open_at(to_seed(b)->layout.slots_fd, path, reterr)
                  : err_new(reterr, ENOMEM, "out of memory");
        if (fd < 0)
                return fd;
        *ret_fd = fd;
        return 0;
}
