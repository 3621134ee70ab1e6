/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <fcntl.h>

#include "stream/apply-internal.h"

static int use_file(Applier *a, const char *path, Err **reterr) {
        int r;

        r = node_use(a, path, reterr);
        if (r < 0)
                return r;
        switch (a->node.kind) {
        case NODE_FILE: return 0;
        case NODE_DIR: return apply_error(reterr, -EISDIR, "write", path);
        case NODE_LINK: return apply_error(reterr, -ELOOP, "write", path);
        default: return apply_error(reterr, -EINVAL, "write", path);
        }
}

static int apply_write(Applier *a, const Command *c, Err **reterr) {
        File *f = a->node.file;
        int r;

        if (file_hold(f, c->data, c->data_size, c->file_offset, c->block))
                return 0;
        r = node_birth(a, reterr);
        if (r < 0)
                return r;
        r = writer_submit(a->writer, f, /* last= */ false, reterr);
        if (r < 0)
                return r;
        (void) file_hold(f, c->data, c->data_size, c->file_offset, c->block); /* empty: has room */
        return 0;
}

int apply_data(Applier *a, const Command *c, Err **reterr) {
        int r;

        r = use_file(a, c->path, reterr);
        if (r < 0)
                return r;
        if (c->kind == CMD_WRITE)
                return apply_write(a, c, reterr);

        r = node_ready(a, reterr);
        if (r < 0)
                return r;
        switch (c->kind) {
        case CMD_ENCODED_WRITE: return file_encoded_write(a->node.file, c, reterr);
        case CMD_TRUNCATE: return file_truncate(a->node.file, c->size, reterr);
        default:
                return file_allocate(
                                a->node.file, c->fallocate_mode, c->file_offset, c->size, reterr);
        }
}

void clone_source_done(CloneSource *s) {
        s->fd = fd_close(s->fd);
}

static int source_use(Applier *a, const Command *c, Err **reterr) {
        CloneSource *s = &a->source;
        struct stat st;
        int r, fd = -1, base_fd;

        if (s->fd >= 0 && memcmp(s->uuid, c->clone_uuid, sizeof(s->uuid)) == 0 &&
                        str_eq(s->path, c->path_to))
                return 0;
        clone_source_done(s);

        if (memcmp(c->clone_uuid, a->uuid, sizeof(a->uuid)) == 0)
                r = tree_open_file(&a->tree, c->path_to, O_RDONLY, &fd, &st);
        else {
                r = bases_find(&a->bases, a->args, c->clone_uuid, c->clone_ctransid, &base_fd,
                                reterr);
                if (r < 0)
                        return r;
                r = open_file_beneath(base_fd, c->path_to, &fd, &st);
        }
        if (r < 0)
                return apply_error(reterr, r, "open the clone source", c->path_to);
        s->fd = fd;
        memcpy(s->uuid, c->clone_uuid, sizeof(s->uuid));
        memcpy(s->path, c->path_to, strlen(c->path_to) + 1);
        return 0;
}

int apply_clone(Applier *a, const Command *c, Err **reterr) {
        int r;

        r = use_file(a, c->path, reterr);
        if (r < 0)
                return r;
        r = node_ready(a, reterr);
        if (r == 0)
                r = writer_drain(a->writer, reterr); /* the source may be waiting there */
        if (r < 0)
                return r;
        r = source_use(a, c, reterr);
        if (r < 0)
                return r;
        return file_clone(a->node.file, a->source.fd, c->clone_offset, c->clone_len, c->file_offset,
                        reterr);
}
