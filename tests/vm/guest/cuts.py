# SPDX-License-Identifier: LGPL-2.1-or-later
"""Power cuts: copies of a running guest's disks at random moments, and boots of these copies."""

import collections
import concurrent.futures
import json
import os
import re
import shutil
import threading
import time

from .case import Case, Failed

JOB = "job"
# Seconds between two copies, on average: what is over soon is looked at more often.
PAUSE = {"write": 0.6, "merge": 0.6, "first boot": 0.5, "restart": 0.4, "bless": 0.4}


class Moments:
    """In a `with` statement: takes a copy now and then, and keeps at most @keep of each stage."""

    def __init__(self, case, rng, stage, keep):
        self.case, self.rng, self.keep = case, rng, keep
        self.taken, self.seen = collections.defaultdict(list), collections.Counter()
        self.begin(stage)
        self.done, self.thread = threading.Event(), threading.Thread(target=self._watch)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.done.set()
        self.thread.join()

    def begin(self, stage):
        """Say what is going on from now on; JOB: ask the job."""
        self.stage, self.said = stage, len(self.case.guest.tail(1 << 30))

    def _watch(self):
        while not self.done.is_set():
            time.sleep(self.rng.uniform(0, 2 * PAUSE.get(self._now(), 0.15)))
            stage = self._now()
            self.seen[stage] += 1
            if self.rng.random() * self.seen[stage] > self.keep:
                continue
            folder = f"{self.case.work}/cut-{self.seen.total()}"
            if self.case.guest.snapshot(folder):
                self._put(stage, folder)

    def _put(self, stage, folder):
        kept = self.taken[stage]
        if len(kept) >= self.keep:
            shutil.rmtree(kept.pop(self.rng.randrange(len(kept))))
        kept.append(folder)

    def _now(self):
        """What is going on; of a job its phase, by its last words on the console."""
        if self.stage != JOB:
            return self.stage
        found = re.findall(r'"phase": ?"([a-z]+)"', self.case.guest.tail(1 << 30)[self.said:])
        return found[-1] if found else "check"

    def choose(self, count):
        """So many of them, as evenly over the stages as there are any: (stage, folder)."""
        chosen = []
        while len(chosen) < count and any(self.taken.values()):
            chosen += [(stage, kept.pop(self.rng.randrange(len(kept))))
                       for stage, kept in self.taken.items() if kept]
        return chosen[:count]


def judge(case, folder, versions, check):
    """Boot a copy; returns the version that runs. @versions: those that may. Where no loader chooses
    the command line, no further than to a shell."""
    work = f"{folder}-boot"
    os.rename(folder, work)
    direct = case.guest.machine != "uefi"
    cmdline = "init=/usr/lib/guest/init" if direct else ""
    after = Case(case.cut, work, **{**case.guest.options, "cmdline": cmdline})
    try:
        after.guest.wait_up(3)
        version = after.running()
        after.equal(version in versions, True, f"{version} runs")
        offline = "--offline" if direct else ""
        status = json.loads(after.do(f"abctl {offline} --json=short status"))
        after.equal(status["version"], version, status)
        after.equal([s["state"] for s in status["slots"] if s["version"] == versions[0]], ["good"],
                    status)
        after.do(check.get(version, "true"))
        return version
    finally:
        after.guest.kill()
        shutil.rmtree(work, ignore_errors=True)


def boot_all(case, moments, count, versions, check, jobs):
    """Boot @count of the copies, so many side by side; returns {(stage, version): how often}."""
    def one(moment):
        stage, folder = moment
        try:
            version = judge(case, folder, versions, check)
        except Exception as error:
            raise Failed(f"cut during {stage}: {error}") from error
        print(f"# cut during {stage}: {version}", flush=True)
        return stage, version

    with concurrent.futures.ThreadPoolExecutor(jobs) as pool:
        return collections.Counter(pool.map(one, moments.choose(count)))


def told(seen):
    """The outcomes in one line."""
    versions = collections.Counter()
    for (_, version), number in seen.items():
        versions[version] += number
    stages = "; ".join(f"{stage} {version}: {number}"
                       for (stage, version), number in sorted(seen.items()))
    return f"{sum(versions.values())} cuts, " + \
        ", ".join(f"{n} times {v}" for v, n in sorted(versions.items())) + f" ({stages})"
