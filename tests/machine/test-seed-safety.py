#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Versions that are devices: what fits, whose a device is, what a person may ask for."""

import json
import os
import subprocess
import sys
import time

from machinery import disk, harness, kernel

CHANGE = "echo $VERSION >etc/motd; cp usr/bin/hello usr/bin/hello.$VERSION"
BIG = "echo $VERSION >etc/motd; head -c 400000000 /dev/urandom >usr/big"

# Every turn of a merge begins late enough for somebody to come in between.
SLOWLY = ("strace -f -qq -o /dev/null -e trace=ioprio_set "
          "-e inject=ioprio_set:delay_enter=3000000")


def test_full_image_on_a_small_device(case):
    """Two versions that share nothing need not fit on one device: the old one goes before the merge."""
    it = case.pair(size=1280 << 20)
    case.merged(it, "2.0", base="1.0", change=BIG)
    it.reboot()
    seed = it.part_hash("b")
    case.refused(it, "update", case.image(it, "4.0", base="2.0", change=BIG), error="NoSpace")
    case.merged(it, "3.0", change=BIG)
    it.reboot()
    case.runs(it, "3.0", "a")
    case.equal(it.part_hash("b"), seed)


def device(it, name):
    """The path of a device while the power is on."""
    return os.readlink(f"/proc/{it.running['init']}/root{it.root}/dev/disk/by-partlabel/os-{name}")


def test_check_repair(case):
    """What any worker has put right is told, until something else happens; so is what it cannot."""
    it = case.pair(size=1280 << 20)
    case.to(it, "2.0", base="1.0", change=CHANGE)
    nothing = "There was nothing that could be put right now."
    told = case.abctl(it, "check", "--repair")
    case.check(nothing in told.out and "devices" not in told.out, told)
    disk.run("btrfs", "filesystem", "label", device(it, "a"), "other")
    case.abctl(it, "prune", code=harness.ANY)
    for _ in range(2):
        told = case.abctl(it, "check", "--repair")
        case.check("info: devices: " in told.out and "as before" in told.out, told)
        case.check(nothing not in told.out, told)
    case.abctl(it, "pin", "b")
    told = case.abctl(it, "check", "--repair")
    case.check(nothing in told.out and "devices" not in told.out, told)
    for number in range(2):
        disk.run("btrfs", "filesystem", "label", device(it, "a"), f"other{number}")
    told = case.abctl(it, "check", "--repair", code=1)
    case.check(nothing in told.out and "error: devices: " in told.out, told)
    case.check("at the next boot" in told.out, told)
    case.abctl(it, "merge")
    it.reboot()
    case.runs(it, "2.0", "b")


def unseal(it, path, verb="--unseal"):
    """Call the program by hand; its exit status and what it says."""
    done = subprocess.run([f"{it.build}/initrd/abupdate-initrd", f"--device={path}", verb],
                          capture_output=True, text=True, check=False)
    return done.returncode, done.stdout + done.stderr


def test_unseal(case):
    """The flag goes and comes back by hand, and a sprout that knows the old generation never notices."""
    it = case.pair(size=1280 << 20)
    case.update(it, "2.0", base="1.0", change=CHANGE)
    seed = it.part_hash("a")
    code, told = unseal(it, device(it, "a"))
    case.equal((code, it.part_hash("a")), (1, seed), told)
    case.check("nothing was changed" in told, told)
    it.shutdown()
    parts = disk.regions(it.spec)
    with kernel.Loop(f"{it.folder}/disk.img", part=parts["a"]) as a, \
            kernel.Loop(f"{it.folder}/disk.img", part=parts["b"]) as b:
        disk.run("unshare", "-m", "sh", "-ec", f"""
            mount -o ro,subvolid=5 {a.device} {it.folder}
            if {it.build}/initrd/abupdate-initrd --device={a.device} --unseal; then exit 1; fi""")
        case.equal(it.part_hash("a"), seed)
        code, told = unseal(it, a.device)
        case.equal(code, 0, told)
        case.check("builds on it" in told, told)
        case.check(it.part_hash("a") != seed, "it was not written to")
        disk.run("unshare", "-m", "sh", "-ec", f"""
            mount -o ro,subvolid=5 {a.device} {it.folder}
            test -d {it.folder}/@abupdate/slots/a""")
        case.equal(unseal(it, a.device), (0, f"{a.device} is not sealed: nothing to do.\n"))
        unseal(it, a.device, "--seal")
        case.equal(it.part_hash("a"), seed)
        disk.run("btrfs", "device", "scan", "--forget", a.device)
        disk.run("btrfs", "device", "scan", "--forget", b.device)
    it.boot(initrd=False)
    case.runs(it, "2.0", "b")
    case.abctl(it, "mark", "good")
    case.abctl(it, "merge")
    it.shutdown()
    with kernel.Loop(f"{it.folder}/disk.img", part=parts["a"]) as a, \
            kernel.Loop(f"{it.folder}/disk.img", part=parts["b"]):
        code, told = unseal(it, a.device)
        case.check(code == 0 and "builds on it" not in told, told)


