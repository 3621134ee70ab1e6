/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "update/slot-steps.h"
#include "backends/kernel.h"
#include "os/file.h"
#include "update/records.h"

int slot_build_and_place(Job *j, const char *quarantine, Slot *draft, Err **reterr) {
        _cleanup_(strv_freep) char **kernels = NULL;
        _cleanup_(fd_closep) int root_fd = -1;
        SlotBackend *slots = j->m->slots;
        uint64_t number;
        size_t n = 0;
        int r;

        r = slots->ops->build(slots, quarantine, draft, &root_fd, reterr);
        if (r >= 0)
                r = j->m->boot->ops->fits(j->m->boot, root_fd, reterr);
        if (r >= 0)
                r = kernel_versions(root_fd, &kernels, reterr);
        if (r < 0)
                return r;
        while (kernels[n])
                n++;
        if (n > 0 && str_set(&draft->kernel, kernels[n - 1]) < 0)
                return err_new(reterr, ENOMEM, "out of memory");
        r = slots->ops->place(slots, quarantine, draft, reterr);
        /* a number is never used twice; the next record makes that last beyond the slot */
        if (r >= 0 && parse_u64(draft->id, &number) >= 0 && number > j->m->journal->last_slot)
                j->m->journal->last_slot = number;
        return r;
}

int slot_arm(Job *j, const char *slot_id, unsigned tries, Err **reterr) {
        /* of its own: callers take it from the facts, which are read anew in here */
        _cleanup_(freep) char *id = strdup(slot_id);
        BootBackend *boot = j->m->boot;
        const Slot *booted, *fallback, *slot, *next;
        int r;

        if (!id)
                return err_new(reterr, ENOMEM, "out of memory");
        if (!boot->ops->arm)
                return err_kind(reterr, ERR_NOT_SUPPORTED, EOPNOTSUPP, "Boot=%s cannot switch",
                                boot->ops->name);
        if (j->facts.boot.problem)
                return err_kind(reterr, ERR_WRONG_LAYOUT, EMEDIUMTYPE, "%s", j->facts.boot.problem);
        booted = facts_booted(&j->facts);
        next = facts_next(&j->facts);
        slot = slot_find(j->facts.slots, id);
        if (!slot)
                return err_kind(reterr, ERR_UNKNOWN_SLOT, ENOENT, "slot %s is gone", id);
        fallback = slot_find(j->facts.slots, slot->fallback);
        if (!fallback)
                fallback = booted && booted->state == SLOT_GOOD && booted != slot
                                           ? booted
                                           : slot_newest_good(j->facts.slots, slot);
        if (tries > 0 && next && fallback && next != fallback && next != slot) {
                r = boot->ops->arm(boot, fallback, 0, NULL, reterr);
                if (r < 0)
                        return r;
        }
        r = boot->ops->arm(boot, slot, tries, fallback, reterr);
        if (r >= 0)
                r = job_refresh(j, reterr);
        if (r >= 0 && !str_eq(j->facts.boot.next, id))
                r = err_kind(reterr, ERR_VERIFY_FAILED, EIO,
                                "slot %s was armed, but slot %s boots next", id,
                                str_or(j->facts.boot.next, "(none)"));
        return r;
}

int slot_set_state(Job *j, Slot *s, SlotState state, const char *reason, Err **reterr) {
        s->state = state;
        if (str_set(&s->reason, reason) < 0)
                return err_new(reterr, ENOMEM, "out of memory");
        return j->m->slots->ops->record(j->m->slots, s, reterr);
}

int slot_set_good(Job *j, Slot *s, const char *reason, Err **reterr) {
        s->blessed = facts_next_blessing(&j->facts);
        return slot_set_state(j, s, SLOT_GOOD, reason, reterr);
}

int slot_condemn(Machine *m, Slot *s, const char *reason, Err **reterr) {
        int r = refused_add(m->state_fd, s->version, reason, reterr);

        if (r < 0 || s->state == SLOT_BAD)
                return r;
        s->state = SLOT_BAD;
        if (str_set(&s->reason, reason) < 0)
                return err_new(reterr, ENOMEM, "out of memory");
        return m->slots->ops->record(m->slots, s, reterr);
}
