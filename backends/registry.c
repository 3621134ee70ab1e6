/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "backends/boot-backend.h"

static const SlotOps *const slot_backends[] = {&snapshot_slot_ops, &seed_slot_ops, &none_slot_ops};
static const BootOps *const boot_backends[] = {&default_subvolume_boot_ops, &bls_boot_ops,
                &grub_boot_ops, &uboot_boot_ops, &exec_boot_ops, &none_boot_ops};

int slot_backend_open(const World *w, SlotBackend **ret, Err **reterr) {
        for (size_t i = 0; i < ARRAY_SIZE(slot_backends); i++)
                if (str_eq(slot_backends[i]->name, w->config->backend))
                        return slot_backends[i]->open(w, ret, reterr);
        return err_kind(reterr, ERR_BAD_CONFIG, EINVAL,
                        "Backend=%s in [Update] is unknown; there are snapshot, seed and none",
                        w->config->backend);
}

int boot_backend_open(const World *w, BootBackend **ret, Err **reterr) {
        for (size_t i = 0; i < ARRAY_SIZE(boot_backends); i++)
                if (str_eq(boot_backends[i]->name, w->config->boot))
                        return boot_backends[i]->open(w, ret, reterr);
        return err_kind(reterr, ERR_BAD_CONFIG, EINVAL,
                        "Boot=%s in [Update] is unknown; there are default-subvolume, bls, grub, "
                        "uboot, exec and none",
                        w->config->boot);
}
