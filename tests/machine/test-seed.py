#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Versions that are devices: a sealed one runs, its sprout takes the next version."""

import mmap
import os
import subprocess
import sys

from machinery import disk, harness, kernel
from machinery.machine import MachineError

CHANGE = "echo $VERSION >etc/motd; cp usr/bin/hello usr/bin/hello.$VERSION"


def on_device(it, name, *command):
    """Run @command with the path of a device of the machine behind it, while the power is off."""
    with kernel.Loop(f"{it.folder}/disk.img", part=disk.regions(it.spec)[name]) as loop:
        return disk.run(*command, loop.device)


def device(it, name):
    """The path of a device while the power is on."""
    return os.readlink(f"/proc/{it.running['init']}/root{it.root}/dev/disk/by-partlabel/os-{name}")


def configured(it, change):
    """Another configuration, as sed makes it, for a system that cannot be written to."""
    conf = f"{it.root}/etc/abupdate/abupdated.conf"
    it.run("sh", "-ec", f"sed '{change}' {conf} >/run/conf; mount --bind /run/conf {conf}")


def reboot_configured(it):
    """A reboot, without the configuration that was put over that of the system."""
    it.run("umount", f"{it.root}/etc/abupdate/abupdated.conf")
    it.reboot()


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
    on_device(it, "b", "mkfs.ext4", "-q", "-F")
    refused(lambda: None)
    on_device(it, "b", "sh", "-c", 'wipefs -qa $0; printf "LUKS\\272\\276\\0\\001" >$0')
    refused(lambda: None)
    # one Linux partition of 1024 sectors behind sector 2048, and the signature of the table
    on_device(it, "b", "sh", "-c", r"wipefs -qa $0; { head -c 446 /dev/zero; printf "
              r"'\0\0\0\0\203\0\0\0\0\010\0\0\0\004\0\0'; head -c 48 /dev/zero; "
              r"printf '\125\252'; } >$0")
    refused(lambda: None)
    on_device(it, "b", "sh", "-c", 'wipefs -qa $0; mkfs.btrfs -q -f $0')
    refused(lambda: None)
    on_device(it, "b", "wipefs", "-qa")
    it.boot()
    case.update(it, "2.0")
    case.boots(it, ["2.0"])


def test_spare_in_use(case):
    """A device that is mounted is nobody's spare."""
    it = case.pair()
    case.update(it, "2.0", "--no-arm")
    it.reboot()
    it.run("mkdir", "/run/other")
    loop = device(it, "b")
    it.run("wipefs", "-qa", loop)
    it.run("mkfs.ext4", "-q", "-F", loop)
    it.run("mount", loop, "/run/other")
    case.refused(it, "update", case.image(it, "3.0"), error="BadDevice")
    it.run("umount", "/run/other")
    case.refused(it, "update", case.image(it, "3.0"), error="BadDevice")


def test_small_spare(case):
    """A device below 1 GiB, or one on which what runs would not fit, is refused before the ioctl."""
    it = case.pair(boot=False, sizes={"b": 900 << 20})
    seed, spare = it.part_hash("a"), it.part_hash("b")
    it.boot()
    case.refused(it, "update", case.image(it, "2.0"), error="BadDevice")
    it.shutdown()
    case.equal((it.part_hash("a"), it.part_hash("b")), (seed, spare))


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
        configured(it, THREE)
        case.runs(it, "1.0", "a")
        case.equal(it.part_hash("a"), seed)
    first_version()
    case.update(it, "2.0", base="1.0", change=change)
    reboot_configured(it)
    case.abctl(it, "mark", "good")
    case.runs(it, "2.0", "b")
    case.abctl(it, "rollback")
    it.reboot()
    first_version()
    case.abctl(it, "pin", "b")
    case.update(it, "3.0", base="1.0", change=change)
    reboot_configured(it)
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


