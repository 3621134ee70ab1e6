/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The contents of a file. */
#include <fcntl.h>
#include <linux/btrfs.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <sys/ioctl.h>

#include "stream/encoded.h"
#include "stream/file.h"

#define COPY_SIZE (256u << 10)

/* After a change of the contents. */
void file_touched(File *f) {
        f->times_due = f->caps_lost = true;
}

static int file_write(File *f, const uint8_t *data, uint32_t size, uint64_t offset, Err **reterr) {
        while (size > 0) {
                ssize_t n = pwrite(f->fd, data, size, (off_t) offset);

                if (n < 0) {
                        if (errno == EINTR)
                                continue;
                        return file_error(f, reterr, -errno, "write");
                }
                data += n;
                offset += (uint64_t) n;
                size -= (uint32_t) n;
        }
        file_touched(f);
        return 0;
}

bool file_hold(File *f, const uint8_t *data, uint32_t size, uint64_t offset, Block *block) {
        Held *h = &f->held;
        unsigned b = 0;

        if (h->count > 0 && (h->count == HELD_PARTS || offset != h->offset + h->size))
                return false;
        while (b < HELD_BLOCKS && h->blocks[b] && h->blocks[b] != block)
                b++;
        if (b == HELD_BLOCKS)
                return false;

        if (!h->blocks[b])
                h->blocks[b] = block_ref(block);
        if (h->count == 0)
                h->offset = offset;
        h->parts[h->count++] = (struct iovec){(void *) (uintptr_t) data, size};
        h->size += size;
        file_touched(f);
        return true;
}

void held_drop(Held *h) {
        for (unsigned b = 0; b < HELD_BLOCKS; b++) {
                block_unref(h->blocks[b]);
                h->blocks[b] = NULL;
        }
        h->count = 0;
        h->size = 0;
}

int file_write_held(File *f, Held *h, Err **reterr) {
        struct iovec *part = h->parts;
        unsigned count = h->count;
        uint64_t offset = h->offset;
        int r = 0;

        while (count > 0) {
                ssize_t n = pwritev(f->fd, part, (int) count, (off_t) offset);

                if (n < 0 && errno == EINTR)
                        continue;
                if (n < 0) {
                        r = file_error(f, reterr, -errno, "write");
                        break;
                }
                offset += (uint64_t) n;
                for (; count > 0 && (size_t) n >= part->iov_len; count--)
                        n -= (ssize_t) part++->iov_len;
                if (count > 0) {
                        part->iov_base = (uint8_t *) part->iov_base + n;
                        part->iov_len -= (size_t) n;
                }
        }
        held_drop(h);
        return r;
}

int file_encoded_write(File *f, const Command *c, Err **reterr) {
        struct iovec iov = {(void *) (uintptr_t) c->data, c->data_size};
        struct btrfs_ioctl_encoded_io_args args = {
                        .iov = &iov,
                        .iovcnt = 1,
                        .offset = (int64_t) c->file_offset,
                        .len = c->unencoded_file_len,
                        .unencoded_len = c->unencoded_len,
                        .unencoded_offset = c->unencoded_offset,
                        .compression = c->compression,
        };
        _cleanup_(freep) uint8_t *plain = NULL;
        int r;

        do
                r = ioctl(f->fd, BTRFS_IOC_ENCODED_WRITE, &args) < 0 ? -errno : 0;
        while (r == -EINTR);
        file_touched(f);
        if (r == 0)
                return 0;
        /* What this kernel, file or sector size cannot take as it is, or has no contiguous room for. */
        if (r != -ENOTTY && r != -EINVAL && r != -EOPNOTSUPP && r != -ENOSPC && r != -EPERM)
                return file_error(f, reterr, r, "write compressed data to");

        plain = malloc(c->unencoded_len);
        if (!plain)
                return err_sys(reterr, -ENOMEM, "Cannot unpack data");
        r = encoded_unpack(c->compression, c->data, c->data_size, plain, c->unencoded_len, reterr);
        if (r < 0)
                return err_add(reterr, r, "Byte %llu of the stream",
                                (unsigned long long) c->offset);
        return file_write(f, plain + c->unencoded_offset, (uint32_t) c->unencoded_file_len,
                        c->file_offset, reterr);
}

