#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Daemon, worker and machine end without warning. (tests/crash ends them everywhere.)"""

import sys
import time

from machinery import harness


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
