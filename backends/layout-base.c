/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "backends/layout.h"
#include "os/file.h"
#include "stream/contents.h"

enum { NAMED_MAX = 6 };

typedef struct Search {
        const uint8_t *uuid;
        unsigned seen;
        FILE *names;      /* what is here, for the error */
        char changed[96]; /* the one that was meant, but is not any more what was received */
} Search;

/* Looks at the images of one slot: 1 and a descriptor when one is meant. */
static int search_slot(Search *q, int slots_fd, const char *id, int *ret_fd) {
        _cleanup_(fd_closep) int slot_fd = dir_open_at(slots_fd, id, NULL), image_fd = -1;
        _cleanup_(strv_freep) char **names = NULL;

        if (slot_fd >= 0)
                image_fd = dir_open_at(slot_fd, "image", NULL);
        if (image_fd < 0 || dir_names(image_fd, &names, NULL) < 0)
                return 0;
        for (char **n = names; *n; n++) {
                _cleanup_(fd_closep) int fd = dir_open_at(image_fd, *n, NULL);
                char text[UUID_TEXT_SIZE];
                const uint8_t *known;
                SubvolInfo info;

                /* a writable one may have been changed: nothing may build on it */
                if (fd < 0 || subvol_info(fd, &info, NULL) < 0 || !info.read_only)
                        continue;
                known = uuid_is_null(info.received_uuid) ? info.uuid : info.received_uuid;
                if (memcmp(q->uuid, known, 16) == 0 || memcmp(q->uuid, info.uuid, 16) == 0) {
                        if (contents_outdated(fd)) {
                                snprintf(q->changed, sizeof(q->changed), "%.60s of slot %.20s", *n,
                                                id);
                                continue;
                        }
                        *ret_fd = MOVE_FD(fd);
                        return 1;
                }
                if (q->seen++ < NAMED_MAX)
                        fprintf(q->names, "%s%s of slot %s (%s)", q->seen > 1 ? ", " : "", *n, id,
                                        uuid_format(text, known));
        }
        return 0;
}

int layout_find_base(const Layout *l, const uint8_t uuid[16], int *ret_fd, Err **reterr) {
        _cleanup_(strv_freep) char **ids = NULL;
        _cleanup_(freep) char *text = NULL;
        _cleanup_(fclosep) FILE *names = NULL;
        char wanted[UUID_TEXT_SIZE];
        Search q = {.uuid = uuid};
        size_t size;
        int r;

        r = dir_names(l->slots_fd, &ids, reterr);
        if (r < 0)
                return err_add(reterr, r, "look for the base");
        q.names = names = open_memstream(&text, &size);
        if (!names)
                return err_new(reterr, ENOMEM, "out of memory");
        for (char **id = ids; *id; id++)
                if (search_slot(&q, l->slots_fd, *id, ret_fd) > 0)
                        return 0;
        if (*q.changed)
                return err_kind(reterr, ERR_PARENT_MISSING, ENOENT,
                                "the image builds on %s, and %s was changed after it had been "
                                "received. Install a full image",
                                uuid_format(wanted, uuid), q.changed);
        if (q.seen > NAMED_MAX)
                fprintf(names, " and %u more", q.seen - NAMED_MAX);
        fflush(names);
        return err_kind(reterr, ERR_PARENT_MISSING, ENOENT,
                        "the image builds on %s, which is not here; here is: %s. Install a full "
                        "image, or the "
                        "version that this one builds on",
                        uuid_format(wanted, uuid), q.seen > 0 ? text : "nothing");
}
