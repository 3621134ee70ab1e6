# SPDX-License-Identifier: LGPL-2.1-or-later
"""Power cuts: copies of a running guest's disks at random moments, or what may be on a disk between any two of its writes,
and boots of these copies."""

import collections
import concurrent.futures
import itertools
import json
import os
import random
import re
import shutil
import threading
import time

from machinery import kernel, points, writelog
from machinery.disk import run

from .case import Case, Failed

# Stages that are jobs: each of their phases is a stage.
UPDATE, MERGE = "update", "merge"
# So is what firmware and loader do of the first boot, before the kernel speaks.
FIRST_BOOT, LOADER = "first boot", "loader"
# Seconds between two copies, on average: what is over soon is looked at more often.
PAUSE = {"update write": 0.6, "merge merge": 0.6, FIRST_BOOT: 0.5, "restart": 0.4, "bless": 0.4}


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
        """Say what is going on from now on."""
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
        said = self.case.guest.tail(1 << 30)[self.said:]
        if self.stage == FIRST_BOOT and self.case.guest.machine == "uefi" and "Linux version" not in said:
            return LOADER
        if self.stage not in (UPDATE, MERGE):
            return self.stage
        found = re.findall(r'"phase": ?"([a-z]+)"', said)
        return f"{self.stage} {found[-1] if found else 'check'}"

    def choose(self, count):
        """So many of them, as evenly over the stages as there are any: (stage, folder). Where there are
        more stages than that, the last ones."""
        chosen = []
        while len(chosen) < count and any(self.taken.values()):
            chosen += [(stage, kept.pop(self.rng.randrange(len(kept))))
                       for stage, kept in reversed(self.taken.items()) if kept]
        return chosen[:count]


    @staticmethod
    def put(folder):
        """The copy is there already."""
        return folder


class Writes:
    """Moments between any two writes of a guest's only disk, which was `logged`: with all that was written before, or with
    a part of what no flush has made durable. @stages: [(stage, how many entries the log had at its beginning)]."""

    def __init__(self, case, seed, stages):
        self.case, self.stages, self.rng = case, stages, random.Random(seed)
        self.log = case.guest.write_log("disk")
        self.number = itertools.count()

    def choose(self, count):
        """So many of them, at random: (stage, point)."""
        every = points.points(writelog.read_entries(self.log), 0, self.rng)
        found = self.rng.sample(list(itertools.islice(every, 20 * count)), count)
        return [([s for s, at in self.stages if at <= point.last][-1], point) for point in found]

    def put(self, point):
        """Make the copy: what differs from the disk as it was in the beginning."""
        folder = f"{self.case.work}/cut-{next(self.number)}"
        os.makedirs(folder)
        base = f"{self.case.guest.cut}/disk.img"
        with writelog.Replay(base, self.log, f"{folder}/all", kernel.sparse_copy) as disk:
            point.build(disk, f"{folder}/raw")
        run("qemu-img", "convert", "-f", "raw", "-O", "qcow2", "-F", "raw", "-B", base, f"{folder}/raw", f"{folder}/disk.qcow2")
        for name in ("all", "raw"):
            os.unlink(f"{folder}/{name}")
        shutil.copy(self.case.guest.variables, folder)
        return folder


def judge(case, folder, versions, check):
    """Boot a copy, which is left as it was; returns the version that runs. @versions: those that may.
    Where no loader chooses the command line, no further than to a shell."""
    work = f"{folder}-boot"
    shutil.copytree(folder, work)
    direct = case.guest.machine != "uefi"
    cmdline = "init=/usr/lib/guest/init" if direct else ""
    after = Case(case.cut, work, **{**case.guest.options, "cmdline": cmdline})
    try:
        after.guest.wait_up()
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


def boot_all(case, moments, count, versions, check, jobs, keep):
    """Boot @count of the copies, so many side by side; returns {(stage, version): how often}. Copies
    that boot none of @versions are counted, and kept in the folder @keep, where there is one."""
    failed = []

    def one(moment):
        stage, folder = moment[0], moments.put(moment[1])
        try:
            version = judge(case, folder, versions, check)
        except Exception as error:
            failed.append(f"cut during {stage}: {error}")
            print(f"# cut during {stage}: NEITHER: {error}".replace("\n", "\n# "), flush=True)
            if keep:
                os.makedirs(keep, exist_ok=True)
                shutil.move(folder, f"{keep}/{stage.replace(' ', '-')}-{os.path.basename(folder)}")
            return stage, "neither"
        shutil.rmtree(folder)
        print(f"# cut during {stage}: {version}", flush=True)
        return stage, version

    with concurrent.futures.ThreadPoolExecutor(jobs) as pool:
        seen = collections.Counter(pool.map(one, moments.choose(count)))
    if failed:
        raise Failed("\n".join([told(seen), *failed]))
    return seen


def told(seen):
    """The outcomes in one line."""
    versions = collections.Counter()
    for (_, version), number in seen.items():
        versions[version] += number
    stages = "; ".join(f"{stage} {version}: {number}"
                       for (stage, version), number in sorted(seen.items()))
    return f"{sum(versions.values())} cuts, " + \
        ", ".join(f"{n} times {v}" for v, n in sorted(versions.items())) + f" ({stages})"
