/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* client/remount.h - a sealed system is mounted read-only; with a sprout below it, it can be written to. */
#pragma once

#include "client/client.h"

/* Takes the read-only flag off every mount of the file system that is mounted at @root ("" is /), in this mount namespace:
 * the superblock has none any more. *@ret_count: how many had one. Repeatable. -EPERM for others than root. */
int remount_writable(const char *root, size_t *ret_count, Err **reterr);
