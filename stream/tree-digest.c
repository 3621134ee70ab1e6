/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <endian.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <openssl/evp.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>

#include "os/inodes.h"
#include "stream/records.h"

/* Btrfs numbers: the top of a subvolume, and what stands where a subvolume was that a snapshot did not take along. */
enum { INO_TOP = 256, INO_EMPTY_SUBVOLUME = 2 };

typedef struct Buffer {
        uint8_t *data;
        size_t size, room;
        bool failed;
} Buffer;

typedef struct Names {
        size_t n;
        char **names;
} Names;

/* Which record first named an inode that has several names. Open addressing; ino 0 is free. */
typedef struct Link {
        uint64_t ino, record;
} Link;

typedef struct Walk {
        const TreeDigestArgs *args;
        Records *records;
        TreeDigest *result;
        dev_t dev;
        InodeList inodes; /* filled where contents are known or asked for */
        uint64_t n_records;
        Names stack; /* directories to list; the last one next */
        Link *links;
        size_t n_links, links_room; /* room: a power of two */
} Walk;

static void names_done(Names *l) {
        for (size_t i = 0; i < l->n; i++)
                free(l->names[i]);
        free(l->names);
        *l = (Names){0};
}

static int names_add(Names *l, char *owned) {
        if (owned && (l->n & (l->n - 1)) == 0) {
                char **more = reallocarray(l->names, l->n ? 2 * l->n : 1, sizeof(*more));

                if (more)
                        l->names = more;
                else
                        free(MOVE(owned));
        }
        if (!owned)
                return -ENOMEM;
        l->names[l->n++] = owned;
        return 0;
}

