#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Devices that lose blocks, or go away."""

import os
import subprocess
import sys

from machinery import devices, disk, harness
from machinery.machine import MachineError

CHANGE = "echo $VERSION >etc/motd; cp usr/bin/hello usr/bin/hello.$VERSION"


VICTIM = "usr/share/tiny/1/file1"


def victim(top, slot):
    """All bytes of a file that is spoilt."""
    with open(f"{top}/@abupdate/slots/{slot}/root/{VICTIM}", "rb") as file:
        return file.read()


def test_broken_block_in_the_seed(case):
    """What cannot be read stops the merge, not the system, and is named; when it is replaced the merge ends."""
    it = case.pair()
    seed_content = it.on_disk(victim, "a")
    case.to(it, "2.0", base="1.0", change="echo 2 >etc/motd")
    case.equal(it.on_disk(victim, "b"), seed_content)
    it.shutdown()
    case.equal(devices.spoil(it, "a", seed_content[:48]), 1)
    seed = it.part_hash("a")
    it.boot()
    refused = case.refused(it, "merge", error=harness.ANY_ERROR)
    image = "@abupdate/slots/b/image/root"
    case.check(f"parts of these files: {image}/{VICTIM}, /{VICTIM}; replace or delete each" in refused.err,
               refused)
    case.expect(it, booted="b", next="b", state="steady")
    case.equal(it.run("cat", f"{it.root}/etc/motd").out, "2\n")
    with open(f"{case.tmp}/good", "wb") as file:
        file.write(seed_content)

    # what docs/backends.md says; times of the folders go back, for the digest has them
    done = it.run("sh", "-ec", f"""
        cd {case.tmp}; mkdir top; mount -o subvolid=5 {it.root_source()} top
        system=top/@abupdate/slots/b/root/{VICTIM}; copy=top/{image}/{VICTIM}
        cp -p --attributes-only $system good
        btrfs property set -f top/{image} ro false
        for file in $system $copy; do
            touch -r ${{file%/*}} stamp
            cp -p --reflink=never good $file.new; mv $file.new $file
            touch -r stamp ${{file%/*}}
        done
        btrfs property set top/{image} ro true
        sync -f top; umount top; rmdir top""")
    case.equal(done.code, 0, done)
    case.abctl(it, "merge")
    it.reboot()
    case.equal(case.device_kind(it, "b"), "sealed")
    case.runs(it, "2.0", "b")
    case.equal(it.part_hash("a"), seed)
    case.refused(it, "update", case.image(it, "3.0", base="2.0"), error="ParentMissing")
    case.update(it, "3.0")


def test_many_broken_blocks(case):
    """Five files are named, and that there may be more."""
    it = case.pair(size=1280 << 20)
    case.to(it, "2.0", base="1.0", change="echo 2 >etc/motd")

    def heads(top):
        """How three files begin whose content is not in the tree itself."""
        folder = f"{top}/@abupdate/slots/b/root/usr/share/tiny/1"
        found = []
        for name in sorted(os.listdir(folder)):
            with open(f"{folder}/{name}", "rb") as file:
                found += [file.read(48)] if os.fstat(file.fileno()).st_size > 8192 else []
        return found[:3]
    found = it.on_disk(heads)
    case.equal(len(found), 3)
    it.shutdown()
    for head in found:
        case.equal(devices.spoil(it, "a", head), 1)
    it.boot()
    refused = case.refused(it, "merge", error=harness.ANY_ERROR)
    case.check("and maybe more; replace" in refused.err, refused)
    case.equal(refused.err.count("@abupdate/slots/b/image/root/usr/share/tiny/1/file"), 3, refused)
    case.equal(refused.err.count(" /usr/share/tiny/1/file"), 2, refused)


SCRUB = "s/^Slots=.*/&\\nScrub=yes/"


def test_scrub(case):
    """What a new version would stand on is read before anything is written, and that can be stopped."""
    it = case.pair(size=1280 << 20)
    devices.configured(it, SCRUB)
    image = case.image(it, "1.1", base="1.0", change="echo 1.1 >etc/motd")
    case.check("Scrub=yes" in case.abctl(it, "update", "--dry-run", image).out, "not in the plan")
    case.check("Scrub=yes" not in case.abctl(it, "update", "--dry-run", case.image(it, "2.0")).out,
               "a full image is kept waiting")
    spare = it.part_hash("b")
    fsid = disk.run("blkid", "-p", "-o", "value", "-s", "UUID", devices.device(it, "a")).decode().strip()
    with open(f"/sys/fs/btrfs/{fsid}/devinfo/1/scrub_speed_max", "w", encoding="ascii") as file:
        file.write("65536")
    with it.popen("abctl", "update", image, stdout=subprocess.DEVNULL,
                  stderr=subprocess.PIPE, text=True) as update:
        case.wait("the scrub to begin", lambda: [j for j in case.jobs(it) if j["phase"] == "prepare" and j["progress"]])
        case.abctl(it, "cancel")
        case.check("as it was before" in update.communicate(timeout=60)[1], "no word of the end")
    case.equal((case.device_kind(it, "b"), it.part_hash("b")), ("spare", spare))
    devices.reboot_configured(it)
    devices.configured(it, SCRUB)
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
    case.equal(devices.spoil(it, "a", content), 1)
    it.boot()
    devices.configured(it, SCRUB)
    seed, spare = it.part_hash("a"), it.part_hash("b")
    image = case.image(it, "1.1", base="1.0", change="echo 1.1 >etc/motd")
    refused = case.refused(it, "update", image, error="BadDevice")
    case.check("lost 1 block" in refused.err and "A full image" in refused.err, refused)
    case.refused(it, "begin", "--in-place", error="BadDevice")
    case.equal((case.device_kind(it, "b"), it.part_hash("b")), ("spare", spare))
    case.update(it, "2.0")
    devices.reboot_configured(it)
    case.abctl(it, "mark", "good")
    case.abctl(it, "merge")
    it.reboot()
    case.runs(it, "2.0", "b")
    case.equal(it.part_hash("a"), seed)


def own_dev(case, it):
    """Until umount, the machine has a /dev of its own, from which a device can be taken away."""
    nodes = ["null", "zero", "random", "urandom",
             *(os.path.basename(devices.device(it, name)) for name in ("a", "b", "boot"))]
    done = it.run("sh", "-ec", f"mkdir {case.tmp}/dev; mount -t tmpfs tmpfs {case.tmp}/dev; cd {case.tmp}/dev;"
                  f" for node in {' '.join(nodes)}; do cp -a /dev/$node .; done;"
                  " mkdir shm; mount --rbind /dev/shm shm; mount --make-rprivate shm; mount --rbind . /dev")
    case.equal(done.code, 0, done)


def test_sprout_goes_away(case):
    """The device that is written to goes away: the update, and all that is asked later, say so."""
    it = case.pair()
    seed, path = it.part_hash("a"), devices.device(it, "b")
    image = case.image(it, "2.0", change="head -c 8000000 /dev/urandom >usr/big")
    own_dev(case, it)
    half = os.path.getsize(image) // 2
    with it.popen("sh", "-c", f"head -c {half} {image}; until [ -e {case.tmp}/go ]; do sleep 0.1; done;"
                  f" tail -c +{half + 1} {image}", stdout=subprocess.PIPE) as feeder:
        with it.popen("abctl", "update", "-", stdin=feeder.stdout, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
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


if __name__ == "__main__":
    sys.exit(harness.main(globals()))
