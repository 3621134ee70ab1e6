/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "update/incoming.h"
#include "os/file.h"
#include "os/inode-items.h"
#include "stream/tree-digest.h"

void incoming_done(Incoming *in) {
        free(in->subvolumes);
        for (size_t i = 0; i < in->n; i++)
                free(in->items[i].name);
        *in = (Incoming){.image_fd = -1};
}

/* A signed image builds on what its maker named, and on nothing else that may be here. */
int incoming_find_base(Incoming *in, const uint8_t uuid[static 16], int *ret_fd, Err **reterr) {
        int r;

        /* what the engine made itself it knows, unless another one did before */
        for (size_t i = 0; in->image_fd >= 0 && i + 1 < in->n; i++)
                if (memcmp(in->items[i].uuid, uuid, 16) == 0) {
                        *ret_fd = dir_open_at(in->image_fd, in->items[i].name, reterr);
                        return *ret_fd < 0 ? *ret_fd : 0;
                }

        r = in->manifest ? stream_check_source(in->manifest, uuid, reterr) : 0;
        return r < 0 ? r : in->m->slots->ops->find_base(in->m->slots, uuid, ret_fd, reterr);
}

static int check_announced(const Incoming *in, const StreamSubvol *s, Err **reterr) {
        const ManifestSubvol *a = &in->manifest->subvols[in->n];

        if (in->n < in->manifest->n_subvols && str_eq(a->name, s->name) &&
                        memcmp(a->uuid, s->uuid, 16) == 0 && a->incremental == s->incremental)
                return stream_check_parent(a, s, reterr);
        return err_kind(reterr, ERR_BAD_STREAM, EBADMSG,
                        "the image brings subvolume '%s', which is not what its manifest announces",
                        s->name);
}

/* Without a manifest the first subvolume is the root; every other one needs a place from the configuration. */
static const char *place_of(const Incoming *in, const StreamSubvol *s) {
        if (in->manifest)
                return in->manifest->subvols[in->n].path;
        return in->n == 0 ? "/" : config_place(in->m->config, s->name);
}

int incoming_begin(Incoming *in, const StreamSubvol *s, Err **reterr) {
        _cleanup_(freep) char *list = NULL;
        const char *place;
        int r;

        if (in->n >= ARRAY_SIZE(in->items))
                return err_kind(reterr, ERR_LIMIT_EXCEEDED, E2BIG,
                                "the image brings more than %u subvolumes", MANIFEST_SUBVOLS_MAX);
        memcpy(in->items[in->n].uuid, s->uuid, 16); /* counts only with the name */
        if (!name_ok(s->name))
                return err_kind(reterr, ERR_UNKNOWN_SUBVOLUME, EINVAL,
                                "the image brings a subvolume whose name is not made of letters, "
                                "digits, '.', '_', '-'");
        for (size_t i = 0; i < in->n; i++)
                if (str_eq(in->items[i].name, s->name))
                        return err_kind(reterr, ERR_BAD_STREAM, EEXIST,
                                        "the image brings subvolume '%s' twice", s->name);
        r = in->manifest ? check_announced(in, s, reterr) : 0;
        if (r < 0)
                return r;
        place = place_of(in, s);
        if (!place)
                return err_kind(reterr, ERR_UNKNOWN_SUBVOLUME, ENOENT,
                                "the image brings subvolume '%s', which has no place here; say "
                                "where it belongs with "
                                "Subvolumes=%s:/path in [Snapshot] of abupdated.conf",
                                s->name, s->name);
        list = str_printf("%s%s%s:%s", str_or(in->subvolumes, ""), in->subvolumes ? " " : "",
                        s->name, place);
        if (!list || str_set(&in->items[in->n].name, s->name) < 0)
                return err_new(reterr, ENOMEM, "out of memory");
        in->n++;
        free(in->subvolumes);
        in->subvolumes = MOVE(list);
        return 0;
}

int incoming_end(Incoming *in, const StreamSubvol *s, Err **reterr) {
        const ManifestSubvol *a = in->manifest ? &in->manifest->subvols[in->n - 1] : NULL;

        in->written += s->bytes;
        if (!a || (a->bytes == s->bytes && a->inodes == s->inodes))
                return 0;
        return err_kind(reterr, ERR_BAD_STREAM, EBADMSG,
                        "subvolume %s came with %" PRIu64 " bytes and %" PRIu64
                        " inodes; its manifest announces %" PRIu64 " and %" PRIu64,
                        s->name, s->bytes, s->inodes, a->bytes, a->inodes);
}

int incoming_resume(Incoming *in, const StreamPosition *p, Err **reterr) {
        int r = 0;

        for (size_t i = 0; r >= 0 && i < p->subvols; i++) {
                const ManifestSubvol *a = &in->manifest->subvols[i];
                StreamSubvol s = {.incremental = a->incremental,
                                .bytes = a->bytes,
                                .inodes = a->inodes};

                snprintf(s.name, sizeof(s.name), "%s", a->name);
                memcpy(s.uuid, a->uuid, sizeof(s.uuid));
                memcpy(s.parent_uuid, a->parent, sizeof(s.parent_uuid));
                r = incoming_begin(in, &s, reterr);
                if (r >= 0 && i + 1 < p->subvols)
                        r = incoming_end(in, &s, reterr);
        }
        return r;
}

