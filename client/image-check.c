/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* abctl image info, verify: what a machine would think of an image, without a machine. Needs no rights. */
#include "client/image-verbs.h"
#include "client/image.h"
#include "client/json.h"
#include "client/manifest.h"
#include "client/out.h"
#include "stream/receive.h"

static const char *word(bool yes) {
        return yes ? "yes" : "no";
}

static int print_json(const Client *c, const Manifest *m, const SignedText *t, const Err *why) {
        json_object *o = json_object_new_object(), *subvols = json_object_new_array(),
                    *signers = json_object_new_array();
        int r = jset_str(o, "version", m->version);

        if (r >= 0)
                r = jset_str(o, "compatible", m->compatible);
        if (r >= 0)
                r = jset_u64(o, "epoch", m->epoch);
        if (r >= 0)
                r = jset_u64(o, "build-time", m->build_time);
        if (r >= 0)
                r = jset_u64(o, "valid-until", m->valid_until);
        if (r >= 0)
                r = jset_u64(o, "payload-size", m->payload_size);
        if (r >= 0)
                r = jset_bool(o, "trusted", !why);
        if (r >= 0)
                r = jset_str(o, "problem", why ? err_text(why) : "");
        for (size_t i = 0; r >= 0 && i < m->n_subvols; i++) {
                json_object *s = json_object_new_object();

                r = jset_str(s, "name", m->subvols[i].name);
                if (r >= 0)
                        r = jset_str(s, "path", m->subvols[i].path);
                if (r >= 0)
                        r = jset_bool(s, "incremental", m->subvols[i].incremental);
                if (r >= 0)
                        r = jappend(subvols, s);
                else
                        json_object_put(s);
        }
        for (size_t i = 0; r >= 0 && i < t->n; i++)
                r = jappend(signers, json_object_new_string(t->signatures[i].signer));
        if (r >= 0)
                r = jset(o, "subvolumes", subvols);
        else
                json_object_put(subvols);
        if (r >= 0)
                r = jset(o, "signers", signers);
        else
                json_object_put(signers);
        if (r >= 0)
                out_json(c, o);
        json_object_put(o);
        return r;
}

static void print_text(const Manifest *m, const SignedText *t, const Err *why) {
        char size[2][16], uuid[UUID_TEXT_SIZE];

        printf("Version:     %s%s%s%s\n", m->version, m->version_text ? " (" : "",
                        str_or(m->version_text, ""), m->version_text ? ")" : "");
        printf("Compatible:  %s\nEpoch:       %" PRIu64 "\n", m->compatible, m->epoch);
        printf("Image:       %s in %zu chunk%s", format_bytes(size[0], m->payload_size),
                        m->n_chunks, m->n_chunks == 1 ? "" : "s");
        if (m->compression != COMPRESSION_NONE)
                printf(", packed with %s, %s unpacked", compression_to_string(m->compression),
                                format_bytes(size[1], m->stream_size));
        printf("\nHolds:       devices %s, setuid %s, security attributes %s\n",
                        word(m->allow_devices), word(m->allow_setuid), word(m->allow_xattrs));
        for (size_t i = 0; i < m->n_subvols; i++) {
                const ManifestSubvol *s = &m->subvols[i];

                printf("Subvolume:   %s at %s, %s, %" PRIu64 " inodes", s->name, s->path,
                                format_bytes(size[0], s->bytes), s->inodes);
                printf(s->incremental ? ", builds on %s\n" : "\n", uuid_format(uuid, s->parent));
        }
        for (size_t i = 0; i < t->n; i++)
                printf("Signed by:   %s %s\n", t->signatures[i].method, t->signatures[i].signer);
        printf("Trusted:     %s%s\n", why ? "no: " : "yes", why ? err_text(why) : "");
}

/* Of an image, what lies beside it. Not signed is no error here: *@ret_why. */
static int load_info(const char *where, char **text, SignedText *t, Manifest **m, Err **ret_why,
                Err **reterr) {
        _cleanup_(freep) char *beside = str_printf("%s.manifest", where);
        bool is_image = beside && access(beside, F_OK) == 0;
        size_t size;
        int r;

        if (!beside)
                return err_new(reterr, ENOMEM, "out of memory");
        r = manifest_load(is_image ? beside : where, 0, text, &size, reterr);
        if (r < 0)
                return r;
        r = signed_text_split(*text, size, t, ret_why);
        if (r < 0 && err_kind_of(*ret_why) == ERR_NOT_SIGNED) {
                *t = (SignedText){.text = *text, .size = size};
                r = 0;
        } else if (r < 0)
                *reterr = MOVE(*ret_why);
        if (r >= 0)
                r = manifest_parse(t->text, t->size, m, reterr);
        if (r >= 0)
                return 0;
        return is_image ? err_add(reterr, r, "%s", beside)
                        : err_add(reterr, r, "%s is no manifest, and there is no %s", where,
                                          beside);
}

