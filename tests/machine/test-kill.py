#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""SIGKILL of worker and daemon at every step: the next worker converges, within a second."""

import os
import sys
import time

from machinery import crash, harness, kernel

CHANGING = ("fdatasync,fsync,syncfs,renameat,renameat2,unlinkat,mkdirat,linkat,ioctl,"
            "fsetxattr,fremovexattr,ftruncate")


def _sweep(case, it, order, image, calls, allowed, prepare=()):
    """Kill the worker of @order at every one of @calls; judge each. Returns (points, slowest)."""
    pristine, attempt = f"{case.tmp}/pristine.img", f"{case.tmp}/attempt.img"
    kernel.sparse_copy(f"{it.folder}/disk.img", pristine)
    slowest, points, versions = 0.0, 0, set()
    for number, wrap in crash.kill_points(calls):
        kernel.sparse_copy(pristine, attempt)

        def run(booted, words=tuple(wrap)):
            for first in prepare:
                done = booted.order(first)
                case.equal(done["result"]["code"], 0, done)
            outcome = booted.order(order, image, words)
            killed = os.WIFSIGNALED(outcome["status"]) and not outcome["result"]
            lines, version, seconds = crash.judge(booted, case.known(it), allowed)
            return killed, lines, version, seconds, outcome

        killed, lines, version, seconds, outcome = crash.boot(
            attempt, it.programs(), case.tmp, run)
        case.check(not lines, f"killed at call {number} of {calls}", *lines)
        if not killed:
            case.check(outcome["result"] and outcome["result"]["code"] == 0, outcome)
            break
        points += 1
        versions.add(version)
        slowest = max(slowest, seconds)
    case.check(points > 0, "nothing was killed")
    case.check(slowest < 2.0, f"the slowest recovery took {slowest:.2f} s")
    return f"{points} kills, next boot {sorted(v or '?' for v in versions)}, " \
           f"slowest recovery {slowest:.2f} s"


def test_update_each_record(case):
    """An update killed at each record of its journal leaves the old or the new version."""
    it = case.machine(boot=False)
    image = case.image(it, "2.0")
    return _sweep(case, it, {"type": "update"}, image, "fdatasync", ["1.0", "2.0"])


def test_update_each_change(case):
    """An update killed at each call that changes the disk leaves the old or the new version."""
    it = case.machine(boot=False)
    image = case.image(it, "2.0", base="1.0", change="echo x >etc/x; rm usr/bin/hello")
    return _sweep(case, it, {"type": "update"}, image, CHANGING, ["1.0", "2.0"])


def test_several_each_change(case):
    """The same with several subvolumes that must switch as one."""
    it = case.machine(boot=False, subvolumes="home:/home srv:/usr/srv")
    image = case.image(it, "2.0", base="1.0")
    return _sweep(case, it, {"type": "update"}, image, CHANGING, ["1.0", "2.0"])


def _with_trial(case):
    it = case.machine()
    case.update(it, "2.0")
    it.reboot()
    case.expect(it, state="trial", booted="2")
    it.shutdown()
    return it


def test_rollback_each_change(case):
    """A rollback killed anywhere leaves either choice."""
    it = _with_trial(case)
    return _sweep(case, it, {"type": "rollback", "slot": ""}, None, CHANGING, ["1.0", "2.0"])


def test_mark_good_each_change(case):
    """A blessing killed anywhere leaves the new version booted next, or still on trial."""
    it = _with_trial(case)
    return _sweep(case, it, {"type": "mark", "slot": "", "verdict": "good", "reason": ""}, None,
                  CHANGING, ["1.0", "2.0"])


def test_retention_each_change(case):
    """Retention killed anywhere leaves whole slots only."""
    it = case.machine()
    for number in range(2, 6):
        case.to(it, f"{number}.0", base=f"{number - 1}.0")
    case.update(it, "6.0", base="5.0")
    it.reboot()
    it.shutdown()
    return _sweep(case, it, {"type": "mark", "slot": "", "verdict": "good", "reason": ""}, None,
                  CHANGING, ["5.0", "6.0"])


def test_discard_each_change(case):
    """A discard killed anywhere leaves the slot whole or gone."""
    it = case.machine()
    case.to(it, "2.0")
    it.shutdown()
    return _sweep(case, it, {"type": "discard", "slot": "1"}, None, CHANGING, ["2.0"])


def test_worker_of_the_daemon(case):
    """A worker killed under the daemon fails its job with WorkerDied; daemon and machine go on."""
    it = case.machine()
    with case.halfway(it) as update:
        daemon, workers = case.pids(it)
        it.run("kill", "-KILL", *workers)
        out, err = update.communicate(timeout=30)
    case.equal(update.returncode, 1, out, err)
    case.check("WorkerDied" in out, out, err)
    case.equal(case.pids(it)[0], daemon, "the daemon has died as well")
    case.abctl(it, "update", case.half)
    case.sound(it, ["2.0"])


def test_daemon_dies(case):
    """A daemon killed in the middle of an update: the next one finds the machine in order."""
    it = case.machine()
    with case.halfway(it) as update:
        it.run("kill", "-KILL", *case.pids(it)[0])
        update.communicate(timeout=30)
    case.check(update.returncode != 0, "abctl says that it went well")
    case.wait("the worker to end", lambda: not case.pids(it)[1], seconds=30)
    case.expect(it, booted="1", next="1")
    case.sound(it, ["1.0"])
    case.abctl(it, "update", case.half)
    case.sound(it, ["2.0"])


def test_term_to_daemon(case):
    """SIGTERM to the daemon in the middle of an update ends it within five seconds, in order."""
    it = case.machine()
    with case.halfway(it) as update:
        both = set.union(*case.pids(it))
        started = time.monotonic()
        it.run("kill", "-TERM", *case.pids(it)[0])
        case.wait("both to end", lambda: not both & set.union(*case.pids(it)), seconds=10)
        seconds = time.monotonic() - started
        update.communicate(timeout=30)
    case.check(seconds < 5, f"{seconds:.1f} s")
    case.sound(it, ["1.0"])


if __name__ == "__main__":
    sys.exit(harness.main(globals()))