def test_kernel_that_damages_seeds(case):
    """An old kernel is refused by its version."""
    it = case.pair(boot={"release": "5.10.0-30-amd64"})
    case.refused(it, "update", case.image(it, "2.0"), error="NotSupported")
    it.reboot(release="6.18.0")
    case.update(it, "2.0")


def test_not_sealed(case):
    """A device that is no seed runs, and says what is missing; the next boot seals it."""
    it = case.pair(boot=False)
    on_device(it, "a", "btrfstune", "-f", "-S", "0")
    it.boot(initrd=False)
    image = case.image(it, "2.0")
    case.refused(it, "update", image, error="NotSealed")
    it.reboot()
    case.abctl(it, "update", image)
    it.reboot()
    case.runs(it, "2.0", "b")


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


def test_merge_is_needed_first(case):
    """A sprout that still reads its seed cannot be the base of another one."""
    it = case.pair()
    case.to(it, "2.0", change=CHANGE)
    case.refused(it, "update", case.image(it, "3.0"), error="NotSealed")
    case.refused(it, "discard", "a", error="SlotInUse")


def test_merge(case):
    """The new version becomes complete by itself; the old device keeps every byte."""
    it = case.pair()
    seed = it.part_hash("a")
    image = case.image(it, "2.0", change=CHANGE)
    case.refused(it, "merge", error="NothingToDo", code=3)
    case.abctl(it, "update", image)
    it.reboot()
    case.refused(it, "merge", error="Conflict")
    case.abctl(it, "mark", "good")
    case.abctl(it, "merge")
    case.runs(it, "2.0", "b")
    case.expect(it, state="steady", next="b")
    case.check(all("device=" not in options for options in it.entries().values()), it.entries())
    case.refused(it, "merge", error="NothingToDo", code=3)
    case.equal(it.part_hash("a"), seed)
    it.reboot()
    case.runs(it, "2.0", "b")
    case.equal(it.part_hash("a"), seed)


def test_merge_without_the_old_device(case):
    """After a merge the old device may break, go away, or be somebody else's."""
    it = case.pair()
    case.merged(it, "2.0", change=CHANGE)
    it.reboot()
    it.shutdown()
    on_device(it, "a", "wipefs", "-qa")
    it.boot()
    case.runs(it, "2.0", "b")
    on = device(it, "a")
    it.run("mkfs.ext4", "-q", "-F", on)
    case.abctl(it, "check", code=harness.ANY)
    case.equal(case.slot(it, "a")["state"], "incomplete")
    case.refused(it, "rollback", "a", error="NoFallback")
    case.refused(it, "update", case.image(it, "3.0"), error="BadDevice")
    it.run("wipefs", "-qa", on)
    case.update(it, "3.0", change=CHANGE)
    it.reboot()
    case.runs(it, "3.0", "a")


def test_rollback_after_the_merge(case):
    """Until the old device is taken again it boots, and then takes a version as before."""
    it = case.pair()
    seed = it.part_hash("a")
    case.merged(it, "2.0", change=CHANGE)
    it.reboot()
    case.abctl(it, "rollback")
    it.reboot()
    case.runs(it, "1.0", "a")
    case.equal(case.slot(it, "b")["state"], "bad")
    case.equal(it.part_hash("a"), seed)
    case.update(it, "3.0", change=CHANGE)
    it.reboot()
    case.runs(it, "3.0", "b")
    case.equal(it.part_hash("a"), seed)


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


# Every turn of a merge begins late enough for somebody to come in between.
SLOWLY = ("strace -f -qq -o /dev/null -e trace=ioprio_set "
          "-e inject=ioprio_set:delay_enter=5000000")


