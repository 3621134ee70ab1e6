/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* daemon/spawn.h - starts a worker process with exactly the descriptors that worker-api.h promises. */
#pragma once

#include <sys/types.h>

#include "base/err.h"

/* @program with --worker and, unless NULL, --root=@root; @socket, @image and @manifest (or -1) are borrowed and become
 * descriptors 3, 4 and 5, stdout joins stderr, nothing else is inherited. The worker leads a session and process group of
 * its own and gets SIGTERM when this process dies. A program that cannot be executed says so in a result packet. */
int spawn_worker(const char *program, const char *root, int socket, int image, int manifest,
                pid_t *ret, Err **reterr);
