/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <fcntl.h>
#include <linux/fs.h>
#include <openssl/evp.h>
#include <sys/ioctl.h>
#include <sys/stat.h>

#include "os/btrfs-super.h"
#include "stream/device-load.h"
#include "stream/input.h"
#include "stream/zeros.h"

enum { STEP = 1 << 20, ALIGN = 4096 };

struct DeviceLoad {
        DeviceLoadArgs args;
        Input *input;
        Block *first;  /* until it is written */
        uint64_t size; /* of the image: known at the end, or where it is a plain file */
        uint64_t done; /* bytes of the device */
        uint8_t digest[DEVICE_DIGEST_SIZE];
        uint8_t held[SUPER_COPIES][SUPER_SIZE];
        bool has[SUPER_COPIES];
};

static void digest_freep(EVP_MD_CTX **ctx) {
        EVP_MD_CTX_free(*ctx);
}

static int on_input(void *userdata, uint64_t bytes _unused_) {
        const DeviceLoad *l = userdata;

        return l->args.progress(l->args.userdata, l->done);
}

DeviceLoad *device_load_free(DeviceLoad *l) {
        if (l) {
                block_unref(l->first);
                input_free(l->input);
                free(l);
        }
        return NULL;
}

/* Where a plain file ends is told by the file system. */
static uint64_t plain_size(const DeviceLoad *l) {
        off_t at = lseek(l->args.fd, 0, SEEK_CUR);
        struct stat st;

        (void) at;
        if (fstat(l->args.fd, &st) < 0 || !S_ISREG(st.st_mode))
                return 0;
        return (uint64_t) st.st_size;
}

int device_load_open(const DeviceLoadArgs *args, DeviceLoad **ret, Err **reterr) {
        _cleanup_(device_load_freep) DeviceLoad *l = calloc(1, sizeof(*l));
        uint8_t head[6] = {0};
        int r;

        if (!l)
                return err_new(reterr, ENOMEM, "out of memory");
        l->args = *args;
        l->size = plain_size(l);
        if (l->size > 0 && pread(args->fd, head, sizeof(head), 0) == (ssize_t) sizeof(head) &&
                        compression_detect(head, sizeof(head)) != COMPRESSION_NONE)
                l->size = 0;
        r = input_new(&(InputArgs){.fd = args->fd,
                                      .stall_usec = args->stall_usec,
                                      .userdata = l,
                                      .progress = on_input},
                        &l->input, reterr);
        if (r >= 0)
                r = input_next(l->input, &l->first, reterr);
        if (r < 0)
                return r;
        if (!l->first || l->first->size < super_offset(0) + SUPER_SIZE)
                return err_kind(reterr, ERR_BAD_IMAGE, EBADMSG,
                                "it is too short for the image of a device");
        *ret = MOVE(l);
        return 0;
}

const uint8_t *device_load_super(const DeviceLoad *l) {
        return l->first->data + super_offset(0);
}

uint64_t device_load_size(const DeviceLoad *l) {
        return l->size;
}

/* Blocks of the input are of a MiB each and superblocks are aligned, so one is in one block whole. */
static bool is_at(unsigned copy, uint64_t at, size_t size) {
        return super_offset(copy) >= at && super_offset(copy) + SUPER_SIZE <= at + size;
}

static void hold_back(DeviceLoad *l, uint8_t *data, uint64_t at, size_t size) {
        for (unsigned i = 0; i < SUPER_COPIES; i++)
                if (is_at(i, at, size)) {
                        memcpy(l->held[i], data + (super_offset(i) - at), SUPER_SIZE);
                        memset(data + (super_offset(i) - at), 0, SUPER_SIZE);
                        l->has[i] = true;
                }
}

static void put_back(const DeviceLoad *l, uint8_t *data, uint64_t at, size_t size) {
        for (unsigned i = 0; i < SUPER_COPIES; i++)
                if (l->has[i] && is_at(i, at, size))
                        memcpy(data + (super_offset(i) - at), l->held[i], SUPER_SIZE);
}

static int put(int fd, const uint8_t *data, size_t size, uint64_t at, Err **reterr) {
        while (size > 0) {
                ssize_t n = pwrite(fd, data, size, (off_t) at);

                if (n < 0 && errno == EINTR)
                        continue;
                if (n <= 0)
                        return err_sys(reterr, n < 0 ? errno : ENOSPC, "write the device");
                data += n;
                size -= (size_t) n;
                at += (uint64_t) n;
        }
        return 0;
}

typedef struct Place {
        int fd;
        uint64_t at;
} Place;

/* What was on the device before must go; where it can be told to forget, it stays thin. */
static int put_run(void *userdata, const uint8_t *data, size_t size, bool zeros, Err **reterr) {
        Place *p = userdata;
        uint64_t range[2] = {p->at, size};
        int r = zeros && ioctl(p->fd, BLKZEROOUT, range) >= 0
                                ? 0
                                : put(p->fd, data, size, p->at, reterr);

        p->at += size;
        return r;
}

