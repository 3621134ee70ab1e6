#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""What became of the base meanwhile: a signed incremental image on one that somebody has changed."""

import fcntl
import glob
import os
import struct
import subprocess
import sys

from machinery import harness
from machinery.signed import Maker, trusting

BIG = "seq 100000 >usr/big; seq 50000 >usr/other"


def _set_flags(path, flags):
    """BTRFS_IOC_SUBVOL_SETFLAGS: `btrfs property set` would forget what was received."""
    fd = os.open(path, os.O_RDONLY)
    fcntl.ioctl(fd, 0x4008941A, struct.pack("Q", flags))
    os.close(fd)


def _in_base(it, slot, command):
    """Runs @command in the image of a slot, which is read-only again afterwards."""
    def work(top):
        path = f"{top}/@abupdate/slots/{slot}/image/root"
        _set_flags(path, 0)
        subprocess.run(["sh", "-ec", command], cwd=path, check=True)
        _set_flags(path, 2)
    it.on_disk(work)


def _with_times(name, command):
    """@command, and nobody sees by the times of @name that it ran."""
    return f"touch -r {name} ../stamp; {command}; touch -r ../stamp {name}; rm ../stamp"


CHANGES = {
    "its bytes": _with_times("usr/big", "echo 0 | dd status=none of=usr/big conv=notrunc bs=1 seek=300000"),
    "a hole": _with_times("usr/big", "fallocate -p -o 8192 -l 4096 usr/big"),
    "a mode": "chmod 4755 usr/big",
    "an owner": "chown 7 usr/big",
    "a property": "btrfs property set usr/big compression zstd",
    "a link": _with_times("usr", "ln usr/big usr/big2"),
    "a name": _with_times("usr", "echo >usr/more"),
    # a tree digest sees neither
    "a subvolume": _with_times("usr", "btrfs -q subvolume create usr/nested"),
    "a flag": "chattr +i usr/big",
}


def test_changed_base(case):
    """Whatever was changed in the base, and hidden: told before a byte of the image is read. A full image cures it."""
    it, maker = trusting(case)
    full = maker.image("2.0", change=BIG)
    path = maker.image("2.1", base="2.0", change="echo 2.1 >usr/small")

    def slot_of(version):
        return next(s["id"] for s in it.run("abctl", "--json=short", "list").data if s["version"] == version)

    for name, command in CHANGES.items():
        case.abctl(it, "update", "--no-arm", full)
        _in_base(it, slot_of("2.0"), command)
        before = case.facts(it)
        result = case.refused(it, "update", path, error="ParentMissing")
        case.check("was changed after it had been received" in result.err, name, result)
        case.unchanged(it, before)
        case.abctl(it, "update", "--no-arm", "--reinstall", full)
        # of two that are meant, the one that is as it was
        case.abctl(it, "update", "--no-arm", path)
        for version in ("2.1", "2.0", "2.0"):
            case.abctl(it, "discard", slot_of(version))


def test_unchanged_base(case):
    """To be made writable and read-only again is no change, nor is to be moved on the disk, or read."""
    it, maker = trusting(case)
    case.abctl(it, "update", "--no-arm", maker.image("2.0", change=BIG))
    _in_base(it, 2, "true")
    it.on_disk(lambda top: subprocess.run(f"btrfs -q balance start --full-balance {top}; "
                                          f"cat {top}/@abupdate/slots/2/image/root/usr/big >/dev/null; "
                                          f"btrfs -q subvolume snapshot -r {top}/@abupdate/slots/2/image/root {top}/copy; "
                                          f"btrfs -q subvolume delete {top}/copy", shell=True, check=True))
    case.abctl(it, "update", maker.image("2.1", base="2.0", change="echo 2.1 >usr/small"))
    it.reboot()
    case.expect(it, version="2.1")


def test_merged_base(case):
    """To be sealed, moved to another device by a merge and sealed there is no change, over signed incremental images."""
    it = case.pair(size=1280 << 20)
    maker = Maker(case, it)
    base = None
    for version in ("2.0", "3.0", "4.0", "5.0"):
        case.abctl(it, "update", maker.image(version, base=base, change=f"{BIG}; echo {version} >etc/motd"))
        it.reboot()
        case.abctl(it, "mark", "good")
        case.abctl(it, "merge")
        it.reboot()
        case.expect(it, version=version, verification="signature")
        case.check(it.on_disk(lambda top: glob.glob(f"{top}/@abupdate/slots/*/image/.contents-*")))
        base = version


if __name__ == "__main__":
    sys.exit(harness.main(globals()))
