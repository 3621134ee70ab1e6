/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <fcntl.h>
#include <linux/btrfs.h>
#include <linux/btrfs_tree.h>
#include <pthread.h>
#include <signal.h>
#include <sys/ioctl.h>

#include "stream/make.h"
#include "stream/pack.h"
#include "stream/receive.h"
#include "stream/tree-digest.h"

#define PIPE_SIZE (1 << 20)

typedef struct Sender {
        int fd, pipe_fd; /* the pipe's end is closed when all was sent */
        struct btrfs_ioctl_send_args args;
        int result;
} Sender;

static void *send_thread(void *userdata) {
        Sender *s = userdata;

        s->result = ioctl(s->fd, BTRFS_IOC_SEND, &s->args) < 0 ? -errno : 0;
        s->pipe_fd = fd_close(s->pipe_fd);
        return NULL;
}

static int subvolume_id(int fd, uint64_t *ret, Err **reterr) {
        struct btrfs_ioctl_get_subvol_info_args info = {0};

        if (ioctl(fd, BTRFS_IOC_GET_SUBVOL_INFO, &info) < 0)
                return err_sys(reterr, errno, "look at the subvolume");
        if (!(info.flags & BTRFS_ROOT_SUBVOL_RDONLY))
                return err_kind(reterr, ERR_INVALID_ARGUMENT, EINVAL,
                                "subvolume %s is writable; send a read-only snapshot: 'btrfs "
                                "subvolume snapshot -r'",
                                info.name);
        *ret = info.treeid;
        return 0;
}

static int pump(int fd, const MakeArgs *args, Pack *p, Err **reterr) {
        _cleanup_(freep) uint8_t *buf = malloc(PIPE_SIZE);

        if (!buf)
                return err_new(reterr, ENOMEM, "out of memory");
        for (;;) {
                ssize_t n = read(fd, buf, PIPE_SIZE);
                int r;

                if (n < 0 && errno == EINTR)
                        continue;
                if (n < 0)
                        return err_sys(reterr, errno, "read the stream");
                if (n == 0)
                        return 0;
                r = pack_add(p, buf, (size_t) n, reterr);
                if (r < 0)
                        return r;
                if (args->progress && args->progress(args->userdata, pack_plain(p)) != 0)
                        return err_kind(reterr, ERR_CANCELLED, ECANCELED, "Cancelled");
        }
}

static int start_sender(pthread_t *thread, Sender *s) {
        sigset_t all, before;
        int r;

        /* a pipe whose reader gave up would end the process */
        sigfillset(&all);
        pthread_sigmask(SIG_SETMASK, &all, &before);
        r = pthread_create(thread, NULL, send_thread, s);
        pthread_sigmask(SIG_SETMASK, &before, NULL);
        return -r;
}

/* Not BTRFS_SEND_FLAG_COMPRESSED: of a compressed extent that lies in the inode Linux (seen in 6.18)
 * sends the bytes that it has and takes the rest of the block for sent, so that a file gets too short,
 * or keeps a byte of its base. */
static int send_one(const MakeArgs *args, const MakeSource *from, Pack *p, Err **reterr) {
        uint64_t id, parent = 0;
        Sender s = {.fd = from->fd, .pipe_fd = -1};
        _cleanup_(fd_closep) int read_fd = -1;
        pthread_t thread;
        int pipes[2], r;

        r = subvolume_id(from->fd, &id, reterr);
        if (r >= 0 && from->parent_fd >= 0)
                r = subvolume_id(from->parent_fd, &parent, reterr);
        if (r < 0)
                return r;
        if (pipe2(pipes, O_CLOEXEC) < 0)
                return err_sys(reterr, errno, "make a pipe");
        (void) fcntl(pipes[1], F_SETPIPE_SZ, PIPE_SIZE);
        read_fd = pipes[0];
        s.pipe_fd = pipes[1];
        s.args = (struct btrfs_ioctl_send_args){
                        .send_fd = pipes[1],
                        .flags = BTRFS_SEND_FLAG_VERSION,
                        .version = 2,
                        .parent_root = parent,
                        .clone_sources = parent ? (__u64 *) &parent : NULL,
                        .clone_sources_count = parent ? 1 : 0,
        };
        r = start_sender(&thread, &s);
        if (r < 0) {
                fd_close(pipes[1]);
                return err_sys(reterr, r, "start a thread");
        }
        r = pump(read_fd, args, p, reterr);
        read_fd = fd_close(read_fd);
        pthread_join(thread, NULL);
        if (r >= 0 && s.result < 0)
                r = err_sys(reterr, s.result, "send the subvolume%s",
                                s.result == -EINVAL ? " (Linux 6.0 or later is needed)" : "");
        return r;
}

