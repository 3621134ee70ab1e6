#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Which device takes the next version, and which cannot."""

import os
import sys

from machinery import devices, disk, harness, kernel

CHANGE = "echo $VERSION >etc/motd; cp usr/bin/hello usr/bin/hello.$VERSION"


def test_old_sprout_as_spare(case):
    """A sprout that was proven, written to, and never merged takes the next update by itself."""
    it = case.pair(size=1280 << 20)
    case.to(it, "2.0", base="1.0", change=CHANGE)
    seed = it.part_hash("a")
    it.run("sh", "-ec", f"mount -o remount,rw {it.root}; echo mine >{it.root}/mine; "
           f"python3 -c 'import os; os.fsync(os.open(\"{it.root}/mine\", os.O_RDWR))'")
    case.abctl(it, "rollback", "a")
    it.power_cut()
    it.boot()
    case.runs(it, "1.0", "a")
    case.equal((case.slot(it, "b")["state"], case.device_kind(it, "b")), ("bad", "sprout"))
    case.update(it, "3.0", base="1.0", change=CHANGE)
    it.reboot()
    case.runs(it, "3.0", "b")
    case.check(not os.path.exists(f"/proc/{it.running['init']}/root{it.root}/mine"), "it is there")
    case.abctl(it, "mark", "good")
    case.abctl(it, "merge")
    case.equal(it.part_hash("a"), seed)


def test_spare_that_cannot_be_used(case):
    """Missing, mounted, of somebody else, too small: refused before anything is touched."""
    it = case.pair(boot=False)
    image = case.image(it, "2.0")
    seed = it.part_hash("a")

    def refused(change):
        spare = it.part_hash("b")
        it.boot()
        change()
        before = it.entries()
        for verb in ("--dry-run", "--"):
            case.refused(it, "update", verb, image, error="BadDevice")
        case.expect(it, state="steady", next="a", booted="a")
        case.equal(it.entries(), before)
        case.abctl(it, "check", code=harness.ANY)
        it.shutdown()
        case.equal((it.part_hash("a"), it.part_hash("b")), (seed, spare))

    refused(lambda: it.run("rm", f"{it.root}/dev/disk/by-partlabel/os-b"))
    devices.on_device(it, "b", "mkfs.ext4", "-q", "-F")
    refused(lambda: None)
    devices.on_device(it, "b", "sh", "-c", 'wipefs -qa $0; printf "LUKS\\272\\276\\0\\001" >$0')
    refused(lambda: None)
    # one Linux partition of 1024 sectors behind sector 2048, and the signature of the table
    devices.on_device(it, "b", "sh", "-c", r"wipefs -qa $0; { head -c 446 /dev/zero; printf "
              r"'\0\0\0\0\203\0\0\0\0\010\0\0\0\004\0\0'; head -c 48 /dev/zero; "
              r"printf '\125\252'; } >$0")
    refused(lambda: None)
    devices.on_device(it, "b", "sh", "-c", 'wipefs -qa $0; mkfs.btrfs -q -f $0')
    refused(lambda: None)
    devices.on_device(it, "b", "wipefs", "-qa")
    it.boot()
    case.update(it, "2.0")
    case.boots(it, ["2.0"])


def test_taken_for_something_else(case):
    """A sprout that became a person's second disk is not wiped: not after its version was dropped, nor after it ran."""
    it = case.pair()

    def refused():
        it.shutdown()
        with kernel.Loop(f"{case.tmp}/data.img") as data:
            disk.run("mkfs.btrfs", "-q", "-f", data.device)
            devices.on_device(it, "b", "sh", "-ec", f"m=$(mktemp -d); mount {data.device} $m; "
                              "btrfs -q device add -f $0 $m; echo mine >$m/mine; umount $m; rmdir $m")
        before = it.part_hash("b")
        it.boot()
        case.equal(case.device_kind(it, "b"), "foreign")
        case.refused(it, "update", case.image(it, "9.0"), error="BadDevice")
        it.shutdown()
        case.equal(it.part_hash("b"), before)
        devices.on_device(it, "b", "wipefs", "-qa")
        it.boot()

    disk.run("truncate", "-s1G", f"{case.tmp}/data.img")
    case.update(it, "2.0", "--no-arm")
    case.abctl(it, "discard", "b")
    refused()
    case.to(it, "3.0")
    case.abctl(it, "rollback", "a")
    refused()


