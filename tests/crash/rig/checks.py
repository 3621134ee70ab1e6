# SPDX-License-Identifier: LGPL-2.1-or-later
"""What must hold after an interrupted job, measured against a run of the same job undisturbed."""

import os
import re
from dataclasses import dataclass, field

from .flows import FOLLOW_UP
from .power import Power
from .stages import RECORD

NEVER = {"execve", "exit_group", "exit", "rt_sigreturn", "restart_syscall"}
RECOVERY_SECONDS = 1.0          # on a machine that has nothing else to do


@dataclass
class Reference:
    """The same job without any crash."""

    slot: str                           # that runs meanwhile
    slots: set = field(default_factory=set)             # that exist at some time
    kept: set = field(default_factory=set)              # that exist at all times
    contents: dict = field(default_factory=dict)        # slot: versions that its root may have
    again: str = ""                     # how the same order ends when it is given once more
    end: tuple = ()                     # states, refused versions, next version after both
    calls: dict = field(default_factory=dict)           # system call: how often it was made

    def seen(self, stages, facts, top):
        """Take a moment of the undisturbed run in."""
        self.kept = self.kept & facts.slots.keys() if self.slots else set(facts.slots)
        self.slots |= facts.slots.keys()
        for slot in facts.slots:
            self.contents.setdefault(slot, set()).add(
                stages.identify(f"{top}/@abupdate/slots/{slot}/root"))


def summary(stages, facts, top):
    """What two runs of one job must agree on at their end."""
    slot = facts.next
    version = slot and stages.identify(f"{top}/@abupdate/slots/{slot}/root")
    return facts.states, facts.refused, version


def next_version(stages, facts, top):
    """The version that the loader takes, by every byte of its tree; None: none that is known."""
    slot = facts.next
    return slot and stages.identify(f"{top}/@abupdate/slots/{slot}/root")


def conclude(stages, flow, power):
    """Bring the job to its end after it was cut off. Returns how that order ended."""
    done = power.order({**flow.order, "job": 9}, flow.image and stages.image(flow.image))
    finish(flow, power)
    return done


def finish(flow, power):
    """Do what the job leaves for later when it is cut off."""
    if flow.finish:
        power.order({"type": flow.finish, "job": 10})


def undisturbed(stages, flow, folder):
    """Run the job to its end, twice: what it should lead to, and which system calls it makes."""
    image = f"{folder}/reference.img"
    reference = Reference(stages.disk_for(flow.stage, image))
    power = Power(stages.programs, folder, image, stages.log, reference.slot).go_on()
    before = power.facts()
    reference.seen(stages, before, power.top)
    first = power.order(flow.order, flow.image and stages.image(flow.image),
                        ["strace", "-f", "-qq", "-o", f"{folder}/calls"])
    if first.code != 0:
        raise RuntimeError(str(first))
    after = power.facts()
    reference.seen(stages, after, power.top)
    version = next_version(stages, after, power.top)
    if version != flow.new:
        raise RuntimeError(f"undisturbed, {version} boots next instead of {flow.new}")
    reference.again = conclude(stages, flow, power).kind
    reference.end = summary(stages, power.facts(), power.top)
    left = power.off()
    if left:
        raise RuntimeError(f"undisturbed: {left}")
    os.unlink(image)

    reference.calls = count_calls(f"{folder}/calls", r"\d+ +(\w+)\(")
    records = int(after.journal["Seq"]) - int(before.journal.get("Seq", 0))
    made = reference.calls.get(RECORD, 0)
    if made != records:
        raise RuntimeError(f"{records} journal records, but {made} times {RECORD}()")
    return reference


def count_calls(path, pattern):
    """How often each system call was made, by what strace wrote."""
    calls = {}
    with open(path, encoding="utf-8", errors="replace") as file:
        for line in file:
            match = re.match(pattern, line)
            if match and match[1] not in NEVER:
                calls[match[1]] = calls.get(match[1], 0) + 1
    return calls


def layout(stages, flow, reference, facts, top, deep):
    """I1 and I2 on a machine whose recovery has ended: lines about what is wrong.

    @deep: compare every byte of the received images too.
    """
    lines = facts.strays()
    slots = facts.slots.keys()
    lines += [f"slot {slot} is a stranger" for slot in sorted(slots - reference.slots)]
    lines += [f"slot {slot} is gone" for slot in sorted(reference.kept - slots)]
    for slot in sorted(slots & reference.slots):
        if flow.in_place and slot == reference.slot:
            continue                    # the one that is being changed
        folder = f"{top}/@abupdate/slots/{slot}"
        for tree in ["root"] + ["image/root"] * (deep and not stages.places):
            version = stages.identify(f"{folder}/{tree}")
            if version not in reference.contents[slot]:
                lines.append(f"{tree} of slot {slot} is {version}, not one of "
                             f"{sorted(map(str, reference.contents[slot]))}")
    version = next_version(stages, facts, top)
    if version not in flow.allowed:
        lines.append(f"slot {facts.next} boots next, {version}: not one of {sorted(flow.allowed)}")
    return lines


def recover(power, twice=True):
    """Run the recovery; with @twice a second one, which must change nothing.

    Returns (facts, seconds, lines about what is wrong).
    """
    first = power.order({"type": "recover", "job": 90})
    lines = [] if first.code == 0 else [str(first)]
    # whose machine does other things as well waits for them
    limit = RECOVERY_SECONDS * max(1.0, os.getloadavg()[0] / len(os.sched_getaffinity(0)))
    if first.seconds > limit:
        lines.append(f"recovery took {first.seconds:.2f} s, {limit:.2f} are allowed")
    facts = power.facts()
    if not twice:
        return facts, first.seconds, lines
    second = power.order({"type": "recover", "job": 91})
    if second.code != 0:
        lines.append(f"again: {second}")
    lines += [f"a second recovery changed {line}" for line in facts.changes(power.facts())]
    return facts, first.seconds, lines


def follow_up(stages, folder, image, allowed):
    """Reboot as the loader would, then a normal update must work: lines about what is wrong."""
    power = Power(stages.programs, folder, image, stages.log)
    try:
        version = stages.identify(power.root)
        if version not in allowed:
            return [f"after a reboot {version} runs, not one of {sorted(allowed)}"]
        power.go_on()
        facts = power.facts()
        lines = []
        if facts.slots.get(facts.next, {}).get("State") == "staged":
            done = power.order({"type": "mark", "verdict": "good", "job": 92})
            if done.code != 0:
                lines.append(str(done))
        done = power.order({"type": "update", "job": 93, "reinstall": True},
                           stages.image(FOLLOW_UP))
        if done.code != 0:
            lines.append(str(done))
        facts = power.facts()
        version = next_version(stages, facts, power.top)
        if version != FOLLOW_UP:
            lines.append(f"after a normal update {version} boots next")
        return lines + facts.strays()
    finally:
        left = power.off()
        if left:
            raise RuntimeError(f"follow-up: {left}")
