/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "stream/bases.h"
#include "stream/subvol.h"

#define BASES_MAX 256u /* descriptors stay open for as long as the image lasts */

void bases_done(Bases *b) {
        for (size_t i = 0; i < b->count; i++)
                fd_close(b->items[i].fd);
        free(b->items);
        *b = (Bases){0};
}

int bases_add(Bases *b, const uint8_t uuid[static 16], int fd, Err **reterr) {
        Base *items;

        if (b->count >= BASES_MAX) {
                fd_close(fd);
                return err_kind(reterr, ERR_LIMIT_EXCEEDED, -E2BIG,
                                "The image touches more than %u subvolumes", BASES_MAX);
        }
        items = reallocarray(b->items, b->count + 1, sizeof(*items));
        if (!items) {
                fd_close(fd);
                return err_sys(reterr, -ENOMEM, "Cannot remember a subvolume");
        }
        b->items = items;
        memcpy(items[b->count].uuid, uuid, sizeof(items->uuid));
        items[b->count++].fd = fd;
        return 0;
}

static int missing(const uint8_t uuid[static 16], const char *why, Err **reterr) {
        char text[UUID_TEXT_SIZE];

        return err_kind(reterr, ERR_PARENT_MISSING, -ENOENT,
                        "The image builds on the subvolume with UUID %s, %s",
                        uuid_format(text, uuid), why);
}

int bases_find(Bases *b, const StreamArgs *args, const uint8_t uuid[static 16], uint64_t ctransid,
                int *ret_fd, Err **reterr) {
        int r, fd = -1;

        /* The newest first: an image may bring a subvolume again. */
        for (size_t i = b->count; i > 0; i--)
                if (memcmp(b->items[i - 1].uuid, uuid, 16) == 0) {
                        *ret_fd = b->items[i - 1].fd;
                        return 0;
                }

        if (!args->find_base)
                return missing(uuid, "which is not here", reterr);
        r = args->find_base(args->userdata, uuid, ctransid, &fd, reterr);
        if (r < 0)
                return r;
        r = subvol_is(fd, uuid, reterr);
        if (r == 0)
                r = missing(uuid, "but what was found is another or writable", reterr);
        if (r < 0) {
                fd_close(fd);
                return r;
        }
        r = bases_add(b, uuid, fd, reterr);
        if (r < 0)
                return r;
        *ret_fd = fd;
        return 0;
}
