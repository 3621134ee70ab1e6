/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* stream/contents.h - the SHA-256 of the content of each file of a subvolume whose tree digest was found right, so that
 * a subvolume which builds on it has only those files read that differ.
 *
 * A file is the same where it has the same inode number and was last changed by the same transaction: a snapshot keeps
 * both, every change afterwards brings a later transaction. Kept in ".contents-UUID" beside the subvolume, with a
 * checksum; what cannot be read counts as unknown. */
#pragma once

#include "os/btrfs.h"
#include "stream/manifest.h"

/* So many files are remembered, the first ones; the others are read again. 6 MiB, which may be needed twice: of a base and of
 * what builds on it. */
#define CONTENTS_MAX ((size_t) 1 << 17)

typedef struct Contents Contents;

int contents_new(Contents **ret);
Contents *contents_free(Contents *c);
DEFINE_CLEANUP(Contents, contents_free)

/* Of a Contents that was not loaded. Behind CONTENTS_MAX nothing is added. -ENOMEM. */
int contents_add(Contents *c, uint64_t ino, uint64_t transid,
                const uint8_t digest[static MANIFEST_DIGEST_SIZE]);

/* For the subvolume that @info describes, into @dir_fd, where it lies. Durable; old or new after a power cut. */
int contents_save(Contents *c, int dir_fd, const SubvolInfo *info, Err **reterr);

/* What was saved of the subvolume at @fd; -ENODATA where there is none, it is damaged, or the subvolume is not what it was:
 * read-only, and not changed since. Without a story. */
int contents_load(int fd, Contents **ret);

/* Was the subvolume at @fd changed since its contents were saved? Also what a tree digest does not see counts. False where
 * nothing was saved. */
bool contents_outdated(int fd);

/* Of a Contents that was loaded; borrowed. NULL: not known. */
const uint8_t *contents_find(const Contents *c, uint64_t ino, uint64_t transid);
