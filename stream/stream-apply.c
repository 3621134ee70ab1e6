/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* stream-apply: the stream engine alone, for developers and tests. Built, not installed. */
#include <fcntl.h>
#include <getopt.h>
#include <linux/btrfs.h>
#include <openssl/evp.h>
#include <sys/ioctl.h>

#include "stream/receive.h"

typedef struct App {
        const char *bases[16];
        size_t n_bases;
        EVP_MD_CTX *sha;
        bool verbose;
} App;

static void md_freep(EVP_MD_CTX **md) {
        EVP_MD_CTX_free(*md);
}

static void help(void) {
        puts("stream-apply [OPTIONS] STREAM DIR    apply a Btrfs send stream in DIR\n"
             "stream-apply --check STREAM          only ask the gate\n"
             "\n"
             "STREAM may be - for standard input, plain or packed with zstd, xz or gzip.\n"
             "\n"
             "  --base=SUBVOL     what the stream may build on or clone from; may be repeated\n"
             "  --check           change nothing\n"
             "  --sha256          compute the SHA-256 of the input on the way and print it\n"
             "  --stall=SECONDS   give up after so long without a byte (60)\n"
             "  --max-bytes=SIZE --max-inodes=N --max-file=SIZE --max-subvols=N\n"
             "  --no-devices --no-setuid --no-xattrs\n"
             "  -v, --verbose     print one line for every subvolume\n"
             "  -h, --help");
}

static int find_base(void *userdata, const uint8_t uuid[16], uint64_t ctransid, int *ret_fd,
                Err **reterr) {
        App *app = userdata;
        char text[UUID_TEXT_SIZE];

        (void) ctransid;
        for (size_t i = 0; i < app->n_bases; i++) {
                struct btrfs_ioctl_get_subvol_info_args info = {0};
                _cleanup_(fd_closep) int fd =
                                open(app->bases[i], O_RDONLY | O_DIRECTORY | O_CLOEXEC);

                if (fd < 0 || ioctl(fd, BTRFS_IOC_GET_SUBVOL_INFO, &info) < 0)
                        return err_sys(reterr, -errno, "Cannot look at %s", app->bases[i]);
                if (memcmp(info.received_uuid, uuid, 16) == 0 || memcmp(info.uuid, uuid, 16) == 0) {
                        *ret_fd = MOVE_FD(fd);
                        return 0;
                }
        }
        return err_kind(reterr, ERR_PARENT_MISSING, -ENOENT,
                        "The image builds on the subvolume with UUID %s, which is not here",
                        uuid_format(text, uuid));
}

static int subvol_done(void *userdata, const StreamSubvol *s, Err **reterr) {
        App *app = userdata;

        (void) reterr;
        if (app->verbose)
                printf("%s: %llu inodes, %llu bytes\n", s->name, (unsigned long long) s->inodes,
                                (unsigned long long) s->bytes);
        return 0;
}

static int chunk(void *userdata, const uint8_t *data, size_t size, Err **reterr) {
        App *app = userdata;

        if (EVP_DigestUpdate(app->sha, data, size) != 1)
                return err_new(reterr, -EIO, "Cannot compute SHA-256");
        return 0;
}

static int print_sha(App *app, Err **reterr) {
        uint8_t digest[EVP_MAX_MD_SIZE];
        unsigned n = 0;

        if (EVP_DigestFinal_ex(app->sha, digest, &n) != 1)
                return err_new(reterr, -EIO, "Cannot compute SHA-256");
        for (unsigned i = 0; i < n; i++)
                printf("%02x", digest[i]);
        putchar('\n');
        return 0;
}

static int apply(App *app, const char *image, const char *dir, StreamArgs *args, Err **reterr) {
        _cleanup_(fd_closep) int in = -1, dest = -1;
        _cleanup_(stream_freep) Stream *s = NULL;
        int r;

        in = str_eq(image, "-") ? dup(STDIN_FILENO) : open(image, O_RDONLY | O_CLOEXEC);
        if (in < 0)
                return err_sys(reterr, -errno, "Cannot open %s", image);
        if (dir) {
                dest = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
                if (dest < 0)
                        return err_sys(reterr, -errno, "Cannot open %s", dir);
        }
        args->input_fd = in;

        r = stream_open(args, &s, reterr);
        if (r < 0)
                return r;
        r = dir ? stream_receive(s, dest, reterr) : stream_check(s, reterr);
        if (r < 0)
                return r;
        return app->sha ? print_sha(app, reterr) : 0;
}

