/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Items and their order: fs/btrfs/btrfs_tree.h of the kernel, and linux/btrfs_tree.h. */
#include <endian.h>
#include <linux/btrfs.h>
#include <linux/btrfs_tree.h>
#include <sys/ioctl.h>
#include <sys/stat.h>

#include "os/btrfs.h"
#include "os/inode-items.h"

/* A call stops where the next item does not fit, without saying so; none is larger than the largest node. */
enum { ROOM = 256 << 10, LARGEST_ITEM = 64 << 10 };

/* Inodes so near to each other are read in one call, with what lies between them. */
enum { GAP = 16 };

/* What stat() counts in: the smallest piece of a file that takes room. */
enum { SECTOR = 4096 };

struct InodeItems {
        int fd; /* borrowed */
        struct btrfs_ioctl_search_args_v2 *found;
        uint32_t left;           /* of found: items not yet looked at */
        const uint8_t *at, *end; /* the next one; behind the last one */
        bool cut;                /* there may be more in the range than was found */
        InodeXattr *xattrs;
        size_t n_xattrs, xattrs_room;
};

typedef struct Item {
        uint64_t ino;
        uint32_t type, size;
        const uint8_t *data;
} Item;

InodeItems *inode_items_free(InodeItems *x) {
        if (x) {
                free(x->found);
                free(x->xattrs);
                free(x);
        }
        return NULL;
}

static int search(InodeItems *x, uint64_t first, uint64_t last) {
        struct btrfs_ioctl_search_args_v2 *s = x->found;

        s->key = (struct btrfs_ioctl_search_key){
                        .min_objectid = first,
                        .max_objectid = last,
                        .min_type = BTRFS_INODE_ITEM_KEY,
                        .max_type = BTRFS_EXTENT_DATA_KEY,
                        .max_offset = UINT64_MAX,
                        .max_transid = UINT64_MAX,
                        .nr_items = UINT32_MAX,
        };
        s->buf_size = ROOM;
        if (ioctl(x->fd, BTRFS_IOC_TREE_SEARCH_V2, s) < 0)
                return -errno;
        x->left = s->key.nr_items;
        x->at = x->end = (const uint8_t *) s->buf;
        for (uint32_t i = 0; i < x->left; i++) {
                struct btrfs_ioctl_search_header h;

                memcpy(&h, x->end, sizeof(h));
                x->end += sizeof(h) + h.len;
        }
        x->cut = (size_t) (x->end - x->at) + sizeof(struct btrfs_ioctl_search_header) +
                                 LARGEST_ITEM >
                 ROOM;
        return 0;
}

static bool look(const InodeItems *x, Item *ret) {
        struct btrfs_ioctl_search_header h;

        if (x->left == 0)
                return false;
        memcpy(&h, x->at, sizeof(h));
        *ret = (Item){h.objectid, h.type, h.len, x->at + sizeof(h)};
        return true;
}

static void pass(InodeItems *x, const Item *item) {
        x->at = item->data + item->size;
        x->left--;
}

int inode_items_open(int fd, InodeItems **ret, Err **reterr) {
        _cleanup_(inode_items_freep) InodeItems *x = calloc(1, sizeof(*x));
        SubvolInfo info;

        if (!x)
                return err_new(reterr, ENOMEM, "out of memory");
        if (!fs_is_btrfs(fd) || subvol_info(fd, &info, NULL) < 0 || !info.read_only)
                return -EOPNOTSUPP;
        x->fd = fd;
        x->found = malloc(sizeof(*x->found) + ROOM);
        if (!x->found)
                return err_new(reterr, ENOMEM, "out of memory");
        if (syncfs(fd) < 0)
                return err_sys(reterr, errno, "sync the tree");
        if (search(x, BTRFS_FIRST_FREE_OBJECTID, BTRFS_FIRST_FREE_OBJECTID) < 0)
                return -EOPNOTSUPP;
        *ret = MOVE(x);
        return 0;
}

static int add_xattr(InodeItems *x, InodeXattr one) {
        if (x->n_xattrs == x->xattrs_room) {
                size_t room = x->xattrs_room ? 2 * x->xattrs_room : 16;
                InodeXattr *more = reallocarray(x->xattrs, room, sizeof(*more));

                if (!more)
                        return -ENOMEM;
                x->xattrs = more;
                x->xattrs_room = room;
        }
        x->xattrs[x->n_xattrs++] = one;
        return 0;
}

/* Names whose hashes collide share an item. */
static int add_xattrs(InodeItems *x, const Item *item) {
        uint32_t at = 0;

        while (at < item->size) {
                struct btrfs_dir_item d;
                InodeXattr one;
                int r;

                if (item->size - at < sizeof(d))
                        return -EIO;
                memcpy(&d, item->data + at, sizeof(d));
                at += sizeof(d);
                one = (InodeXattr){.name = (const char *) item->data + at,
                                .name_size = le16toh(d.name_len),
                                .value = item->data + at + le16toh(d.name_len),
                                .value_size = le16toh(d.data_len)};
                if (item->size - at < (uint32_t) one.name_size + one.value_size)
                        return -EIO;
                at += (uint32_t) one.name_size + one.value_size;
                r = add_xattr(x, one);
                if (r < 0)
                        return r;
        }
        return 0;
}

