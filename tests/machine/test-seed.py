#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Versions that are devices: a sealed one runs, its sprout takes the next version."""

import os
import re
import struct
import sys

from machinery import devices, disk, harness

CHANGE = "echo $VERSION >etc/motd; cp usr/bin/hello usr/bin/hello.$VERSION"


def test_life_of_an_update(case):
    """Install, reboot, bless: the sprout takes it all, the seed keeps every byte."""
    it = case.pair()
    seed = it.part_hash("a")
    case.expect(it, state="steady", booted="a", next="a", good="a", version="1.0", backend="seed",
                boot_backend="bls")
    case.equal(case.slot(it, "b")["state"], "empty")
    case.update(it, "2.0", change=CHANGE)
    case.expect(it, state="staged", booted="a", next="b", good="a", reboot_required=True)
    case.runs(it, "1.0", "a")
    it.reboot()
    case.expect(it, state="trial", booted="b", next="b", good="a", version="2.0")
    case.equal(it.run("cat", f"{it.root}/etc/motd").out, "2.0\n")
    case.abctl(it, "mark", "good")
    case.expect(it, state="steady", booted="b", next="b", good="b")
    it.reboot()
    case.runs(it, "2.0", "b")
    case.equal(it.part_hash("a"), seed)


def test_incremental_with_parts(case):
    """An incremental image of several subvolumes finds its base in the seed."""
    it = case.pair(subvolumes="apps:/opt/apps data:/usr/share/data")
    seed = it.part_hash("a")
    case.update(it, "2.0", base="1.0", change=CHANGE)
    it.reboot()
    case.runs(it, "2.0", "b")
    case.equal(it.run("cat", f"{it.root}/opt/apps/content").out, "apps of 2.0\n")
    case.equal(it.part_hash("a"), seed)


def test_rollback_before_the_reboot(case):
    """What was armed is taken back; the sprout is used again, for another version."""
    it = case.pair()
    seed = it.part_hash("a")
    case.update(it, "2.0", change=CHANGE)
    case.refused(it, "update", case.image(it, "3.0", change=CHANGE), error="Conflict")
    case.abctl(it, "rollback")
    case.expect(it, state="steady", booted="a", next="a", good="a")
    case.equal(case.slot(it, "b")["state"], "bad")
    case.refused(it, "update", case.image(it, "2.0"), error="Refused", code=6)
    case.update(it, "3.0", change=CHANGE)
    it.reboot()
    case.runs(it, "3.0", "b")
    case.equal(it.part_hash("a"), seed)


def test_rollback_then_reboot(case):
    """A sprout that was taken back is dropped when the seed has booted, and is a spare then."""
    it = case.pair()
    seed = it.part_hash("a")
    case.update(it, "2.0", change=CHANGE)
    case.abctl(it, "rollback")
    it.reboot()
    case.runs(it, "1.0", "a")
    case.abctl(it, "prune")
    case.equal(case.slot(it, "b")["state"], "empty")
    case.update(it, "3.0", change=CHANGE)
    it.reboot()
    case.runs(it, "3.0", "b")
    case.equal(it.part_hash("a"), seed)


def test_rollback_after_the_reboot(case):
    """The new version runs and is not wanted: the old device boots again."""
    it = case.pair()
    seed = it.part_hash("a")
    case.update(it, "2.0", change=CHANGE)
    it.reboot()
    case.abctl(it, "rollback")
    case.expect(it, state="staged", booted="b", next="a", good="a")
    it.reboot()
    case.runs(it, "1.0", "a")
    case.equal(case.slot(it, "b")["state"], "bad")
    case.refused(it, "rollback", "b", error="Refused", code=6)
    case.update(it, "3.0", change=CHANGE)
    it.reboot()
    case.runs(it, "3.0", "b")
    case.equal(it.part_hash("a"), seed)


