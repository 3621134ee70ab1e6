/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "base/log.h"
#include "daemon/worker.h"

int worker_main(const char *root) {
        log_error("%s: this build has no worker", root);
        return EXIT_FAILURE;
}