def test_dropped_sprout(case):
    """A version that was dropped, or whose record was lost, is a spare only where we dropped it."""
    it = case.pair()
    case.update(it, "2.0", "--no-arm")
    case.abctl(it, "discard", "b")
    it.reboot()
    case.equal(case.device_kind(it, "b"), "spare")
    case.update(it, "3.0", "--no-arm")
    it.reboot()
    it.run("sh", "-c", f"rm {it.root}/efi/abupdate/state/slot-b")
    it.reboot()
    case.equal(case.device_kind(it, "b"), "foreign")


def test_staged_is_kept(case):
    """The name of a device tells no age: what is staged on a is kept beside a proven b."""
    it = case.pair(size=1280 << 20)
    case.merged(it, "2.0", base="1.0", change=CHANGE)
    it.reboot()
    case.update(it, "3.0", "--no-arm", base="2.0", change=CHANGE)
    it.reboot()
    case.abctl(it, "prune", code=3)
    case.equal((case.slot(it, "a")["version"], case.slot(it, "a")["state"]), ("3.0", "staged"))
    case.abctl(it, "rollback", "a")
    it.reboot()
    case.runs(it, "3.0", "a")


def test_boot_backend_left_out(case):
    """Without Boot= a machine of devices says what is missing, and touches nothing."""
    it = case.pair()
    before = it.part_hash("a"), it.part_hash("b"), it.entries()
    devices.configured(it, "/^Boot=/d")
    result = case.abctl(it, "check", code=harness.ANY)
    case.check("set Boot=bls" in result.out + result.err, result)
    case.equal((it.part_hash("a"), it.part_hash("b"), it.entries()), before)


def test_spare_in_use(case):
    """A device that is mounted is nobody's spare."""
    it = case.pair()
    case.update(it, "2.0", "--no-arm")
    it.reboot()
    it.run("mkdir", "/run/other")
    loop = devices.device(it, "b")
    it.run("wipefs", "-qa", loop)
    it.run("mkfs.ext4", "-q", "-F", loop)
    it.run("mount", loop, "/run/other")
    case.refused(it, "update", case.image(it, "3.0"), error="BadDevice")
    it.run("umount", "/run/other")
    case.refused(it, "update", case.image(it, "3.0"), error="BadDevice")


def test_small_spare(case):
    """A device below 1 GiB is refused before the ioctl."""
    it = case.pair(boot=False, sizes={"b": 900 << 20})
    seed, spare = it.part_hash("a"), it.part_hash("b")
    it.boot()
    case.refused(it, "update", case.image(it, "2.0"), error="BadDevice")
    it.shutdown()
    case.equal((it.part_hash("a"), it.part_hash("b")), (seed, spare))


def test_spare_too_small_for_what_runs(case):
    """A device on which what runs, or the image beside it, would not fit is refused before the ioctl."""
    it = case.pair(boot=False, size=3 << 30, sizes={"b": 1536 << 20})
    image = case.image(it, "2.0", change=f"{CHANGE}; head -c 400M /dev/urandom >usr/big")

    def refused(error, *order):
        before = it.part_hash("a"), it.part_hash("b"), it.entries()
        told = case.refused(it, *order, error=error)
        case.expect(it, state="steady", booted="a", next="a", transaction="")
        case.equal((case.slot(it, "b")["state"], case.device_kind(it, "b")), ("empty", "spare"))
        case.equal((it.part_hash("a"), it.part_hash("b"), it.entries()), before)
        return told.err

    devices.fill(it, "a", 480)
    it.boot()
    for order in (("update", "--dry-run", image), ("update", image)):
        case.check("bytes (" in refused("NoSpace", *order), "no word of how much is short")
    it.shutdown()
    devices.fill(it, "a", 1024)
    it.boot()
    small = case.image(it, "2.1", base="1.0", start="1.0")
    for order in (("update", "--dry-run", small), ("update", small), ("begin", "--in-place")):
        said = refused("BadDevice", *order)
        case.check("(" in said and "must fit on it when it is merged" in said, said)