def test_stopped_merge(case):
    """A merge is cancelled, its worker killed, the power cut: it goes on each time."""
    it = case.pair(size=2 << 30)
    seed = it.part_hash("a")
    case.to(it, "2.0", change=CHANGE)
    it.reboot(wrap=SLOWLY)

    def begun(merge):
        def look():
            case.check(merge.poll() is None, "it has ended already")
            return case.phase(it) == "merge"
        case.wait("the merge to begin", look)

    for stop in (lambda: case.abctl(it, "cancel"),
                 lambda: it.run("kill", "-KILL", *case.pids(it)[1]),
                 it.power_cut):
        with it.popen("abctl", "merge", stdout=subprocess.DEVNULL,
                      stderr=subprocess.DEVNULL) as merge:
            begun(merge)
            case.expect(it, state="merging")
            stop()
            merge.wait(30)
        if not it.running:
            it.boot()
        case.runs(it, "2.0", "b")
        case.equal(case.device_kind(it, "b"), "sprout")
    case.abctl(it, "merge")
    it.reboot()
    case.runs(it, "2.0", "b")
    case.equal(case.device_kind(it, "b"), "sealed")
    case.equal(it.part_hash("a"), seed)


def spoil(it, name, content):
    """Change the bytes @content wherever they lie on a device, past every checksum."""
    offset, length = disk.regions(it.spec)[name]
    found = 0
    with open(f"{it.folder}/disk.img", "r+b") as file:
        view = mmap.mmap(file.fileno(), offset + length)
        at = view.find(content, offset)
        while at >= 0:
            view[at:at + len(content)] = bytes(b ^ 255 for b in content)
            found += 1
            at = view.find(content, at + 1)
        view.close()
    return found


def test_broken_block_in_the_seed(case):
    """What cannot be read stops the merge, not the system; when it is gone the merge ends."""
    it = case.pair()
    victim = "usr/share/tiny/1/file1"
    case.update(it, "2.0", base="1.0", change="echo 2 >etc/motd")
    it.reboot()
    case.abctl(it, "mark", "good")

    def first_bytes(top):
        with open(f"{top}/@abupdate/slots/b/root/{victim}", "rb") as file:
            return file.read(48)
    content = it.on_disk(first_bytes)
    it.shutdown()
    case.equal(spoil(it, "a", content), 1)
    seed = it.part_hash("a")
    it.boot()
    refused = case.refused(it, "merge", error=harness.ANY_ERROR)
    case.check("kernel log names the file" in refused.out, refused)
    case.expect(it, booted="b", next="b", state="steady")
    case.equal(it.run("cat", f"{it.root}/etc/motd").out, "2\n")

    def drop(top):
        kernel.mount(it.root_source(), f"{it.folder}/all", "btrfs", 0, "subvolid=5")
        slot = f"{it.folder}/all/@abupdate/slots/b"
        disk.run("btrfs", "property", "set", "-f", f"{slot}/image/root", "ro", "false")
        for tree in ("root", "image/root"):
            os.unlink(f"{slot}/{tree}/{victim}")
        kernel.syncfs(slot)
        kernel.umount(f"{it.folder}/all")
        return top
    os.makedirs(f"{it.folder}/all")
    it.on_disk(drop)
    case.abctl(it, "merge")
    it.reboot()
    case.equal(case.device_kind(it, "b"), "sealed")
    case.equal(it.part_hash("a"), seed)


SCRUB = "s/^Slots=.*/&\\nScrub=yes/"