static int put_inode(InodeFacts *f, const Item *item) {
        struct btrfs_inode_item i;

        if (item->size < sizeof(i))
                return -EIO;
        memcpy(&i, item->data, sizeof(i));
        f->transid = le64toh(i.transid);
        f->size = le64toh(i.size);
        f->mtime_sec = (int64_t) le64toh(i.mtime.sec);
        f->mtime_nsec = le32toh(i.mtime.nsec);
        f->mode = le32toh(i.mode);
        f->uid = le32toh(i.uid);
        f->gid = le32toh(i.gid);
        f->nlink = le32toh(i.nlink);
        return 0;
}

/* The content where the item is all of it, as it is. */
static const uint8_t *inline_content(const InodeFacts *f, const Item *item) {
        const size_t head = offsetof(struct btrfs_file_extent_item, disk_bytenr);
        struct btrfs_file_extent_item e = {0};

        if (item->size < head || item->size - head != f->size)
                return NULL;
        memcpy(&e, item->data, head);
        return e.type == BTRFS_FILE_EXTENT_INLINE && e.compression == 0 && e.encryption == 0 &&
                                               e.other_encoding == 0 &&
                                               le64toh(e.ram_bytes) == f->size
                               ? item->data + head
                               : NULL;
}

/* Gathers what was found of @ino, from here on. 1: all of it that was asked for; 0: it ends where the reading was cut. */
static int gather(InodeItems *x, uint64_t ino, InodeFacts *f) {
        unsigned extents = 0;
        Item item;
        int r = 0;

        *f = (InodeFacts){.ino = ino};
        x->n_xattrs = 0;
        while (r >= 0 && look(x, &item) && item.ino == ino) {
                pass(x, &item);
                switch (item.type) {
                case BTRFS_INODE_ITEM_KEY: r = put_inode(f, &item); break;
                case BTRFS_XATTR_ITEM_KEY: r = add_xattrs(x, &item); break;
                case BTRFS_EXTENT_DATA_KEY:
                        f->content = extents++ == 0 ? inline_content(f, &item) : NULL;
                        break;
                default: break;
                }
        }
        if (r < 0)
                return r;
        if (x->left == 0 && x->cut && (extents == 0 || f->content))
                return 0;
        f->xattrs = x->xattrs;
        f->n_xattrs = x->n_xattrs;
        return 1;
}

/* The facts of @ino. It, and those that may be read with it, reach to @last. 0: it is not there, or too large. */
static int facts_of(InodeItems *x, uint64_t ino, uint64_t last, InodeFacts *f) {
        for (unsigned tries = 0; tries < 2; tries++) {
                Item item;
                int r;

                while (look(x, &item) && item.ino < ino)
                        pass(x, &item);
                if (look(x, &item) && item.ino == ino) {
                        if (item.type != BTRFS_INODE_ITEM_KEY)
                                return 0;
                        r = gather(x, ino, f);
                        if (r != 0)
                                return r;
                } else if (tries > 0 || x->left > 0)
                        return 0;
                r = tries == 0 ? search(x, ino, last) : 0;
                if (r < 0)
                        return r;
        }
        return 0;
}

int inode_items_read(InodeItems *x, const uint64_t *inos, size_t n,
                int (*each)(void *userdata, size_t i, const InodeFacts *facts), void *userdata,
                Err **reterr) {
        InodeFacts facts;
        size_t end = 0;
        int have = 0, r = 0;

        x->left = 0;
        for (size_t i = 0; r >= 0 && i < n; i++) {
                if (i == end) {
                        x->left = 0;
                        for (end = i + 1; end < n && inos[end] - inos[end - 1] <= GAP;)
                                end++;
                }
                if (i == 0 || inos[i] != inos[i - 1])
                        have = facts_of(x, inos[i], inos[end - 1], &facts);
                if (have < 0)
                        return err_sys(reterr, have, "read inode %llu",
                                        (unsigned long long) inos[i]);
                r = each(userdata, i, have > 0 ? &facts : NULL);
        }
        return r;
}

static uint64_t size_on_disk(const Item *item) {
        struct btrfs_inode_item i;

        if (item->type != BTRFS_INODE_ITEM_KEY || item->size < sizeof(i))
                return 0;
        memcpy(&i, item->data, sizeof(i));
        return S_ISREG(le32toh(i.mode)) ? (le64toh(i.nbytes) + SECTOR - 1) / SECTOR * SECTOR : 0;
}

int inode_items_size(InodeItems *x, uint64_t *ret_bytes, Err **reterr) {
        uint64_t bytes = 0, next = BTRFS_FIRST_FREE_OBJECTID;
        int r;

        while ((r = search(x, next, BTRFS_LAST_FREE_OBJECTID)) >= 0 && x->left > 0)
                for (Item item; look(x, &item); pass(x, &item)) {
                        bytes += size_on_disk(&item);
                        /* its first item is the one that counts */
                        next = item.ino + 1;
                }
        if (r < 0)
                return err_sys(reterr, r, "read the inodes");
        *ret_bytes = bytes;
        return 0;
}
