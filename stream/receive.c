/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <stdatomic.h>

#include "stream/apply.h"
#include "stream/gate.h"
#include "stream/reader.h"
#include "stream/receive.h"

struct Stream {
        StreamArgs args;
        Input *input;
        Applier *applier; /* while stream_receive() runs */
        Reader reader;
        Gate gate;
        StreamPosition position;           /* where it goes on, or was saved last */
        uint64_t saved_offset, saved_usec; /* of the last checkpoint */
        Command command; /* the one that comes next; the first is read by stream_open() */
        StreamSubvol first;
};

static atomic_ulong parsed;

unsigned long stream_parse_count(void) {
        return atomic_load(&parsed);
}

int stream_check_parent(const ManifestSubvol *announced, const StreamSubvol *s, Err **reterr) {
        char is[UUID_TEXT_SIZE], wanted[UUID_TEXT_SIZE];

        if (!announced->incremental || memcmp(announced->parent, s->parent_uuid, 16) == 0)
                return 0;
        return err_kind(reterr, ERR_PARENT_MISSING, EBADMSG,
                        "subvolume %s builds on subvolume %s, and its manifest names %s", s->name,
                        uuid_format(is, s->parent_uuid), uuid_format(wanted, announced->parent));
}

int stream_check_source(const Manifest *m, const uint8_t uuid[static 16], Err **reterr) {
        char text[UUID_TEXT_SIZE];

        for (size_t i = 0; i < m->n_subvols; i++)
                if (m->subvols[i].incremental && memcmp(m->subvols[i].parent, uuid, 16) == 0)
                        return 0;
        return err_kind(reterr, ERR_PARENT_MISSING, ENOENT,
                        "the image takes data from subvolume %s, which its manifest does not name",
                        uuid_format(text, uuid));
}

StreamLimits stream_limits(const Manifest *m) {
        if (!m)
                return (StreamLimits){0};
        return (StreamLimits){
                        .bytes = manifest_bytes(m) > 0 ? manifest_bytes(m) : 1,
                        .inodes = manifest_inodes(m) > 0 ? manifest_inodes(m) : 1,
                        .file_size = m->max_file_size > 0 ? m->max_file_size : 1,
                        .subvols = m->n_subvols,
                        .version = m->stream_version,
                        .forbid_devices = !m->allow_devices,
                        .forbid_setuid = !m->allow_setuid,
                        .forbid_xattrs = !m->allow_xattrs,
        };
}

static int next_block(void *userdata, Block **ret, Err **reterr) {
        Stream *s = userdata;

        if (s->applier)
                applier_wait(s->applier);
        return input_next(s->input, ret, reterr);
}

/* 1 and s->command, or 0 at the end of the image. */
static int next_command(Stream *s, Err **reterr) {
        RawCommand raw;
        int r;

        r = reader_next(&s->reader, &raw, reterr);
        if (r <= 0)
                return r;
        if (s->args.limits.version && raw.version > s->args.limits.version)
                return err_kind(reterr, ERR_BAD_STREAM, -EBADMSG,
                                "The stream has version %u; at most %" PRIu64 " is allowed",
                                raw.version, s->args.limits.version);
        atomic_fetch_add(&parsed, 1);
        r = command_parse(&raw, &s->command, reterr);
        if (r < 0)
                return r;
        r = gate_check(&s->gate, &s->command, reterr);
        return r < 0 ? r : 1;
}

int stream_open(const StreamArgs *args, Stream **ret, Err **reterr) {
        _cleanup_(stream_freep) Stream *s = calloc(1, sizeof(*s));
        int r;

        if (!s)
                return err_sys(reterr, -ENOMEM, "Cannot open the image");
        s->args = *args;
        s->args.manifest = NULL;
        gate_init(&s->gate, &args->limits);

        r = input_new(
                        &(InputArgs){
                                        .fd = args->input_fd,
                                        .manifest = args->manifest,
                                        .at = args->at,
                                        .start = args->resume ? args->resume->restart
                                                              : (Restart){0},
                                        .stall_usec = args->stall_usec,
                                        .userdata = args->userdata,
                                        .chunk = args->chunk,
                                        .progress = args->progress,
                        },
                        &s->input, reterr);
        if (r < 0)
                return r;
        reader_init(&s->reader, next_block, s);
        if (args->resume) {
                const StreamPosition *p = args->resume;

                s->position = *p;
                gate_resume(&s->gate, p);
                r = reader_skip(&s->reader, p->restart.plain, p->offset, p->version, reterr);
                if (r < 0)
                        return r;
        }
        r = next_command(s, reterr);
        if (r < 0)
                return r;
        s->first = s->gate.subvol;

        *ret = MOVE(s);
        return 0;
}

Stream *stream_free(Stream *s) {
        if (s) {
                reader_done(&s->reader);
                input_free(s->input);
                free(s);
        }
        return NULL;
}

const StreamSubvol *stream_first(const Stream *s) {
        return &s->first;
}

/* Without an applier nothing is changed. */
static int take_one(Stream *s, Err **reterr) {
        const Command *c = &s->command;
        int r = 0;

        if ((c->kind == CMD_SUBVOL || c->kind == CMD_SNAPSHOT) && s->args.subvol_begin)
                r = s->args.subvol_begin(s->args.userdata, &s->gate.subvol, reterr);
        if (r >= 0 && s->applier)
                r = applier_apply(s->applier, c, reterr);
        else if (r >= 0 && c->kind == CMD_CLONE && s->args.clone_source)
                r = s->args.clone_source(s->args.userdata, c->clone_uuid, reterr);
        if (r >= 0 && c->kind == CMD_END && s->args.subvol_done)
                r = s->args.subvol_done(s->args.userdata, &s->gate.subvol, reterr);
        return r;
}

/* Not after every command: what was found out so far has to be written down. */
static int save(Stream *s, Err **reterr) {
        const Gate *g = &s->gate;
        int r;

        if (s->reader.offset - s->saved_offset < s->args.checkpoint_bytes ||
                        now_monotonic() - s->saved_usec < s->args.checkpoint_usec)
                return 0;
        r = applier_settle(s->applier, reterr);
        if (r <= 0)
                return r;
        s->position = (StreamPosition){
                        .restart = s->reader.block->restart,
                        .offset = s->reader.offset,
                        .version = s->reader.version,
                        .subvol = g->subvol,
                        .subvols = g->subvols,
                        .bytes = g->bytes,
                        .inodes = g->inodes,
        };
        applier_describe(s->applier, &s->position);
        r = s->args.checkpoint(s->args.userdata, &s->position, reterr);
        s->saved_offset = s->reader.offset;
        s->saved_usec = now_monotonic();
        return r;
}

static int take_all(Stream *s, Err **reterr) {
        int r;

        for (r = 1; r > 0; r = next_command(s, reterr)) {
                r = take_one(s, reterr);
                if (r >= 0 && s->applier && s->args.checkpoint)
                        r = save(s, reterr);
                if (r < 0)
                        return r;
        }
        return r;
}

int stream_receive(Stream *s, int dest_fd, Err **reterr) {
        _cleanup_(applier_freep) Applier *a = NULL;
        int r;

        r = applier_new(&s->args, dest_fd, &a, reterr);
        if (r < 0)
                return r;
        if (s->args.resume)
                r = applier_resume(a, &s->position, reterr);
        if (r < 0)
                return r;
        s->applier = a;
        s->saved_offset = s->reader.offset;
        s->saved_usec = now_monotonic();
        r = take_all(s, reterr);
        s->applier = NULL;
        return r;
}

int stream_check(Stream *s, Err **reterr) {
        return take_all(s, reterr);
}
