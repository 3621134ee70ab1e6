#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Power cuts below the file system, at every write: the next boot is the old version or the new one.

$ABUPDATE_SWEEP=N sets how many cuts are tried for each operation (default 60; 0: all).
"""

import os
import sys

from machinery import crash, harness, writelog

CUTS = int(os.environ.get("ABUPDATE_SWEEP", "60")) or 1 << 30


def _cut_everywhere(case, it, operation, allowed, must_see=None):
    """Run operation(), end the power, then boot the disk as it was after any write of it."""
    it.run("sync", "-f", it.root)
    first = writelog.count_entries(f"{it.folder}/write.log")
    operation()
    it.run("sync", "-f", it.root)
    it.power_cut()
    versions, slowest = set(), 0.0

    def check(image, label):
        nonlocal slowest
        lines, version, seconds = crash.boot(
            image, it.programs(), case.tmp,
            lambda booted: crash.judge(booted, case.known(it), allowed))
        case.check(not lines, f"{label} ({first} before the operation)", *lines)
        versions.add(version)
        slowest = max(slowest, seconds)

    count = crash.sweep(f"{it.folder}/write.log", f"{it.folder}/base.img", first, case.tmp, check,
                        limit=CUTS, subsets=CUTS // 2)
    if must_see:
        case.equal(versions, set(must_see), "versions seen")
    case.check(slowest < 2.0, f"the slowest recovery took {slowest:.2f} s")
    return f"{count} cuts, slowest recovery {slowest:.2f} s"


def test_update(case):
    """A full update."""
    it = case.machine(write_log=True)
    image = case.image(it, "2.0")
    return _cut_everywhere(case, it, lambda: case.abctl(it, "update", image), ["1.0", "2.0"],
                           must_see=["1.0", "2.0"])


def test_incremental_several(case):
    """An incremental update of several subvolumes."""
    it = case.machine(write_log=True, subvolumes="home:/home srv:/usr/srv")
    image = case.image(it, "2.0", base="1.0", change="echo x >etc/x; rm usr/bin/hello")
    return _cut_everywhere(case, it, lambda: case.abctl(it, "update", image), ["1.0", "2.0"],
                           must_see=["1.0", "2.0"])


def _on_trial(case):
    it = case.machine(write_log=True)
    case.update(it, "2.0")
    it.reboot()
    case.expect(it, state="trial", booted="2")
    return it


def test_rollback(case):
    """A rollback from the new system."""
    it = _on_trial(case)
    return _cut_everywhere(case, it, lambda: case.abctl(it, "rollback"), ["1.0", "2.0"])


def test_mark_good(case):
    """A blessing."""
    it = _on_trial(case)
    return _cut_everywhere(case, it, lambda: case.abctl(it, "mark", "good"), ["2.0"],
                           must_see=["2.0"])


def test_retention(case):
    """A blessing that deletes old slots."""
    it = case.machine(write_log=True)
    for number in range(2, 6):
        case.to(it, f"{number}.0", base=f"{number - 1}.0")
    case.update(it, "6.0", base="5.0")
    it.reboot()
    return _cut_everywhere(case, it, lambda: case.abctl(it, "mark", "good"), ["6.0"])


def test_discard(case):
    """Deleting a slot."""
    it = case.machine(write_log=True)
    case.to(it, "2.0")
    return _cut_everywhere(case, it, lambda: case.abctl(it, "discard", "1"), ["2.0"])


def test_last_flush(case):
    """A machine that loses power right after abctl said done boots what abctl said."""
    it = case.machine(write_log=True)
    case.update(it, "2.0")
    it.power_cut()
    it.boot()
    case.expect(it, booted="2", state="trial")
    case.abctl(it, "mark", "good")
    it.power_cut()
    it.boot()
    case.expect(it, booted="2", state="steady", good="2")
    case.abctl(it, "rollback")
    it.power_cut()
    it.boot()
    case.expect(it, booted="1")
    case.sound(it, ["1.0"])


if __name__ == "__main__":
    sys.exit(harness.main(globals()))
