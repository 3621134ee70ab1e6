#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""memory.py STREAM-APPLY TREE-DIGEST [FILES]: however many files, applying and checking them stays within 32 MiB."""
import os
import pathlib
import subprocess
import sys
import time

from btrfsdisk import BtrfsDisk, sh

sys.path.insert(0, str(pathlib.Path(__file__).parent.parent))

from tap import Tap  # noqa: E402

LIMIT = 32 << 10  # KiB
FILES = 300000
PER_DIRECTORY = 1000
INLINE = 2048


def peak_of(*command):
    """KiB that a program needed at most."""
    child = subprocess.Popen([str(c) for c in command], stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode:
        raise SystemExit(f"{command[0]} has failed")
    return usage.ru_maxrss


def make(top, n, content):
    for i in range(0, n, PER_DIRECTORY):
        directory = f"{top}/d{i // PER_DIRECTORY}"
        os.mkdir(directory)
        fd = os.open(directory, os.O_RDONLY)
        for j in range(min(n - i, PER_DIRECTORY)):
            file = os.open(f"f{j}", os.O_WRONLY | os.O_CREAT, 0o644, dir_fd=fd)
            if content:
                os.write(file, content)
            os.close(file)
        os.close(fd)


def several_names(top, n):
    make(top, n, b"")
    for i in range(0, n, PER_DIRECTORY):
        for j in range(min(n - i, PER_DIRECTORY)):
            os.link(f"{top}/d{i // PER_DIRECTORY}/f{j}", f"{top}/d{i // PER_DIRECTORY}/l{j}")


def one_directory(top, n):
    fd = os.open(top, os.O_RDONLY)
    for i in range(n):
        os.close(os.open(f"{i:08}", os.O_WRONLY | os.O_CREAT, 0o644, dir_fd=fd))
    os.close(fd)


def check(tap, disk, programs, name, fill):
    apply, digest = programs
    live, sent, dest = (disk.path / f"{kind}-{name}" for kind in ("live", "sent", "dest"))
    begun = time.monotonic()
    sh("btrfs", "-q", "subvolume", "create", live)
    fill(live)
    sh("btrfs", "-q", "subvolume", "snapshot", "-r", live, sent)
    image = disk.dir / "image"
    sh("btrfs", "-q", "send", "-f", image, sent)
    dest.mkdir()
    top = dest / sent.name
    peaks = {"applied": peak_of(apply, image, dest), "checked": peak_of(digest, "--save", top)}
    # the next image builds on it: what the base tells is there as well
    peaks["checked with a base"] = peak_of(digest, f"--known={top}", "--save", top)
    said = ", ".join(f"{what} in {peak / 1024:.1f} MiB" for what, peak in peaks.items())
    tap.case(name, [said] if max(peaks.values()) > LIMIT else [], f"{said}, {time.monotonic() - begun:.0f} s")
    for subvol in (live, sent, top):
        disk.delete(subvol)


def main():
    tap = Tap()
    if os.geteuid() != 0:
        print("1..0 # SKIP needs root")
        return 0
    n = int(sys.argv[3]) if len(sys.argv) > 3 else FILES
    with BtrfsDisk("memory", "8G") as disk:
        for name, fill in (("empty files", lambda top: make(top, n, b"")),
                           ("small files", lambda top: make(top, n, b"x" * (INLINE + 1))),
                           ("several names", lambda top: several_names(top, n // 3)),
                           ("one directory", lambda top: one_directory(top, n // 3))):
            check(tap, disk, sys.argv[1:3], name.replace(" ", "-"), fill)
    return tap.done()


if __name__ == "__main__":
    sys.exit(main())
