/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* backends/kernel.h - which kernels a tree holds. */
#pragma once

#include "base/err.h"

/* What kernels are called: in the folder of their modules as it stands here, in /boot with "-<version>" behind.
 * The first that is there counts. NULL at the end. */
extern const char *const kernel_names[];

/* The versions that have modules (modules.dep, or a kernel beside them) in usr/lib/modules (or
 * lib/modules), the newest last; NULL-terminated, may be empty. */
int kernel_versions(int root_fd, char ***ret, Err **reterr);

/* Does the tree hold a kernel image that a loader can take from it? */
bool kernel_image_inside(int root_fd);