def test_scrub(case):
    """What a new version would stand on is read before anything is written, and that can be stopped."""
    it = case.pair(size=1280 << 20)
    configured(it, SCRUB)
    image = case.image(it, "1.1", base="1.0", change="echo 1.1 >etc/motd")
    case.check("Scrub=yes" in case.abctl(it, "update", "--dry-run", image).out, "not in the plan")
    case.check("Scrub=yes" not in case.abctl(it, "update", "--dry-run", case.image(it, "2.0")).out,
               "a full image is kept waiting")
    spare = it.part_hash("b")
    fsid = disk.run("blkid", "-p", "-o", "value", "-s", "UUID", device(it, "a")).decode().strip()
    with open(f"/sys/fs/btrfs/{fsid}/devinfo/1/scrub_speed_max", "w", encoding="ascii") as file:
        file.write("65536")
    with it.popen("abctl", "update", image, stdout=subprocess.DEVNULL,
                  stderr=subprocess.PIPE, text=True) as update:
        case.wait("the scrub to begin", lambda: [j for j in case.jobs(it) if j["phase"] == "prepare" and j["progress"]])
        case.abctl(it, "cancel")
        case.check("as it was before" in update.communicate(timeout=60)[1], "no word of the end")
    case.equal((case.device_kind(it, "b"), it.part_hash("b")), ("spare", spare))
    reboot_configured(it)
    configured(it, SCRUB)
    case.abctl(it, "update", image)
    case.equal(case.device_kind(it, "b"), "sprout")


def test_scrub_of_a_broken_seed(case):
    """What is lost is found before anything stands on it; a full image is the cure."""
    it = case.pair(size=1280 << 20)

    def first_bytes(top):
        with open(f"{top}/@abupdate/slots/a/root/usr/share/tiny/1/file1", "rb") as file:
            return file.read(48)
    content = it.on_disk(first_bytes)
    it.shutdown()
    case.equal(spoil(it, "a", content), 1)
    it.boot()
    configured(it, SCRUB)
    seed, spare = it.part_hash("a"), it.part_hash("b")
    image = case.image(it, "1.1", base="1.0", change="echo 1.1 >etc/motd")
    refused = case.refused(it, "update", image, error="BadDevice")
    case.check("lost 1 block" in refused.err and "A full image" in refused.err, refused)
    case.refused(it, "begin", "--in-place", error="BadDevice")
    case.equal((case.device_kind(it, "b"), it.part_hash("b")), ("spare", spare))
    case.update(it, "2.0")
    reboot_configured(it)
    case.abctl(it, "mark", "good")
    case.abctl(it, "merge")
    it.reboot()
    case.runs(it, "2.0", "b")
    case.equal(it.part_hash("a"), seed)


def own_dev(case, it):
    """Until umount, the machine has a /dev of its own, from which a device can be taken away."""
    nodes = ["null", "zero", "random", "urandom",
             *(os.path.basename(device(it, name)) for name in ("a", "b", "boot"))]
    done = it.run("sh", "-ec", f"mkdir {case.tmp}/dev; mount -t tmpfs tmpfs {case.tmp}/dev; cd {case.tmp}/dev;"
                  f" for node in {' '.join(nodes)}; do cp -a /dev/$node .; done;"
                  " mkdir shm; mount --rbind /dev/shm shm; mount --make-rprivate shm; mount --rbind . /dev")
    case.equal(done.code, 0, done)


def test_sprout_goes_away(case):
    """The device that is written to goes away: the update, and all that is asked later, say so."""
    it = case.pair()
    seed, path = it.part_hash("a"), device(it, "b")
    image = case.image(it, "2.0", change="head -c 8000000 /dev/urandom >usr/big")
    own_dev(case, it)
    half = os.path.getsize(image) // 2
    with it.popen("sh", "-c", f"head -c {half} {image}; until [ -e {case.tmp}/go ]; do sleep 0.1; done;"
                  f" tail -c +{half + 1} {image}", stdout=subprocess.PIPE) as feeder:
        with it.popen("abctl", "update", "-", stdin=feeder.stdout, stderr=subprocess.PIPE,
                      text=True) as update:
            feeder.stdout.close()
            case.wait("the phase write", lambda: case.phase(it) == "write")
            it.run("rm", path)
            with open(f"{case.tmp}/go", "w", encoding="ascii"):
                pass
            said = update.communicate()[1]
    case.equal(update.returncode, 1, said)
    case.check(f"device b (PARTLABEL=os-b, it was {path}) is gone; attach it, reboot, and try again"
               in said, said)
    slot = case.slot(it, "b")
    case.equal((slot["device-kind"], slot["devices"]), ("missing", ["PARTLABEL=os-b"]))
    for verb in ("list", "status"):
        rows = [line.split() for line in case.abctl(it, verb).out.splitlines()]
        case.check(["b", "-", "missing"] in [row[:3] for row in rows], rows)
    gone = f"device {path}, which the running system writes to, is gone; attach it, and reboot"
    case.check(gone in case.refused(it, "check", error="BadDevice").err)
    status = case.abctl(it, "status").out
    case.check(gone in status and "cannot be read" in status and "proven" not in status, status)
    it.run("sh", "-c", f"umount -l /dev; umount -l {case.tmp}/dev")
    it.reboot()
    case.runs(it, "1.0", "a")
    case.equal(case.abctl(it, "--json=short", "history").data[0]["error"], "BadDevice")
    case.update(it, "3.0", change=CHANGE)
    it.reboot()
    case.runs(it, "3.0", "b")
    case.equal(it.part_hash("a"), seed)