typedef struct Look {
        Manifest *m;
        const MakeArgs *args;
} Look;

static int on_subvol_done(void *userdata, const StreamSubvol *s, Err **reterr) {
        Look *look = userdata;
        Manifest *m = look->m;
        ManifestSubvol *sub;

        if (m->n_subvols == look->args->n_sources)
                return err_new(reterr, EBADMSG, "the kernel sent more than it was asked for");
        sub = &m->subvols[m->n_subvols++];
        sub->incremental = s->incremental;
        memcpy(sub->uuid, s->uuid, 16);
        if (s->incremental)
                memcpy(sub->parent, s->parent_uuid, 16);
        sub->bytes = s->bytes;
        sub->inodes = s->inodes;
        if (str_set(&sub->name, s->name) < 0 ||
                        str_set(&sub->path, look->args->sources[m->n_subvols - 1].path) < 0)
                return err_new(reterr, ENOMEM, "out of memory");
        return 0;
}

/* Reads the image as a machine will, hashes and all: what it would refuse is not made. */
static int look_at(const MakeArgs *args, Manifest *m, Err **reterr) {
        _cleanup_(stream_freep) Stream *stream = NULL;
        Look look = {m, args};
        StreamArgs stream_args = {
                        .input_fd = args->out_fd,
                        .manifest = m,
                        .limits.file_size = m->max_file_size > 0 ? m->max_file_size : 1,
                        .limits.version = m->stream_version,
                        .limits.forbid_devices = !m->allow_devices,
                        .limits.forbid_setuid = !m->allow_setuid,
                        .limits.forbid_xattrs = !m->allow_xattrs,
                        .userdata = &look,
                        .subvol_done = on_subvol_done,
        };
        int r;

        if (lseek(args->out_fd, 0, SEEK_SET) < 0)
                return err_sys(reterr, errno, "read the image back");
        r = stream_open(&stream_args, &stream, reterr);
        if (r >= 0)
                r = stream_check(stream, reterr);
        if (r >= 0 && m->n_subvols != args->n_sources)
                r = err_new(reterr, EBADMSG, "the kernel did not send every subvolume");
        return r < 0 ? err_add(reterr, r, "check the image") : 0;
}

static int digest_all(const MakeArgs *args, Manifest *m, Err **reterr) {
        for (size_t i = 0; i < args->n_sources; i++) {
                TreeDigest d;
                int r = tree_digest(&(TreeDigestArgs){.fd = args->sources[i].fd}, &d, reterr);

                if (r < 0)
                        return r;
                memcpy(m->subvols[i].digest, d.digest, sizeof(d.digest));
                if (d.max_file_size > m->max_file_size)
                        m->max_file_size = d.max_file_size;
        }
        return 0;
}

int image_make(const MakeArgs *args, Manifest *m, Err **reterr) {
        _cleanup_(pack_freep) Pack *p = NULL;
        int r = 0;

        if (args->n_sources == 0 || args->n_sources > MANIFEST_SUBVOLS_MAX)
                return err_kind(reterr, ERR_INVALID_ARGUMENT, EINVAL,
                                "an image has 1 to %u subvolumes", MANIFEST_SUBVOLS_MAX);
        m->subvols = calloc(args->n_sources, sizeof(*m->subvols));
        if (!m->subvols)
                return err_new(reterr, ENOMEM, "out of memory");
        r = pack_new(args->out_fd, args->compression, args->level, &p, reterr);
        for (size_t i = 0; r >= 0 && i < args->n_sources; i++)
                r = send_one(args, &args->sources[i], p, reterr);
        if (r >= 0)
                r = pack_end(p, m, reterr);
        m->stream_version = 2;
        if (r >= 0)
                r = digest_all(args, m, reterr);
        return r < 0 ? r : look_at(args, m, reterr);
}
