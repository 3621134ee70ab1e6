/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* tree-digest [--known=BASE] [--save] DIR: what the files of a subvolume take on disk (- where it is writable), its tree
 * digest, how many names it has and how many bytes were read for that. With --save what was found stays beside DIR; with
 * --known what was saved of BASE is not read again. For tests. */
#include <fcntl.h>
#include <getopt.h>

#include "os/file.h"
#include "os/inode-items.h"
#include "stream/hex.h"
#include "stream/tree-digest.h"

static int save(int fd, Contents *found, Err **reterr) {
        _cleanup_(fd_closep) int dir_fd = dir_open_at(fd, "..", reterr);
        SubvolInfo info;
        int r = dir_fd < 0 ? dir_fd : subvol_info(fd, &info, reterr);

        return r < 0 ? r : contents_save(found, dir_fd, &info, reterr);
}

static int print_size(int fd, Err **reterr) {
        _cleanup_(inode_items_freep) InodeItems *items = NULL;
        uint64_t size = 0;
        int r = inode_items_open(fd, &items, reterr);

        if (r >= 0)
                r = inode_items_size(items, &size, reterr);
        if (r >= 0)
                printf("%" PRIu64 " ", size);
        else if (r == -EOPNOTSUPP)
                printf("- ");
        return r == -EOPNOTSUPP ? 0 : r;
}

static int run(const char *base, bool saves, const char *path, Err **reterr) {
        _cleanup_(contents_freep) Contents *known = NULL, *found = NULL;
        _cleanup_(fd_closep) int fd = dir_open_at(AT_FDCWD, path, reterr), base_fd = -1;
        char text[2 * MANIFEST_DIGEST_SIZE + 1];
        TreeDigest d;
        int r = fd;

        if (r >= 0 && base) {
                base_fd = r = dir_open_at(AT_FDCWD, base, reterr);
                if (r >= 0 && contents_load(base_fd, &known) < 0)
                        printf("unknown ");
        }
        if (r >= 0 && saves)
                r = contents_new(&found);
        if (r >= 0)
                r = tree_digest(&(TreeDigestArgs){.fd = fd,
                                                .from_disk = true,
                                                .known = known,
                                                .found = found},
                                &d, reterr);
        if (r >= 0 && saves)
                r = save(fd, found, reterr);
        if (r >= 0)
                r = print_size(fd, reterr);
        if (r < 0)
                return r;
        hex_write(text, d.digest, sizeof(d.digest));
        printf("%s %" PRIu64 " %" PRIu64 "\n", text, d.names, d.bytes);
        return 0;
}

int main(int argc, char *argv[]) {
        static const struct option options[] = {
                        {"known", required_argument, NULL, 'k'},
                        {"save", no_argument, NULL, 's'},
                        {0},
        };
        _cleanup_(err_freep) Err *e = NULL;
        const char *base = NULL;
        bool saves = false;
        int o;

        while ((o = getopt_long(argc, argv, "", options, NULL)) >= 0)
                if (o == 'k')
                        base = optarg;
                else if (o == 's')
                        saves = true;
                else
                        return 2;
        if (optind != argc - 1)
                return 2;
        if (run(base, saves, argv[optind], &e) >= 0)
                return 0;
        fprintf(stderr, "tree-digest: %s\n", err_text(e));
        return 1;
}
