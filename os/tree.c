/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <fts.h>
#include <sys/stat.h>

#include "os/tree.h"

static void ftsp(FTS **f) {
        if (*f)
                fts_close(*f);
}

int tree_size(int dir_fd, uint64_t *ret_bytes, Err **reterr) {
        char root[32];
        char *const paths[] = {root, NULL};
        _cleanup_(ftsp) FTS *f = NULL;
        uint64_t bytes = 0;
        FTSENT *e;

        /* the slash makes fts look at the directory, not at the link to it */
        snprintf(root, sizeof(root), "/proc/self/fd/%i/", dir_fd);
        f = fts_open(paths, FTS_PHYSICAL | FTS_XDEV | FTS_NOCHDIR, NULL);
        if (!f)
                return err_sys(reterr, errno, "read the tree");
        while ((errno = 0, e = fts_read(f)))
                switch (e->fts_info) {
                case FTS_DNR:
                case FTS_ERR:
                case FTS_NS:
                        return err_sys(reterr, e->fts_errno, "read %s", e->fts_path + strlen(root));
                case FTS_F: {
                        uint64_t blocks = (uint64_t) e->fts_statp->st_blocks;

                        /* of a hard link each name brings its share */
                        bytes += blocks * 512 /
                                 (e->fts_statp->st_nlink ? e->fts_statp->st_nlink : 1);
                        break;
                }
                default: break;
                }
        if (errno != 0)
                return err_sys(reterr, errno, "read the tree");
        *ret_bytes = bytes;
        return 0;
}
