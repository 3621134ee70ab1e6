#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Workers of the seed backend die: old or new, and then an update as ever. $ABUPDATE_SEED: other points."""

import os
import random
import re
import sys

from machinery import devices, harness, kernel

CHANGE = "echo $VERSION >etc/motd; cp usr/bin/hello usr/bin/hello.$VERSION"


def test_killed_at_every_record(case):
    """A worker dies before each record of its journal: old or new, and then an update as ever."""
    it = case.pair(boot={"daemon": "none"}, size=1280 << 20)
    seed = it.part_hash("a")
    image = case.image(it, "2.0", change=CHANGE)
    outcomes = []
    for number in range(1, 20):
        done = case.worker(it, {"type": "update"}, image, wrap=devices.killed_at(number))
        if done["result"]:
            break
        if number % 2:                  # the same boot goes on, or the power is cut
            case.equal(case.worker(it, {"type": "recover"})["result"]["code"], 0)
        it.power_cut()
        outcomes.append(case.boots(it, ["1.0", "2.0"]))
        it.boot(daemon="none")
        world = case.worker(it, {"type": "recover"})["world"]
        case.runs_world(it, world, outcomes[-1])
        if world["booted"] == "b":      # back, for the next turn
            case.worker(it, {"type": "rollback"})
            it.reboot(daemon="none")
            image = case.image(it, f"{number + 2}.0", change=CHANGE)
        case.equal(it.part_hash("a"), seed)
    case.equal((done["result"] or {}).get("code"), 0, done)
    it.reboot(daemon="none")
    case.worker(it, {"type": "mark", "verdict": "good"})
    for number in range(1, 20):
        done = case.worker(it, {"type": "merge"}, wrap=devices.killed_at(number))
        if done["result"]:
            break
        it.power_cut()
        it.boot(daemon="none")
        world = case.worker(it, {"type": "recover"})["world"]
        case.equal((world["booted"], world["next"]), ("b", "b"), world)
        case.equal(it.part_hash("a"), seed)
    case.check(done["result"]["code"] == 0 or done["result"]["kind"] == "NothingToDo", done)
    it.reboot(daemon="none")
    case.equal(case.worker(it, {"type": "recover"})["world"]["booted"], "b")
    return f"{outcomes.count('1.0')} old, {len(outcomes) - outcomes.count('1.0')} new"


def test_in_place_killed(case):
    """begin and commit die at each record: open or not, committed or not, and the seed boots else."""
    it = case.pair(boot=False, write_log=True)
    outcomes = []
    for verb in ("begin", "commit"):
        for number in range(1, 30, 2):
            it.boot(daemon="none")
            seed = it.part_hash("a")
            order = {"type": "begin", "in-place": True}
            if verb == "commit":
                case.equal(case.worker(it, order)["result"]["code"], 0)
                it.run("mount", "-o", "remount,rw", it.root)
                it.run("touch", f"{it.root}/etc/mine")
                order = {"type": "commit"}
            done = case.worker(it, order, wrap=devices.killed_at(number))
            if number % 4 == 1:         # the same boot goes on first
                world = case.worker(it, {"type": "recover"})["world"]
                case.equal((world["booted"], world["next"] in "ab"), ("a", True), world)
                outcomes.append(world["next"] + ("+" if world["transaction"] else ""))
                case.equal(world["next"] == "b" and bool(world["transaction"]), False, world)
            it.power_cut()
            it.boot(daemon="none")
            world = case.worker(it, {"type": "recover"})["world"]
            case.equal((world["transaction"], world["next"]), ("", world["booted"]), world)
            case.equal(os.path.exists(f"/proc/{it._session()['init']}/root{it.root}/etc/mine"),
                       world["booted"] == "b")
            case.equal(it.part_hash("a"), seed)
            outcomes.append(world["booted"])
            if world["booted"] == "b":
                case.worker(it, {"type": "rollback"})
            it.shutdown()
            if done["result"]:
                break
        case.equal((done["result"] or {}).get("code"), 0, done)
    return " ".join(outcomes)


# What changes something that outlives the process.
CALLS = ("ioctl", "syncfs", "fsync", "fdatasync", "renameat", "renameat2", "pwrite64", "write", "unlinkat",
         "mkdirat", "openat", "openat2", "fsmount", "ftruncate")


