/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <endian.h>
#include <fcntl.h>
#include <openssl/evp.h>

#include "os/file.h"
#include "stream/contents.h"

#define NAME_PREFIX ".contents-"
#define SIZE_MAX_   (sizeof(Head) + CONTENTS_MAX * sizeof(Item))

static const char magic[8] = "abcont\0\1";

/* As on disk, little-endian. */
typedef struct Head {
        char magic[8];
        uint8_t uuid[16]; /* of the subvolume itself */
        uint64_t ctransid;
        uint64_t n;
        uint8_t sum[MANIFEST_DIGEST_SIZE]; /* SHA-256 of the items */
} Head;

typedef struct Item {
        uint64_t ino, transid;
        uint8_t digest[MANIFEST_DIGEST_SIZE];
} Item;

struct Contents {
        Head *head; /* the file as it is on disk, items behind it; NULL: no item yet */
        size_t n;
};

static Item *items_of(const Contents *c) {
        return (Item *) (c->head + 1);
}

int contents_new(Contents **ret) {
        *ret = calloc(1, sizeof(**ret));
        return *ret ? 0 : -ENOMEM;
}

Contents *contents_free(Contents *c) {
        if (c) {
                free(c->head);
                free(c);
        }
        return NULL;
}

int contents_add(Contents *c, uint64_t ino, uint64_t transid,
                const uint8_t digest[static MANIFEST_DIGEST_SIZE]) {
        Item *i;

        if (c->n == CONTENTS_MAX)
                return 0;
        if ((c->n & (c->n - 1)) == 0) {
                size_t room = c->n ? 2 * c->n : 1;
                Head *more = realloc(c->head, sizeof(*more) + room * sizeof(*i));

                if (!more)
                        return -ENOMEM;
                c->head = more;
        }
        i = &items_of(c)[c->n++];
        i->ino = htole64(ino);
        i->transid = htole64(transid);
        memcpy(i->digest, digest, sizeof(i->digest));
        return 0;
}

static int compare_items(const void *a, const void *b) {
        uint64_t x = le64toh(((const Item *) a)->ino), y = le64toh(((const Item *) b)->ino);

        return x < y ? -1 : x > y;
}

static int name_of(const SubvolInfo *info, char ret[static 64]) {
        char text[UUID_TEXT_SIZE];

        return snprintf(ret, 64, NAME_PREFIX "%s", uuid_format(text, info->uuid));
}

static int sum_of(const Item *items, size_t n, uint8_t ret[static EVP_MAX_MD_SIZE]) {
        return EVP_Digest(items, n * sizeof(*items), ret, NULL, EVP_sha256(), NULL) == 1 ? 0 : -EIO;
}

int contents_save(Contents *c, int dir_fd, const SubvolInfo *info, Err **reterr) {
        Head empty, *h = c->head ? c->head : &empty;
        uint8_t sum[EVP_MAX_MD_SIZE];
        char name[64];

        if (c->n > 0)
                qsort(items_of(c), c->n, sizeof(Item), compare_items);
        if (sum_of((Item *) (h + 1), c->n, sum) < 0)
                return err_new(reterr, EIO, "compute SHA-256");
        *h = (Head){.ctransid = htole64(info->ctransid), .n = htole64(c->n)};
        memcpy(h->magic, magic, sizeof(magic));
        memcpy(h->uuid, info->uuid, sizeof(h->uuid));
        memcpy(h->sum, sum, sizeof(h->sum));
        name_of(info, name);
        return file_write_at(dir_fd, name, h, sizeof(*h) + c->n * sizeof(Item), reterr);
}

static bool is_of(const Head *h, const SubvolInfo *info) {
        return memcmp(h->magic, magic, sizeof(magic)) == 0 &&
               memcmp(h->uuid, info->uuid, sizeof(h->uuid)) == 0;
}

bool contents_outdated(int fd) {
        _cleanup_(fd_closep) int dir_fd = -1, file_fd = -1;
        SubvolInfo info;
        char name[64];
        Head h;

        if (subvol_info(fd, &info, NULL) < 0)
                return false;
        dir_fd = dir_open_at(fd, "..", NULL);
        name_of(&info, name);
        file_fd = dir_fd < 0 ? -1
                             : openat(dir_fd, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
        return file_fd >= 0 && read(file_fd, &h, sizeof(h)) == (ssize_t) sizeof(h) &&
               is_of(&h, &info) && le64toh(h.ctransid) != info.ctransid;
}

/* Takes @data over where it is right. */
static int adopt(uint8_t **data, size_t size, const SubvolInfo *info, Contents **ret) {
        Head *h = (Head *) *data;
        uint8_t sum[EVP_MAX_MD_SIZE];
        Contents *c;

        if (size < sizeof(*h) || (size - sizeof(*h)) % sizeof(Item) != 0 || !is_of(h, info) ||
                        le64toh(h->ctransid) != info->ctransid ||
                        le64toh(h->n) != (size - sizeof(*h)) / sizeof(Item))
                return -ENODATA;
        if (sum_of((Item *) (h + 1), (size_t) le64toh(h->n), sum) < 0 ||
                        memcmp(sum, h->sum, sizeof(h->sum)) != 0)
                return -ENODATA;
        c = calloc(1, sizeof(*c));
        if (!c)
                return -ENOMEM;
        *c = (Contents){h, (size_t) le64toh(h->n)};
        *data = NULL;
        *ret = c;
        return 0;
}

int contents_load(int fd, Contents **ret) {
        _cleanup_(fd_closep) int dir_fd = -1;
        _cleanup_(freep) char *text = NULL;
        SubvolInfo info;
        char name[64];
        size_t size;

        if (subvol_info(fd, &info, NULL) < 0 || !info.read_only)
                return -ENODATA;
        dir_fd = dir_open_at(fd, "..", NULL);
        name_of(&info, name);
        if (dir_fd < 0 || file_read_at(dir_fd, name, SIZE_MAX_, &text, &size, NULL) < 0)
                return -ENODATA;
        return adopt((uint8_t **) &text, size, &info, ret);
}

const uint8_t *contents_find(const Contents *c, uint64_t ino, uint64_t transid) {
        const Item key = {.ino = htole64(ino)}, *i;

        if (c->n == 0)
                return NULL;
        i = bsearch(&key, items_of(c), c->n, sizeof(key), compare_items);
        return i && le64toh(i->transid) == transid ? i->digest : NULL;
}
