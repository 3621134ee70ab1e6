#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Daemon, worker and machine end without warning. (tests/crash ends them everywhere.)"""

import os
import subprocess
import sys
import time

from machinery import harness, kernel


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


def test_link_is_closed(case):
    """28: the link of a worker is closed: in whatever phase, its job ends as if somebody listened."""
    for n, phase in enumerate(("write", "verify", "arm"), 2):
        it = case.machine()
        image = case.image(it, f"{n}.0", change="head -c 8000000 /dev/urandom >usr/big")
        outcome = case.worker(it, {"type": "update", "version": f"{n}.0", "hang-up": phase}, image)
        case.equal((outcome["status"], outcome["phases"][-1], outcome["result"]), (0, phase, None))
        case.expect(it, booted="1", next="2")
        case.sound(it, [f"{n}.0"])


def test_pipe_is_closed(case):
    """28: what reads the bytes of an export goes away: the job fails with its reason, and no process is killed by it."""
    it = case.pair()
    case.to(it, "2.0")
    result = it.run("bash", "-c", "abctl device export a -o - | head -c 100000 >/dev/null; "
                    "exit ${PIPESTATUS[0]}")
    case.check(result.code == 1 and "Broken pipe" in result.err, result)
    last = case.abctl(it, "--json=short", "history").data[0]
    case.check(last["type"] == "export" and last["error"] not in ("", "WorkerDied"), last)


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


def test_read_only_by_the_kernel(case):
    """The disk takes no more in the middle of an update: told so, and the old system boots."""
    it = case.machine()
    image = case.image(it, "2.0", change="head -c 60000000 /dev/urandom >usr/big")
    disk = os.open(it.running["device"], os.O_RDWR)
    with it.popen("sh", "-c", f"head -c 5000000 {image}; until [ -e {case.tmp}/go ]; do sleep 0.1; done;"
                  f" tail -c +5000001 {image}", stdout=subprocess.PIPE) as feeder:
        with it.popen("abctl", "update", "-", stdin=feeder.stdout, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
                      text=True) as update:
            feeder.stdout.close()
            case.wait("the phase write", lambda: case.phase(it) == "write")
            kernel.limit_loop(disk, 40 << 20)
            with open(f"{case.tmp}/go", "w", encoding="ascii"):
                pass
            said = update.communicate()[1]
    case.equal(update.returncode, 1, said)
    case.refused(it, "update", image, error="ReadOnlyFileSystem")
    status = case.abctl(it, "status").out
    case.check("cannot be read" in status and "turned the file system read-only" in status, status)
    kernel.limit_loop(disk, 0)
    os.close(disk)
    it.power_cut()
    it.boot()
    case.expect(it, state="steady", booted="1", version="1.0")
    case.update(it, "3.0")
    case.sound(it, ["3.0"])


if __name__ == "__main__":
    sys.exit(harness.main(globals()))
