/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <openssl/evp.h>
#include <stdatomic.h>

#include "stream/hex.h"
#include "stream/manifest-internal.h"

#define BAD(...)                                                                                   \
        err_kind(reterr, ERR_BAD_MANIFEST, -EBADMSG, "the manifest is not valid: " __VA_ARGS__)

enum { CHUNK_LINE = 2 * MANIFEST_DIGEST_SIZE + 1 };

static atomic_uint parses;

unsigned manifest_parse_count(void) {
        return atomic_load(&parses);
}

/* Only the one way to write a number. */
static bool number_ok(const char *value, uint64_t max, uint64_t *ret) {
        if (value[0] == '0' && value[1] != '\0')
                return false;
        return parse_u64(value, ret) >= 0 && *ret <= max;
}

static bool uuid_ok(const char *value, uint8_t ret[static 16]) {
        char again[UUID_TEXT_SIZE];

        return uuid_parse_text(value, ret) >= 0 && !uuid_is_null(ret) &&
               str_eq(uuid_format(again, ret), value);
}

static bool allow_ok(const char *value, Manifest *m) {
        static const char *const words[] = {"devices", "setuid", "xattrs"};
        bool *const flags[] = {&m->allow_devices, &m->allow_setuid, &m->allow_xattrs};

        for (size_t i = 0; i < ARRAY_SIZE(words); i++) {
                const char *rest = str_after(value, words[i]);

                if (!rest || (*rest != ' ' && *rest != '\0'))
                        continue;
                *flags[i] = true;
                if (*rest == '\0')
                        return true;
                value = rest + 1;
        }
        return false;
}

/* 1: read; 0: not valid. */
static int read_value(const ManifestField *f, const char *value, void *base) {
        void *at = (char *) base + f->offset;
        uint64_t number;

        switch (f->kind) {
        case FIELD_NAME:
                if (!name_ok(value))
                        return 0;
                break;
        case FIELD_PATH:
                if (!manifest_path_ok(value))
                        return 0;
                break;
        case FIELD_TEXT: break;
        case FIELD_NUMBER: return number_ok(value, INT64_MAX, at);
        case FIELD_TIME: return number_ok(value, MANIFEST_TIME_MAX, at) && *(uint64_t *) at > 0;
        case FIELD_FIXED: return number_ok(value, UINT32_MAX, &number) && number == f->offset;
        case FIELD_UUID: return uuid_ok(value, at);
        case FIELD_DIGEST:
                return strlen(value) == CHUNK_LINE - 1 && hex_read(value, at, MANIFEST_DIGEST_SIZE);
        case FIELD_COMPRESSION: {
                Compression c = compression_from_string(value);

                *(Compression *) at = c;
                return c >= 0;
        }
        case FIELD_ALLOW: return allow_ok(value, base);
        }
        return str_set(at, value) < 0 ? -ENOMEM : 1;
}

/* 1 where the field was there, 0 where it was not. */
static int read_field(
                const Kv *kv, const ManifestField *f, const char *key, void *base, Err **reterr) {
        const char *value = kv_get(kv, key);
        int r;

        if (!value)
                return f->needed ? BAD("it has no %s=", key) : 0;
        r = read_value(f, value, base);
        if (r < 0)
                return err_new(reterr, r, "out of memory");
        if (r > 0)
                return 1;
        if (str_eq(key, "Format"))
                return err_kind(reterr, ERR_NOT_SUPPORTED, -EOPNOTSUPP,
                                "the manifest has Format=%s; this abupdate reads %u", value,
                                MANIFEST_FORMAT);
        return BAD("%s=%s is not a value it can have", key, value);
}

