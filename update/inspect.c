/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What a manifest says, and what this machine says to it. Anybody may ask: nothing is read as a manifest before its
 * signatures were found good, whatever Verification= says. */
#include "stream/keys.h"
#include "update/epoch.h"
#include "update/incoming.h"
#include "update/jobs.h"
#include "update/kept.h"
#include "update/policy.h"
#include "update/records.h"
#include "update/trust.h"

#define PATIENCE (5 * USEC_PER_SEC)

typedef struct Inspection {
        Job *job;
        uint64_t deadline; /* monotonic */
        Manifest *manifest;
} Inspection;

static void inspection_done(Inspection *in) {
        in->manifest = manifest_free(in->manifest);
}

static bool on_cancelled(void *userdata) {
        const Inspection *in = userdata;
        const JobSink *sink = in->job->sink;

        return now_monotonic() > in->deadline || sink->cancelled(sink->userdata);
}

static int read_manifest(Inspection *in, int fd, Err **reterr) {
        const TrustArgs args = {.m = in->job->m,
                        .fd = fd,
                        .always = true,
                        .userdata = in,
                        .cancelled = on_cancelled};
        _cleanup_(err_freep) Err *why = NULL;
        int r = trust_read(&args, &in->manifest, &why);

        if (r < 0 && err_kind_of(why) == ERR_CANCELLED && now_monotonic() > in->deadline)
                return err_kind(reterr, ERR_STALLED, ETIMEDOUT,
                                "the manifest did not come within %llu seconds",
                                (unsigned long long) (PATIENCE / USEC_PER_SEC));
        if (r < 0 && reterr)
                *reterr = MOVE(why);
        return r;
}

/* As an update without options would be refused. */
static int check(const Inspection *in, Err **reterr) {
        Machine *m = in->job->m;
        const Facts *f = &in->job->facts;
        const UpdateOptions none = {.version = in->manifest->version};
        const PolicyFacts about = {
                        .epoch = policy_epoch(m->config, f, epoch_read(m->state_fd)),
                        .now = keyring_now(m->root_fd),
        };
        int r = policy_check(m->config, f, &about, in->manifest, &none, reterr);

        if (r >= 0)
                r = plan_check_version(f, in->manifest->version, &none, reterr);
        for (size_t i = 0; r >= 0 && i < in->manifest->n_subvols; i++) {
                const ManifestSubvol *s = &in->manifest->subvols[i];
                _cleanup_(fd_closep) int fd = -1;

                if (s->incremental && m->slots->ops->find_base)
                        r = m->slots->ops->find_base(m->slots, s->parent, &fd, reterr);
        }
        return r;
}

static json_object *places_of(const Manifest *m, bool bases) {
        json_object *list = json_object_new_array();

        for (size_t i = 0; list && i < m->n_subvols; i++) {
                const ManifestSubvol *s = &m->subvols[i];
                char text[UUID_TEXT_SIZE];

                if (!bases || s->incremental)
                        (void) json_object_array_add(list,
                                        json_object_new_string(bases ? uuid_format(text, s->parent)
                                                                     : s->path));
        }
        return list;
}

static int describe(Machine *machine, const Manifest *m, json_object *o, Err **reterr) {
        _cleanup_(kept_done) Kept kept = KEPT_NONE;
        const struct {
                const char *key, *text;
        } texts[] = {
                        {"version", m->version},
                        {"version-text", m->version_text},
                        {"compatible", m->compatible},
                        {"min-daemon", m->min_daemon},
                        {"compression", compression_to_string(m->compression)},
        };
        const struct {
                const char *key;
                uint64_t n;
        } numbers[] = {
                        {"epoch", m->epoch},
                        {"build-time", m->build_time * USEC_PER_SEC},
                        {"valid-until", m->valid_until * USEC_PER_SEC},
                        {"size", m->payload_size},
                        {"bytes", manifest_bytes(m)},
                        {"inodes", manifest_inodes(m)},
        };
        int r = 0;

        for (size_t i = 0; r >= 0 && i < ARRAY_SIZE(texts); i++)
                r = json_put(o, texts[i].key, json_object_new_string(str_or(texts[i].text, "")));
        for (size_t i = 0; r >= 0 && i < ARRAY_SIZE(numbers); i++)
                r = json_put(o, numbers[i].key, json_object_new_uint64(numbers[i].n));
        kept_open(machine, m, &kept);
        if (r >= 0)
                r = json_put(o, "kept", json_object_new_uint64(kept_bytes(&kept)));
        if (r >= 0)
                r = json_put(o, "places", places_of(m, /* bases= */ false));
        if (r >= 0)
                r = json_put(o, "bases", places_of(m, /* bases= */ true));
        return r < 0 ? err_new(reterr, ENOMEM, "out of memory") : 0;
}

int job_inspect(Job *j, int manifest_fd, json_object **ret, Err **reterr) {
        _cleanup_(inspection_done)
                        Inspection in = {.job = j, .deadline = now_monotonic() + PATIENCE};
        _cleanup_(json_freep) json_object *o = json_object_new_object();
        _cleanup_(err_freep) Err *why = NULL;
        int r = o ? read_manifest(&in, manifest_fd, reterr)
                  : err_new(reterr, ENOMEM, "out of memory");

        if (r < 0)
                return r;
        r = check(&in, &why);
        if (r == -ENOMEM)
                return err_new(reterr, ENOMEM, "out of memory");
        if (json_put(o, "error",
                            json_object_new_string(r < 0 ? err_kind_name(err_kind_of(why)) : "")) <
                                        0 ||
                        json_put(o, "message", json_object_new_string(r < 0 ? err_text(why) : "")) <
                                        0)
                return err_new(reterr, ENOMEM, "out of memory");
        r = describe(j->m, in.manifest, o, reterr);
        if (r >= 0)
                r = job_says(j, reterr, "version %s was inspected", in.manifest->version);
        if (r >= 0)
                *ret = MOVE(o);
        return r;
}