def test_lost_trial(case):
    """The loader counts, gives up, and takes the seed: the version is refused from then on."""
    it = case.pair()
    seed = it.part_hash("a")
    case.update(it, "2.0", change=CHANGE)
    for left in (2, 1, 0):
        it.reboot()
        case.runs(it, "2.0", "b")
        case.equal(case.slot(it, "b")["tries-left"], left)
    it.reboot()
    case.runs(it, "1.0", "a")
    case.expect(it, state="fallback", next="a")
    case.equal(case.slot(it, "b")["state"], "bad")
    case.refused(it, "update", case.image(it, "2.0"), error="Refused", code=6)
    case.equal([name for name in it.entries() if "-b" in name], [])
    case.update(it, "3.0", change=CHANGE)
    it.reboot()
    case.runs(it, "3.0", "b")
    case.equal(it.part_hash("a"), seed)


def test_staged_and_armed_later(case):
    """Without arming the version waits on its device, over reboots of the old one."""
    it = case.pair()
    seed = it.part_hash("a")
    case.update(it, "2.0", "--no-arm", change=CHANGE)
    case.expect(it, state="steady", next="a")
    it.reboot()
    case.equal(case.slot(it, "b")["state"], "staged")
    case.abctl(it, "rollback", "b")
    it.reboot()
    case.runs(it, "2.0", "b")
    case.equal(it.part_hash("a"), seed)


