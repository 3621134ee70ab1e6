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
INITRD = {"late": flows.late, "emergency": flows.emergency}
LOADER = {"lost": flows.lost, "emergency": flows.emergency}
CUTS = {"power-cuts": flows.power_cuts}
WRITES = {"write-power-cuts": flows.write_cuts}
DEFAULT = ("snapshot", "default-subvolume")
CASES = {
    **rows("", *DEFAULT, {**FLOWS, **INITRD, **CUTS}),
    **rows("dracut-", *DEFAULT, FLOWS, initrd="dracut"),
    **rows("grub-", "snapshot", "grub", {**FLOWS, **LOADER, **CUTS}),
    **rows("grub-slot-", "snapshot", "grub", {"update": from_slot, **CUTS},
           options=("kernel-from-slot",)),
    **rows("grub-", "snapshot", "grub", {"esp-power-cuts": esp.grub_power_cuts, **WRITES}),
    **rows("dracut-grub-", "snapshot", "grub", {**FLOWS, **LOADER}, initrd="dracut"),
    **rows("sd-boot-", "snapshot", "bls", {**FLOWS, **LOADER, **CUTS}),
    **rows("sd-boot-", "snapshot", "bls", {"esp-power-cuts": esp.bls_power_cuts, **WRITES}),
    **rows("dracut-sd-boot-", "snapshot", "bls", {"update": flows.there_and_back}, initrd="dracut"),
}

if __name__ == "__main__":
    sys.exit(main(CASES, __doc__))
