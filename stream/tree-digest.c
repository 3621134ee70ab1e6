/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/syscall.h>

#include "stream/records.h"
#include "stream/tree-record.h"

/* Btrfs numbers: the top of a subvolume, and what stands where a subvolume was that a snapshot did not take along. */
enum { INO_TOP = 256, INO_EMPTY_SUBVOLUME = 2 };

/* So many names of a directory are asked of the items at once. */
enum { BATCH = 4096 };

/* What readdir() says. */
typedef struct Name {
        char *text;
        uint64_t ino;
        uint8_t type;
} Name;

typedef struct Names {
        size_t n;
        Name *names;
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
        InodeItems *items; /* NULL: this subvolume is read by names */
        EVP_MD *sha256;
        EVP_MD_CTX *ctx;
        uint64_t n_records;
        Names stack; /* directories to list; the last one next */
        Link *links;
        size_t n_links, links_room; /* room: a power of two */
} Walk;

static void names_done(Names *l) {
        for (size_t i = 0; i < l->n; i++)
                free(l->names[i].text);
        free(l->names);
        *l = (Names){0};
}

/* Takes the text. */
static int names_add(Names *l, Name name) {
        if (name.text && (l->n & (l->n - 1)) == 0) {
                Name *more = reallocarray(l->names, l->n ? 2 * l->n : 1, sizeof(*more));

                if (more)
                        l->names = more;
                else
                        free(MOVE(name.text));
        }
        if (!name.text)
                return -ENOMEM;
        l->names[l->n++] = name;
        return 0;
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
static int first_record(Walk *w, uint64_t ino, uint64_t nlink, bool dir, uint64_t *ret) {
        Link *l;

        *ret = w->n_records;
        if (nlink < 2 || dir)
                return 0;
        if (2 * (w->n_links + 1) > w->links_room && grow_links(w) < 0)
                return -ENOMEM;
        l = &w->links[link_slot(w->links, w->links_room, ino)];
        if (l->ino == 0) {
                *l = (Link){ino, w->n_records};
                w->n_links++;
        }
        *ret = l->record;
        return 0;
}

/* A file's content: noted where a base told it, else a descriptor to read it from. What the items tell needs no note: they
 * tell it again. */
static int content_of(
                Walk *w, int dir_fd, const char *name, const InodePart *part, RecordFile *ret) {
        if (!S_ISREG(part->mode))
                return 0;
        if (part->size > w->result->max_file_size)
                w->result->max_file_size = part->size;
        if (!part->wants_content)
                return w->args->found && part->was_known
                                       ? contents_add(w->args->found, part->ino, part->transid,
                                                         part->bytes.data + part->bytes.size -
                                                                         MANIFEST_DIGEST_SIZE)
                                       : 0;
        *ret = (RecordFile){
                        .fd = openat(dir_fd, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC),
                        .size = part->size,
                        .ino = part->ino,
                        .transid = part->transid};
        return ret->fd < 0 ? -errno : 0;
}

/* Of what is not @part->made yet, @st says what it is. */
static int make_record(Walk *w, int dir_fd, const char *name, const char *path,
                const struct stat *st, InodePart *part, Bytes *b, RecordFile *ret) {
        uint64_t first;
        int r;

        r = part->made ? first_record(w, part->ino, part->nlink, false, &first)
                       : first_record(w, st->st_ino, st->st_nlink, S_ISDIR(st->st_mode), &first);
        if (r < 0)
                return r;
        bytes_put_text(b, path, strlen(path));
        bytes_put64(b, first);
        if (first != w->n_records)
                return 0;
        if (!part->made)
                r = part_from_name(dir_fd, name, st, part);
        if (r >= 0)
                r = content_of(w, dir_fd, name, part, ret);
        bytes_put(b, part->bytes.data, part->bytes.size);
        return r;
}

static int add_name(Walk *w, int dir_fd, const char *name, const char *path, const struct stat *st,
                InodePart *part, Err **reterr) {
        Bytes b = {0};
        RecordFile file = {.fd = -1};
        int r = make_record(w, dir_fd, name, path, st, part, &b, &file);

        free(MOVE(part->bytes.data));
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

static int compare_names(const void *a, const void *b) {
        return strcmp(((const Name *) a)->text, ((const Name *) b)->text);
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
                        r = names_add(ret, (Name){strdup(e->d_name), e->d_ino, e->d_type});
        if (r >= 0 && errno != 0)
                r = -errno;
        if (ret->n > 0)
                qsort(ret->names, ret->n, sizeof(*ret->names), compare_names);
        return r;
}

typedef struct Asked {
        Walk *w;
        InodePart *parts;
        uint32_t order[BATCH]; /* of the names, by their inodes */
        uint64_t inos[BATCH];
} Asked;

static int on_facts(void *userdata, size_t i, const InodeFacts *f) {
        Asked *a = userdata;

        if (!f || !(S_ISREG(f->mode) || (S_ISLNK(f->mode) && f->content)))
                return 0;
        return part_from_facts(
                        f, a->w->args->known, a->w->ctx, a->w->sha256, &a->parts[a->order[i]]);
}

static int compare_inodes(const void *a, const void *b, void *names) {
        uint64_t x = ((const Name *) names)[*(const uint32_t *) a].ino,
                 y = ((const Name *) names)[*(const uint32_t *) b].ino;

        return x < y ? -1 : x > y;
}

/* Fills those of @parts that the items tell of. */
static int ask_items(Walk *w, Name *names, size_t n, InodePart *parts, Err **reterr) {
        _cleanup_(freep) Asked *a = malloc(sizeof(*a));
        size_t k = 0;

        if (!a)
                return err_new(reterr, ENOMEM, "out of memory");
        a->w = w;
        a->parts = parts;
        for (size_t i = 0; i < n; i++)
                if (names[i].type == DT_REG || names[i].type == DT_LNK)
                        a->order[k++] = (uint32_t) i;
        qsort_r(a->order, k, sizeof(*a->order), compare_inodes, names);
        for (size_t i = 0; i < k; i++)
                a->inos[i] = names[a->order[i]].ino;
        return inode_items_read(w->items, a->inos, k, on_facts, a, reterr);
}

/* A subdirectory comes to @below. */
static int add_one(Walk *w, int fd, const char *dir, const char *name, InodePart *part,
                Names *below, Err **reterr) {
        _cleanup_(freep) char *path = str_printf("%s%s%s", dir, *dir ? "/" : "", name);
        struct stat st = {0};
        int r;

        if (!path)
                return err_new(reterr, ENOMEM, "out of memory");
        if (!part->made) {
                if (fstatat(fd, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
                        return err_sys(reterr, errno, "read /%s", path);
                if (st.st_dev != w->dev || st.st_ino == INO_EMPTY_SUBVOLUME ||
                                (st.st_ino == INO_TOP && S_ISDIR(st.st_mode)))
                        return 0;
        }
        r = add_name(w, fd, name, path, &st, part, reterr);
        if (r >= 0 && S_ISDIR(st.st_mode) && names_add(below, (Name){.text = MOVE(path)}) < 0)
                r = err_new(reterr, ENOMEM, "out of memory");
        return r;
}

static int add_batch(Walk *w, int fd, const char *dir, Name *names, size_t n, Names *below,
                Err **reterr) {
        _cleanup_(freep) InodePart *parts = calloc(n, sizeof(*parts));
        int r = 0;

        if (!parts)
                return err_new(reterr, ENOMEM, "out of memory");
        if (w->items)
                r = ask_items(w, names, n, parts, reterr);
        for (size_t i = 0; r >= 0 && i < n; i++)
                r = add_one(w, fd, dir, names[i].text, &parts[i], below, reterr);
        for (size_t i = 0; i < n; i++)
                free(parts[i].bytes.data);
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
        for (size_t i = 0; r >= 0 && i < names.n; i += BATCH)
                r = add_batch(w, fd, path, names.names + i,
                                names.n - i < BATCH ? names.n - i : BATCH, &below, reterr);
        while (r >= 0 && below.n > 0)
                if (names_add(&w->stack, below.names[--below.n]) < 0)
                        r = err_new(reterr, ENOMEM, "out of memory");
        return r;
}

static void walk_done(Walk *w) {
        records_free(w->records);
        names_done(&w->stack);
        free(w->links);
        inode_items_free(w->items);
        EVP_MD_CTX_free(w->ctx);
        EVP_MD_free(w->sha256);
}

/* Where the items cannot be had, names do. */
static int open_items(Walk *w, Err **reterr) {
        int r = inode_items_open(w->args->fd, &w->items, reterr);

        if (r == -EOPNOTSUPP)
                return 0;
        if (r < 0)
                return r;
        w->sha256 = EVP_MD_fetch(NULL, "SHA256", NULL);
        w->ctx = EVP_MD_CTX_new();
        return w->sha256 && w->ctx ? 0 : err_new(reterr, ENOMEM, "SHA-256 is not available");
}

int tree_digest(const TreeDigestArgs *args, TreeDigest *ret, Err **reterr) {
        TreeDigest result = {0};
        _cleanup_(walk_done) Walk w = {.args = args, .result = &result};
        InodePart top = {0};
        struct stat st;
        int r;

        if (fstat(args->fd, &st) < 0)
                return err_sys(reterr, errno, "read the tree");
        w.dev = st.st_dev;
        r = open_items(&w, reterr);
        if (r >= 0)
                r = records_new(args, &w.records, reterr);
        if (r >= 0)
                r = add_name(&w, args->fd, "", "", &st, &top, reterr);
        if (r >= 0 && names_add(&w.stack, (Name){.text = strdup("")}) < 0)
                r = err_new(reterr, ENOMEM, "out of memory");
        while (r >= 0 && w.stack.n > 0) {
                _cleanup_(freep) char *path = w.stack.names[--w.stack.n].text;

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
