/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* backends/boot-copies.h - copies of kernels and initrds on the boot partition, one for each
 * content: slots with the same kernel share it. A loader cannot read them from a slot: not through
 * Btrfs, and not a sprout's from its seed. Knows no loader's words.
 *
 * abupdate/kernels/<linux or initrd>-<SHA-256, the first half>   a copy; its name says what is in it
 * abupdate/slot-<id>/files                                       which ones the slot needs
 * abupdate/slot-<id>/linux, initrd                               instead of both: an installer's */
#pragma once

#include "backends/slot-backend.h"

/* Paths on the boot partition, with a slash in front. @initrd NULL: none. */
typedef struct BootPaths {
        char *linux_path, *initrd;
} BootPaths;

void boot_paths_done(BootPaths *p);

/* Kernel and initrd of the tree are on the boot partition, and the slot needs them. What is there
 * with the right content is not written again, what is torn is written anew. Before anything is
 * changed: -ENOSPC, or -EAGAIN where it would fit without what @spare alone need. Durable; repeatable.
 * A power cut leaves copies and drafts that no slot needs. */
int boot_copies_bring(int boot_fd, const char *slot, int root_fd, const char *const spare[],
                Err **reterr);

/* How many bytes are taken by what the slots @spare need (ids, NULL at the end) and no other slot,
 * but for @keep (names of copies; NULL: none). What somebody else's boot entry names, too, is in it
 * and would stay. */
int boot_copies_held(int boot_fd, const char *const spare[], const char *const keep[2],
                uint64_t *ret, Err **reterr);

/* Where they are. Reads them: ERR_WRONG_LAYOUT where one is missing, ERR_VERIFY_FAILED where it is
 * not what was brought. */
int boot_copies_find(int boot_fd, const char *slot, BootPaths *ret, Err **reterr);

/* The slot needs none any more; what nobody else needs goes, as with boot_copies_clean(). Nothing
 * of the loader may point there. Absent is fine. */
int boot_copies_drop(int boot_fd, const char *slot, const char *words, Err **reterr);

/* What power cuts have left goes: the needs of slots that are not in @slots, copies that nobody
 * needs. Whatever is named in a boot entry or in @words (what else the loader reads; may be NULL)
 * stays. */
int boot_copies_clean(int boot_fd, const SlotList *slots, const char *words, Err **reterr);
