/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "update/kept-record.h"
#include "base/kv.h"
#include "stream/hex.h"

/* The numbers of a record, in its order. */
typedef struct Numbers {
        uint64_t number, input, plain, offset, version, subvols, bytes, inodes, subvol_bytes,
                        subvol_inodes;
        uint64_t ctransid, parent_ctransid, root_known, atime, atime_nsec, mtime, mtime_nsec;
} Numbers;

static const struct {
        const char *key;
        size_t offset;
} fields[] = {
                {"Checkpoint", offsetof(Numbers, number)},
                {"RestartInput", offsetof(Numbers, input)},
                {"RestartPlain", offsetof(Numbers, plain)},
                {"Offset", offsetof(Numbers, offset)},
                {"StreamVersion", offsetof(Numbers, version)},
                {"Subvolumes", offsetof(Numbers, subvols)},
                {"Bytes", offsetof(Numbers, bytes)},
                {"Inodes", offsetof(Numbers, inodes)},
                {"SubvolumeBytes", offsetof(Numbers, subvol_bytes)},
                {"SubvolumeInodes", offsetof(Numbers, subvol_inodes)},
                {"Ctransid", offsetof(Numbers, ctransid)},
                {"ParentCtransid", offsetof(Numbers, parent_ctransid)},
                {"RootTimes", offsetof(Numbers, root_known)},
                {"RootAtime", offsetof(Numbers, atime)},
                {"RootAtimeNsec", offsetof(Numbers, atime_nsec)},
                {"RootMtime", offsetof(Numbers, mtime)},
                {"RootMtimeNsec", offsetof(Numbers, mtime_nsec)},
};

static uint64_t *number_at(Numbers *n, size_t i) {
        return (uint64_t *) (void *) ((uint8_t *) n + fields[i].offset);
}

int kept_format(const Manifest *m, uint64_t number, const StreamPosition *p, char **ret) {
        Numbers n = {
                        .number = number,
                        .input = p->restart.input,
                        .plain = p->restart.plain,
                        .offset = p->offset,
                        .version = p->version,
                        .subvols = p->subvols,
                        .bytes = p->bytes,
                        .inodes = p->inodes,
                        .subvol_bytes = p->subvol.bytes,
                        .subvol_inodes = p->subvol.inodes,
                        .ctransid = p->subvol.ctransid,
                        .parent_ctransid = p->subvol.parent_ctransid,
                        .root_known = p->root_known,
                        .atime = (uint64_t) p->root[0].tv_sec,
                        .atime_nsec = (uint64_t) p->root[0].tv_nsec,
                        .mtime = (uint64_t) p->root[1].tv_sec,
                        .mtime_nsec = (uint64_t) p->root[1].tv_nsec,
        };
        _cleanup_(kv_freep) Kv *kv = NULL;
        char id[2 * MANIFEST_DIGEST_SIZE + 1];
        int r = kv_new(&kv);

        hex_write(id, m->id, sizeof(m->id));
        if (r >= 0)
                r = kv_set(kv, "Manifest", id);
        if (r >= 0)
                r = kv_set(kv, "Version", m->version);
        if (r >= 0)
                r = kv_set(kv, "Daemon", ABUPDATE_VERSION);
        for (size_t i = 0; r >= 0 && i < ARRAY_SIZE(fields); i++)
                r = kv_setf(kv, fields[i].key, "%" PRIu64, *number_at(&n, i));
        return r < 0 ? r : kv_format(kv, ret);
}

static int read_numbers(const Kv *kv, Numbers *ret) {
        for (size_t i = 0; i < ARRAY_SIZE(fields); i++)
                if (!kv_get(kv, fields[i].key) ||
                                kv_get_u64(kv, fields[i].key, 0, number_at(ret, i), NULL) < 0)
                        return -EBADMSG;
        return 0;
}

/* Within what was signed: a record that lies can waste time, no more. */
static bool plausible(const Numbers *n, const Manifest *m) {
        return n->number > 0 && n->number < INT64_MAX && n->subvols > 0 &&
               n->subvols <= m->n_subvols && n->version > 0 && n->version <= m->stream_version &&
               n->input < m->payload_size && n->plain <= n->offset && n->offset < m->stream_size &&
               (m->compression != COMPRESSION_NONE || n->input == n->plain) &&
               n->subvol_bytes <= n->bytes && n->bytes <= manifest_bytes(m) &&
               n->subvol_inodes <= n->inodes && n->inodes <= manifest_inodes(m) &&
               n->atime_nsec < 1000000000 && n->mtime_nsec < 1000000000;
}

int kept_parse(const char *text, size_t size, const Manifest *m, uint64_t *ret_number,
                StreamPosition *ret) {
        _cleanup_(kv_freep) Kv *kv = NULL;
        char id[2 * MANIFEST_DIGEST_SIZE + 1];
        const ManifestSubvol *s;
        Numbers n = {0};

        hex_write(id, m->id, sizeof(m->id));
        if (kv_parse(text, size, &kv, NULL) < 0 || !str_eq(kv_get(kv, "Manifest"), id) ||
                        !str_eq(kv_get(kv, "Daemon"), ABUPDATE_VERSION) ||
                        read_numbers(kv, &n) < 0 || !plausible(&n, m))
                return -EBADMSG;
        s = &m->subvols[n.subvols - 1];
        *ret = (StreamPosition){
                        .restart = {n.input, n.plain},
                        .offset = n.offset,
                        .version = (uint32_t) n.version,
                        .subvol = {.ctransid = n.ctransid,
                                        .incremental = s->incremental,
                                        .parent_ctransid = n.parent_ctransid,
                                        .bytes = n.subvol_bytes,
                                        .inodes = n.subvol_inodes},
                        .subvols = n.subvols,
                        .bytes = n.bytes,
                        .inodes = n.inodes,
                        .root_known = n.root_known,
                        .root = {{(time_t) n.atime, (long) n.atime_nsec},
                                        {(time_t) n.mtime, (long) n.mtime_nsec}},
        };
        snprintf(ret->subvol.name, sizeof(ret->subvol.name), "%s", s->name);
        memcpy(ret->subvol.uuid, s->uuid, sizeof(s->uuid));
        memcpy(ret->subvol.parent_uuid, s->parent, sizeof(s->parent));
        *ret_number = n.number;
        return 0;
}

int kept_summary(const char *text, size_t size, char **ret_version, uint64_t *ret_bytes) {
        _cleanup_(kv_freep) Kv *kv = NULL;
        const char *version;
        uint64_t bytes;

        if (kv_parse(text, size, &kv, NULL) < 0 || !(version = kv_get(kv, "Version")) ||
                        kv_get_u64(kv, "Bytes", 0, &bytes, NULL) < 0)
                return -EBADMSG;
        *ret_version = strdup(version);
        *ret_bytes = bytes;
        return *ret_version ? 0 : -ENOMEM;
}
