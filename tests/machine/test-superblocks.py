#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Somebody writes to the superblock of a seed, which every sprout of it looks at."""

import os
import sys

from machinery import devices, disk, harness

CHANGE = "echo $VERSION >etc/motd; cp usr/bin/hello usr/bin/hello.$VERSION"


def test_label_on_the_seed(case):
    """Somebody writes to the superblock of the seed: put right before the next boot, and told."""
    it = case.pair()
    case.to(it, "2.0", change=CHANGE)
    seed = it.part_hash("a")
    # from outside, where no mount table says that it is in use
    disk.run("btrfs", "filesystem", "label", devices.device(it, "a"), "other")
    case.check(it.part_hash("a") != seed, "it was not written to")
    told = case.abctl(it, "check", code=harness.ANY)
    case.check("info: devices: " in told.out and "as before" in told.out, told)
    events = case.abctl(it, "--json=short", "history").data
    case.check(any(e["type"] == "repair" for e in events), events)
    it.reboot()
    case.runs(it, "2.0", "b")
    case.abctl(it, "merge")
    it.reboot()
    case.runs(it, "2.0", "b")


def test_label_on_the_seed_while_off(case):
    """Written to while no worker looks: the initrd puts it back, where it helps, and only there."""
    it = case.pair(size=1280 << 20)
    case.to(it, "2.0", base="1.0", change=CHANGE)
    it.shutdown()
    seed = devices.superblocks(it, "a")
    label = ("sh", "-c", "btrfs filesystem label $0 other")
    devices.on_device(it, "a", *label)
    changed = it.part_hash("a")
    case.check(devices.superblocks(it, "a") != seed, "it was not written to")
    devices.stays_off(case, it, initrd=False)
    case.equal(it.part_hash("a"), changed)
    it.boot()
    case.runs(it, "2.0", "b")
    it.shutdown()
    case.check(devices.superblocks(it, "a") == seed, "they are not as they were")
    it.boot()
    case.abctl(it, "merge")
    it.reboot()
    it.shutdown()
    devices.on_device(it, "a", *label)
    changed = it.part_hash("a")
    it.boot()
    case.runs(it, "2.0", "b")
    case.equal(it.part_hash("a"), changed)
    case.abctl(it, "rollback", "a")
    it.reboot()
    case.runs(it, "1.0", "a")


def test_labels_on_the_seed(case):
    """Written to so often that its old trees may be gone: the old version is not given for the new."""
    it = case.pair(size=1280 << 20)
    case.to(it, "2.0", base="1.0", change=CHANGE)
    it.shutdown()
    seed = devices.superblocks(it, "a")
    for number in range(3):
        devices.on_device(it, "a", "sh", "-c", f"btrfs filesystem label $0 other{number}")
    changed = devices.superblocks(it, "a")
    devices.stays_off(case, it)
    case.check(devices.superblocks(it, "a") == changed, "it was written to, and that did not help")
    # as a power cut leaves it, between the deed and the look at what it did
    with open(f"{it.folder}/disk.img", "r+b") as file:
        os.pwrite(file.fileno(), seed[0], disk.regions(it.spec)["a"][0] + (64 << 10))
    devices.stays_off(case, it)
    case.check(devices.superblocks(it, "a") == changed, "what was there before a cut is lost")
    devices.on_device(it, "a", "sh", "-ec", "m=$(mktemp -d); mount -o ro $0 $m; umount $m; rmdir $m")


def test_labels_on_the_seed_in_use(case):
    """Written to more than once under the running system: a worker tells it, and leaves it alone."""
    it = case.pair(size=1280 << 20)
    case.to(it, "2.0", base="1.0", change=CHANGE)
    for number in range(2):
        disk.run("btrfs", "filesystem", "label", devices.device(it, "a"), f"other{number}")
    changed = devices.superblocks(it, "a")
    found = case.abctl(it, "--json=short", "check", code=harness.ANY).data
    case.check(any("too much to take it back" in f["problem"] for f in found), found)
    case.check(devices.superblocks(it, "a") == changed, "it was written to without a look at what it does")
    events = case.abctl(it, "--json=short", "history").data
    case.check(not any(e["type"] == "repair" for e in events), events)
    case.abctl(it, "merge")
    it.reboot()
    case.runs(it, "2.0", "b")
    case.check(devices.superblocks(it, "a") == changed, "a merge has written to it")


def test_seed_of_two_sprouts(case):
    """What goes back is what the running sprout was built on, not what was kept last."""
    it = case.pair(size=1280 << 20)
    case.to(it, "2.0", base="1.0", change=CHANGE)
    seed, saved = devices.superblocks(it, "a"), f"{it.root}/efi/abupdate/state/supers-a"
    it.shutdown()
    devices.on_device(it, "a", "sh", "-c", "btrfs filesystem label $0 other")
    later = devices.superblocks(it, "a")
    it.boot()
    case.check(devices.superblocks(it, "a") == seed, "the initrd has not put it back")
    with open(f"{case.tmp}/later", "w+b") as file:
        file.write(b"".join(later))
        file.seek(0)
        case.equal(it.run("sh", "-c", f"test -e {saved} && cat >{saved}", stdin=file).code, 0)
    case.abctl(it, "check", code=harness.ANY)
    case.check(devices.superblocks(it, "a") == seed, "what belongs to another sprout was written")
    it.reboot(initrd=False)
    case.runs(it, "2.0", "b")


def test_seed_that_was_used(case):
    """Somebody has used the seed as a file system of its own: what was written there stays."""
    it = case.pair(size=1280 << 20)
    case.to(it, "2.0", base="1.0", change=CHANGE)
    it.shutdown()
    devices.on_device(it, "a", "sh", "-ec", "btrfstune -f -S 0 $0; m=$(mktemp -d); for n in 1 2 3; do "
              "mount $0 $m; date >$m/used.$n; umount $m; done; rmdir $m; btrfstune -S 1 $0")
    used = it.part_hash("a")
    devices.stays_off(case, it)
    case.equal(it.part_hash("a"), used)


def test_seed_that_was_used_and_sealed_again(case):
    """A sprout of what a device was before is no complete version, though the device is sealed; an update takes it."""
    it = case.pair(size=1280 << 20)
    case.update(it, "2.0", "--no-arm", base="1.0", change=CHANGE)
    it.shutdown()
    devices.on_device(it, "a", "sh", "-ec", "btrfstune -f -S 0 $0; m=$(mktemp -d); for n in 1 2 3; do "
                      "mount -o subvolid=5 $0 $m; date >$m/used.$n; umount $m; done; rmdir $m; btrfstune -S 1 $0")
    it.boot()
    case.runs(it, "1.0", "a")
    case.equal((case.slot(it, "b")["state"], case.device_kind(it, "b")), ("incomplete", "sprout"))
    case.check("is not on device a any more" in case.abctl(it, "check", code=harness.ANY).out)
    case.refused(it, "rollback", "b", error=harness.ANY_ERROR, code=harness.ANY)
    case.update(it, "3.0", base="1.0", change=CHANGE)
    it.reboot()
    case.runs(it, "3.0", "b")


if __name__ == "__main__":
    sys.exit(harness.main(globals()))
