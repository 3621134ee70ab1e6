/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* os/tree.h - walks a whole tree, by metadata alone. */
#pragma once

#include "base/err.h"

/* Adds up what the files of one file system take on disk (hard links once), reading every inode
 * on the way: an inode that cannot be read is an error. Does not enter subvolumes inside. */
int tree_size(int dir_fd, uint64_t *ret_bytes, Err **reterr);
