/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <time.h>

#include "stream/hex.h"
#include "stream/manifest-internal.h"

#define AT(m) offsetof(Manifest, m)
#define IN(m) offsetof(ManifestSubvol, m)

/* In the order of the text. */
const ManifestField manifest_fields[] = {
                {"Allow", FIELD_ALLOW, false, 0},
                {"BuildTime", FIELD_TIME, true, AT(build_time)},
                {"ChunkSize", FIELD_FIXED, true, MANIFEST_CHUNK_SIZE},
                {"Compatible", FIELD_TEXT, true, AT(compatible)},
                {"Compression", FIELD_COMPRESSION, true, AT(compression)},
                {"Critical", FIELD_TEXT, false, AT(critical)},
                {"Epoch", FIELD_NUMBER, true, AT(epoch)},
                {"Format", FIELD_FIXED, true, MANIFEST_FORMAT},
                {"MaxFileSize", FIELD_NUMBER, true, AT(max_file_size)},
                {"MinDaemon", FIELD_NAME, false, AT(min_daemon)},
                {"PayloadSize", FIELD_NUMBER, true, AT(payload_size)},
                {"StreamSize", FIELD_NUMBER, true, AT(stream_size)},
                {"StreamVersion", FIELD_NUMBER, true, AT(stream_version)},
                {"ValidUntil", FIELD_TIME, false, AT(valid_until)},
                {"Version", FIELD_NAME, true, AT(version)},
                {"VersionText", FIELD_TEXT, false, AT(version_text)},
};
const size_t manifest_n_fields = ARRAY_SIZE(manifest_fields);

const ManifestField manifest_subvol_fields[] = {
                {"Bytes", FIELD_NUMBER, true, IN(bytes)},
                {"Digest", FIELD_DIGEST, true, IN(digest)},
                {"Inodes", FIELD_NUMBER, true, IN(inodes)},
                {"Name", FIELD_NAME, true, IN(name)},
                {"Parent", FIELD_UUID, false, IN(parent)},
                {"Path", FIELD_PATH, true, IN(path)},
                {"UUID", FIELD_UUID, true, IN(uuid)},
};
const size_t manifest_n_subvol_fields = ARRAY_SIZE(manifest_subvol_fields);

char *manifest_subvol_key(char buf[static SUBVOL_KEY_SIZE], size_t index, const char *key) {
        snprintf(buf, SUBVOL_KEY_SIZE, "Subvolume.%02zu.%s", index, key);
        return buf;
}

bool manifest_path_ok(const char *path) {
        if (path[0] != '/' || strpbrk(path, " \t"))
                return false;
        for (const char *p = path; *p;) {
                size_t n = strcspn(++p, "/");

                if (n == 0)
                        return path[1] == '\0';
                if (n > 255 || (p[0] == '.' && (n == 1 || (n == 2 && p[1] == '.'))))
                        return false;
                p += n;
        }
        return true;
}

Manifest *manifest_free(Manifest *m) {
        if (m) {
                for (size_t i = 0; i < m->n_subvols; i++) {
                        free(m->subvols[i].name);
                        free(m->subvols[i].path);
                }
                free(m->subvols);
                free(m->chunks);
                free(m->compatible);
                free(m->version);
                free(m->version_text);
                free(m->min_daemon);
                free(m->critical);
                free(m);
        }
        return NULL;
}

uint64_t manifest_bytes(const Manifest *m) {
        uint64_t sum = 0;

        for (size_t i = 0; i < m->n_subvols; i++)
                sum += m->subvols[i].bytes;
        return sum;
}

uint64_t manifest_inodes(const Manifest *m) {
        uint64_t sum = 0;

        for (size_t i = 0; i < m->n_subvols; i++)
                sum += m->subvols[i].inodes;
        return sum;
}

