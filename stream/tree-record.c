/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <endian.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>

#include "stream/tree-record.h"

void bytes_put(Bytes *b, const void *data, size_t size) {
        if (size == 0)
                return;
        if (size > b->room - b->size) {
                size_t room = 2 * (b->size + size) + 128;
                uint8_t *more = realloc(b->data, room);

                if (!more) {
                        b->failed = true;
                        return;
                }
                b->data = more;
                b->room = room;
        }
        memcpy(b->data + b->size, data, size);
        b->size += size;
}

void bytes_put32(Bytes *b, uint64_t v) {
        uint32_t le = htole32((uint32_t) v);

        bytes_put(b, &le, sizeof(le));
}

void bytes_put64(Bytes *b, uint64_t v) {
        uint64_t le = htole64(v);

        bytes_put(b, &le, sizeof(le));
}

void bytes_put_text(Bytes *b, const void *text, size_t size) {
        bytes_put32(b, size);
        bytes_put(b, text, size);
}

typedef struct Inode {
        uint32_t mode, uid, gid, mtime_nsec;
        int64_t mtime_sec;
        dev_t rdev;
        uint64_t size;
} Inode;

static void put_inode(Bytes *b, const Inode *i) {
        bool device = S_ISCHR(i->mode) || S_ISBLK(i->mode);

        bytes_put32(b, i->mode);
        bytes_put32(b, i->uid);
        bytes_put32(b, i->gid);
        bytes_put64(b, (uint64_t) i->mtime_sec);
        bytes_put32(b, i->mtime_nsec);
        bytes_put32(b, device ? major(i->rdev) : 0);
        bytes_put32(b, device ? minor(i->rdev) : 0);
        bytes_put64(b, S_ISREG(i->mode) || S_ISLNK(i->mode) ? i->size : 0);
}

static int compare_texts(const void *a, const void *b) {
        return strcmp(*(char *const *) a, *(char *const *) b);
}

/* getxattr() and the like: what it gives, whole, in new memory. */
static ssize_t read_xattr(const char *where, const char *name, char **ret) {
        for (;;) {
                ssize_t n = name ? lgetxattr(where, name, NULL, 0) : llistxattr(where, NULL, 0);
                _cleanup_(freep) char *buf = n < 0 ? NULL : malloc((size_t) n + 1);

                if (n < 0)
                        return -errno;
                if (!buf)
                        return -ENOMEM;
                if (n == 0)
                        return 0;
                n = name ? lgetxattr(where, name, buf, (size_t) n)
                         : llistxattr(where, buf, (size_t) n);
                if (n < 0 && errno == ERANGE)
                        continue;
                if (n < 0)
                        return -errno;
                buf[n] = '\0';
                *ret = MOVE(buf);
                return n;
        }
}

static int put_xattrs(Bytes *b, const char *where) {
        _cleanup_(freep) char *list = NULL, **names = NULL;
        ssize_t size = read_xattr(where, NULL, &list);
        size_t n = 0;

        if (size < 0 && size != -EOPNOTSUPP)
                return (int) size;
        for (ssize_t at = 0; list && at < size; at += (ssize_t) strlen(list + at) + 1)
                n++;
        bytes_put32(b, n);
        if (n == 0)
                return 0;
        names = calloc(n, sizeof(*names));
        if (!names)
                return -ENOMEM;
        n = 0;
        for (ssize_t at = 0; at < size; at += (ssize_t) strlen(list + at) + 1)
                names[n++] = list + at;
        qsort(names, n, sizeof(*names), compare_texts);
        for (size_t i = 0; i < n; i++) {
                _cleanup_(freep) char *value = NULL;
                ssize_t length = read_xattr(where, names[i], &value);

                if (length < 0)
                        return (int) length;
                bytes_put_text(b, names[i], strlen(names[i]));
                bytes_put_text(b, str_or(value, ""), (size_t) length);
        }
        return 0;
}

static int put_target(Bytes *b, int dir_fd, const char *name, const struct stat *st) {
        _cleanup_(freep) char *target = malloc((size_t) st->st_size + 1);
        uint8_t digest[EVP_MAX_MD_SIZE];
        ssize_t n;

        if (!target)
                return -ENOMEM;
        n = readlinkat(dir_fd, name, target, (size_t) st->st_size + 1);
        if (n < 0)
                return -errno;
        if (n != st->st_size)
                return -EIO;
        if (EVP_Digest(target, (size_t) n, digest, NULL, EVP_sha256(), NULL) != 1)
                return -EIO;
        bytes_put(b, digest, MANIFEST_DIGEST_SIZE);
        return 0;
}