static int copy_data(File *f, int src_fd, uint8_t *buf, uint64_t src_offset, uint64_t size,
                uint64_t offset, Err **reterr) {
        int r;

        while (size > 0) {
                ssize_t n = pread(src_fd, buf, size < COPY_SIZE ? size : COPY_SIZE,
                                (off_t) src_offset);

                if (n < 0 && errno == EINTR)
                        continue;
                if (n <= 0)
                        return file_error(f, reterr, n < 0 ? -errno : -EIO,
                                        "read the source that shares data with");
                r = file_write(f, buf, (uint32_t) n, offset, reterr);
                if (r < 0)
                        return r;
                src_offset += (uint64_t) n;
                offset += (uint64_t) n;
                size -= (uint64_t) n;
        }
        return 0;
}

/* Makes zeros of a range that has no data in the source, without room where that can be. */
static int copy_hole(File *f, uint64_t size, uint64_t offset, Err **reterr) {
        struct stat st;

        if (fstat(f->fd, &st) < 0)
                return file_error(f, reterr, -errno, "read the size of");
        if ((uint64_t) st.st_size < offset + size && ftruncate(f->fd, (off_t) (offset + size)) < 0)
                return file_error(f, reterr, -errno, "set the size of");
        if ((uint64_t) st.st_size <= offset)
                return 0;
        return file_allocate(f, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, offset, size, reterr);
}

/* Keeps holes: a sparse file may say far more than a disk holds. */
static int copy_range(File *f, int src_fd, uint64_t src_offset, uint64_t size, uint64_t offset,
                Err **reterr) {
        _cleanup_(freep) uint8_t *buf = malloc(COPY_SIZE);
        uint64_t at = 0;
        int r = 0;

        if (!buf)
                return err_sys(reterr, -ENOMEM, "Cannot copy data");
        while (r == 0 && at < size) {
                off_t data = lseek(src_fd, (off_t) (src_offset + at), SEEK_DATA);
                uint64_t hole = size, n;

                if (data < 0 && errno != ENXIO)
                        return file_error(f, reterr, -errno, "look for data in the source of");
                if (data >= 0 && (uint64_t) data - src_offset < size)
                        hole = (uint64_t) data - src_offset;
                if (hole > at) {
                        r = copy_hole(f, hole - at, offset + at, reterr);
                        at = hole;
                        continue;
                }
                data = lseek(src_fd, (off_t) (src_offset + at), SEEK_HOLE);
                if (data < 0)
                        return file_error(f, reterr, -errno, "look for holes in the source of");
                n = (uint64_t) data - src_offset - at;
                if (n > size - at)
                        n = size - at;
                r = copy_data(f, src_fd, buf, src_offset + at, n, offset + at, reterr);
                at += n;
        }
        return r;
}

int file_clone(File *f, int src_fd, uint64_t src_offset, uint64_t size, uint64_t offset,
                Err **reterr) {
        struct file_clone_range range = {
                        .src_fd = src_fd,
                        .src_offset = src_offset,
                        .src_length = size,
                        .dest_offset = offset,
        };
        struct stat st;
        int r;

        if (fstat(src_fd, &st) < 0)
                return file_error(f, reterr, -errno, "share data with");
        if ((uint64_t) st.st_size < src_offset || (uint64_t) st.st_size - src_offset < size)
                return err_kind(reterr, ERR_BAD_STREAM, -EBADMSG,
                                "Cannot share data with %s: its source has only %llu bytes",
                                f->path, (unsigned long long) st.st_size);

        do
                r = ioctl(f->fd, FICLONERANGE, &range) < 0 ? -errno : 0;
        while (r == -EINTR);
        file_touched(f);
        if (r == 0)
                return 0;
        /* Other sector size, or one of the two has no checksums: the contents matter more than the sharing. */
        if (r == -EINVAL || r == -EOPNOTSUPP || r == -EXDEV)
                return copy_range(f, src_fd, src_offset, size, offset, reterr);
        return file_error(f, reterr, r, "share data with");
}

int file_truncate(File *f, uint64_t size, Err **reterr) {
        if (ftruncate(f->fd, (off_t) size) < 0)
                return file_error(f, reterr, -errno, "set the size of");
        file_touched(f);
        return 0;
}

int file_allocate(File *f, uint32_t mode, uint64_t offset, uint64_t size, Err **reterr) {
        int r;

        do
                r = fallocate(f->fd, (int) mode, (off_t) offset, (off_t) size) < 0 ? -errno : 0;
        while (r == -EINTR);
        if (r < 0)
                return file_error(f, reterr, r, "allocate room for");
        file_touched(f);
        return 0;
}