int incoming_complete(const Incoming *in, Err **reterr) {
        if (!in->manifest || in->n == in->manifest->n_subvols)
                return 0;
        return err_kind(reterr, ERR_TRUNCATED, EBADMSG,
                        "the image brought %zu of the %zu subvolumes that its manifest announces",
                        in->n, in->manifest->n_subvols);
}

typedef struct Reading {
        int (*progress)(void *userdata, uint64_t bytes);
        void *userdata;
        uint64_t before;
} Reading;

static int on_progress(void *userdata, uint64_t bytes) {
        Reading *r = userdata;

        return r->progress(r->userdata, r->before + bytes);
}

/* What was found right in the base needs no second look where the stream left it alone. NULL: look at everything. */
static Contents *known_of_base(const Incoming *in, size_t i) {
        const ManifestSubvol *s = &in->manifest->subvols[i];
        _cleanup_(fd_closep) int fd = -1;
        Contents *c;

        if (!s->incremental || in->m->slots->ops->find_base(in->m->slots, s->parent, &fd, NULL) < 0)
                return NULL;
        return contents_load(fd, &c) < 0 ? NULL : c;
}

static int check_digest(const Incoming *in, size_t i, int fd, Contents *found, Reading *reading,
                Err **reterr) {
        _cleanup_(contents_freep) Contents *known = known_of_base(in, i);
        _cleanup_(err_freep) Err *why = NULL;
        TreeDigest d;
        int r = tree_digest(
                        &(TreeDigestArgs){
                                        .fd = fd,
                                        .from_disk = true,
                                        .known = known,
                                        .found = found,
                                        .userdata = reading,
                                        .progress = on_progress,
                        },
                        &d, &why);

        if (r == -EIO)
                return err_kind(reterr, ERR_VERIFY_FAILED, r,
                                "subvolume %s cannot be read back from the disk: %s",
                                in->items[i].name, err_text(why));
        if (r < 0) {
                if (reterr)
                        *reterr = MOVE(why);
                return r;
        }
        reading->before += d.bytes;
        if (memcmp(d.digest, in->manifest->subvols[i].digest, sizeof(d.digest)) == 0)
                return 0;
        return err_kind(reterr, ERR_VERIFY_FAILED, EBADMSG,
                        "subvolume %s is not what was signed: its tree digest differs",
                        in->items[i].name);
}

static int check_content(const Incoming *in, size_t i, int image_fd, int fd, const SubvolInfo *info,
                Reading *reading, Err **reterr) {
        _cleanup_(contents_freep) Contents *found = NULL;
        int r = contents_new(&found);

        if (r < 0)
                return err_new(reterr, ENOMEM, "out of memory");
        r = check_digest(in, i, fd, found, reading, reterr);
        if (r >= 0)
                (void) contents_save(found, image_fd, info, NULL); /* spares time, no more */
        return r;
}

/* What cannot tell its items has no size; its content is looked at by other means. */
static int size_of(int fd, uint64_t *ret, Err **reterr) {
        _cleanup_(inode_items_freep) InodeItems *items = NULL;
        int r = inode_items_open(fd, &items, reterr);

        *ret = 0;
        return r == -EOPNOTSUPP ? 0 : r < 0 ? r : inode_items_size(items, ret, reterr);
}

/* Read-only and received-UUID are no proof of content; they prove that the engine reached the end of this subvolume. Every
 * inode is read once: what the disk cannot give back is no system. */
int incoming_verify(Incoming *in, int image_fd, int (*progress)(void *userdata, uint64_t bytes),
                void *userdata, Err **reterr) {
        Reading reading = {progress, userdata, 0};
        int r = 0;

        for (size_t i = 0; r >= 0 && i < in->n; i++) {
                _cleanup_(fd_closep) int fd = dir_open_at(image_fd, in->items[i].name, reterr);
                uint64_t size = 0;
                SubvolInfo info;

                r = fd < 0 ? fd : subvol_info(fd, &info, reterr);
                if (r >= 0 && (!info.read_only || memcmp(info.received_uuid, in->items[i].uuid,
                                                                  16) != 0))
                        r = err_kind(reterr, ERR_VERIFY_FAILED, EBADMSG,
                                        "subvolume %s is not what was received: writable, or of "
                                        "another UUID",
                                        in->items[i].name);
                if (r >= 0)
                        r = size_of(fd, &size, reterr);
                in->size += size;
                if (r >= 0 && in->manifest)
                        r = check_content(in, i, image_fd, fd, &info, &reading, reterr);
        }
        return r;
}