int part_from_name(int dir_fd, const char *name, const struct stat *st, InodePart *ret) {
        const Inode inode = {
                        .mode = st->st_mode,
                        .uid = st->st_uid,
                        .gid = st->st_gid,
                        .mtime_sec = st->st_mtim.tv_sec,
                        .mtime_nsec = (uint32_t) st->st_mtim.tv_nsec,
                        .rdev = st->st_rdev,
                        .size = (uint64_t) st->st_size,
        };
        char where[NAME_MAX + 64];
        int r;

        *ret = (InodePart){.ino = st->st_ino,
                        .nlink = st->st_nlink,
                        .mode = st->st_mode,
                        .size = inode.size,
                        .made = true};
        put_inode(&ret->bytes, &inode);
        snprintf(where, sizeof(where), "/proc/self/fd/%i/%s", dir_fd, name);
        r = put_xattrs(&ret->bytes, where);
        if (r >= 0 && S_ISLNK(st->st_mode))
                r = put_target(&ret->bytes, dir_fd, name, st);
        ret->wants_content = S_ISREG(st->st_mode);
        return r < 0 ? r : ret->bytes.failed ? -ENOMEM : 0;
}

static int compare_xattrs(const void *a, const void *b) {
        const InodeXattr *x = *(const InodeXattr *const *) a, *y = *(const InodeXattr *const *) b;
        int r = memcmp(x->name, y->name, x->name_size < y->name_size ? x->name_size : y->name_size);

        return r != 0 ? r : (int) x->name_size - (int) y->name_size;
}

static int put_known_xattrs(Bytes *b, const InodeFacts *f) {
        _cleanup_(freep) const InodeXattr **sorted = NULL;

        bytes_put32(b, f->n_xattrs);
        if (f->n_xattrs == 0)
                return 0;
        sorted = calloc(f->n_xattrs, sizeof(const InodeXattr *));
        if (!sorted)
                return -ENOMEM;
        for (size_t i = 0; i < f->n_xattrs; i++)
                sorted[i] = &f->xattrs[i];
        qsort(sorted, f->n_xattrs, sizeof(const InodeXattr *), compare_xattrs);
        for (size_t i = 0; i < f->n_xattrs; i++) {
                bytes_put_text(b, sorted[i]->name, sorted[i]->name_size);
                bytes_put_text(b, sorted[i]->value, sorted[i]->value_size);
        }
        return 0;
}

/* What is in the items needs no look at the file; an empty file has nothing anywhere. */
static int put_content(const InodeFacts *f, const Contents *known, EVP_MD_CTX *ctx,
                const EVP_MD *sha256, InodePart *ret) {
        uint8_t digest[EVP_MAX_MD_SIZE];
        const uint8_t *content = NULL;

        if (known && S_ISREG(f->mode))
                content = contents_find(known, f->ino, f->transid);
        ret->was_known = content;
        if (!content && (f->content || f->size == 0)) {
                if (EVP_DigestInit_ex(ctx, sha256, NULL) != 1 ||
                                (f->size > 0 && EVP_DigestUpdate(ctx, f->content, f->size) != 1) ||
                                EVP_DigestFinal_ex(ctx, digest, NULL) != 1)
                        return -EIO;
                content = digest;
        }
        if (content)
                bytes_put(&ret->bytes, content, MANIFEST_DIGEST_SIZE);
        ret->wants_content = !content;
        return 0;
}

int part_from_facts(const InodeFacts *f, const Contents *known, EVP_MD_CTX *ctx,
                const EVP_MD *sha256, InodePart *ret) {
        const Inode inode = {
                        .mode = f->mode,
                        .uid = f->uid,
                        .gid = f->gid,
                        .mtime_sec = f->mtime_sec,
                        .mtime_nsec = f->mtime_nsec,
                        .size = f->size,
        };
        int r;

        *ret = (InodePart){.ino = f->ino,
                        .nlink = f->nlink,
                        .mode = f->mode,
                        .size = f->size,
                        .transid = f->transid,
                        .made = true};
        put_inode(&ret->bytes, &inode);
        r = put_known_xattrs(&ret->bytes, f);
        if (r >= 0)
                r = put_content(f, known, ctx, sha256, ret);
        return r < 0 ? r : ret->bytes.failed ? -ENOMEM : 0;
}
