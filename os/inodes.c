/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <endian.h>
#include <linux/btrfs.h>
#include <linux/btrfs_tree.h>
#include <sys/ioctl.h>

#include "os/inodes.h"

enum { SEARCH_SIZE = 64 << 10 };

void inode_list_done(InodeList *l) {
        free(l->items);
        *l = (InodeList){0};
}

static int add(InodeList *l, uint64_t ino, uint64_t transid) {
        if ((l->n & (l->n - 1)) == 0) {
                struct InodeChange *more =
                                reallocarray(l->items, l->n ? 2 * l->n : 1, sizeof(*more));

                if (!more)
                        return -ENOMEM;
                l->items = more;
        }
        l->items[l->n++] = (struct InodeChange){ino, transid};
        return 0;
}

/* Takes over what one search found; *@ret_next is where the next one begins. */
static int add_found(InodeList *l, const struct btrfs_ioctl_search_args_v2 *s, uint64_t *ret_next) {
        const uint8_t *at = (const uint8_t *) s->buf;

        for (uint32_t i = 0; i < s->key.nr_items; i++) {
                struct btrfs_ioctl_search_header h;
                struct btrfs_inode_item item;

                memcpy(&h, at, sizeof(h));
                at += sizeof(h);
                if (h.type == BTRFS_INODE_ITEM_KEY && h.len >= sizeof(item)) {
                        memcpy(&item, at, sizeof(item));
                        if (add(l, h.objectid, le64toh(item.transid)) < 0)
                                return -ENOMEM;
                }
                at += h.len;
                *ret_next = h.objectid + 1;
        }
        return 0;
}

int inode_list_read(int fd, InodeList *ret, Err **reterr) {
        _cleanup_(freep) struct btrfs_ioctl_search_args_v2 *s = malloc(sizeof(*s) + SEARCH_SIZE);
        _cleanup_(inode_list_done) InodeList l = {0};
        uint64_t next = BTRFS_FIRST_FREE_OBJECTID;
        int r = 0;

        if (!s)
                return err_new(reterr, ENOMEM, "out of memory");
        do {
                s->key = (struct btrfs_ioctl_search_key){
                                .min_objectid = next,
                                .max_objectid = BTRFS_LAST_FREE_OBJECTID,
                                .min_type = BTRFS_INODE_ITEM_KEY,
                                .max_type = BTRFS_INODE_ITEM_KEY,
                                .max_offset = UINT64_MAX,
                                .max_transid = UINT64_MAX,
                                .nr_items = UINT32_MAX,
                };
                s->buf_size = SEARCH_SIZE;
                if (ioctl(fd, BTRFS_IOC_TREE_SEARCH_V2, s) < 0)
                        return err_sys(reterr, errno, "list the inodes");
                r = add_found(&l, s, &next);
                if (r < 0)
                        return err_new(reterr, ENOMEM, "out of memory");
        } while (s->key.nr_items > 0);
        *ret = l;
        l = (InodeList){0};
        return 0;
}

uint64_t inode_list_transid(const InodeList *l, uint64_t ino) {
        size_t low = 0, high = l->n;

        while (low < high) {
                size_t mid = low + (high - low) / 2;

                if (l->items[mid].ino == ino)
                        return l->items[mid].transid;
                if (l->items[mid].ino < ino)
                        low = mid + 1;
                else
                        high = mid;
        }
        return 0;
}
