/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* os/os-release.h - what a tree calls itself. */
#pragma once

#include "base/err.h"

/* IMAGE_VERSION=, else VERSION_ID= of etc/os-release or usr/lib/os-release below @root_fd
 * (os-release(5)); NULL where there is none. New string. */
int os_release_version(int root_fd, char **ret, Err **reterr);