/* Reads the options; -EINVAL after it has said what is wrong, 1 after --help. */
static int parse_args(int argc, char *argv[], App *app, StreamArgs *args, bool *check) {
        enum {
                OPT_BASE = 256,
                OPT_CHECK,
                OPT_SHA,
                OPT_STALL,
                OPT_BYTES,
                OPT_INODES,
                OPT_FILE,
                OPT_SUBVOLS,
                OPT_DEVICES,
                OPT_SETUID,
                OPT_XATTRS
        };
        static const struct option options[] = {
                        {"base", required_argument, NULL, OPT_BASE},
                        {"check", no_argument, NULL, OPT_CHECK},
                        {"sha256", no_argument, NULL, OPT_SHA},
                        {"stall", required_argument, NULL, OPT_STALL},
                        {"max-bytes", required_argument, NULL, OPT_BYTES},
                        {"max-inodes", required_argument, NULL, OPT_INODES},
                        {"max-file", required_argument, NULL, OPT_FILE},
                        {"max-subvols", required_argument, NULL, OPT_SUBVOLS},
                        {"no-devices", no_argument, NULL, OPT_DEVICES},
                        {"no-setuid", no_argument, NULL, OPT_SETUID},
                        {"no-xattrs", no_argument, NULL, OPT_XATTRS},
                        {"verbose", no_argument, NULL, 'v'},
                        {"help", no_argument, NULL, 'h'},
                        {0},
        };
        uint64_t seconds = 60;
        int o, r = 0;

        while (r == 0 && (o = getopt_long(argc, argv, "vh", options, NULL)) >= 0)
                switch (o) {
                case OPT_BASE:
                        r = app->n_bases < ARRAY_SIZE(app->bases) ? 0 : -E2BIG;
                        if (r == 0)
                                app->bases[app->n_bases++] = optarg;
                        break;
                case OPT_CHECK: *check = true; break;
                case OPT_SHA:
                        app->sha = EVP_MD_CTX_new();
                        if (!app->sha || EVP_DigestInit_ex(app->sha, EVP_sha256(), NULL) != 1)
                                return -ENOMEM;
                        args->chunk = chunk;
                        break;
                case OPT_STALL: r = parse_u64(optarg, &seconds); break;
                case OPT_BYTES: r = parse_size(optarg, &args->limits.bytes); break;
                case OPT_INODES: r = parse_u64(optarg, &args->limits.inodes); break;
                case OPT_FILE: r = parse_size(optarg, &args->limits.file_size); break;
                case OPT_SUBVOLS: r = parse_u64(optarg, &args->limits.subvols); break;
                case OPT_DEVICES: args->limits.forbid_devices = true; break;
                case OPT_SETUID: args->limits.forbid_setuid = true; break;
                case OPT_XATTRS: args->limits.forbid_xattrs = true; break;
                case 'v': app->verbose = true; break;
                case 'h': help(); return 1;
                default: return -EINVAL;
                }
        if (r < 0)
                fprintf(stderr, "stream-apply: bad value %s\n", optarg);
        else if (argc - optind != (*check ? 1 : 2)) {
                fprintf(stderr, "stream-apply: %s\n",
                                *check ? "--check takes STREAM" : "give STREAM and DIR");
                r = -EINVAL;
        }
        args->stall_usec = seconds * USEC_PER_SEC;
        return r;
}

int main(int argc, char *argv[]) {
        App app = {0};
        _cleanup_(md_freep) EVP_MD_CTX *sha = NULL;
        _cleanup_(err_freep) Err *e = NULL;
        bool check = false;
        StreamArgs args = {
                        .userdata = &app,
                        .find_base = find_base,
                        .subvol_done = subvol_done,
        };
        int r;

        r = parse_args(argc, argv, &app, &args, &check);
        sha = app.sha;
        if (r != 0)
                return r < 0 ? 2 : 0;
        r = apply(&app, argv[optind], check ? NULL : argv[optind + 1], &args, &e);
        if (r < 0) {
                fprintf(stderr, "stream-apply: %s: %s\n", err_kind_name(err_kind_of(e)),
                                err_text(e));
                return 1;
        }
        return 0;
}