def test_seed_missing_at_boot(case):
    """Without its seed a sprout does not boot, and nothing is lost; with it all goes on."""
    it = case.pair(size=1280 << 20)
    seed = it.part_hash("a")
    case.to(it, "2.0", base="1.0", change=CHANGE)
    it.shutdown()
    offset = disk.regions(it.spec)["a"][0]
    with open(f"{it.folder}/disk.img", "r+b") as file:
        file.seek(offset)
        head = file.read(1 << 20)
        file.seek(offset)
        file.write(bytes(len(head)))
    sprout = it.part_hash("b")
    try:
        it.boot()
    except MachineError:
        pass
    case.check(not it.running, "it has booted without its seed")
    case.equal(it.part_hash("b"), sprout)
    with open(f"{it.folder}/disk.img", "r+b") as file:
        file.seek(offset)
        file.write(head)
    it.boot()
    case.runs(it, "2.0", "b")
    case.equal(it.part_hash("a"), seed)
    case.abctl(it, "merge")
    it.reboot()
    case.runs(it, "2.0", "b")


def test_label_on_the_seed(case):
    """Somebody writes to the superblock of the seed: put right before the next boot, and told."""
    it = case.pair()
    case.to(it, "2.0", change=CHANGE)
    seed = it.part_hash("a")
    # from outside, where no mount table says that it is in use
    disk.run("btrfs", "filesystem", "label", device(it, "a"), "other")
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


def superblocks(it, name):
    """Both copies of the superblock on a device."""
    offset = disk.regions(it.spec)[name][0]
    with open(f"{it.folder}/disk.img", "rb") as file:
        return [os.pread(file.fileno(), 4096, offset + at) for at in (64 << 10, 64 << 20)]


def stays_off(case, it, **options):
    """A boot that fails."""
    try:
        it.boot(**options)
    except MachineError:
        pass
    case.check(not it.running, "it has booted")


def test_label_on_the_seed_while_off(case):
    """Written to while no worker looks: the initrd puts it back, where it helps, and only there."""
    it = case.pair(size=1280 << 20)
    case.to(it, "2.0", base="1.0", change=CHANGE)
    it.shutdown()
    seed = superblocks(it, "a")
    label = ("sh", "-c", "btrfs filesystem label $0 other")
    on_device(it, "a", *label)
    changed = it.part_hash("a")
    case.check(superblocks(it, "a") != seed, "it was not written to")
    stays_off(case, it, initrd=False)
    case.equal(it.part_hash("a"), changed)
    it.boot()
    case.runs(it, "2.0", "b")
    it.shutdown()
    case.check(superblocks(it, "a") == seed, "they are not as they were")
    it.boot()
    case.abctl(it, "merge")
    it.reboot()
    it.shutdown()
    on_device(it, "a", *label)
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
    seed = superblocks(it, "a")
    for number in range(3):
        on_device(it, "a", "sh", "-c", f"btrfs filesystem label $0 other{number}")
    changed = superblocks(it, "a")
    stays_off(case, it)
    case.check(superblocks(it, "a") == changed, "it was written to, and that did not help")
    # as a power cut leaves it, between the deed and the look at what it did
    with open(f"{it.folder}/disk.img", "r+b") as file:
        os.pwrite(file.fileno(), seed[0], disk.regions(it.spec)["a"][0] + (64 << 10))
    stays_off(case, it)
    case.check(superblocks(it, "a") == changed, "what was there before a cut is lost")
    on_device(it, "a", "sh", "-ec", "m=$(mktemp -d); mount -o ro $0 $m; umount $m; rmdir $m")


