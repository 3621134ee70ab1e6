/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "update/trust.h"
#include "stream/input.h"
#include "stream/keys.h"

static int on_progress(void *userdata, uint64_t bytes _unused_) {
        const TrustArgs *args = userdata;

        return args->cancelled && args->cancelled(args->userdata);
}

/* By the engine's own reading thread: a pipe that stalls, or a file of a FUSE server that never answers, ends there. */
static int read_text(const TrustArgs *args, char **ret, size_t *ret_size, Err **reterr) {
        _cleanup_(freep) char *text = malloc(MANIFEST_SIZE_MAX + 1);
        _cleanup_(input_freep) Input *in = NULL;
        size_t size = 0;
        int r;

        if (!text)
                return err_new(reterr, ENOMEM, "out of memory");
        r = input_new(
                        &(InputArgs){
                                        .fd = args->fd,
                                        .raw = true,
                                        .stall_usec = args->m->config->stall_usec,
                                        .userdata = (void *) (uintptr_t) args,
                                        .progress = on_progress,
                        },
                        &in, reterr);
        while (r >= 0) {
                size_t room = MANIFEST_SIZE_MAX + 1 - size, n;
                Block *b;

                r = input_next(in, &b, reterr);
                if (r <= 0)
                        break;
                n = b->size < room ? b->size : room;
                memcpy(text + size, b->data, n);
                size += n;
                block_unref(b);
                if (size > MANIFEST_SIZE_MAX)
                        r = err_kind(reterr, ERR_BAD_MANIFEST, EBADMSG,
                                        "the manifest has more than %u bytes", MANIFEST_SIZE_MAX);
        }
        if (r < 0)
                return err_add(reterr, r, "read the manifest");
        *ret = MOVE(text);
        *ret_size = size;
        return 0;
}

static int open_signed(const TrustArgs *args, const char *text, size_t size, Manifest **ret,
                Err **reterr) {
        _cleanup_(signed_text_done) SignedText t = {0};
        _cleanup_(keyring_freep) Keyring *ring = NULL;
        int r = keyring_load(args->m->root_fd, &ring, reterr);

        if (r >= 0)
                r = signed_text_split(text, size, &t, reterr);
        if (r >= 0)
                r = keyring_verify(ring, &t, args->m->config->threshold,
                                keyring_now(args->m->root_fd), reterr);
        return r < 0 ? r : manifest_parse(t.text, t.size, ret, reterr);
}

static int open_unsigned(const char *text, size_t size, Manifest **ret, Err **reterr) {
        _cleanup_(signed_text_done) SignedText t = {0};
        _cleanup_(err_freep) Err *why = NULL;
        int r = signed_text_split(text, size, &t, &why);

        if (r >= 0)
                return manifest_parse(t.text, t.size, ret, reterr);
        if (err_kind_of(why) == ERR_NOT_SIGNED)
                return manifest_parse(text, size, ret, reterr);
        if (reterr)
                *reterr = MOVE(why);
        return r;
}

int trust_read(const TrustArgs *args, Manifest **ret, Err **reterr) {
        _cleanup_(freep) char *text = NULL;
        size_t size = 0;
        int r = read_text(args, &text, &size, reterr);

        if (r < 0)
                return r;
        if (args->m->config->verification == VERIFICATION_NONE && !args->always)
                return open_unsigned(text, size, ret, reterr);
        return open_signed(args, text, size, ret, reterr);
}

char *trust_problem(const Machine *m) {
        _cleanup_(keyring_freep) Keyring *ring = NULL;
        _cleanup_(err_freep) Err *why = NULL;

        if (m->config->verification == VERIFICATION_NONE)
                return NULL;
        if (keyring_load(m->root_fd, &ring, &why) < 0)
                return strdup(err_text(why));
        if (keyring_empty(ring))
                return strdup("no key is installed, so no image can be");
        return m->config->compatible ? NULL
                                     : strdup("Compatible= is not set, so no signed image fits");
}
