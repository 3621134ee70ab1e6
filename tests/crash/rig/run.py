# SPDX-License-Identifier: LGPL-2.1-or-later
"""Options, processes and the report that both crash tests have."""

import argparse
import collections
import os
import pickle
import random
import select
import shutil
import signal
import sys
import time
import traceback

from machinery import kernel
from tap import Tap

from .flows import FLOWS
from .stages import Stages

OUTCOMES = ("old", "new", "same", "between", "other")
EXAMPLES = 5


def parser(description, seconds):
    """The options that both have."""
    options = argparse.ArgumentParser(description=description)
    options.add_argument("--build", default=os.environ.get("ABUPDATE_BUILD"),
                         help="the build tree ($ABUPDATE_BUILD)")
    options.add_argument("--seconds", type=float, default=seconds,
                         help=f"how long to go on with new points (default: {seconds})")
    options.add_argument("--least", type=int, default=3,
                         help="points of every job, whatever the time (default: 3)")
    options.add_argument("--seed", type=int, default=1, help="of everything that is random")
    options.add_argument("--jobs", type=int, default=len(os.sched_getaffinity(0)),
                         help="processes side by side")
    options.add_argument("--flow", action="append", help="only these jobs")
    options.add_argument("--subvolumes", default="", metavar="NAME:/PATH",
                         help="further subvolumes of the system")
    options.add_argument("--read-only", action="store_true", help="slots are read-only")
    options.add_argument("--keep", metavar="DIR", help="keep what a violation was found with")
    return options


class Tally:
    """What one process found about one job. @least, @deadline: when it is enough."""

    def __init__(self, least=0, deadline=0.0):
        self.least, self.deadline = least, deadline
        self.points = collections.Counter()     # by kind of point
        self.outcomes = collections.Counter()
        self.seconds = 0.0                      # of the longest recovery
        self.violations = 0
        self.problems = []                      # the first few, as text

    def add(self, point, kind, outcome, seconds, lines):
        """One point: @lines is what was wrong."""
        self.points[kind] += 1
        self.outcomes[outcome] += 1
        self.seconds = max(self.seconds, seconds)
        if lines:
            self.violations += 1
            if len(self.problems) < EXAMPLES:
                self.problems.append("\n".join([f"{point}:", *(f"  {line}" for line in lines)]))

    @property
    def enough(self):
        """Whether time is up and the least was done."""
        return time.monotonic() > self.deadline and sum(self.points.values()) >= self.least

    def note(self):
        """The numbers in one line."""
        kinds = ", ".join(f"{n} {kind}" for kind, n in sorted(self.points.items()))
        outcomes = ", ".join(f"{self.outcomes[o]} {o}" for o in OUTCOMES
                             if o in ("old", "new", "other") or self.outcomes[o])
        return (f"{sum(self.points.values())} points ({kinds}): {outcomes}; "
                f"recovery at most {self.seconds * 1000:.0f} ms")


def outcome(flow, version):
    """What to call it that @version boots next."""
    if version is None:
        return "other"
    if flow.old == flow.new == version:
        return "same"
    if version in (flow.old, flow.new):
        return "new" if version == flow.new else "old"
    return "between" if version in flow.between else "other"


def _child(function, stages, flow, options, share):
    """One job in a process that has mounts and orphans of its own."""
    kernel.private_mounts()
    kernel.mount("proc", "/proc", "proc", kernel.MS_NOSUID)
    folder = f"{stages.folder}/{flow.name}"
    os.makedirs(folder)
    tally = Tally(options.least, time.monotonic() + share)
    try:
        function(stages, flow, options, folder, random.Random(f"{options.seed} {flow.name}"),
                 tally)
    except Exception:
        tally.violations += 1
        tally.problems.append(traceback.format_exc())
    return tally


def _in_process_namespace(function, args, writer):
    """Call @function as the first process of a namespace, which ends with it; never returns."""
    try:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        kernel.unshare(kernel.CLONE_NEWPID)
        pid = os.fork()
        if pid:
            os.close(writer)
            os.waitpid(pid, 0)
        else:
            kernel.die_with_parent(signal.SIGKILL)
            with os.fdopen(writer, "wb") as pipe:
                pickle.dump(function(*args), pipe)
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(0)


class Pool:
    """Processes, one a job, so many side by side. Use it in a `with` statement."""

    def __init__(self, width):
        self.width = width
        self.running = {}               # pipe: (process, job)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for pipe, (pid, _) in self.running.items():
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            os.close(pipe)

    def _start(self, job, function, args):
        reader, writer = os.pipe()
        sys.stdout.flush()
        pid = os.fork()
        if pid == 0:
            _in_process_namespace(function, args, writer)
        os.close(writer)
        self.running[reader] = (pid, job)

    def map(self, jobs, function):
        """Yield (job, what function(*args) returns in a process) for all (job, args) in @jobs."""
        todo = list(jobs)
        while todo or self.running:
            while todo and len(self.running) < self.width:
                job, args = todo.pop(0)
                self._start(job, function, args)
            for pipe in select.select(list(self.running), [], [])[0]:
                pid, job = self.running[pipe]
                with os.fdopen(pipe, "rb", closefd=False) as file:
                    data = file.read()
                os.waitpid(pid, 0)
                del self.running[pipe]
                os.close(pipe)
                if not data:
                    raise RuntimeError(f"the process of {job} died")
                yield job, pickle.loads(data)


def _stop(number, _):
    sys.exit(128 + number)


def main(name, function, options, flows=FLOWS):
    """Run @function for every job, report one case a job; returns the exit code."""
    signal.signal(signal.SIGTERM, _stop)
    if not options.build:
        sys.exit(f"{name}: --build=DIR is missing")
    flows = [flow for flow in flows if flow.name in (options.flow or [flow.name])
             and not (options.read_only and flow.in_place)]
    start = time.monotonic()
    tap, total = Tap(), Tally()
    with Stages(options.build, options.subvolumes, options.read_only) as stages, \
            Pool(options.jobs) as pool:
        stages.versions, stages.disks = kernel.in_private_namespace(stages.build)
        left = max(options.seconds - (time.monotonic() - start), options.seconds / 2)
        share = left * options.jobs / len(flows)
        jobs = [(flow.name, (function, stages, flow, options, share)) for flow in flows]
        for job, tally in pool.map(jobs, _child):
            shutil.rmtree(f"{stages.folder}/{job}")
            tap.case(f"{name}: {job}: {tally.note()}", tally.problems)
            total.points += tally.points
            total.outcomes += tally.outcomes
            total.seconds = max(total.seconds, tally.seconds)
            total.violations += tally.violations
    print(f"# seed {options.seed}; {total.note()}; {total.violations} violations; "
          f"{time.monotonic() - start:.0f} s")
    return tap.done()