/* Numbers go from 00 on without a gap: behind one, nothing would be looked at. */
static int check_numbers(const Kv *kv, size_t n, Err **reterr) {
        for (size_t i = 0; i < kv_count(kv); i++) {
                const char *number = str_after(kv_key(kv, i), "Subvolume.");

                if (number && strspn(number, "0123456789") == 2 && number[2] == '.' &&
                                strtoul(number, NULL, 10) >= n)
                        return BAD("%s= is of a subvolume without a name, or behind a gap",
                                        kv_key(kv, i));
        }
        return 0;
}

static int read_subvols(const Kv *kv, Manifest *m, Err **reterr) {
        char buf[SUBVOL_KEY_SIZE];
        size_t n = 0;
        int r;

        while (n < MANIFEST_SUBVOLS_MAX && kv_get(kv, manifest_subvol_key(buf, n, "Name")))
                n++;
        if (n == 0)
                return BAD("it has no Subvolume.00.Name=");
        r = check_numbers(kv, n, reterr);
        if (r < 0)
                return r;
        m->subvols = calloc(n, sizeof(*m->subvols));
        if (!m->subvols)
                return err_new(reterr, ENOMEM, "out of memory");
        m->n_subvols = n;
        for (size_t i = 0; i < n; i++)
                for (size_t k = 0; k < manifest_n_subvol_fields; k++) {
                        const ManifestField *f = &manifest_subvol_fields[k];

                        r = read_field(kv, f, manifest_subvol_key(buf, i, f->key), &m->subvols[i],
                                        reterr);
                        if (r < 0)
                                return r;
                        if (str_eq(f->key, "Parent"))
                                m->subvols[i].incremental = r > 0;
                }
        return 0;
}

/* Of the fields that this reader knows, those of subvolumes included. */
static bool known(const Manifest *m, const char *key) {
        char buf[SUBVOL_KEY_SIZE];

        for (size_t i = 0; i < manifest_n_fields; i++)
                if (str_eq(manifest_fields[i].key, key))
                        return true;
        for (size_t i = 0; i < m->n_subvols; i++)
                for (size_t k = 0; k < manifest_n_subvol_fields; k++)
                        if (str_eq(manifest_subvol_key(buf, i, manifest_subvol_fields[k].key), key))
                                return true;
        return false;
}

static int check_critical(const Kv *kv, const Manifest *m, Err **reterr) {
        _cleanup_(freep) char *copy = strdup(str_or(m->critical, ""));
        char *rest = copy, *word;

        if (!copy)
                return err_new(reterr, ENOMEM, "out of memory");
        while (m->critical && (word = strsep(&rest, " "))) {
                if (!kv_get(kv, word))
                        return BAD("Critical= names %s=, which is not there", word);
                if (!known(m, word))
                        return err_kind(reterr, ERR_NOT_SUPPORTED, -EOPNOTSUPP,
                                        "the manifest asks for %s=, which this abupdate does not "
                                        "know; install a newer abupdate first",
                                        word);
        }
        return 0;
}

/* What each field says for itself is valid; now together. */
static int check_sense(const Manifest *m, Err **reterr) {
        uint64_t bytes = 0, inodes = 0;
        size_t roots = 0;

        for (size_t i = 0; i < m->n_subvols; i++) {
                const ManifestSubvol *s = &m->subvols[i];

                roots += str_eq(s->path, "/");
                bytes += s->bytes; /* each is below 2^63, and so are all sums before */
                inodes += s->inodes;
                if (bytes > INT64_MAX || inodes > INT64_MAX)
                        return BAD("its subvolumes have more bytes or inodes than there can be");
                for (size_t k = 0; k < i; k++)
                        if (str_eq(s->name, m->subvols[k].name) ||
                                        str_eq(s->path, m->subvols[k].path) ||
                                        memcmp(s->uuid, m->subvols[k].uuid, 16) == 0)
                                return BAD("two of its subvolumes have the same name, path or "
                                           "UUID");
        }
        if (roots != 1)
                return BAD("none of its subvolumes has Path=/");
        if (m->payload_size == 0 || m->stream_size == 0)
                return BAD("its image is empty");
        if (m->compression == COMPRESSION_NONE && m->stream_size != m->payload_size)
                return BAD("PayloadSize= and StreamSize= differ without compression");
        if (m->stream_version < 1)
                return BAD("StreamVersion=0");
        if (manifest_chunk_count(m->payload_size) != m->n_chunks)
                return BAD("PayloadSize=%" PRIu64 " needs %" PRIu64 " chunks, and it lists %zu",
                                m->payload_size, manifest_chunk_count(m->payload_size),
                                m->n_chunks);
        return 0;
}

