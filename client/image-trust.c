/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Whom abctl image trusts: the keys that --key= names, else the machine whose root is --root=. */
#include <fcntl.h>

#include "client/image-verbs.h"
#include "client/manifest.h"
#include "os/config.h"

void image_trust_done(ImageTrust *t) {
        t->ring = keyring_free(t->ring);
}

static int add_keys(const OptionList *names, Keyring *ring, Err **reterr) {
        int r = 0;

        for (size_t i = 0; r >= 0 && i < names->n; i++) {
                _cleanup_(freep) char *text = NULL;
                size_t size;

                r = manifest_load(names->values[i], 0, &text, &size, reterr);
                if (r >= 0)
                        r = keyring_add_pem(ring, names->values[i], text, size, reterr);
        }
        return r;
}

static int read_threshold(const Options *o, const char *root, unsigned *ret, Err **reterr) {
        _cleanup_(config_freep) Config *config = NULL;
        uint64_t n;
        int r;

        if (o->threshold) {
                if (parse_u64(o->threshold, &n) < 0 || n < 1 || n > SIGNATURES_MAX)
                        return err_kind(reterr, ERR_INVALID_ARGUMENT, EINVAL,
                                        "--threshold=%s: give a number from 1 to %u", o->threshold,
                                        SIGNATURES_MAX);
                *ret = (unsigned) n;
                return 0;
        }
        *ret = 1;
        if (o->key.n > 0)
                return 0;
        r = config_load(root, &config, reterr);
        if (r >= 0)
                *ret = config->threshold;
        return r;
}

int image_trust(Client *c, ImageTrust *ret, Err **reterr) {
        const Options *o = &c->opt;
        const char *root = str_or(o->root, "/");
        _cleanup_(image_trust_done) ImageTrust t = {0};
        _cleanup_(fd_closep) int root_fd = open(root, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        int r;

        if (root_fd < 0)
                return err_sys(reterr, errno, "Cannot open %s", root);
        t.now = keyring_now(root_fd);
        r = read_threshold(o, str_eq(root, "/") ? "" : root, &t.threshold, reterr);
        if (r >= 0)
                r = o->key.n == 0 ? keyring_load(root_fd, &t.ring, reterr)
                                  : keyring_new(&t.ring, reterr);
        if (r >= 0)
                r = add_keys(&o->key, t.ring, reterr);
        if (r < 0)
                return r;
        *ret = t;
        t = (ImageTrust){0};
        return 0;
}

int image_trust_verify(const ImageTrust *t, const SignedText *text, Err **reterr) {
        return keyring_verify(t->ring, text, t->threshold, t->now, reterr);
}
