/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* backends/kernel.h - which kernels a tree holds. */
#pragma once

#include "base/err.h"

/* The versions that have modules in usr/lib/modules (or lib/modules), the newest last;
 * NULL-terminated, may be empty. */
int kernel_versions(int root_fd, char ***ret, Err **reterr);

/* Does the tree hold a kernel image that a loader can take from it? */
bool kernel_image_inside(int root_fd);
