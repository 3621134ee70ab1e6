/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What knows no table: programs that use one backend link no other. */
#include "backends/boot-backend.h"

SlotBackend *slot_backend_close(SlotBackend *b) {
        return b ? b->ops->close(b) : NULL;
}

BootBackend *boot_backend_close(BootBackend *b) {
        return b ? b->ops->close(b) : NULL;
}

void boot_facts_done(BootFacts *f) {
        free(f->next);
        free(f->trial);
        free(f->fallback);
        free(f->exhausted);
        free(f->problem);
        *f = (BootFacts){.tries_left = -1};
}