static int write_block(
                DeviceLoad *l, Block *b, int fd, uint64_t size, EVP_MD_CTX *ctx, Err **reterr) {
        Place p = {fd, l->done};
        int r;

        if (b->size > size - l->done)
                return err_kind(reterr, ERR_BAD_DEVICE, EFBIG,
                                "the image is of a larger device than this one");
        if (EVP_DigestUpdate(ctx, b->data, b->size) != 1)
                return err_new(reterr, EIO, "compute SHA-256");
        hold_back(l, b->data, l->done, b->size);
        r = zeros_split(b->data, b->size, put_run, &p, reterr);
        l->done += b->size;
        return r;
}

int device_load_write(DeviceLoad *l, int device_fd, uint64_t size,
                uint8_t ret_digest[static DEVICE_DIGEST_SIZE], Err **reterr) {
        _cleanup_(digest_freep) EVP_MD_CTX *ctx = EVP_MD_CTX_new();
        Block *b = MOVE(l->first);
        int r = 1;

        if (!ctx || EVP_DigestInit_ex(ctx, EVP_sha256(), NULL) != 1)
                r = err_new(reterr, ENOMEM, "SHA-256 is not available");
        while (r > 0) {
                r = write_block(l, b, device_fd, size, ctx, reterr);
                block_unref(b);
                b = NULL;
                if (r >= 0)
                        r = input_next(l->input, &b, reterr);
        }
        block_unref(b);
        if (r >= 0 && EVP_DigestFinal_ex(ctx, l->digest, NULL) != 1)
                r = err_new(reterr, EIO, "compute SHA-256");
        if (r >= 0 && fdatasync(device_fd) < 0)
                r = err_sys(reterr, errno, "write the device");
        if (r < 0)
                return r;
        l->size = l->done;
        memcpy(ret_digest, l->digest, DEVICE_DIGEST_SIZE);
        return 0;
}

static int read_back(DeviceLoad *l, int fd, uint8_t *buf, EVP_MD_CTX *ctx, Err **reterr) {
        for (l->done = 0; l->done < l->size;) {
                size_t want = l->size - l->done < STEP ? (size_t) (l->size - l->done) : STEP;
                ssize_t n = pread(fd, buf, want, (off_t) l->done);

                if (n < 0 && errno == EINTR)
                        continue;
                if (n != (ssize_t) want)
                        return err_kind(reterr, ERR_VERIFY_FAILED, n < 0 ? errno : EIO,
                                        "the device cannot be read back at %" PRIu64 ": %s",
                                        l->done, strerror(n < 0 ? errno : EIO));
                put_back(l, buf, l->done, want);
                if (EVP_DigestUpdate(ctx, buf, want) != 1)
                        return err_new(reterr, EIO, "compute SHA-256");
                l->done += want;
                if (l->args.progress(l->args.userdata, l->done) != 0)
                        return err_kind(reterr, ERR_CANCELLED, ECANCELED, "cancelled");
        }
        return 0;
}

int device_load_verify(DeviceLoad *l, int device_fd, Err **reterr) {
        _cleanup_(digest_freep) EVP_MD_CTX *ctx = EVP_MD_CTX_new();
        _cleanup_(freep) uint8_t *buf = aligned_alloc(ALIGN, STEP);
        uint8_t found[DEVICE_DIGEST_SIZE];
        int r;

        if (!buf || !ctx || EVP_DigestInit_ex(ctx, EVP_sha256(), NULL) != 1)
                return err_new(reterr, ENOMEM, "SHA-256 is not available");
        /* from the device, not from memory */
        (void) posix_fadvise(device_fd, 0, 0, POSIX_FADV_DONTNEED);
        r = read_back(l, device_fd, buf, ctx, reterr);
        if (r < 0)
                return r;
        if (EVP_DigestFinal_ex(ctx, found, NULL) != 1)
                return err_new(reterr, EIO, "compute SHA-256");
        return memcmp(found, l->digest, sizeof(found)) == 0
                               ? 0
                               : err_kind(reterr, ERR_VERIFY_FAILED, EBADMSG,
                                                 "what was written is not what the device gives "
                                                 "back");
}

int device_load_finish(const DeviceLoad *l, int device_fd, Err **reterr) {
        for (unsigned i = SUPER_COPIES; i-- > 0;) {
                int r = l->has[i] ? put(device_fd, l->held[i], SUPER_SIZE, super_offset(i), reterr)
                                  : 0;

                if (r >= 0 && i <= 1 && fdatasync(device_fd) < 0)
                        r = err_sys(reterr, errno, "write the device");
                if (r < 0)
                        return r;
        }
        return 0;
}