def test_labels_on_the_seed_in_use(case):
    """Written to more than once under the running system: a worker tells it, and leaves it alone."""
    it = case.pair(size=1280 << 20)
    case.to(it, "2.0", base="1.0", change=CHANGE)
    for number in range(2):
        disk.run("btrfs", "filesystem", "label", device(it, "a"), f"other{number}")
    changed = superblocks(it, "a")
    found = case.abctl(it, "--json=short", "check", code=harness.ANY).data
    case.check(any("too much to take it back" in f["problem"] for f in found), found)
    case.check(superblocks(it, "a") == changed, "it was written to without a look at what it does")
    events = case.abctl(it, "--json=short", "history").data
    case.check(not any(e["type"] == "repair" for e in events), events)
    case.abctl(it, "merge")
    it.reboot()
    case.runs(it, "2.0", "b")
    case.check(superblocks(it, "a") == changed, "a merge has written to it")


def test_seed_of_two_sprouts(case):
    """What goes back is what the running sprout was built on, not what was kept last."""
    it = case.pair(size=1280 << 20)
    case.to(it, "2.0", base="1.0", change=CHANGE)
    seed, saved = superblocks(it, "a"), f"{it.root}/efi/abupdate/state/supers-a"
    it.shutdown()
    on_device(it, "a", "sh", "-c", "btrfs filesystem label $0 other")
    later = superblocks(it, "a")
    it.boot()
    case.check(superblocks(it, "a") == seed, "the initrd has not put it back")
    with open(f"{case.tmp}/later", "w+b") as file:
        file.write(b"".join(later))
        file.seek(0)
        case.equal(it.run("sh", "-c", f"test -e {saved} && cat >{saved}", stdin=file).code, 0)
    case.abctl(it, "check", code=harness.ANY)
    case.check(superblocks(it, "a") == seed, "what belongs to another sprout was written")
    it.reboot(initrd=False)
    case.runs(it, "2.0", "b")


def test_seed_that_was_used(case):
    """Somebody has used the seed as a file system of its own: what was written there stays."""
    it = case.pair(size=1280 << 20)
    case.to(it, "2.0", base="1.0", change=CHANGE)
    it.shutdown()
    on_device(it, "a", "sh", "-ec", "btrfstune -f -S 0 $0; m=$(mktemp -d); for n in 1 2 3; do "
              "mount $0 $m; date >$m/used.$n; umount $m; done; rmdir $m; btrfstune -S 1 $0")
    used = it.part_hash("a")
    stays_off(case, it)
    case.equal(it.part_hash("a"), used)


def killed_at(number):
    """The command that kills a worker when it writes record @number of its journal, before it."""
    return ["strace", "-f", "-qq", "-o", "/dev/null", "-e", "trace=fdatasync",
            "-e", f"inject=fdatasync:signal=KILL:when={number}"]


