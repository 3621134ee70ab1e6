/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* backends/grub.h - what abupdated and GRUB tell each other, in the folder abupdate of the boot
 * partition: the environment, and an entry of the menu for each slot. The other side of both is
 * grub/01_abupdate. What is done with them is in grub.c. */
#pragma once

#include "base/err.h"

/* The choice. */
typedef struct GrubEnv {
        char *next;     /* slot; NULL: GRUB takes what it likes */
        int left;       /* tries of that slot; -1: not counted */
        char *fallback; /* slot to take instead when none is left; NULL: what GRUB likes */
        char *slots; /* those in the menu, blanks between, what was armed last first; NULL: none */
        uint64_t serial;
        int copy; /* which of the two holds; -1: none */
} GrubEnv;

void grub_env_done(GrubEnv *e);

/* The copy that holds. Where none does, the choice is empty: GRUB sees the same. */
int grub_env_read(int home_fd, GrubEnv *ret, Err **reterr);

/* Writes the other copy, with a higher serial: THE COMMIT. In place, so no file system has to
 * rename anything; all of it is in one sector, and the copy that was read stays as it is. Durable.
 * @e->slots is cut where it is too long. */
int grub_env_write(int home_fd, GrubEnv *e, Err **reterr);

/* @slot in front of the others of the list, or (@first false) out of it. */
int grub_env_list(GrubEnv *e, const char *slot, bool first);

typedef struct GrubEntry {
        const char *slot, *title;
        const char *fs_uuid; /* of the file system with the files; NULL: the boot partition */
        const char *linux_path, *initrd, *options; /* @initrd may be NULL */
} GrubEntry;

/* The text of slot-<slot>/entry.cfg. NULL: no memory. */
char *grub_entry_text(const GrubEntry *e);

/* The options in such a text, NULL where there are none; -ENOMEM. */
int grub_entry_options(const char *text, char **ret);

/* What the folder of a slot says: 1 and its entry, 0, or -ENOMEM. @ret_cut: the power went while it was
 * written anew; where the entry has come to harm then, @ret is the copy that GRUB takes. */
int grub_entry_read(int dir_fd, char **ret, bool *ret_cut);

/* Writes the entry anew where it is another one. Durable; repeatable. A power cut leaves the old or the
 * new one: FAT has no safe rename, so a copy is there meanwhile, which GRUB takes where the entry is empty. */
int grub_entry_write(int dir_fd, const char *text, Err **reterr);