def test_failed_update_leaves_a_sprout(case):
    """An image that breaks off: the old version boots, and the next one takes the same sprout."""
    it = case.pair()
    seed = it.part_hash("a")
    image = case.image(it, "2.0", change=CHANGE)
    with open(image, "r+b") as file:
        file.truncate(os.path.getsize(image) // 2)
    case.refused(it, "update", image, error=("Truncated", "BadStream"))
    case.equal(case.slot(it, "b")["state"], "empty")
    case.update(it, "3.0", change=CHANGE)
    it.reboot()
    case.runs(it, "3.0", "b")
    case.equal(it.part_hash("a"), seed)


def test_kernel_that_damages_seeds(case):
    """An old kernel is refused by its version."""
    it = case.pair(boot={"release": "5.10.0-30-amd64"})
    case.refused(it, "update", case.image(it, "2.0"), error="NotSupported")
    it.reboot(release="6.18.0")
    case.update(it, "2.0")


def test_not_sealed(case):
    """A device that is no seed runs, and says what is missing; the next boot seals it."""
    it = case.pair(boot=False)
    devices.on_device(it, "a", "btrfstune", "-f", "-S", "0")
    it.boot(initrd=False)
    image = case.image(it, "2.0")
    case.refused(it, "update", image, error="NotSealed")
    it.reboot()
    case.abctl(it, "update", image)
    it.reboot()
    case.runs(it, "2.0", "b")


def test_devices_of_other_names(case):
    """The kernel knows the devices under other names than the configuration, as maps have them."""
    it = case.pair(boot={"other_names": True})
    case.expect(it, state="steady", booted="a", next="a", good="a")
    case.equal([case.device_kind(it, name) for name in "ab"], ["sealed", "spare"])
    case.check(f"/run/mapper-a {it.root} btrfs" in it.run("cat", "/proc/self/mounts").out)
    case.update(it, "2.0", change=CHANGE)
    it.reboot(other_names=True)
    case.abctl(it, "mark", "good")
    case.equal([case.device_kind(it, name) for name in "ab"], ["sealed", "sprout"])
    case.abctl(it, "merge")
    it.reboot(other_names=True)
    case.expect(it, state="steady", booted="b", version="2.0")
    case.equal(case.device_kind(it, "b"), "sealed")
    case.update(it, "3.0", change=CHANGE)


def test_to_and_fro(case):
    """Ten times from one device to the other and back, incremental images all the way."""
    it = case.pair(size=1280 << 20)
    base = "1.0"
    for number in range(10):
        version, old, new = f"{number + 2}.0", *("ab" if number % 2 == 0 else "ba")
        sealed = it.part_hash(old)
        dry = case.abctl(it, "update", "--dry-run",
                         case.image(it, version, base=base, change=CHANGE)).out
        case.equal("the way back" in dry, number > 0, dry)
        case.update(it, version, base=base)
        it.reboot()
        case.abctl(it, "mark", "good")
        case.abctl(it, "merge")
        case.equal(it.part_hash(old), sealed)
        it.reboot()
        case.runs(it, version, new)
        base = version


def test_sealed_with_a_log(case):
    """What was synced by fsync alone before a power cut is there when the device is sealed."""
    it = case.pair(size=1280 << 20)
    case.merged(it, "2.0", base="1.0", change=CHANGE)
    seed = it.part_hash("a")
    code = f"import os; f = os.open('{it.root}/etc/mine', os.O_CREAT | os.O_WRONLY); " \
        "os.write(f, b'mine'); os.fsync(f)"
    done = it.run("sh", "-ec", f'mount -o remount,rw {it.root}; sync -f {it.root}; python3 -c "{code}"')
    case.equal(done.code, 0, done)
    it.power_cut()
    log_root, = struct.unpack_from("<Q", devices.superblocks(it, "b")[0], 96)
    case.check(log_root != 0, "there is no log tree to replay")
    it.boot()
    case.expect(it, state="steady", booted="b", version="2.0")
    case.equal(case.device_kind(it, "b"), "sealed")
    log_root, = struct.unpack_from("<Q", devices.superblocks(it, "b")[0], 96)
    case.equal(log_root, 0)
    case.equal(it.run("cat", f"{it.root}/etc/mine").out, "mine")
    case.equal(it.part_hash("a"), seed)
    case.update(it, "3.0", base="2.0", change=CHANGE)
    it.reboot()
    case.runs(it, "3.0", "a")


def forget_seed(folder):
    """What a hand makes of the entry of a sprout: its seed is not named any more."""
    name, = (name for name in os.listdir(f"{folder}/loader/entries") if name.startswith("abupdate-b"))
    path = f"{folder}/loader/entries/{name}"
    with open(path, encoding="utf-8") as file:
        text = file.read()
    with open(path, "w", encoding="utf-8") as file:
        file.write(re.sub(r",device=[^ ,]*", "", text))
    return text


def test_entry_without_its_seed(case):
    """An entry that names the sprout alone does not boot; the tries run out, and the old version runs."""
    it = case.pair(size=1280 << 20)
    seed = it.part_hash("a")
    case.update(it, "2.0", base="1.0", change=CHANGE)
    it.shutdown()
    case.check(",device=" in it.in_boot(forget_seed))
    sprout = it.part_hash("b")
    for left in (2, 1, 0):
        devices.stays_off(case, it)
        name = next(n for n in it.entries() if n.startswith("abupdate-b"))
        case.check(name.startswith(f"abupdate-b+{left}-"), name)
    case.equal(it.part_hash("b"), sprout)
    it.boot()
    case.runs(it, "1.0", "a")
    case.expect(it, state="fallback", next="a")
    case.equal(it.part_hash("a"), seed)
    case.update(it, "3.0", base="1.0", change=CHANGE)
    it.reboot()
    case.runs(it, "3.0", "b")


def test_dead_sprout(case):
    """The disk of a good version dies before its merge: the seed, chosen at the menu, is made next."""
    it = case.pair()
    case.to(it, "2.0")
    it.shutdown()
    start, _ = disk.regions(it.spec)["b"]
    with open(f"{it.folder}/disk.img", "r+b") as file:
        for copy in (64 << 10, 64 << 20):
            file.seek(start + copy)
            file.write(bytes(4096))
    entry = "loader/entries/abupdate-b.conf"
    it.in_boot(lambda folder: os.rename(f"{folder}/{entry}", f"{folder}/hidden"))
    it.boot()
    it.in_boot(lambda folder: os.rename(f"{folder}/hidden", f"{folder}/{entry}"))
    case.abctl(it, "rollback")
    case.equal(it.next_slot(), "a")
    it.reboot()
    case.expect(it, booted="a", version="1.0", next="a")


if __name__ == "__main__":
    sys.exit(harness.main(globals()))