def test_killed_at_every_record(case):
    """A worker dies before each record of its journal: old or new, and then an update as ever."""
    it = case.pair(boot={"daemon": "none"}, size=1280 << 20)
    seed = it.part_hash("a")
    image = case.image(it, "2.0", change=CHANGE)
    outcomes = []
    for number in range(1, 20):
        done = case.worker(it, {"type": "update"}, image, wrap=killed_at(number))
        if done["result"]:
            break
        if number % 2:                  # the same boot goes on, or the power is cut
            case.equal(case.worker(it, {"type": "recover"})["result"]["code"], 0)
        it.power_cut()
        outcomes.append(case.boots(it, ["1.0", "2.0"]))
        it.boot(daemon="none")
        world = case.worker(it, {"type": "recover"})["world"]
        case.runs_world(it, world, outcomes[-1])
        if world["booted"] == "b":      # back, for the next turn
            case.worker(it, {"type": "rollback"})
            it.reboot(daemon="none")
            image = case.image(it, f"{number + 2}.0", change=CHANGE)
        case.equal(it.part_hash("a"), seed)
    case.equal((done["result"] or {}).get("code"), 0, done)
    it.reboot(daemon="none")
    case.worker(it, {"type": "mark", "verdict": "good"})
    for number in range(1, 20):
        done = case.worker(it, {"type": "merge"}, wrap=killed_at(number))
        if done["result"]:
            break
        it.power_cut()
        it.boot(daemon="none")
        world = case.worker(it, {"type": "recover"})["world"]
        case.equal((world["booted"], world["next"]), ("b", "b"), world)
        case.equal(it.part_hash("a"), seed)
    case.check(done["result"]["code"] == 0 or done["result"]["kind"] == "NothingToDo", done)
    it.reboot(daemon="none")
    case.equal(case.worker(it, {"type": "recover"})["world"]["booted"], "b")
    return f"{outcomes.count('1.0')} old, {len(outcomes) - outcomes.count('1.0')} new"


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


def begin(case, it):
    """Open a transaction, and change the running system as a package manager does."""
    name = case.abctl(it, "--json=short", "begin", "--in-place").data["transaction"]
    case.equal((case.status(it)["transaction"], case.status(it)["next"]), (name, "a"))
    case.equal(it.run("sh", "-c", f"echo mine >{it.root}/etc/mine").code, 2)
    it.run("mount", "-o", "remount,rw", it.root)
    it.run("sh", "-c", f"echo mine >{it.root}/etc/mine; rm {it.root}/usr/bin/hello")
    return name


def test_in_place(case):
    """begin --in-place, change the running system, commit: the sprout has it, the seed does not."""
    it = case.pair(subvolumes="apps:/opt/apps data:/usr/share/data")
    seed = it.part_hash("a")
    name = begin(case, it)
    it.run("sh", "-c", f"echo mine >{it.root}/opt/apps/content")
    case.refused(it, "update", case.image(it, "2.0"), error="TransactionOpen", code=5)
    case.refused(it, "begin", "--in-place", error="TransactionOpen", code=5)
    case.refused(it, "rollback", "b", error=harness.ANY_ERROR, code=harness.ANY)
    it.run("pkill", "-x", "abupdated")
    case.equal(case.status(it)["transaction"], name)
    case.abctl(it, "commit")
    status = case.status(it)
    case.equal((status["transaction"], status["next"], status["state"]), ("", "b", "staged"))
    it.reboot()
    case.equal(it.run("cat", f"{it.root}/etc/mine").out, "mine\n")
    case.equal(it.run("cat", f"{it.root}/opt/apps/content").out, "mine\n")
    status = case.status(it)
    case.equal((status["version"], status["booted"], status["transaction"]),
               (f"1.0+{name}", "b", ""))
    case.abctl(it, "mark", "good")
    case.abctl(it, "merge")
    case.equal(it.part_hash("a"), seed)
    it.reboot()
    begun = case.abctl(it, "--json=short", "begin", "--in-place").data
    case.equal(begun["slot"], "a")
    it.reboot()
    case.equal((case.status(it)["booted"], case.status(it)["transaction"]), ("b", ""))