static void put(Buffer *b, const void *data, size_t size) {
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

static void put32(Buffer *b, uint64_t v) {
        uint32_t le = htole32((uint32_t) v);

        put(b, &le, sizeof(le));
}

static void put64(Buffer *b, uint64_t v) {
        uint64_t le = htole64(v);

        put(b, &le, sizeof(le));
}

static void put_text(Buffer *b, const void *text, size_t size) {
        put32(b, size);
        put(b, text, size);
}

static size_t link_slot(const Link *links, size_t room, uint64_t ino) {
        size_t i = (size_t) (ino * UINT64_C(0x9e3779b97f4a7c15)) & (room - 1);

        while (links[i].ino != 0 && links[i].ino != ino)
                i = (i + 1) & (room - 1);
        return i;
}

static int grow_links(Walk *w) {
        size_t room = w->links_room ? 2 * w->links_room : 256;
        Link *more = calloc(room, sizeof(*more));

        if (!more)
                return -ENOMEM;
        for (size_t i = 0; i < w->links_room; i++)
                if (w->links[i].ino)
                        more[link_slot(more, room, w->links[i].ino)] = w->links[i];
        free(w->links);
        w->links = more;
        w->links_room = room;
        return 0;
}

/* The record that first named this inode: perhaps the one that comes now. */
static int first_record(Walk *w, const struct stat *st, uint64_t *ret) {
        Link *l;

        *ret = w->n_records;
        if (st->st_nlink < 2 || S_ISDIR(st->st_mode))
                return 0;
        if (2 * (w->n_links + 1) > w->links_room && grow_links(w) < 0)
                return -ENOMEM;
        l = &w->links[link_slot(w->links, w->links_room, st->st_ino)];
        if (l->ino == 0) {
                *l = (Link){st->st_ino, w->n_records};
                w->n_links++;
        }
        *ret = l->record;
        return 0;
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

static int put_xattrs(Buffer *b, const char *where) {
        _cleanup_(freep) char *list = NULL, **names = NULL;
        ssize_t size = read_xattr(where, NULL, &list);
        size_t n = 0;

        if (size < 0 && size != -EOPNOTSUPP)
                return (int) size;
        for (ssize_t at = 0; list && at < size; at += (ssize_t) strlen(list + at) + 1)
                n++;
        put32(b, n);
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
                put_text(b, names[i], strlen(names[i]));
                put_text(b, str_or(value, ""), (size_t) length);
        }
        return 0;
}

static int put_target(Buffer *b, int dir_fd, const char *name, const struct stat *st) {
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
        put(b, digest, MANIFEST_DIGEST_SIZE);
        return 0;
}

static void put_inode(Buffer *b, const struct stat *st) {
        bool device = S_ISCHR(st->st_mode) || S_ISBLK(st->st_mode);

        put32(b, st->st_mode);
        put32(b, st->st_uid);
        put32(b, st->st_gid);
        put64(b, (uint64_t) st->st_mtim.tv_sec);
        put32(b, (uint64_t) st->st_mtim.tv_nsec);
        put32(b, device ? major(st->st_rdev) : 0);
        put32(b, device ? minor(st->st_rdev) : 0);
        put64(b, S_ISREG(st->st_mode) || S_ISLNK(st->st_mode) ? (uint64_t) st->st_size : 0);
}

/* The content itself where it is known, else a descriptor to read it from. */
static int put_content(Walk *w, int dir_fd, const char *name, const struct stat *st, Buffer *b,
                RecordFile *ret) {
        const TreeDigestArgs *args = w->args;
        uint64_t transid = inode_list_transid(&w->inodes, st->st_ino);
        const uint8_t *known = args->known ? contents_find(args->known, st->st_ino, transid) : NULL;

        if ((uint64_t) st->st_size > w->result->max_file_size)
                w->result->max_file_size = (uint64_t) st->st_size;
        if (known) {
                put(b, known, MANIFEST_DIGEST_SIZE);
                return args->found ? contents_add(args->found, st->st_ino, transid, known) : 0;
        }
        *ret = (RecordFile){
                        .fd = openat(dir_fd, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC),
                        .size = (uint64_t) st->st_size,
                        .ino = st->st_ino,
                        .transid = transid};
        return ret->fd < 0 ? -errno : 0;
}

static int make_record(Walk *w, int dir_fd, const char *name, const char *path,
                const struct stat *st, Buffer *b, RecordFile *ret) {
        char where[NAME_MAX + 64];
        uint64_t first;
        int r = first_record(w, st, &first);

        if (r < 0)
                return r;
        put_text(b, path, strlen(path));
        put64(b, first);
        if (first != w->n_records)
                return 0;
        put_inode(b, st);
        snprintf(where, sizeof(where), "/proc/self/fd/%i/%s", dir_fd, name);
        r = put_xattrs(b, where);
        if (r >= 0 && S_ISLNK(st->st_mode))
                r = put_target(b, dir_fd, name, st);
        if (r >= 0 && S_ISREG(st->st_mode))
                r = put_content(w, dir_fd, name, st, b, ret);
        return r;
}

static int add_name(Walk *w, int dir_fd, const char *name, const char *path, const struct stat *st,
                Err **reterr) {
        Buffer b = {0};
        RecordFile file = {.fd = -1};
        int r = make_record(w, dir_fd, name, path, st, &b, &file);

        if (r >= 0 && b.failed)
                r = -ENOMEM;
        if (r < 0) {
                free(b.data);
                fd_close(file.fd);
                return err_sys(reterr, r, "read /%s", path);
        }
        w->n_records++;
        return records_add(w->records, b.data, b.size, file, path, reterr);
}

static int read_names(int dir_fd, Names *ret) {
        int fd = fcntl(dir_fd, F_DUPFD_CLOEXEC, 3);
        _cleanup_(closedirp) DIR *d = fd < 0 ? NULL : fdopendir(fd);
        struct dirent *e;
        int r = 0;

        if (!d) {
                r = -errno;
                fd_close(fd);
                return r;
        }
        while (r >= 0 && (errno = 0, e = readdir(d)))
                if (!str_eq(e->d_name, ".") && !str_eq(e->d_name, ".."))
                        r = names_add(ret, strdup(e->d_name));
        if (r >= 0 && errno != 0)
                r = -errno;
        if (ret->n > 0)
                qsort(ret->names, ret->n, sizeof(*ret->names), compare_texts);
        return r;
}

/* Records of all names in a directory; its subdirectories come onto the stack, the first one on top. */
static int list_directory(Walk *w, const char *path, Err **reterr) {
        struct open_how how = {
                        .flags = O_RDONLY | O_DIRECTORY | O_CLOEXEC,
                        .resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_XDEV,
        };
        _cleanup_(names_done) Names names = {0}, below = {0};
        _cleanup_(fd_closep) int fd = (int) syscall(
                        SYS_openat2, w->args->fd, *path ? path : ".", &how, sizeof(how));
        int r = fd < 0 ? -errno : read_names(fd, &names);

        if (r < 0)
                return err_sys(reterr, r, "read /%s", path);
        for (size_t i = 0; i < names.n; i++) {
                _cleanup_(freep) char *full =
                                str_printf("%s%s%s", path, *path ? "/" : "", names.names[i]);
                struct stat st;

                if (!full)
                        return err_new(reterr, ENOMEM, "out of memory");
                if (fstatat(fd, names.names[i], &st, AT_SYMLINK_NOFOLLOW) < 0)
                        return err_sys(reterr, errno, "read /%s", full);
                if (st.st_dev != w->dev || st.st_ino == INO_EMPTY_SUBVOLUME ||
                                (st.st_ino == INO_TOP && S_ISDIR(st.st_mode)))
                        continue;
                r = add_name(w, fd, names.names[i], full, &st, reterr);
                if (r < 0)
                        return r;
                if (S_ISDIR(st.st_mode) && names_add(&below, MOVE(full)) < 0)
                        return err_new(reterr, ENOMEM, "out of memory");
        }
        while (below.n > 0)
                if (names_add(&w->stack, below.names[--below.n]) < 0)
                        return err_new(reterr, ENOMEM, "out of memory");
        return 0;
}

static void walk_done(Walk *w) {
        records_free(w->records);
        names_done(&w->stack);
        free(w->links);
        inode_list_done(&w->inodes);
}

int tree_digest(const TreeDigestArgs *args, TreeDigest *ret, Err **reterr) {
        TreeDigest result = {0};
        _cleanup_(walk_done) Walk w = {.args = args, .result = &result};
        struct stat st;
        int r;

        if (fstat(args->fd, &st) < 0)
                return err_sys(reterr, errno, "read the tree");
        w.dev = st.st_dev;
        r = args->known || args->found ? inode_list_read(args->fd, &w.inodes, reterr) : 0;
        if (r >= 0)
                r = records_new(args, &w.records, reterr);
        if (r >= 0)
                r = add_name(&w, args->fd, "", "", &st, reterr);
        if (r >= 0 && names_add(&w.stack, strdup("")) < 0)
                r = err_new(reterr, ENOMEM, "out of memory");
        while (r >= 0 && w.stack.n > 0) {
                _cleanup_(freep) char *path = w.stack.names[--w.stack.n];

                r = list_directory(&w, path, reterr);
        }
        if (r >= 0)
                r = records_end(w.records, result.digest, &result.bytes, reterr);
        if (r < 0)
                return r;
        result.names = w.n_records;
        *ret = result;
        return 0;
}
