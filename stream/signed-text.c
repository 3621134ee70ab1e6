/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <openssl/evp.h>

#include "stream/hex.h"
#include "stream/manifest.h"
#include "stream/signed-text.h"

#define SUM_SIZE 16u

#define BAD_LINE(...) err_kind(reterr, ERR_BAD_SIGNATURE, -EBADMSG, __VA_ARGS__)

void signed_text_done(SignedText *t) {
        for (size_t i = 0; i < t->n; i++)
                free(t->signatures[i].data);
        *t = (SignedText){0};
}

/* EVP_EncodeBlock() writes no line breaks and a NUL. */
static char *base64_write(const uint8_t *data, size_t size) {
        char *text = malloc(size / 3 * 4 + 5);

        if (text)
                EVP_EncodeBlock((unsigned char *) text, data, (int) size);
        return text;
}

/* 1, 0 where it is not the one way to write these bytes, -ENOMEM. */
static int base64_read(const char *text, size_t length, uint8_t **ret, size_t *ret_size) {
        _cleanup_(freep) uint8_t *data = NULL;
        _cleanup_(freep) char *again = NULL;
        size_t size = length / 4 * 3;
        int n;

        if (length == 0 || length % 4 != 0 || size > SIGNATURE_SIZE_MAX)
                return 0;
        data = malloc(size + 1);
        if (!data)
                return -ENOMEM;
        n = EVP_DecodeBlock(data, (const unsigned char *) text, (int) length);
        if (n < 0 || (size_t) n != size)
                return 0;
        size -= (size_t) (text[length - 1] == '=') + (size_t) (text[length - 2] == '=');
        again = base64_write(data, size);
        if (!again)
                return -ENOMEM;
        if (strlen(again) != length || memcmp(again, text, length) != 0)
                return 0;
        *ret = MOVE(data);
        *ret_size = size;
        return 1;
}

/* Not for trust: a part of a CMS carries no meaning, and a changed bit in there must not pass either. */
static bool sum_of(const char *line, size_t size, char ret[static SUM_SIZE + 1]) {
        uint8_t digest[EVP_MAX_MD_SIZE];

        if (EVP_Digest(line, size, digest, NULL, EVP_sha256(), NULL) != 1)
                return false;
        hex_write(ret, digest, SUM_SIZE / 2);
        return true;
}

/* METHOD SIGNER BASE64 SUM */
static int read_line(const char *line, size_t size, Signature *ret) {
        const char *space = memchr(line, ' ', size), *signer, *data;
        char sum[SUM_SIZE + 1];
        uint8_t ignored[32];
        size_t n;

        if (size <= SUM_SIZE + 1)
                return 0;
        size -= SUM_SIZE + 1;
        if (!sum_of(line, size, sum) || line[size] != ' ' ||
                        memcmp(line + size + 1, sum, SUM_SIZE) != 0)
                return 0;

        if (!space)
                return 0;
        n = (size_t) (space - line);
        if (n == 0 || n >= sizeof(ret->method))
                return 0;
        memcpy(ret->method, line, n);
        ret->method[n] = '\0';
        if (!name_ok(ret->method))
                return 0;
        signer = space + 1;
        data = signer + FINGERPRINT_SIZE;
        if (size - n - 1 <= FINGERPRINT_SIZE || data[-1] != ' ' ||
                        !hex_read(signer, ignored, sizeof(ignored)))
                return 0;
        memcpy(ret->signer, signer, FINGERPRINT_SIZE - 1);
        ret->signer[FINGERPRINT_SIZE - 1] = '\0';
        return base64_read(data, size - (size_t) (data - line), &ret->data, &ret->size);
}

static int read_lines(const char *at, const char *end, SignedText *t, Err **reterr) {
        const char *before = NULL;
        size_t before_size = 0;

        while (at < end) {
                const char *nl = memchr(at, '\n', (size_t) (end - at));
                size_t size = nl ? (size_t) (nl - at) : 0;
                int r, order;

                if (t->n == SIGNATURES_MAX)
                        return BAD_LINE("the manifest has more than %u signatures", SIGNATURES_MAX);
                r = nl ? read_line(at, size, &t->signatures[t->n]) : 0;
                if (r < 0)
                        return err_new(reterr, r, "out of memory");
                if (r == 0)
                        return BAD_LINE("signature %zu of the manifest is not one", t->n + 1);
                t->n++;
                order = before ? memcmp(before, at, before_size < size ? before_size : size) : -1;
                if (order > 0 || (order == 0 && before_size >= size))
                        return BAD_LINE("the signatures of the manifest are not sorted, or one is "
                                        "there twice");
                before = at;
                before_size = size;
                at = nl + 1;
        }
        return 0;
}