int verb_info(Client *c, int argc _unused_, char *argv[], Err **reterr) {
        _cleanup_(signed_text_done) SignedText t = {0};
        _cleanup_(image_trust_done) ImageTrust trust = {0};
        _cleanup_(manifest_freep) Manifest *m = NULL;
        _cleanup_(err_freep) Err *why = NULL;
        _cleanup_(freep) char *text = NULL;
        int r = load_info(argv[0], &text, &t, &m, &why, reterr);

        if (r < 0)
                return r;
        if (!why && image_trust(c, &trust, &why) >= 0)
                (void) image_trust_verify(&trust, &t, &why);
        if (c->json != JSON_OFF)
                r = print_json(c, m, &t, why);
        else
                print_text(m, &t, why);
        return r < 0 ? err_new(reterr, r, "out of memory") : EXIT_DONE;
}

typedef struct Check {
        const Manifest *m;
        size_t n;
} Check;

static int on_subvol_done(void *userdata, const StreamSubvol *s, Err **reterr) {
        Check *k = userdata;
        const ManifestSubvol *a = &k->m->subvols[k->n];

        if (k->n++ < k->m->n_subvols && str_eq(a->name, s->name) &&
                        memcmp(a->uuid, s->uuid, 16) == 0 && a->incremental == s->incremental &&
                        a->bytes == s->bytes && a->inodes == s->inodes)
                return stream_check_parent(a, s, reterr);
        return err_kind(reterr, ERR_BAD_IMAGE, EBADMSG,
                        "subvolume %s is not what the manifest announces", s->name);
}

/* Of what the image has brought, the last one is not whole yet: data may come from there as well. */
static int on_clone_source(void *userdata, const uint8_t uuid[static 16], Err **reterr) {
        const Check *k = userdata;

        for (size_t i = 0; i <= k->n && i < k->m->n_subvols; i++)
                if (memcmp(k->m->subvols[i].uuid, uuid, 16) == 0)
                        return 0;
        return stream_check_source(k->m, uuid, reterr);
}

static int check_image(const char *where, const Manifest *m, Err **reterr) {
        _cleanup_(stream_freep) Stream *s = NULL;
        _cleanup_(image_done) Image image = {.fd = -1};
        Check k = {.m = m};
        int r = image_open(where, 0, &image, reterr);

        if (r >= 0)
                r = stream_open(&(StreamArgs){.input_fd = image.fd,
                                                .manifest = m,
                                                .limits = stream_limits(m),
                                                .userdata = &k,
                                                .subvol_done = on_subvol_done,
                                                .clone_source = on_clone_source},
                                &s, reterr);
        if (r >= 0)
                r = stream_check(s, reterr);
        if (r >= 0 && k.n != m->n_subvols)
                r = err_kind(reterr, ERR_TRUNCATED, EBADMSG, "the image lacks subvolumes");
        return r;
}

int verb_verify(Client *c, int argc _unused_, char *argv[], Err **reterr) {
        const char *image = argv[0];
        _cleanup_(freep) char *beside = NULL, *text = NULL;
        _cleanup_(signed_text_done) SignedText t = {0};
        _cleanup_(image_trust_done) ImageTrust trust = {0};
        _cleanup_(manifest_freep) Manifest *m = NULL;
        size_t size;
        int r;

        if (strstr(image, "://") || (str_eq(image, "-") && !c->opt.manifest))
                return err_kind(reterr, ERR_INVALID_ARGUMENT, EINVAL,
                                "'abctl image verify' wants an image: a file, or - with "
                                "--manifest=");
        beside = c->opt.manifest ? strdup(c->opt.manifest) : str_printf("%s.manifest", image);
        if (!beside)
                return err_new(reterr, ENOMEM, "out of memory");
        if (access(beside, F_OK) < 0 && errno == ENOENT)
                return err_kind(reterr, ERR_NOT_SIGNED, ENOENT,
                                "%s has no manifest, and so is not signed: there is no %s", image,
                                beside);
        r = manifest_load(beside, 0, &text, &size, reterr);
        if (r >= 0)
                r = image_trust(c, &trust, reterr);
        if (r >= 0)
                r = signed_text_split(text, size, &t, reterr);
        if (r >= 0)
                r = image_trust_verify(&trust, &t, reterr);
        if (r >= 0)
                r = manifest_parse(t.text, t.size, &m, reterr);
        if (r >= 0)
                r = manifest_check_time(m, trust.now, reterr);
        if (r >= 0)
                r = check_image(image, m, reterr);
        if (r < 0)
                return r;
        say(c, "%s is what was signed: version %s for %s.", image, m->version, m->compatible);
        return EXIT_DONE;
}