int manifest_check_time(const Manifest *m, uint64_t now, Err **reterr) {
        time_t until = (time_t) m->valid_until;
        char text[32];
        struct tm tm;

        if (m->valid_until == 0 || now <= m->valid_until)
                return 0;
        if (!gmtime_r(&until, &tm) || strftime(text, sizeof(text), "%F %T UTC", &tm) == 0)
                text[0] = '\0';
        return err_kind(reterr, ERR_EXPIRED, EPERM,
                        "the image was valid until %s; get a newer one, or set the clock if it is "
                        "wrong",
                        text);
}

static void write_field(FILE *f, const ManifestField *field, const char *key, const void *base) {
        const void *at = (const char *) base + field->offset;
        char digits[2 * MANIFEST_DIGEST_SIZE + 1], uuid[UUID_TEXT_SIZE];
        const Manifest *m = base;
        const char *text = NULL;

        switch (field->kind) {
        case FIELD_TEXT:
        case FIELD_NAME:
        case FIELD_PATH: text = *(char *const *) at; break;
        case FIELD_NUMBER:
        case FIELD_TIME:
                if (field->needed || *(const uint64_t *) at != 0)
                        fprintf(f, "%s=%" PRIu64 "\n", key, *(const uint64_t *) at);
                return;
        case FIELD_FIXED: fprintf(f, "%s=%zu\n", key, field->offset); return;
        case FIELD_UUID:
                if (field->needed || !uuid_is_null(at))
                        text = uuid_format(uuid, at);
                break;
        case FIELD_DIGEST: text = hex_write(digits, at, MANIFEST_DIGEST_SIZE); break;
        case FIELD_COMPRESSION: text = compression_to_string(*(const Compression *) at); break;
        case FIELD_ALLOW:
                if (m->allow_devices || m->allow_setuid || m->allow_xattrs)
                        fprintf(f, "%s=%s%s%s%s%s\n", key, m->allow_devices ? "devices" : "",
                                        m->allow_devices && m->allow_setuid ? " " : "",
                                        m->allow_setuid ? "setuid" : "",
                                        m->allow_xattrs && (m->allow_devices || m->allow_setuid)
                                                        ? " "
                                                        : "",
                                        m->allow_xattrs ? "xattrs" : "");
                return;
        }
        if (text)
                fprintf(f, "%s=%s\n", key, text);
}

/* "Subvolume" sorts between "StreamVersion" and "ValidUntil". */
static void write_text(FILE *f, const Manifest *m) {
        char buf[SUBVOL_KEY_SIZE];
        size_t i = 0;

        for (; strcmp(manifest_fields[i].key, "Subvolume") < 0; i++)
                write_field(f, &manifest_fields[i], manifest_fields[i].key, m);
        for (size_t s = 0; s < m->n_subvols; s++)
                for (size_t k = 0; k < manifest_n_subvol_fields; k++)
                        write_field(f, &manifest_subvol_fields[k],
                                        manifest_subvol_key(buf, s, manifest_subvol_fields[k].key),
                                        &m->subvols[s]);
        for (; i < manifest_n_fields; i++)
                write_field(f, &manifest_fields[i], manifest_fields[i].key, m);
        fputc('\n', f);
        for (size_t c = 0; c < m->n_chunks; c++) {
                char digits[2 * MANIFEST_DIGEST_SIZE + 1];

                fprintf(f, "%s\n", hex_write(digits, m->chunks[c], MANIFEST_DIGEST_SIZE));
        }
}

int manifest_format(const Manifest *m, char **ret, size_t *ret_size, Err **reterr) {
        _cleanup_(manifest_freep) Manifest *check = NULL;
        _cleanup_(freep) char *text = NULL;
        _cleanup_(fclosep) FILE *f = NULL;
        size_t size = 0;
        int r;

        f = open_memstream(&text, &size);
        if (!f)
                return err_new(reterr, ENOMEM, "out of memory");
        write_text(f, m);
        if (fflush(f) != 0)
                return err_new(reterr, ENOMEM, "out of memory");
        fclose(MOVE(f));
        r = manifest_parse(text, size, &check, reterr);
        if (r < 0)
                return err_add(reterr, r, "write the manifest");
        *ret = MOVE(text);
        *ret_size = size;
        return 0;
}
