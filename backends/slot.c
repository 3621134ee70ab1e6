/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "backends/slot.h"
#include "base/enum.h"
#include "base/kv.h"

static const char *const slot_state_names[_SLOT_STATE_MAX] = {
                [SLOT_EMPTY] = "empty",
                [SLOT_INCOMPLETE] = "incomplete",
                [SLOT_STAGED] = "staged",
                [SLOT_TRIAL] = "trial",
                [SLOT_GOOD] = "good",
                [SLOT_BAD] = "bad",
};
DEFINE_ENUM(slot_state, SlotState, slot_state_names, _SLOT_STATE_MAX, _SLOT_STATE_INVALID)

void slot_done(Slot *s) {
        free(s->id);
        free(s->version);
        free(s->reason);
        free(s->subvolumes);
        free(s->kernel);
        free(s->cmdline);
        free(s->transaction);
        free(s->fallback);
        free(s->boot_options);
        free(s->device);
        free(s->device_kind);
        free(s->depends);
        free(s->fsid);
        *s = (Slot){0};
}

SlotList *slot_list_free(SlotList *l) {
        if (l) {
                slots_foreach (s, l)
                        slot_done(s);
                free(l->slots);
                free(l);
        }
        return NULL;
}

Slot *slot_find(const SlotList *l, const char *id) {
        if (id && *id)
                slots_foreach (s, l)
                        if (str_eq(s->id, id))
                                return s;
        return NULL;
}

Slot *slot_booted(const SlotList *l) {
        slots_foreach (s, l)
                if (s->booted)
                        return s;
        return NULL;
}

bool slot_holds_version(const Slot *s) {
        return s->state != SLOT_EMPTY && s->state != SLOT_INCOMPLETE;
}

bool slot_proven(const Slot *s) {
        return s->state == SLOT_GOOD && !(s->transaction && s->fallback);
}

Slot *slot_newest_good(const SlotList *l, const Slot *except) {
        Slot *best = NULL;

        slots_foreach (s, l)
                if (slot_proven(s) && s != except && (!best || s->blessed >= best->blessed))
                        best = s;
        return best;
}

int slot_format(const Slot *s, char **ret) {
        _cleanup_(kv_freep) Kv *kv = NULL;
        int r = kv_new(&kv);

        if (r >= 0)
                r = kv_set(kv, "State", slot_state_to_string(s->state));
        if (r >= 0)
                r = kv_set(kv, "Version", s->version);
        if (r >= 0)
                r = kv_set(kv, "Reason", s->reason);
        if (r >= 0)
                r = kv_set(kv, "Pinned", s->pinned ? "yes" : NULL);
        if (r >= 0)
                r = kv_setf(kv, "Created", "%" PRIu64, s->created);
        if (r >= 0)
                r = kv_setf(kv, "Blessed", "%" PRIu64, s->blessed);
        if (r >= 0)
                r = s->proven > 0 ? kv_setf(kv, "Proven", "%" PRIu64, s->proven) : 0;
        if (r >= 0)
                r = kv_setf(kv, "Size", "%" PRIu64, s->size);
        if (r >= 0)
                r = kv_setf(kv, "Exclusive", "%" PRIu64, s->exclusive);
        if (r >= 0)
                r = s->epoch > 0 ? kv_setf(kv, "Epoch", "%" PRIu64, s->epoch) : 0;
        if (r >= 0)
                r = s->tries > 0 ? kv_setf(kv, "Tries", "%" PRIu64, s->tries) : 0;
        if (r >= 0)
                r = kv_set(kv, "Subvolumes", s->subvolumes);
        if (r >= 0)
                r = kv_set(kv, "Kernel", s->kernel);
        if (r >= 0) /* an empty value would be none */
                r = kv_set(kv, "Cmdline", str_eq(s->cmdline, "") ? " " : s->cmdline);
        if (r >= 0)
                r = kv_set(kv, "Transaction", s->transaction);
        if (r >= 0)
                r = kv_set(kv, "Fallback", s->fallback);
        if (r >= 0)
                r = kv_set(kv, "Depends", s->depends);
        if (r >= 0)
                r = kv_set(kv, "Fsid", s->fsid);
        return r < 0 ? r : kv_format(kv, ret);
}

static int read_texts(const Kv *kv, Slot *s) {
        int r = str_set(&s->version, kv_get(kv, "Version"));

        if (r >= 0)
                r = str_set(&s->reason, kv_get(kv, "Reason"));
        if (r >= 0)
                r = str_set(&s->subvolumes, kv_get(kv, "Subvolumes"));
        if (r >= 0)
                r = str_set(&s->kernel, kv_get(kv, "Kernel"));
        if (r >= 0)
                r = str_set(&s->cmdline, kv_get(kv, "Cmdline"));
        if (r >= 0 && str_eq(s->cmdline, " "))
                *s->cmdline = '\0';
        if (r >= 0)
                r = str_set(&s->transaction, kv_get(kv, "Transaction"));
        if (r >= 0)
                r = str_set(&s->fallback, kv_get(kv, "Fallback"));
        if (r >= 0)
                r = str_set(&s->depends, kv_get(kv, "Depends"));
        if (r >= 0)
                r = str_set(&s->fsid, kv_get(kv, "Fsid"));
        return r;
}

int slot_parse(const char *text, size_t size, Slot *ret, Err **reterr) {
        _cleanup_(kv_freep) Kv *kv = NULL;
        _cleanup_(slot_done) Slot s = {0};
        const char *state;
        int r;

        r = kv_parse(text, size, &kv, reterr);
        if (r < 0)
                return r;
        state = kv_get(kv, "State");
        s.state = slot_state_from_string(state);
        if (s.state != SLOT_STAGED && s.state != SLOT_GOOD && s.state != SLOT_BAD)
                return err_new(reterr, EBADMSG, "State=%s is not staged, good or bad",
                                str_or(state, ""));
        if (!kv_get(kv, "Version"))
                return err_new(reterr, EBADMSG, "no Version=");
        if (read_texts(kv, &s) < 0)
                return err_new(reterr, ENOMEM, "out of memory");
        r = kv_get_bool(kv, "Pinned", false, &s.pinned, reterr);
        if (r >= 0)
                r = kv_get_u64(kv, "Created", 0, &s.created, reterr);
        if (r >= 0)
                r = kv_get_u64(kv, "Blessed", 0, &s.blessed, reterr);
        if (r >= 0)
                r = kv_get_u64(kv, "Proven", 0, &s.proven, reterr);
        if (r >= 0)
                r = kv_get_u64(kv, "Size", 0, &s.size, reterr);
        if (r >= 0)
                r = kv_get_u64(kv, "Exclusive", 0, &s.exclusive, reterr);
        if (r >= 0)
                r = kv_get_u64(kv, "Epoch", 0, &s.epoch, reterr);
        if (r >= 0)
                r = kv_get_u64(kv, "Tries", 0, &s.tries, reterr);
        if (r < 0)
                return r;
        *ret = s;
        s = (Slot){0};
        return 0;
}
