#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Versions that are devices: a sealed disk and its sprout under real loaders, kernels and systemd."""

import sys
import time

from guest import esp, flows
from guest.runner import main, rows

ALL = ["boot", "a", "b"]


def ping_pong(case):
    """Update, blessed, merged; the new disk boots alone; the next version goes onto the old disk."""
    case.up("1.0")
    case.update("2.0")
    case.reboot()
    case.up("2.0")
    case.blessed("2.0")
    case.equal([case.slot("2.0")[k] for k in ("id", "device-kind", "depends-on")], ["b", "sprout", "a"])
    case.merge()
    case.equal(case.slot("2.0")["depends-on"], "")
    case.guest.disks = ["boot", "b"]
    case.reboot()
    case.up("2.0")
    case.equal(case.slot("2.0")["device-kind"], "sealed")
    case.guest.disks = ALL
    case.reboot()
    case.up("2.0")
    case.update("2.2")
    case.reboot()
    case.up("2.2")
    case.blessed("2.2")
    case.equal(case.slot("2.2")["id"], "a")


def cable(case):
    """The disk that is written to is pulled: the update fails and says why, the machine lives on."""
    case.up("1.0")
    case.guest.send(case.order("2.1"))
    case.wait_for('"phase":"write"')
    case.guest.unplug("b")
    code, said = case.guest.answer(600)
    case.equal(code != 0, True, said)
    case.equal("b (/dev/disk/by-id/virtio-b, it was /dev/vdc) is gone; attach it, reboot" in said, True, said)
    case.equal(case.running(), "1.0")
    case.equal([s["device-kind"] for s in case.status()["slots"]], ["sealed", "missing"], said)
    case.reboot()
    case.up("1.0")
    case.blessed("1.0")
    case.update("2.1")
    case.reboot()
    case.up("2.1")
    return said.strip().splitlines()[-1]


def late(case):
    """A sprout whose seed appears when the initrd is looking for the root already: it boots."""
    case.up("1.0")
    case.update("2.0")
    case.reboot()
    case.guest.late = ["a"]
    case.guest.start()
    case.wait_for("Run /init")
    time.sleep(15)
    case.guest.plug("a")
    case.up("2.0")
    case.blessed("2.0")
    case.equal(case.guest.boots, 2)


def slow(case):
    """A root that appears when the initrd is looking for it already: what has to be done before the mount is done."""
    case.guest.late = ["a"]
    case.guest.start()
    case.wait_for("Btrfs loaded")
    time.sleep(30)
    case.guest.plug("a")
    case.up("1.0")
    case.do("! dmesg | grep 'abupdate-initrd: .*No such file'")


def in_place(case):
    """The running system is changed by hand: what was committed boots, what was not does not."""
    case.up("1.0")
    case.do("touch /etc/mine", code=1)
    case.do("abctl begin --in-place")
    case.do("touch /etc/mine")
    case.guest.kill()
    case.guest.start()
    case.up("1.0")
    case.do("test -e /etc/mine", code=1)
    case.equal(case.status()["transaction"], "")
    case.do("abctl begin --in-place")
    case.do("sed -i 's/_ID=1.0/_ID=1.5/; s/_VERSION=1.0/_VERSION=1.5/' /etc/os-release && touch /etc/mine")
    case.do("abctl commit")
    case.reboot()
    case.up("1.5")
    case.blessed("1.5")
    case.do("test -e /etc/mine")


def multipath(case):
    """A device with two paths: one is pulled during the update, at the next boot it is the root by its map."""
    case.up("1.0")
    case.guest.send(case.order("2.1"))
    case.wait_for('"phase":"write"')
    case.guest.unplug("b-2")
    code, said = case.guest.answer(900)
    case.equal(code, 0, said)
    case.reboot()
    case.up("2.1")
    case.blessed("2.1")
    case.do("ls -d /sys/fs/btrfs/*/devices/dm-*")
    case.guest.unplug("b")
    case.do("echo 3 >/proc/sys/vm/drop_caches && sha256sum --quiet -c /usr/share/bulk.sha256")
    return case.do("dmesg | grep -o 'abupdate: the root is .*' || echo the map was found at once").strip()


def lost_map(case):
    """Both paths are pulled during the update: it fails and says why; the next boot is complete."""
    case.up("1.0")
    case.guest.send(case.order("2.1"))
    case.wait_for('"phase":"write"')
    case.guest.unplug("b")
    case.guest.unplug("b-2")
    code, said = case.guest.answer(600)
    case.equal(code != 0, True, said)
    case.equal(case.running(), "1.0")
    case.reboot()
    case.up("1.0")
    case.blessed("1.0")
    return said.strip().splitlines()[-1]


FLOWS = {"ping-pong": ping_pong, "update": flows.there_and_back, "sick": flows.sick,
         "panic": flows.panic, "lost": flows.lost, "cable": cable, "late": late, "in-place": in_place,
         "power-cuts": flows.power_cuts}
CASES = {
    **rows("sd-boot-", "seed", "bls", FLOWS),
    **rows("grub-", "seed", "grub", FLOWS),
    **rows("sd-boot-", "seed", "bls", {"esp-power-cuts": esp.bls_power_cuts}),
    **rows("grub-", "seed", "grub", {"esp-power-cuts": esp.grub_power_cuts}),
    **rows("sd-boot-", "seed", "bls", {"multipath": multipath, "multipath-lost": lost_map},
           options=("multipath",)),
    **rows("dracut-", "seed", "bls", {"ping-pong": ping_pong, "late": late, "slow": slow}, initrd="dracut"),
}

if __name__ == "__main__":
    sys.exit(main(CASES, __doc__))
