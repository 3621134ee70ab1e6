/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* client/manifest.h - the manifest of an image as bytes: found beside it, read whole, never believed. */
#pragma once

#include "base/err.h"

/* Where it lies: NAME.manifest for a file or a URL. New string; NULL for "-" or when memory is short. */
char *manifest_beside(const char *image);

/* Reads a file or URL, at most as much as a manifest may have. @text gets a NUL behind its end. */
int manifest_load(const char *where, unsigned retries, char **ret, size_t *ret_size, Err **reterr);

/* The manifest of @image as a descriptor for the daemon, from @where or, where that is NULL, from beside it. -1 in *@ret_fd:
 * there is none. */
int manifest_open(
                const char *image, const char *where, unsigned retries, int *ret_fd, Err **reterr);
