# SPDX-License-Identifier: LGPL-2.1-or-later
"""No memory, no descriptors, no processes, no /proc: an error, never a crash, and afterwards all is as before."""
import mmap
import os
import resource
import struct

from harness import MANAGER, Bus, ended, eq, fails, get_all, listen, manager, update
from wire import BusError, Gone

PROGRAM = "tests/bus/libfail-calls.so"


class Failing(Bus):
    """A bus whose daemon fails when it is told to."""

    def __init__(self, build):
        super().__init__(build, start=False)
        self.counters = self.dir / "counters"
        self.counters.write_bytes(bytes(8))
        with open(self.counters, "r+b") as file:
            self.map = mmap.mmap(file.fileno(), 8)
        self.again = 0

    def run(self):
        """A daemon that is there, a new one where the last has left; that it left by itself, not by a crash."""
        self.fail()
        try:
            eq(len(manager(self.peer(), "ListSlots")[0]), 2)
            self.until(lambda: not manager(self.peers[-1], "ListJobs")[0])
            return
        except (BusError, Gone, TimeoutError):
            if self.daemon:
                self.daemon.wait(10)
                assert self.daemon.returncode >= 0, f"died: {self.daemon.returncode}"
                self.again += 1
        self.start_daemon(env={**self.env, "LD_PRELOAD": str(self.build / PROGRAM), "FAIL_CALLS": str(self.counters)})

    def fail(self, allocations=0, forks=0):
        """Fail the nth of them from here on; 0: none."""
        struct.pack_into("ii", self.map, 0, allocations, forks)

    def left(self):
        """What is still to be counted down."""
        return struct.unpack_from("ii", self.map, 0)


def _every_allocation(build, what):
    """@what(peer) with each of its allocations failing once; the daemon is sound after each."""
    done = 0
    with Failing(build) as b:
        b.script(update=[["ready"], ["result", 0, "", "ok"]], mark=[["ready"], ["result", 0, "", "ok"]])
        n = 1
        while True:
            b.run()
            if b.sanitized():
                return "skip the sanitizer has an allocator of its own"
            p = b.peer()
            listen(p)
            b.fail(allocations=n)
            try:
                what(p)
            except (BusError, Gone, TimeoutError):
                pass
            if b.left()[0] > 0:
                break
            done += 1
            b.run()
            if n % 10 == 1:
                p = b.peer()
                listen(p)
                eq(ended(p, p.wait(update(p))[0])[2], 0)
            for x in b.peers:
                x.close()
            b.peers.clear()
            n += 1
        assert done > 5, done
        return f"{done} allocations failed, {b.again} daemons left and came again"


def test_no_memory_for_an_answer(build):
    return _every_allocation(build, lambda p: manager(p, "ListSlots", timeout=3))


def test_no_memory_for_all_properties(build):
    return _every_allocation(build, lambda p: get_all(p, interface=MANAGER))


def test_no_memory_for_a_job(build):
    def job(p):
        number = p.wait(update(p), 3)[0]
        ended(p, number, 3)

    return _every_allocation(build, job)


def test_no_process_for_a_job(build):
    """fork fails: the call has an error, the next one works."""
    with Failing(build) as b:
        b.script(update=[["ready"], ["result", 0, "", "ok"]])
        b.run()
        if b.sanitized():
            return "skip the sanitizer has a fork of its own"
        p = b.peer()
        listen(p)
        b.fail(forks=1)
        text = fails("Failed", lambda: p.wait(update(p)))
        assert "Resource temporarily unavailable" in text, text
        eq(b.left()[1], 0)
        eq(ended(p, p.wait(update(p))[0])[2], 0)
        return None


def test_no_descriptors(build):
    """Fewer and fewer descriptors: a call fails or works, the daemon stays or leaves by itself; who cannot take in a
    message has lost the bus."""
    with Failing(build) as b:
        b.script(update=[["ready"], ["result", 0, "", "ok"]])
        refused = 0
        for spare in range(12):
            b.run()
            p = b.peer()
            listen(p)
            before, limits = b.fds(), resource.prlimit(b.daemon.pid, resource.RLIMIT_NOFILE)
            resource.prlimit(b.daemon.pid, resource.RLIMIT_NOFILE, (int(before[-1]) + 1 + spare, limits[1]))
            try:
                ended(p, p.wait(update(p), 5)[0])
            except (BusError, TimeoutError):
                refused += 1
            again = b.again
            if b.daemon.poll() is None:
                resource.prlimit(b.daemon.pid, resource.RLIMIT_NOFILE, limits)
            b.run()
            eq(ended(p, p.wait(update(p))[0])[2], 0)
            if again == b.again:
                b.until(lambda: len(b.fds()) == len(before), what="as many descriptors as before")
        assert refused > 0
        return f"{refused} of 12 refused, {b.again} daemons left and came again"


def test_no_proc(build):
    """Without /proc the daemon answers, or says what it misses."""
    with Bus(build, start=False) as b:
        hidden = ("unshare", "--mount", "sh", "-c", 'mount -t tmpfs none /proc && exec "$@"', "sh")
        b.daemon = b.spawn(*hidden, *b.daemon_command())
        try:
            b.until(lambda: b.daemon.poll() is not None or
                    b.peer().driver("NameHasOwner", "s", ["org.abupdate1"])[0])
        finally:
            code = b.daemon.poll()
        if code is None:
            eq(len(manager(b.peer(), "ListSlots")[0]), 2)
            b.daemon.terminate()
            eq(b.daemon.wait(10), 0)
            return "it answers"
        eq(code, 1)
        assert "/proc" in (b.dir / "log").read_text()
        return "it says so"