/* Sorted strictly by their bytes, so none is there twice; none empty. */
static int check_canonical(const Kv *kv, Err **reterr) {
        for (size_t i = 0; i < kv_count(kv); i++) {
                const char *key = kv_key(kv, i);

                if (i > 0 && strcmp(kv_key(kv, i - 1), key) >= 0)
                        return BAD("%s= is not in its place: fields are sorted", key);
                if (*kv_get(kv, key) == '\0')
                        return BAD("%s= is empty", key);
        }
        return 0;
}

static int read_head(const char *text, size_t size, Manifest *m, Err **reterr) {
        _cleanup_(kv_freep) Kv *kv = NULL;
        _cleanup_(err_freep) Err *why = NULL;
        int r = kv_parse(text, size, &kv, &why);

        if (r == -ENOMEM)
                return err_new(reterr, r, "out of memory");
        if (r < 0)
                return BAD("%s", err_text(why));
        r = check_canonical(kv, reterr);
        for (size_t i = 0; r >= 0 && i < manifest_n_fields; i++)
                r = read_field(kv, &manifest_fields[i], manifest_fields[i].key, m, reterr);
        if (r >= 0)
                r = read_subvols(kv, m, reterr);
        return r < 0 ? r : check_critical(kv, m, reterr);
}

static int read_chunks(const char *text, size_t size, Manifest *m, Err **reterr) {
        size_t n = size / CHUNK_LINE;

        if (size == 0 || size % CHUNK_LINE != 0)
                return BAD("its list of chunks is not made of lines of %d digits", CHUNK_LINE - 1);
        m->chunks = calloc(n, sizeof(*m->chunks));
        if (!m->chunks)
                return err_new(reterr, ENOMEM, "out of memory");
        for (size_t i = 0; i < n; i++, text += CHUNK_LINE)
                if (!hex_read(text, m->chunks[i], MANIFEST_DIGEST_SIZE) ||
                                text[CHUNK_LINE - 1] != '\n')
                        return BAD("line %zu of its chunks is not a SHA-256", i + 1);
        m->n_chunks = n;
        return 0;
}

int manifest_parse(const char *text, size_t size, Manifest **ret, Err **reterr) {
        _cleanup_(manifest_freep) Manifest *m = calloc(1, sizeof(*m));
        const char *gap;
        size_t head;
        int r;

        atomic_fetch_add(&parses, 1);
        if (!m)
                return err_new(reterr, ENOMEM, "out of memory");
        if (size > MANIFEST_SIZE_MAX)
                return BAD("it has more than %u bytes", MANIFEST_SIZE_MAX);
        gap = memmem(text, size, "\n\n", 2);
        if (!gap)
                return BAD("no empty line ends its fields");
        head = (size_t) (gap - text) + 1;
        if (head > MANIFEST_HEAD_MAX)
                return BAD("its fields take more than %u bytes", MANIFEST_HEAD_MAX);
        r = read_chunks(gap + 2, size - head - 1, m, reterr);
        if (r >= 0)
                r = read_head(text, head, m, reterr);
        if (r >= 0)
                r = check_sense(m, reterr);
        if (r >= 0 && EVP_Digest(text, size, m->id, NULL, EVP_sha256(), NULL) != 1)
                r = err_new(reterr, EIO, "compute SHA-256");
        if (r < 0)
                return r;
        *ret = MOVE(m);
        return 0;
}