def test_seed_below_its_sprout(case):
    """The kernel shows a seed below its sprout: so another file system that holds it is found."""
    it = case.pair()
    case.update(it, "2.0", change=CHANGE)
    name = os.path.basename(device(it, "a"))
    held = [fsid for fsid in os.listdir("/sys/fs/btrfs")
            if os.path.exists(f"/sys/fs/btrfs/{fsid}/devices/{name}/dev")]
    case.equal(len(held), 1)
    case.equal(sorted(os.listdir(f"/sys/fs/btrfs/{held[0]}/devices")),
               sorted(os.path.basename(device(it, slot)) for slot in "ab"))


def test_kernel_hazards(case):
    """What a kernel is known to do wrong is told by its name, and refused where it loses something."""
    def told(it):
        found = case.abctl(it, "--json=short", "check", code=harness.ANY).data
        return [(f["severity"], f["problem"].split("'")[1]) for f in found
                if f["subject"] == "kernel"]
    it = case.pair(boot={"release": "5.10.0-30-amd64"})
    late = ("info", "cleaner-asleep")
    case.equal(told(it), [("error", "seed-trimmed"), ("error", "removal-unstoppable"), late])
    image = case.image(it, "2.0")
    case.refused(it, "update", image, error="NotSupported")
    it.reboot(release="5.13.19")
    case.equal(told(it), [("error", "removal-unstoppable"), late])
    case.refused(it, "update", image, error="NotSupported")
    it.reboot(release="6.1.0-30-amd64")
    case.equal(told(it), [late])
    case.abctl(it, "update", image)
    it.reboot(release="6.13.0")
    case.equal(told(it), [])


THREE = "s/^Slots=.*os-b$/& c=PARTLABEL=os-c/"


def three_devices(case, size):
    """A machine with a device c of 1280 MiB beside a and b, b of @size bytes; an image for it; its configuration."""
    it = case.pair(boot=False, sizes={"b": size})
    length = os.path.getsize(f"{it.folder}/disk.img")
    it._write("machine.json", {**it.spec, "sizes": {"b": size, "c": 1280 << 20}})
    os.truncate(f"{it.folder}/disk.img", length + (1280 << 20))
    it.boot()
    conf = f"{it.root}/etc/abupdate/abupdated.conf"
    it.run("sh", "-ec", f"sed '{THREE}' {conf} >/run/conf; mount --bind /run/conf {conf}")
    return it, case.image(it, "2.0", change=f"sed -i '{THREE}' etc/abupdate/abupdated.conf"), conf


def test_spare_that_fits(case):
    """Of two spares the one that is large enough is taken, whatever stands first in Slots=."""
    it, image, conf = three_devices(case, 900 << 20)
    small = it.part_hash("b")
    loop = device(it, "c")
    it.run("mkfs.ext4", "-q", "-F", loop)
    case.refused(it, "update", image, error="BadDevice")
    it.run("wipefs", "-qa", loop)
    case.abctl(it, "update", image)
    case.expect(it, state="staged", next="c")
    it.run("umount", conf)
    it.reboot()
    case.runs(it, "2.0", "c")
    case.equal(it.part_hash("b"), small)


def test_spare_that_is_free(case):
    """Of two spares the one that nobody holds is taken."""
    it, image, _ = three_devices(case, 1280 << 20)
    held = os.open(device(it, "b"), os.O_RDWR | os.O_EXCL)
    case.abctl(it, "update", image)
    case.expect(it, state="staged", next="c")
    os.close(held)


def test_reads_of_others(case):
    """What somebody else reads from the old device is no progress of the merge."""
    it = case.pair(size=1280 << 20)
    case.to(it, "2.0", base="1.0", change=CHANGE)
    it.reboot(wrap=SLOWLY)
    done = []
    with it.popen("abctl", "merge", stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as merge:
        case.wait("the merge to begin", lambda: case.phase(it) == "merge")
        case.abctl(it, "pause")
        for read in (["true"], ["dd", f"if={device(it, 'a')}", "of=/dev/null", "bs=1M",
                                "iflag=direct"]):
            it.run(*read)
            time.sleep(1)
            done.append(case.jobs(it)[0]["bytes-done"])
        case.abctl(it, "resume")
        merge.wait(60)
    case.check(done[1] - done[0] < 1 << 20, done)


def test_numbers_never_fall(case):
    """What a merge tells of its progress never falls, and never passes the whole."""
    it = case.pair(size=1280 << 20)
    case.merged(it, "2.0", change=f"{CHANGE}; head -c 300M /dev/urandom >usr/big")
    it.reboot()
    case.to(it, "3.0", base="2.0", change=CHANGE)
    told = case.abctl(it, "merge", "--progress=json").out.splitlines()
    told = [line for line in map(json.loads, told) if line.get("bytes-total")]
    done = [line["bytes-done"] for line in told]
    case.check(done, told)
    case.equal(done, sorted(done))
    case.check(all(line["bytes-done"] <= line["bytes-total"] for line in told), told)
    return f"{len(set(done))} numbers"


if __name__ == "__main__":
    sys.exit(harness.main(globals()))
