/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "update/policy.h"
#include "update/version.h"

uint64_t policy_epoch(const Config *config, const Facts *f, uint64_t stored) {
        uint64_t max = stored > config->epoch ? stored : config->epoch;

        slots_foreach (s, f->slots)
                if (slot_proven(s) && s->epoch > max)
                        max = s->epoch;
        return max;
}

static int check_kind(const Config *config, const Manifest *m, Err **reterr) {
        if (!config->compatible)
                return err_kind(reterr, ERR_NOT_COMPATIBLE, EPERM,
                                "the image is made for '%s', and this machine does not say what it "
                                "is; set Compatible= in [Update] of abupdated.conf",
                                m->compatible);
        if (!str_eq(config->compatible, m->compatible))
                return err_kind(reterr, ERR_NOT_COMPATIBLE, EPERM,
                                "the image is made for '%s', and this machine is '%s'",
                                m->compatible, config->compatible);
        if (m->min_daemon && version_compare(ABUPDATE_VERSION, m->min_daemon) < 0)
                return err_kind(reterr, ERR_NOT_SUPPORTED, EOPNOTSUPP,
                                "the image asks for abupdate %s or later; this "
                                "is " ABUPDATE_VERSION,
                                m->min_daemon);
        return 0;
}

/* The newest of what runs and what has proven itself: an older one brings back faults that were mended. */
static const Slot *newest(const Facts *f) {
        const Slot *best = NULL;

        slots_foreach (s, f->slots)
                if ((s->booted || slot_proven(s)) && s->state != SLOT_BAD &&
                                s->state != SLOT_INCOMPLETE &&
                                (!best || version_compare(s->version, best->version) > 0))
                        best = s;
        return best;
}

static int check_order(const Facts *f, const PolicyFacts *about, const Manifest *m,
                const UpdateOptions *o, Err **reterr) {
        const Slot *s = newest(f);

        if (m->epoch < about->epoch)
                return err_kind(reterr, ERR_DOWNGRADE, EPERM,
                                "version %s is of epoch %" PRIu64
                                ", and this machine has reached epoch %" PRIu64
                                ": nothing of an earlier epoch is installed again",
                                m->version, m->epoch, about->epoch);
        if (!s || o->allow_downgrade || version_compare(m->version, s->version) >= 0)
                return 0;
        return err_kind(reterr, ERR_DOWNGRADE, EPERM,
                        "version %s is older than version %s in slot %s; to install it all the "
                        "same: "
                        "--allow-downgrade",
                        m->version, s->version, s->id);
}

int policy_check(const Config *config, const Facts *facts, const PolicyFacts *about,
                const Manifest *m, const UpdateOptions *options, Err **reterr) {
        int r = check_kind(config, m, reterr);

        if (r >= 0)
                r = manifest_check_time(m, about->now, reterr);
        if (r >= 0)
                r = check_order(facts, about, m, options, reterr);
        if (r >= 0 && options->version && !str_eq(options->version, m->version))
                r = err_kind(reterr, ERR_INVALID_ARGUMENT, EINVAL,
                                "the manifest says version %s; an image with a manifest cannot be "
                                "called %s",
                                m->version, options->version);
        return r;
}
