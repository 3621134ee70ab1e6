/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "os/file.h"
#include "stream/apply-internal.h"

int applier_settle(Applier *a, Err **reterr) {
        int r;

        if (!a->open || a->pending.kind || a->frozen_count > 0)
                return 0;
        r = node_drop(a, reterr);
        if (r >= 0)
                r = writer_drain(a->writer, reterr);
        if (r >= 0)
                r = apply_dir_times(a, /* at_end= */ false, reterr);
        if (r < 0)
                return r;
        clone_source_done(&a->source);
        return a->frozen_count == 0; /* setting times may have thawed some */
}

void applier_describe(const Applier *a, StreamPosition *p) {
        p->root_known = a->times.root_known;
        memcpy(p->root, a->times.root, sizeof(p->root));
}

int applier_resume(Applier *a, const StreamPosition *p, Err **reterr) {
        int fd = dir_open_at(a->dest_fd, p->subvol.name, reterr);

        if (fd < 0)
                return err_add(reterr, fd, "go on with the subvolume");
        tree_init(&a->tree, fd);
        if (p->root_known)
                times_update(&a->times, "", p->root);
        memcpy(a->uuid, p->subvol.uuid, sizeof(a->uuid));
        a->ctransid = p->subvol.ctransid;
        a->open = true;
        return 0;
}