class Sweep:
    """One job, again and again from the same disk, killed at calls that the dice choose."""

    def __init__(self, case, it, order, image=None):
        self.case, self.it, self.order, self.image = case, it, order, image
        self.seed = it.part_hash("a")
        it.shutdown()
        self.before = f"{case.tmp}/before.img"
        kernel.sparse_copy(f"{it.folder}/disk.img", self.before)
        self.killed = 0
        self.dice = random.Random(int(os.environ.get("ABUPDATE_SEED", "1")))
        self.calls = self._count()

    def again(self):
        """The machine as it was before the job, switched on."""
        if self.it.running:
            self.it.power_cut()
        kernel.sparse_copy(self.before, f"{self.it.folder}/disk.img")
        self.it.boot(daemon="none")

    def _count(self):
        """How often the job makes each call, where nobody disturbs it."""
        self.again()
        log = f"{self.case.tmp}/calls"
        done = self.case.worker(self.it, self.order, self.image, wrap=[
            "strace", "-f", "-qq", "-o", log, "-e", f"trace={','.join(CALLS)}"])
        self.case.equal(done["result"]["code"], 0, done)
        with open(log, encoding="utf-8") as file:
            found = re.findall(r"^\d+ +(\w+)\(", file.read(), re.M)
        return {name: found.count(name) for name in CALLS if name in found}

    def points(self, number):
        """Kill it at @number points; yields each, with the power cut. A few are never reached: strace
        counts the calls of each thread by itself."""
        for turn in range(number):
            self.again()
            call = self.dice.choice(sorted(self.calls))
            when = self.dice.randint(1, self.calls[call])
            done = self.case.worker(self.it, self.order, self.image,
                                    wrap=devices.killed_at(when, call))
            if turn % 2:                # the same boot goes on, or the power is cut
                recovered = self.case.worker(self.it, {"type": "recover"})
                self.case.equal(recovered["result"]["code"], 0, call, when, recovered)
            self.it.power_cut()
            self.killed += done["result"] is None
            yield f"{call} {when}"
            self.case.equal(self.it.part_hash("a"), self.seed, call, when)
        self.case.check(self.killed > number // 2, f"only {self.killed} of {number} were killed")

    def story(self, outcomes):
        """What the report says."""
        each = ", ".join(f"{outcomes.count(o)} {o}" for o in sorted(set(outcomes)))
        return f"{each}; {self.killed} killed at one of {sum(self.calls.values())} calls"


def test_update_killed_at_random_calls(case):
    """A worker that makes a sprout and an update dies anywhere: old or new, and the same order again."""
    it = case.pair(boot={"daemon": "none"}, size=1280 << 20)
    image = case.image(it, "2.0", base="1.0", change=CHANGE)
    outcomes = []
    sweep = Sweep(case, it, {"type": "update"}, image)
    for point in sweep.points(20):
        version = case.boots(it, ["1.0", "2.0"])
        outcomes.append("old" if version == "1.0" else "new")
        it.boot(daemon="none")
        world = case.worker(it, {"type": "recover"})["world"]
        case.runs_world(it, world, version)
        if version == "1.0":
            again = case.worker(it, {"type": "update"}, image)["result"]
            case.check(again["code"] == 0, point, again)
            it.power_cut()
            case.boots(it, ["2.0"])
    return sweep.story(outcomes)


def test_merge_killed_at_random_calls(case):
    """A worker that merges dies anywhere: the new version runs, and the same order again merges it."""
    it = case.pair(boot={"daemon": "none"}, size=1280 << 20)
    image = case.image(it, "2.0", base="1.0", change=CHANGE)
    case.equal(case.worker(it, {"type": "update"}, image)["result"]["code"], 0)
    it.reboot(daemon="none")
    case.equal(case.worker(it, {"type": "mark", "verdict": "good"})["result"]["code"], 0)
    outcomes = []
    sweep = Sweep(case, it, {"type": "merge"})
    for point in sweep.points(16):
        case.boots(it, ["2.0"])
        it.boot(daemon="none")
        world = case.worker(it, {"type": "recover"})["world"]
        case.runs_world(it, world, "2.0")
        again = case.worker(it, {"type": "merge"})["result"]
        case.check(again["code"] == 0 or again["kind"] == "NothingToDo", point, again)
        outcomes.append("merged" if again["code"] else "not yet")
        it.reboot(daemon="none")
        world = case.worker(it, {"type": "recover"})["world"]
        case.runs_world(it, world, "2.0")
        kind = next(s["device-kind"] for s in world["slots"] if s["id"] == "b")
        case.equal(kind, "sealed", point)
    return sweep.story(outcomes)


if __name__ == "__main__":
    sys.exit(harness.main(globals()))
