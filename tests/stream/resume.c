/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* resume IMAGE DIR EVERY: applies IMAGE in DIR and dies after each EVERY bytes of the stream, as soon as it can go on:
 * what was made is deleted, and the next engine begins with a copy from that moment. What a stream may build on is in DIR
 * as well. Prints how often it died, and how many bytes of the image were read for the last part. For tests. */
#include <fcntl.h>
#include <openssl/evp.h>
#include <sys/stat.h>

#include "os/btrfs.h"
#include "os/file.h"
#include "stream/receive.h"

#define COPY "resume-copy"

typedef struct App {
        int dir_fd;
        bool died;
        StreamPosition position;
        uint64_t first_input; /* where the last part began */
} App;

static int find_base(void *userdata, const uint8_t uuid[16], uint64_t ctransid _unused_,
                int *ret_fd, Err **reterr) {
        App *app = userdata;
        _cleanup_(strv_freep) char **names = NULL;
        int r = dir_names(app->dir_fd, &names, reterr);

        for (char **n = names; r >= 0 && *n; n++) {
                _cleanup_(fd_closep) int fd = dir_open_at(app->dir_fd, *n, NULL);
                SubvolInfo info;

                if (fd < 0 || subvol_info(fd, &info, NULL) < 0 || !info.read_only ||
                                (memcmp(info.received_uuid, uuid, 16) != 0 &&
                                                memcmp(info.uuid, uuid, 16) != 0))
                        continue;
                *ret_fd = MOVE_FD(fd);
                return 0;
        }
        return err_kind(reterr, ERR_PARENT_MISSING, -ENOENT, "the base is not here");
}

static int checkpoint(void *userdata, const StreamPosition *p, Err **reterr) {
        App *app = userdata;
        _cleanup_(fd_closep) int fd = dir_open_at(app->dir_fd, p->subvol.name, reterr);
        int r = fd < 0 ? fd : subvol_snapshot(fd, app->dir_fd, COPY, /* read_only= */ true, reterr);

        if (r < 0)
                return r;
        app->position = *p;
        app->died = true;
        return err_new(reterr, -EINTR, "died");
}

/* The copy takes the place of what was being made. */
static int put_back(App *app, Err **reterr) {
        _cleanup_(fd_closep) int fd = dir_open_at(app->dir_fd, COPY, reterr);
        int r = fd < 0 ? fd : subvol_delete_at(app->dir_fd, app->position.subvol.name, reterr);

        if (r >= 0)
                r = subvol_snapshot(fd, app->dir_fd, app->position.subvol.name,
                                /* read_only= */ false, reterr);
        return r < 0 ? r : subvol_delete_at(app->dir_fd, COPY, reterr);
}

static int apply_part(App *app, int in, const Manifest *m, uint64_t every, Err **reterr) {
        _cleanup_(stream_freep) Stream *s = NULL;
        const StreamArgs args = {
                        .input_fd = in,
                        .manifest = m,
                        .userdata = app,
                        .find_base = find_base,
                        .checkpoint = every ? checkpoint : NULL,
                        .checkpoint_bytes = every,
                        .resume = app->died ? &app->position : NULL,
        };
        int r;

        app->first_input = app->died ? app->position.restart.input : 0;
        app->died = false;
        if (lseek(in, 0, SEEK_SET) < 0)
                return err_sys(reterr, errno, "seek");
        r = stream_open(&args, &s, reterr);
        return r < 0 ? r : stream_receive(s, app->dir_fd, reterr);
}

static int describe(int in, Manifest *m, Err **reterr) {
        _cleanup_(freep) uint8_t *buf = malloc(MANIFEST_CHUNK_SIZE);
        ssize_t n;

        while (buf && (n = read(in, buf, MANIFEST_CHUNK_SIZE)) > 0) {
                m->chunks = reallocarray(m->chunks, m->n_chunks + 1, sizeof(*m->chunks));
                if (!m->chunks || EVP_Digest(buf, (size_t) n, m->chunks[m->n_chunks++], NULL,
                                                  EVP_sha256(), NULL) != 1)
                        return err_new(reterr, ENOMEM, "out of memory");
                if (m->payload_size == 0)
                        m->compression = compression_detect(buf, (size_t) n);
                m->payload_size += (uint64_t) n;
        }
        return 0;
}

static int run(App *app, const char *image, const char *dir, uint64_t every, Err **reterr) {
        _cleanup_(fd_closep) int in = open(image, O_RDONLY | O_CLOEXEC);
        _cleanup_(manifest_freep) Manifest *m = calloc(1, sizeof(*m));
        unsigned deaths = 0;
        int r;

        if (in < 0 || !m)
                return err_sys(reterr, errno, "open %s", image);
        app->dir_fd = r = dir_open_at(AT_FDCWD, dir, reterr);
        if (r >= 0)
                r = describe(in, m, reterr);
        while (r >= 0) {
                _cleanup_(err_freep) Err *e = NULL;

                r = apply_part(app, in, m, every, &e);
                if (r < 0 && !app->died) {
                        *reterr = MOVE(e);
                        return r;
                }
                if (r >= 0)
                        break;
                deaths++;
                r = put_back(app, reterr);
        }
        if (r >= 0)
                printf("%u %" PRIu64 "\n", deaths, m->payload_size - app->first_input);
        return r;
}

int main(int argc, char *argv[]) {
        _cleanup_(err_freep) Err *e = NULL;
        App app = {.dir_fd = -1};
        uint64_t every = 0;

        if (argc != 4 || parse_size(argv[3], &every) < 0)
                return 2;
        if (run(&app, argv[1], argv[2], every, &e) >= 0)
                return 0;
        fprintf(stderr, "resume: %s: %s\n", err_kind_name(err_kind_of(e)), err_text(e));
        return 1;
}
