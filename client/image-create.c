/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* abctl image create: an image and its manifest from subvolumes. */
#include <fcntl.h>
#include <sys/stat.h>
#include <time.h>

#include "client/image-verbs.h"
#include "client/out.h"
#include "stream/make.h"

#define LEVEL_DEFAULT 3

typedef struct Making {
        MakeSource sources[OPTION_LIST_MAX];
        char *paths[OPTION_LIST_MAX];
        size_t n;
        Manifest *m;
        ImageSigners signers;
} Making;

static void making_done(Making *k) {
        for (size_t i = 0; i < k->n; i++) {
                fd_close(k->sources[i].fd);
                fd_close(k->sources[i].parent_fd);
                free(k->paths[i]);
        }
        k->m = manifest_free(k->m);
        image_signers_done(&k->signers);
}

static int wrong_value(Err **reterr, const char *option, const char *value, const char *allowed) {
        return err_kind(reterr, ERR_INVALID_ARGUMENT, EINVAL, "--%s=%s: give %s", option, value,
                        allowed);
}

static int open_subvolume(const char *path, Err **reterr) {
        int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

        return fd < 0 ? err_sys(reterr, errno, "Cannot open %s", path) : fd;
}

/* SUBVOL:/PATH; without a path it is the root. */
static int add_source(Making *k, const char *from, const char *parent, Err **reterr) {
        const char *colon = strrchr(from, ':');
        _cleanup_(freep) char *name = NULL;
        MakeSource *s = &k->sources[k->n];

        if (colon && colon[1] != '/')
                colon = NULL;
        name = colon ? strndup(from, (size_t) (colon - from)) : strdup(from);
        k->paths[k->n] = strdup(colon ? colon + 1 : "/");
        *s = (MakeSource){-1, -1, k->paths[k->n]};
        k->n++;
        if (!name || !s->path)
                return err_new(reterr, ENOMEM, "out of memory");
        s->fd = open_subvolume(name, reterr);
        if (s->fd >= 0 && parent)
                s->parent_fd = open_subvolume(parent, reterr);
        return s->fd < 0 ? s->fd : parent && s->parent_fd < 0 ? s->parent_fd : 0;
}

static int read_time(const char *text, uint64_t *ret) {
        static const char *const forms[] = {"%Y-%m-%d %H:%M:%S", "%Y-%m-%d %H:%M", "%Y-%m-%d"};

        if (text[0] == '@')
                return parse_u64(text + 1, ret);
        for (size_t i = 0; i < ARRAY_SIZE(forms); i++) {
                struct tm tm = {0};
                const char *end = strptime(text, forms[i], &tm);

                if (end && *end == '\0') {
                        *ret = (uint64_t) timegm(&tm);
                        return 0;
                }
        }
        return -EINVAL;
}

static int read_allow(const char *words, Manifest *m, Err **reterr) {
        _cleanup_(freep) char *copy = strdup(str_or(words, ""));
        char *rest = copy, *w;

        if (!copy)
                return err_new(reterr, ENOMEM, "out of memory");
        while (words && (w = strsep(&rest, ","))) {
                if (str_eq(w, "devices"))
                        m->allow_devices = true;
                else if (str_eq(w, "setuid"))
                        m->allow_setuid = true;
                else if (str_eq(w, "xattrs"))
                        m->allow_xattrs = true;
                else
                        return wrong_value(reterr, "allow", words, "devices, setuid, xattrs");
        }
        return 0;
}

/* SOURCE_DATE_EPOCH makes two runs give the same manifest. */
static int read_build_time(Manifest *m, Err **reterr) {
        const char *fixed = getenv("SOURCE_DATE_EPOCH");

        m->build_time = now_realtime() / USEC_PER_SEC;
        if (fixed && parse_u64(fixed, &m->build_time) < 0)
                return err_kind(reterr, ERR_INVALID_ARGUMENT, EINVAL,
                                "SOURCE_DATE_EPOCH=%s is not a number of seconds", fixed);
        return 0;
}

static int read_facts(const Options *o, Manifest *m, Err **reterr) {
        int r;

        if (!o->image_version || !name_ok(o->image_version))
                return wrong_value(reterr, "version", str_or(o->image_version, ""),
                                "a version of letters, digits, '.', '_', '-'");
        if (!o->compatible)
                return wrong_value(reterr, "compatible", "",
                                "what the machines have as Compatible= in abupdated.conf");
        if (o->epoch && parse_u64(o->epoch, &m->epoch) < 0)
                return wrong_value(reterr, "epoch", o->epoch, "a number");
        /* 0 stands for no limit */
        if (o->valid_until &&
                        (read_time(o->valid_until, &m->valid_until) < 0 || m->valid_until == 0))
                return wrong_value(reterr, "valid-until", o->valid_until,
                                "YYYY-MM-DD, YYYY-MM-DD HH:MM:SS (UTC) or @SECONDS");
        if (str_set(&m->version, o->image_version) < 0 ||
                        str_set(&m->compatible, o->compatible) < 0 ||
                        str_set(&m->version_text, o->version_text) < 0 ||
                        str_set(&m->min_daemon, o->min_daemon) < 0)
                return err_new(reterr, ENOMEM, "out of memory");
        r = read_allow(o->allow, m, reterr);
        return r < 0 ? r : read_build_time(m, reterr);
}

