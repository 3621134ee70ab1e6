#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""check-units.py BUILD PROGRAM... - systemd-analyze verify on every unit, with the programs of the build,
and how exposed the service is."""

import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

from tap import Tap


EXPOSURE = 25                           # tenths, at most; 24 now


def exposure(unit):
    """Problems where systemd-analyze finds the unit more exposed than that."""
    done = subprocess.run(["systemd-analyze", "security", "--no-pager", "--offline=true",
                           f"--threshold={EXPOSURE}", unit], stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True, check=False)
    return [] if done.returncode == 0 else done.stdout.splitlines()[-1:]


def drop_in(top, unit, path, lines):
    """Problems of a drop-in for somebody else's unit: is it read, without a complaint?"""
    stub = pathlib.Path(top) / unit
    stub.write_text("[Service]\nType=oneshot\nExecStart=/bin/true\n", encoding="utf-8")
    (pathlib.Path(top) / f"{unit}.d").mkdir()
    shutil.copy(path, pathlib.Path(top) / f"{unit}.d" / "50-abupdate.conf")
    done = subprocess.run(["systemd-analyze", "verify", "--man=no", str(stub)], stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True, check=False)
    text = path.read_text(encoding="utf-8")
    return [line for line in done.stdout.splitlines() if "50-abupdate" in line] + \
        [f"{line} is not in it" for line in lines if line not in text]


def main():
    """One case a unit."""
    build, programs = pathlib.Path(sys.argv[1]), {os.path.basename(p): os.path.abspath(p)
                                                   for p in sys.argv[2:]}
    source = pathlib.Path(__file__).resolve().parent.parent / "systemd"
    units = sorted([*(build / "systemd").glob("*.service"), *source.glob("*.timer")])
    tap = Tap()
    if not shutil.which("systemd-analyze"):
        tap.skip("units", "systemd-analyze is not installed")
        return tap.done()
    with tempfile.TemporaryDirectory(prefix="abupdate-units-") as top:
        for unit in units:
            text = re.sub(r"^(ExecStart=)\S*/(\S+)", lambda m: m[1] + programs[m[2]],
                          unit.read_text(encoding="utf-8"), flags=re.M)
            (pathlib.Path(top) / unit.name).write_text(text, encoding="utf-8")
        for unit in units:
            done = subprocess.run(["systemd-analyze", "verify", "--man=no", f"{top}/{unit.name}"],
                                  stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                                  check=False)
            lines = [line for line in done.stdout.splitlines() if "abupdate" in line]
            tap.case(f"units: {unit.name}", lines)
        tap.case("units: the drop-in for systemd-bless-boot.service", drop_in(
            top, "systemd-bless-boot.service", source / "bless-boot.conf",
            ["RequiresMountsFor=/efi /boot/efi /boot"]))
        tap.case("units: the drop-in for dracut-pre-mount.service", drop_in(
            top, "dracut-pre-mount.service", source.parent / "initrd/dracut/pre-mount.conf",
            ["After=local-fs-pre.target"]))
        done = subprocess.run([build / "initrd/initramfs_tools_premount", "prereqs"], check=False,
                              stdout=subprocess.PIPE, text=True)
        tap.case("units: the hook of initramfs-tools comes after the one that wakes the system",
                 [] if done.stdout.split() == ["btrfs", "resume"] else [done.stdout])
        tap.case(f"units: abupdated.service is exposed by {EXPOSURE / 10} at most",
                 exposure(f"{top}/abupdated.service"))
    return tap.done()


if __name__ == "__main__":
    sys.exit(main())
