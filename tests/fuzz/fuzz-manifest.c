/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* libFuzzer target: the text of a manifest. What is accepted and has no field of a later version is exactly what would have
 * been written; and what is written is accepted again, as the same. */
#include "stream/manifest.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static char *text_of(const Manifest *m, size_t *ret_size) {
        char *text = NULL;

        if (manifest_format(m, &text, ret_size, NULL) < 0)
                abort();
        return text;
}

/* Text with a field that this version does not know is longer than what it writes. */
static void must_hold(const Manifest *m, const uint8_t *data, size_t size) {
        _cleanup_(manifest_freep) Manifest *again = NULL;
        _cleanup_(freep) char *text = NULL, *second = NULL;
        size_t n, n_second;

        text = text_of(m, &n);
        if (n > size || (n == size && memcmp(text, data, size) != 0))
                abort();
        if (manifest_parse(text, n, &again, NULL) < 0)
                abort();
        second = text_of(again, &n_second);
        if (n_second != n || memcmp(second, text, n) != 0)
                abort();
        if (m->n_subvols == 0 || m->n_subvols > MANIFEST_SUBVOLS_MAX ||
                        m->n_chunks != (m->payload_size + MANIFEST_CHUNK_SIZE - 1) /
                                                        MANIFEST_CHUNK_SIZE)
                abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        _cleanup_(manifest_freep) Manifest *m = NULL;
        _cleanup_(err_freep) Err *e = NULL;
        /* not terminated, and with nothing readable behind it */
        _cleanup_(freep) char *copy = malloc(size > 0 ? size : 1);

        if (!copy)
                return 0;
        memcpy(copy, data, size);
        if (manifest_parse(copy, size, &m, &e) >= 0)
                must_hold(m, data, size);
        else if (!e || m)
                abort();
        return 0;
}
