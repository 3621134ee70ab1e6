/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "stream/input-internal.h"

/* Reads one chunk whole into @buf and has it verified before anything of it is looked at. NULL at the end of the image. */
static int read_chunk(Input *in, uint8_t *buf, const Chunk **ret, Err **reterr) {
        int r = verifier_next(in->verifier, &in->source, buf, ret, reterr);

        if (r == 0)
                *ret = NULL;
        if (r <= 0 || !in->args.chunk)
                return r < 0 ? r : 0;
        return in->args.chunk(in->args.userdata, chunk_data(*ret), chunk_size(*ret), reterr);
}

/* A bomb ends where the maker's own stream would have ended. */
static int hand_over_plain(Input *in, Block *b, size_t size, Err **reterr) {
        if (in->plain_max > 0 && size > in->plain_max - in->plain)
                return err_kind(reterr, ERR_LIMIT_EXCEEDED, -EFBIG,
                                "The image unpacks to more than the %" PRIu64
                                " bytes that were signed",
                                in->plain_max);
        in->plain += size;
        input_hand_over(in, b, size);
        return 0;
}

static int check_end(const Input *in, Err **reterr) {
        if (in->plain_max == 0 || in->plain == in->plain_max)
                return 0;
        return err_kind(reterr, ERR_TRUNCATED, -EBADMSG,
                        "The image unpacks to %" PRIu64 " bytes, and %" PRIu64 " were signed",
                        in->plain, in->plain_max);
}

/* @c lies in @b. */
static int run_plain(Input *in, Block *b, const Chunk *c, Err **reterr) {
        int r;

        while (c) {
                b->restart = (Restart){in->plain, in->plain};
                r = hand_over_plain(in, b, chunk_size(c), reterr);
                if (r < 0)
                        return r;
                b = input_next_free(in);
                if (!b)
                        return -ECANCELED;
                r = read_chunk(in, b->data, &c, reterr);
                if (r < 0)
                        return r;
        }
        return check_end(in, reterr);
}

/* What is being unpacked: the rest of a chunk, in memory of its own. */
typedef struct Packed {
        Decompressor *d;
        Restart start; /* where it was begun */
        const uint8_t *at;
        size_t size;
        bool last; /* nothing follows */
} Packed;

static Restart packed_restart(const Packed *p) {
        FrameStart f = decompressor_frame(p->d);

        return (Restart){p->start.input + f.in, p->start.plain + f.out};
}

static int more_packed(Input *in, Packed *p, Err **reterr) {
        const Chunk *c;
        int r = read_chunk(in, in->packed, &c, reterr);

        if (r < 0)
                return r;
        p->last = !c;
        if (c) {
                p->at = chunk_data(c);
                p->size = chunk_size(c);
        }
        return 0;
}

static int unpack(Input *in, Packed *p, Block *b, Err **reterr) {
        int r;

        b->restart = packed_restart(p);
        for (size_t have = 0;;) {
                size_t n;

                r = decompressor_run(p->d, &p->at, &p->size, p->last, b->data + have,
                                INPUT_BLOCK_SIZE - have, &n, reterr);
                if (r < 0)
                        return r;
                have += n;
                if (have == INPUT_BLOCK_SIZE || (p->last && n == 0 && have > 0)) {
                        r = hand_over_plain(in, b, have, reterr);
                        if (r < 0)
                                return r;
                        b = input_next_free(in);
                        if (!b)
                                return -ECANCELED;
                        b->restart = packed_restart(p);
                        have = 0;
                        continue;
                }
                if (p->last && n == 0)
                        return check_end(in, reterr);
                if (p->size == 0 && !p->last) {
                        r = more_packed(in, p, reterr);
                        if (r < 0)
                                return r;
                }
        }
}

/* @c lies in @b, which takes what comes out: it moves first. */
static int run_packed(Input *in, Compression compression, Block *b, const Chunk *c, Err **reterr) {
        _cleanup_(decompressor_freep) Decompressor *d = NULL;
        size_t before = (size_t) (in->args.start.input % INPUT_BLOCK_SIZE);
        Packed p = {.start = in->args.start};
        int r;

        if (before > chunk_size(c))
                return err_kind(reterr, ERR_CONFLICT, -EBADMSG, "The image has no byte %" PRIu64,
                                in->args.start.input);
        in->packed = malloc(INPUT_BLOCK_SIZE);
        if (!in->packed)
                return err_sys(reterr, -ENOMEM, "Cannot unpack the image");
        p.size = chunk_size(c) - before;
        p.at = memcpy(in->packed, chunk_data(c) + before, p.size);

        r = decompressor_new(compression, &d, reterr);
        p.d = d;
        return r < 0 ? r : unpack(in, &p, b, reterr);
}

/* The first chunk that is needed, in @b. */
static int begin(Input *in, Block *b, const Chunk **ret, Err **reterr) {
        uint64_t first = in->args.start.input / INPUT_BLOCK_SIZE * INPUT_BLOCK_SIZE;
        int r = source_skip(&in->source, in->args.at, first, b->data, INPUT_BLOCK_SIZE, reterr);

        return r < 0 ? r : read_chunk(in, b->data, ret, reterr);
}

int input_fill(Input *in, Err **reterr) {
        bool from_start = in->args.start.input == 0;
        Compression compression;
        const Chunk *c;
        Block *b;
        int r;

        b = input_next_free(in);
        if (!b)
                return -ECANCELED;
        r = source_open(&in->source, reterr);
        if (r >= 0)
                r = begin(in, b, &c, reterr);
        if (r < 0 || !c)
                return r;
        compression = in->args.raw ? COMPRESSION_NONE
                      : from_start ? compression_detect(chunk_data(c), chunk_size(c))
                                   : in->compression;
        if (in->compression != _COMPRESSION_INVALID && in->compression != compression)
                return err_kind(reterr, ERR_BAD_STREAM, -EBADMSG,
                                "The image is packed with %s, and its manifest says %s",
                                compression_to_string(compression),
                                compression_to_string(in->compression));
        if (compression == COMPRESSION_NONE)
                return run_plain(in, b, c, reterr);
        return run_packed(in, compression, b, c, reterr);
}