static int read_compression(const Options *o, MakeArgs *args, Err **reterr) {
        const char *level = o->compress ? str_after(o->compress, "zstd") : NULL;
        uint64_t n = LEVEL_DEFAULT;

        if (!o->compress || str_eq(o->compress, "none"))
                return 0;
        if (!level || (*level && (*level != ':' || parse_u64(level + 1, &n) < 0 || n < 1 ||
                                                 n > 19)))
                return wrong_value(
                                reterr, "compress", o->compress, "none, zstd or zstd:1 to zstd:19");
        args->compression = COMPRESSION_ZSTD;
        args->level = (int) n;
        return 0;
}

/* Would a manifest take what the options say? Sending may take hours, and would be for nothing. */
static int check_facts(const Making *k, Err **reterr) {
        uint8_t chunk[1][MANIFEST_DIGEST_SIZE] = {{0}};
        ManifestSubvol subvols[OPTION_LIST_MAX] = {0};
        char names[OPTION_LIST_MAX][16];
        _cleanup_(freep) char *text = NULL;
        _cleanup_(err_freep) Err *why = NULL;
        Manifest m = *k->m;
        size_t size;
        int r;

        for (size_t i = 0; i < k->n; i++) {
                snprintf(names[i], sizeof(names[i]), "%zu", i);
                subvols[i] = (ManifestSubvol){
                                .name = names[i], .path = k->paths[i], .uuid = {1, (uint8_t) i}};
        }
        m.payload_size = m.stream_size = m.stream_version = m.n_chunks = 1;
        m.chunks = chunk;
        m.subvols = subvols;
        m.n_subvols = k->n;
        r = manifest_format(&m, &text, &size, &why);
        return r < 0 ? err_kind(reterr, ERR_INVALID_ARGUMENT, EINVAL,
                                       "No image can be made of these options: %s", err_text(why))
                     : 0;
}

static int write_manifest(const Making *k, const char *name, Err **reterr) {
        _cleanup_(freep) char *text = NULL, *signed_text = NULL;
        size_t size;
        int r = manifest_format(k->m, &text, &size, reterr);

        if (r >= 0)
                r = image_sign_text(&k->signers, text, &signed_text, reterr);
        return r < 0 ? r : image_write_draft(name, signed_text, strlen(signed_text), reterr);
}

static int write_image(Client *c, Making *k, const char *draft, Err **reterr) {
        _cleanup_(fd_closep) int fd = open(draft, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
        MakeArgs args = {.sources = k->sources, .n_sources = k->n, .out_fd = fd};
        int r;

        if (fd < 0)
                return err_sys(reterr, errno, "Cannot make %s", draft);
        r = read_compression(&c->opt, &args, reterr);
        if (r >= 0)
                r = image_make(&args, k->m, reterr);
        if (r < 0 && reterr && err_kind_of(*reterr) == ERR_FORBIDDEN_CONTENT)
                err_add(reterr, r, "machines refuse that unless --allow= names it");
        if (r >= 0 && fsync(fd) < 0)
                r = err_sys(reterr, errno, "Cannot write %s", draft);
        return r;
}

/* Both are written before anything is replaced. No moment leaves an image beside the manifest of another one, which would
 * look like an image that somebody has damaged: an earlier manifest goes first, and without one an image is not signed. */
static int make(Client *c, Making *k, Err **reterr) {
        const char *image = c->opt.output;
        _cleanup_(freep) char *draft = str_printf("%s.new", image),
                              *manifest = str_printf("%s.manifest", image);
        int r;

        if (!draft || !manifest)
                return err_new(reterr, ENOMEM, "out of memory");
        r = write_image(c, k, draft, reterr);
        if (r >= 0)
                r = write_manifest(k, manifest, reterr);
        if (r >= 0)
                r = image_remove(manifest, reterr);
        if (r >= 0)
                r = image_take_draft(image, reterr);
        if (r >= 0)
                r = image_take_draft(manifest, reterr);
        if (r < 0) {
                image_drop_draft(image);
                image_drop_draft(manifest);
        }
        return r;
}

int verb_create(Client *c, int argc _unused_, char *argv[] _unused_, Err **reterr) {
        const Options *o = &c->opt;
        _cleanup_(making_done) Making k = {0};
        char text[16];
        int r = 0;

        if (!o->output || o->from.n == 0)
                return err_kind(reterr, ERR_INVALID_ARGUMENT, EINVAL,
                                "'abctl image create' wants --from=SUBVOL and --output=FILE");
        if (o->parent.n != 0 && o->parent.n != o->from.n)
                return err_kind(reterr, ERR_INVALID_ARGUMENT, EINVAL,
                                "give --parent for every --from, or for none");
        k.m = calloc(1, sizeof(*k.m));
        if (!k.m)
                return err_new(reterr, ENOMEM, "out of memory");
        for (size_t i = 0; r >= 0 && i < o->from.n; i++)
                r = add_source(&k, o->from.values[i], o->parent.n ? o->parent.values[i] : NULL,
                                reterr);
        if (r >= 0)
                r = read_facts(o, k.m, reterr);
        if (r >= 0)
                r = check_facts(&k, reterr);
        if (r >= 0)
                r = image_signers(c, &k.signers, reterr);
        if (r >= 0)
                r = make(c, &k, reterr);
        if (r < 0)
                return r;
        say(c, "%s: version %s, %s in %zu chunk%s, %s", o->output, k.m->version,
                        format_bytes(text, k.m->payload_size), k.m->n_chunks,
                        k.m->n_chunks == 1 ? "" : "s",
                        o->key.n > 0 ? "signed." : "NOT signed: 'abctl image sign' does that.");
        return EXIT_DONE;
}