def test_in_place_aborted(case):
    """begin --in-place, change the running system, abort: the next boot is as it was before."""
    it = case.pair()
    seed = it.part_hash("a")
    begin(case, it)
    case.abctl(it, "abort")
    case.equal(case.status(it)["transaction"], "")
    case.refused(it, "begin", "--in-place", error="Conflict")
    case.check(any("not what is in it" in line for line in case.status(it)["problems"]))
    case.equal(it.part_hash("a"), seed)
    it.reboot()
    case.check(not any("not what is in it" in line for line in case.status(it)["problems"]))
    case.runs(it, "1.0", "a")
    case.equal(it.run("cat", f"{it.root}/etc/mine").code, 1)
    begin(case, it)
    case.abctl(it, "commit")
    it.reboot()
    case.equal(it.run("cat", f"{it.root}/etc/mine").out, "mine\n")


def test_in_place_power_cut(case):
    """A power cut in an open transaction boots the system as it was before."""
    it = case.pair()
    begin(case, it)
    it.run("sh", "-c", f"rm -r {it.root}/usr/bin {it.root}/etc/os-release; sync -f {it.root}")
    it.power_cut()
    it.boot()
    case.runs(it, "1.0", "a")
    case.equal((case.status(it)["transaction"], case.slot(it, "b")["state"]), ("", "empty"))
    case.update(it, "2.0", change=CHANGE)
    it.reboot()
    case.runs(it, "2.0", "b")


def test_in_place_offline(case):
    """Without bus and daemon; abctl takes the read-only flag off every mount of the system."""
    it = case.pair()
    it.reboot(daemon="none")
    offline, side = f"--root={it.root}", f"{it.folder}/a side"
    os.mkdir(side)
    it.run("mount", "--bind", "-o", "ro", it.root, side)
    it.run("mount", "-o", "remount,bind,ro", side)
    said = case.abctl(it, offline, "begin", "--in-place").out
    case.check("can be written to now" in said, said)
    for place in (it.root, side):
        case.equal(it.run("touch", f"{place}/etc/mine").code, 0)
    case.abctl(it, offline, "commit")
    it.run("umount", side)
    it.reboot()
    case.equal(case.status(it)["booted"], "b")
    case.equal(it.run("cat", f"{it.root}/etc/mine").code, 0)


def test_in_place_killed(case):
    """begin and commit die at each record: open or not, committed or not, and the seed boots else."""
    it = case.pair(boot=False, write_log=True)
    outcomes = []
    for verb in ("begin", "commit"):
        for number in range(1, 30, 2):
            it.boot(daemon="none")
            seed = it.part_hash("a")
            order = {"type": "begin", "in-place": True}
            if verb == "commit":
                case.equal(case.worker(it, order)["result"]["code"], 0)
                it.run("mount", "-o", "remount,rw", it.root)
                it.run("touch", f"{it.root}/etc/mine")
                order = {"type": "commit"}
            done = case.worker(it, order, wrap=killed_at(number))
            if number % 4 == 1:         # the same boot goes on first
                world = case.worker(it, {"type": "recover"})["world"]
                case.equal((world["booted"], world["next"] in "ab"), ("a", True), world)
                outcomes.append(world["next"] + ("+" if world["transaction"] else ""))
                case.equal(world["next"] == "b" and bool(world["transaction"]), False, world)
            it.power_cut()
            it.boot(daemon="none")
            world = case.worker(it, {"type": "recover"})["world"]
            case.equal((world["transaction"], world["next"]), ("", world["booted"]), world)
            case.equal(os.path.exists(f"/proc/{it._session()['init']}/root{it.root}/etc/mine"),
                       world["booted"] == "b")
            case.equal(it.part_hash("a"), seed)
            outcomes.append(world["booted"])
            if world["booted"] == "b":
                case.worker(it, {"type": "rollback"})
            it.shutdown()
            if done["result"]:
                break
        case.equal((done["result"] or {}).get("code"), 0, done)
    return " ".join(outcomes)


if __name__ == "__main__":
    sys.exit(harness.main(globals()))
