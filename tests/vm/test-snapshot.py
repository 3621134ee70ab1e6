#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Snapshot slots: real loaders, kernels, initrds and systemd, under QEMU."""

import sys

from guest import esp, flows
from guest.runner import main, rows


def from_slot(case):
    """GRUB reads kernel and initrd from the snapshots: update, blessed, rolled back; nothing is copied."""
    flows.there_and_back(case)
    case.do("grep 'BOOT_IMAGE=[^ ]*/@abupdate/slots/1/root/boot/vmlinuz' /proc/cmdline")
    case.do("test ! -e /efi/abupdate/kernels")


FLOWS = {"update": flows.there_and_back, "sick": flows.sick, "panic": flows.panic}
INITRD = {"late": flows.late, "power-cuts": flows.power_cuts}
LOADER = {"lost": flows.lost}
DEFAULT = ("snapshot", "default-subvolume")
CASES = {
    **rows("", *DEFAULT, {**FLOWS, **INITRD}),
    **rows("dracut-", *DEFAULT, {n: FLOWS[n] for n in ("update", "panic")}, initrd="dracut"),
    **rows("grub-", "snapshot", "grub", {**FLOWS, **LOADER}),
    **rows("grub-slot-", "snapshot", "grub", {"update": from_slot},
           options=("kernel-from-slot",)),
    **rows("dracut-grub-", "snapshot", "grub", LOADER, initrd="dracut"),
    **rows("sd-boot-", "snapshot", "bls", {**FLOWS, **LOADER}),
    **rows("sd-boot-", "snapshot", "bls", {"esp-power-cuts": esp.bls_power_cuts}),
    **rows("grub-", "snapshot", "grub", {"esp-power-cuts": esp.grub_power_cuts}),
}

if __name__ == "__main__":
    sys.exit(main(CASES, __doc__))
