/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* update/slot-steps.h - the few moves that several jobs share: place, arm, record. Each is
 * repeatable. */
#pragma once

#include "update/job.h"

/* Where SlotOps has target(): the slot that a new version goes to, and a note on what becomes of it. New strings. */
int slot_choose(Job *j, char **ret_id, char **ret_note, Err **reterr);

/* A Step, for what a new version will stand on; nothing to do where the configuration does not ask for it. */
bool slot_scrub_wanted(const Machine *m);
int step_scrub(Job *j, void *context, Err **reterr);

/* What the version with this tree brings for the command line of its kernel goes into @slot->cmdline, where
 * the loader takes it from us: 1. @from: the running slot that it was made from, NULL: none; where an open
 * transaction on that has changed nothing of it, it is what @from had: 0. ERR_WRONG_LAYOUT: a loader
 * would read it as something else. Writes nothing. */
int slot_take_words(Job *j, const Slot *from, int root_fd, Slot *slot, Err **reterr);

/* From the quarantine to slots/: builds the tree, asks the boot backend whether it fits, places
 * it. @from: as in slot_take_words(). Fills in kernel, cmdline and read_only of @draft. */
int slot_build_and_place(
                Job *j, const char *quarantine, const Slot *from, Slot *draft, Err **reterr);

/* Kernel and initrd of the tree go to where the loader reads them, for @slot. Where they do not fit,
 * those of bad slots make room, the oldest first. */
int slot_bring(Job *j, const Slot *slot, int root_fd, Err **reterr);

/* The same, once more, for a slot that is there; then slot_arm(). For slots that were placed by
 * another job: what the loader has of them may be gone or torn. */
int slot_bring_and_arm(Job *j, const char *id, unsigned tries, Err **reterr);

/* Makes slot @id the next boot and reads that back; j->facts is fresh afterwards. With @tries 0
 * for good. What another slot had armed is disarmed first, so that at every moment one slot at
 * most is counted. */
int slot_arm(Job *j, const char *id, unsigned tries, Err **reterr);

/* An undo for Step: the records of all slots, the refused versions and the choice of the next boot
 * become what j->before says. Fails where what booted next before was no slot and something else
 * does now: there is no way back then. */
int undo_facts(Job *j, void *context, Err **reterr);

/* An error of @kind where there is no whole version in the slot. */
int slot_must_hold(const Slot *s, ErrKind kind, Err **reterr);

/* Writes state and reason of a slot. */
int slot_set_state(Job *j, Slot *s, SlotState state, const char *reason, Err **reterr);

/* Marks the slot good, as the most recently proven one. */
int slot_set_good(Job *j, Slot *s, const char *reason, Err **reterr);

/* Where @s has proven itself: it is the one to come back to, more than any other but @left, which
 * is given up (may be NULL). */
int slot_prefer(Machine *m, const Facts *f, Slot *s, const Slot *left, Err **reterr);

/* The slot is bad and its version refused from now on. */
int slot_condemn(Machine *m, Slot *s, const char *reason, Err **reterr);

/* Commit's last step: the booted slot @s is staged again, under the name that it gives itself
 * now. */
int transaction_close(Job *j, Slot *s, Err **reterr);

/* The slot that a transaction changed is bad; @what ends the sentence "transaction t5 ...". */
int transaction_condemn(Machine *m, Slot *s, const char *what, Err **reterr);

/* As if begin had never been: nothing was changed under this transaction. */
int transaction_forget(Machine *m, Slot *s, Err **reterr);
