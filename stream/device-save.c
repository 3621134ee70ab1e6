/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <fcntl.h>
#include <limits.h>
#include <openssl/evp.h>
#include <poll.h>
#include <sys/stat.h>

#include "stream/compress.h"
#include "stream/device-save.h"
#include "stream/zeros.h"

enum { STEP = 1 << 20, ALIGN = 4096, TICK_MSEC = 200, LEVEL = 3 };

typedef struct Out {
        const DeviceSave *save;
        bool regular;
        bool hole;        /* the last thing was a hole: the file is not as long as it should be */
        Compressor *zstd; /* NULL: as it is */
        uint64_t done;
} Out;

static void out_done(Out *o) {
        compressor_free(o->zstd);
}

static int bad_file(Err **reterr, int code) {
        return err_kind(reterr, ERR_BAD_INPUT, code, "the file cannot be written to: %s",
                        strerror(code));
}

static int start(const DeviceSave *s, Out *o, Err **reterr) {
        int flags = fcntl(s->out_fd, F_GETFL);
        struct stat st;

        if (flags < 0 || fstat(s->out_fd, &st) < 0)
                return bad_file(reterr, errno);
        if ((flags & O_ACCMODE) == O_RDONLY || (flags & (O_PATH | O_APPEND)))
                return bad_file(reterr, EBADF);
        o->regular = S_ISREG(st.st_mode);
        if (!o->regular && !S_ISFIFO(st.st_mode) && !S_ISSOCK(st.st_mode))
                return err_kind(reterr, ERR_BAD_INPUT, EINVAL,
                                "a device is written to a file, a pipe or a socket, to nothing "
                                "else");
        if (o->regular && ftruncate(s->out_fd, lseek(s->out_fd, 0, SEEK_CUR)) < 0)
                return bad_file(reterr, errno);
        return s->compression == COMPRESSION_NONE
                               ? 0
                               : compressor_new(LEVEL, /* workers= */ 0, &o->zstd, reterr);
}

static int tick(const Out *o, Err **reterr) {
        return o->save->progress(o->save->userdata, o->done, o->save->size) == 0
                               ? 0
                               : err_kind(reterr, ERR_CANCELLED, ECANCELED,
                                                 "cancelled; the file is not complete");
}

/* Somebody who does not read must not hold the machine: wait here, not in write(). */
static int wait_for_reader(const Out *o, Err **reterr) {
        const uint64_t begun = now_monotonic();
        struct pollfd p = {.fd = o->save->out_fd, .events = POLLOUT};

        for (;;) {
                int n = poll(&p, 1, TICK_MSEC), r = tick(o, reterr);

                if (r < 0)
                        return r;
                if (n > 0)
                        return 0;
                if (n < 0 && errno != EINTR)
                        return bad_file(reterr, errno);
                if (o->save->stall_usec > 0 && now_monotonic() - begun > o->save->stall_usec)
                        return err_kind(reterr, ERR_STALLED, ETIMEDOUT,
                                        "nobody reads what is written");
        }
}

static int put(void *userdata, const uint8_t *data, size_t size, Err **reterr) {
        Out *o = userdata;

        while (size > 0) {
                int r = o->regular ? 0 : wait_for_reader(o, reterr);
                ssize_t n;

                if (r < 0)
                        return r;
                n = write(o->save->out_fd, data, o->regular || size < PIPE_BUF ? size : PIPE_BUF);
                if (n < 0 && (errno == EINTR || errno == EAGAIN))
                        continue;
                if (n < 0)
                        return err_sys(reterr, errno, "write the file");
                data += n;
                size -= (size_t) n;
        }
        return 0;
}

static int put_run(void *userdata, const uint8_t *data, size_t size, bool zeros, Err **reterr) {
        Out *o = userdata;

        o->hole = zeros && o->regular;
        if (!o->hole)
                return put(o, data, size, reterr);
        return lseek(o->save->out_fd, (off_t) size, SEEK_CUR) < 0 ? bad_file(reterr, errno) : 0;
}

static int end(Out *o, Err **reterr) {
        int r = o->zstd ? compressor_add(o->zstd, NULL, 0, /* end_frame= */ true, put, o, reterr)
                        : 0;

        if (r < 0 || !o->regular)
                return r;
        if (o->hole && ftruncate(o->save->out_fd, lseek(o->save->out_fd, 0, SEEK_CUR)) < 0)
                return err_sys(reterr, errno, "write the file");
        return fsync(o->save->out_fd) < 0 ? err_sys(reterr, errno, "write the file") : 0;
}

static int copy(Out *o, uint8_t *buf, EVP_MD_CTX *ctx, Err **reterr) {
        const DeviceSave *s = o->save;

        while (o->done < s->size) {
                ssize_t n = pread(s->device_fd, buf, STEP, (off_t) o->done);
                int r = tick(o, reterr);

                if (r < 0)
                        return r;
                if (n < 0 && errno == EINTR)
                        continue;
                if (n <= 0)
                        return err_sys(reterr, n < 0 ? errno : EIO, "read the device at %" PRIu64,
                                        o->done);
                if (EVP_DigestUpdate(ctx, buf, (size_t) n) != 1)
                        return err_new(reterr, EIO, "compute SHA-256");
                r = o->zstd ? compressor_add(o->zstd, buf, (size_t) n, /* end_frame= */ false, put,
                                              o, reterr)
                            : zeros_split(buf, (size_t) n, put_run, o, reterr);
                if (r < 0)
                        return r;
                o->done += (uint64_t) n;
        }
        return tick(o, reterr);
}

static void digest_freep(EVP_MD_CTX **ctx) {
        EVP_MD_CTX_free(*ctx);
}

int device_save(const DeviceSave *s, uint8_t ret_digest[static DEVICE_DIGEST_SIZE], Err **reterr) {
        _cleanup_(digest_freep) EVP_MD_CTX *ctx = EVP_MD_CTX_new();
        _cleanup_(freep) uint8_t *buf = aligned_alloc(ALIGN, STEP);
        _cleanup_(out_done) Out o = {.save = s};
        int r;

        if (!buf || !ctx || EVP_DigestInit_ex(ctx, EVP_sha256(), NULL) != 1)
                return err_new(reterr, ENOMEM, "SHA-256 is not available");
        r = start(s, &o, reterr);
        if (r >= 0)
                r = copy(&o, buf, ctx, reterr);
        if (r >= 0)
                r = end(&o, reterr);
        if (r < 0)
                return r;
        return EVP_DigestFinal_ex(ctx, ret_digest, NULL) == 1
                               ? 0
                               : err_new(reterr, EIO, "compute SHA-256");
}