def test_new_spare(case):
    """Between two updates the old device is taken out, and a new and larger one put in its place."""
    it = case.pair(size=1280 << 20)
    case.merged(it, "2.0", base="1.0", change=CHANGE)
    it.reboot()
    case.merged(it, "3.0", base="2.0", change=CHANGE)
    it.shutdown()
    offset, size = disk.regions(it.spec)["b"]
    it._write("machine.json", {**it.spec, "sizes": {"b": size + (256 << 20)}})
    os.truncate(f"{it.folder}/disk.img", offset)
    os.truncate(f"{it.folder}/disk.img", offset + size + (256 << 20))
    it.boot()
    case.runs(it, "3.0", "a")
    seed = it.part_hash("a")  # sealed by this boot
    case.equal((case.slot(it, "b")["state"], case.device_kind(it, "b")), ("empty", "spare"))
    case.refused(it, "rollback", "b", error=harness.ANY_ERROR, code=harness.ANY)
    case.merged(it, "4.0", base="3.0", change=CHANGE)
    case.equal(it.part_hash("a"), seed)
    it.reboot()
    case.runs(it, "4.0", "b")
    case.equal(case.slot(it, "b")["device-size"], size + (256 << 20))


THREE = "s/^Slots=.*os-b$/& c=PARTLABEL=os-c/"


def test_two_sprouts(case):
    """With a third device one seed carries two versions, one at a time; it is not reused while one needs it."""
    it = case.pair(boot=False, size=1280 << 20)
    length = os.path.getsize(f"{it.folder}/disk.img")
    it._write("machine.json", {**it.spec, "sizes": {"c": 1280 << 20}})
    os.truncate(f"{it.folder}/disk.img", length + (1280 << 20))
    it.boot()
    seed = it.part_hash("a")
    change = f"{CHANGE}; sed -i '{THREE}' etc/abupdate/abupdated.conf"

    def first_version():
        devices.configured(it, THREE)
        case.runs(it, "1.0", "a")
        case.equal(it.part_hash("a"), seed)
    first_version()
    case.update(it, "2.0", base="1.0", change=change)
    devices.reboot_configured(it)
    case.abctl(it, "mark", "good")
    case.runs(it, "2.0", "b")
    case.abctl(it, "rollback")
    it.reboot()
    first_version()
    case.abctl(it, "pin", "b")
    case.update(it, "3.0", base="1.0", change=change)
    devices.reboot_configured(it)
    case.abctl(it, "mark", "good")
    case.runs(it, "3.0", "c")
    case.equal([case.slot(it, slot)["depends-on"] for slot in "bc"], ["a", "a"])
    case.abctl(it, "merge")
    it.reboot()
    case.equal(it.part_hash("a"), seed)
    case.abctl(it, "unpin", "b")
    case.merged(it, "4.0", base="3.0", change=change)
    case.runs(it, "4.0", "b")
    case.equal(it.part_hash("a"), seed)


def test_copy_of_the_seed(case):
    """Two devices that say they are the same: refused."""
    it = case.pair(boot=False)
    parts = disk.regions(it.spec)
    with open(f"{it.folder}/disk.img", "rb") as file, \
            open(f"{it.folder}/copy.img", "wb") as copy:
        file.seek(parts["a"][0])
        while copy.tell() < 256 << 20:
            copy.write(file.read(1 << 20))
        copy.truncate(parts["a"][1])
    it.boot()
    with kernel.Loop(f"{it.folder}/copy.img"):
        case.refused(it, "update", case.image(it, "2.0"), error="AmbiguousDevice")
    case.update(it, "2.0")


def test_merge_is_needed_first(case):
    """A sprout that still reads its seed cannot be the base of another one."""
    it = case.pair()
    case.to(it, "2.0", change=CHANGE)
    case.refused(it, "update", case.image(it, "3.0"), error="NotSealed")
    case.refused(it, "discard", "a", error="SlotInUse")


if __name__ == "__main__":
    sys.exit(harness.main(globals()))