int signed_text_split(const char *text, size_t size, SignedText *ret, Err **reterr) {
        _cleanup_(signed_text_done) SignedText t = {.text = text};
        const char *gap, *end = text + size;
        int r;

        if (size > MANIFEST_SIZE_MAX)
                return err_kind(reterr, ERR_BAD_MANIFEST, -EBADMSG,
                                "the manifest has more than %u bytes", MANIFEST_SIZE_MAX);
        gap = memmem(text, size, "\n\n", 2);
        if (!gap)
                return err_kind(reterr, ERR_BAD_MANIFEST, -EBADMSG, "this is not a manifest");
        gap = memmem(gap + 2, (size_t) (end - gap) - 2, "\n\n", 2);
        t.size = gap ? (size_t) (gap - text) + 1 : size;
        if (!gap || gap + 2 == end)
                return err_kind(reterr, ERR_NOT_SIGNED, -EBADMSG, "the manifest is not signed");
        r = read_lines(gap + 2, end, &t, reterr);
        if (r < 0)
                return r;
        *ret = t;
        t = (SignedText){0};
        return 0;
}

int signature_format(const Signature *s, char **ret) {
        _cleanup_(freep) char *data = base64_write(s->data, s->size);
        _cleanup_(freep) char *line =
                        data ? str_printf("%s %s %s", s->method, s->signer, data) : NULL;
        char sum[SUM_SIZE + 1], *whole;

        if (!line || !sum_of(line, strlen(line), sum))
                return -ENOMEM;
        whole = str_printf("%s %s\n", line, sum);
        if (!whole)
                return -ENOMEM;
        *ret = whole;
        return 0;
}

static int compare_lines(const void *a, const void *b) {
        return strcmp(*(char *const *) a, *(char *const *) b);
}

int signed_text_add(const char *text, size_t size, const Signature *s, char **ret, Err **reterr) {
        _cleanup_(signed_text_done) SignedText t = {0};
        _cleanup_(err_freep) Err *why = NULL;
        _cleanup_(freep) char *all = NULL; /* goes after the stream that writes it */
        _cleanup_(fclosep) FILE *f = NULL;
        char *lines[SIGNATURES_MAX + 1] = {NULL};
        size_t n = 0, length;
        int r;

        r = signed_text_split(text, size, &t, &why);
        if (r < 0 && err_kind_of(why) == ERR_NOT_SIGNED)
                t = (SignedText){.text = text, .size = size};
        else if (r < 0) {
                if (reterr)
                        *reterr = MOVE(why);
                return r;
        }
        f = open_memstream(&all, &length);
        r = f ? signature_format(s, &lines[n++]) : -ENOMEM;
        for (size_t i = 0; r >= 0 && i < t.n; i++)
                if (!str_eq(t.signatures[i].method, s->method) ||
                                !str_eq(t.signatures[i].signer, s->signer))
                        r = signature_format(&t.signatures[i], &lines[n++]);
        if (r >= 0) {
                qsort(lines, n, sizeof(*lines), compare_lines);
                fwrite(t.text, 1, t.size, f);
                fputc('\n', f);
                for (size_t i = 0; i < n; i++)
                        fputs(lines[i], f);
                r = fflush(f) != 0 ? -ENOMEM : 0;
        }
        for (size_t i = 0; i < n; i++)
                free(lines[i]);
        if (r < 0)
                return err_new(reterr, r, "out of memory");
        if (n > SIGNATURES_MAX || length > MANIFEST_SIZE_MAX)
                return err_kind(reterr, ERR_LIMIT_EXCEEDED, E2BIG,
                                "a manifest has at most %u signatures and %u bytes", SIGNATURES_MAX,
                                MANIFEST_SIZE_MAX);
        fclose(MOVE(f));
        *ret = MOVE(all);
        return 0;
}
