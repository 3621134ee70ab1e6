# SPDX-License-Identifier: LGPL-2.1-or-later
"""Short boots without a bus, for sweeps: hundreds of crashed disks booted, recovered, judged."""

import itertools
import os
import random
import subprocess
import time
import uuid

from . import invariants, kernel, worker, writelog

CMDLINE = "root=LABEL=machine rw quiet"


class Booted:
    """A disk as its loader booted it, in a private namespace: root, top level, worker."""

    def __init__(self, programs, device, root, top):
        self.programs = programs
        self.device = device
        self.root = root
        self.top = top

    def order(self, what, image=None, wrap=()):
        """Give a worker one order; see worker.order()."""
        return worker.order(self.programs["abupdated"], self.root, what, image, wrap)

    def recover(self):
        """Have a worker converge; returns (what it said, seconds)."""
        started = time.monotonic()
        outcome = self.order({"type": "recover"})
        return outcome, time.monotonic() - started


def boot(image, programs, folder, function, initrd=True):
    """Boot the disk @image as its loader would and call function(Booted) in a private namespace.

    An image that cannot be mounted raises OSError: that is a violation of I1 by itself.
    """
    def work():
        root, top = f"{folder}/crash-root", f"{folder}/crash-top"
        os.makedirs(root, exist_ok=True)
        os.makedirs(top, exist_ok=True)
        kernel.mount("tmpfs", "/run", "tmpfs", kernel.MS_NOSUID, "mode=755")
        with kernel.Loop(image) as loop:
            if initrd and programs.get("abupdate-initrd"):
                subprocess.run([programs["abupdate-initrd"], f"--device={loop.device}"],
                               stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False)
            kernel.mount(loop.device, root, "btrfs")
            kernel.mount("tmpfs", f"{root}/proc", "tmpfs", kernel.MS_NOSUID, "mode=755")
            os.makedirs(f"{root}/proc/sys/kernel/random")
            for name, text in (("cmdline", CMDLINE),
                               ("sys/kernel/random/boot_id", str(uuid.uuid4()))):
                with open(f"{root}/proc/{name}", "w", encoding="ascii") as file:
                    file.write(text + "\n")
            kernel.mount("tmpfs", f"{root}/run", "tmpfs", kernel.MS_NOSUID, "mode=755")
            kernel.mount(loop.device, top, "btrfs", 0, "subvolid=5")
            try:
                return function(Booted(programs, loop.device, root, top))
            finally:
                for target in (top, f"{root}/run", f"{root}/proc", root):
                    kernel.umount(target, kernel.MNT_DETACH)
    return kernel.in_private_namespace(work)


def judge(booted, digests, allowed):
    """Both invariants before and after recovery; returns (lines, next version, seconds)."""
    found = invariants.facts(booted.top)
    lines, before = [], None
    if found["next"] in found["slots"] and found["slots"][found["next"]]:
        before, wrong = invariants.slot_version(booted.top, found["next"], digests)
        lines += [f"before recovery: {line}" for line in wrong]
        if before not in allowed:
            lines.append(f"before recovery the next boot is {before}, not of {sorted(allowed)}")
    else:
        lines.append(f"before recovery the next boot is {found['default'] or 'the top'}")
    outcome, seconds = booted.recover()
    if not outcome["result"] or outcome["result"]["code"] != 0:
        lines.append(f"recovery: {outcome['result']}, status {outcome['status']}")
    lines += [f"after recovery: {line}"
              for line in invariants.problems(booted.top, digests, allowed)]
    after = invariants.facts(booted.top)
    slot = after["slots"].get(after["next"]) or {}
    if before and slot.get("Version") != before:
        lines.append(f"recovery has changed the next boot from {before} to {slot.get('Version')}")
    return lines, before, seconds


def choose(first, last, limit, keep=()):
    """At most about @limit numbers from @first to @last, evenly, with all of @keep."""
    step = max(1, (last - first + 1) // max(1, limit))
    return sorted({*range(first, last + 1, step), last, *keep})


def sweep(log, base, first, folder, check, limit=120, subsets=60, seed=1):
    """Cut the power after log entries @first..: call check(image, label) on each disk.

    Prefix model: everything up to an entry. Subset model: everything before the last flush and a
    random part of the writes since. Returns the number of disks.
    """
    rng = random.Random(seed)
    count = 0
    now, attempt = f"{folder}/now.img", f"{folder}/try.img"
    with writelog.Replay(base, log, now, kernel.sparse_copy) as replay:
        total = len(replay.entries)
        flushes = [n for n in range(first, total + 1)
                   if n and replay.entries[n - 1].is_flush]
        points = choose(first, total, limit, flushes)
        lucky = set(rng.sample(points, min(subsets, len(points))))
        flushed = f"{folder}/flushed.img"
        durable = -1
        for point in points:
            replay.forward(point)
            kernel.sparse_copy(now, attempt)
            check(attempt, f"prefix of {point} entries of {total}")
            count += 1
            loose = replay.open_writes()
            if point in lucky and loose:
                start = writelog.last_flush(replay.entries, point)
                if start != durable:
                    with writelog.Replay(base, log, flushed, kernel.sparse_copy) as behind:
                        behind.forward(start)
                    durable = start
                kernel.sparse_copy(flushed, attempt)
                part = [n for n in loose if rng.random() < rng.choice((0.2, 0.5, 0.8))]
                replay.apply_to(attempt, part)
                check(attempt, f"{len(part)} of {len(loose)} writes after flush {start}")
                count += 1
    for path in (now, attempt, flushed):
        if os.path.exists(path):
            os.unlink(path)
    return count


def kill_points(calls, limit=1000):
    """("strace" command words, number) that kill the worker at the first, second, ... of @calls."""
    for number in itertools.count(1):
        if number > limit:
            return
        yield number, ["strace", "-f", "-qq", "-o", "/dev/null", "-e", f"trace={calls}",
                       "-e", f"inject={calls}:signal=KILL:when={number}"]
