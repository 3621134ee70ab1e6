#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Workers of the seed backend die: old or new, and then an update as ever."""

import os
import sys

from machinery import devices, harness

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


if __name__ == "__main__":
    sys.exit(harness.main(globals()))
