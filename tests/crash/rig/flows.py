# SPDX-License-Identifier: LGPL-2.1-or-later
"""The jobs that are interrupted, and which versions may boot next whenever that happens."""

from dataclasses import dataclass, field

from .stages import NAMED


@dataclass(frozen=True)
class Flow:
    """One job at one stage. @old: what boots next before it; @new: what may after it has begun."""

    name: str
    stage: str
    order: dict = field(hash=False)
    old: str
    new: str
    image: str = ""
    between: tuple = ()         # further versions that may boot next on the way
    script: tuple = ("order",)  # what happens: order, boot (as the loader would), recover, good
    finish: str = ""            # a job that does what this one leaves for later when it is cut off

    @property
    def allowed(self):
        """Every version that may ever boot next."""
        return {self.old, self.new, *self.between}

    @property
    def command(self):
        """The words for abctl."""
        order = dict(self.order)
        verb = order.pop("type")
        words = [order.pop(key) for key in ("verdict", "slot") if key in order]
        if order.pop("arm", True) is False:
            words.append("--no-arm")
        if order.pop("in-place", False):
            words.append("--in-place")
        if "reason" in order:
            words.append(f"--reason={order.pop('reason')}")
        assert not order, f"no words for {order}"
        return [verb, *words]

    @property
    def in_place(self):
        """Whether the content of the slot that runs may change."""
        return self.stage in IN_PLACE or self.order["type"] == "begin"


IN_PLACE = {"open", "cut-begin", "cut-commit"}
RECOVER = {"type": "recover"}
FLOWS = (
    Flow("update", "fresh", {"type": "update"}, "1.0", "2.0", "2.0"),
    Flow("update-incremental", "fresh", {"type": "update"}, "1.0", "2.0", "2.0-incremental"),
    Flow("update-no-arm", "fresh", {"type": "update", "arm": False}, "1.0", "1.0", "2.0"),
    # the loader goes back to what is proven before it is pointed at something new
    Flow("update-again", "armed", {"type": "update"}, "2.0", "3.0", "3.0", ("1.0",)),
    Flow("rollback-armed", "armed", {"type": "rollback"}, "2.0", "1.0"),
    Flow("rollback-trial", "trial", {"type": "rollback"}, "2.0", "1.0"),
    Flow("rollback-settled", "settled", {"type": "rollback"}, "2.0", "1.0"),
    Flow("arm-staged", "staged", {"type": "rollback", "slot": "2"}, "1.0", "2.0"),
    Flow("mark-good", "crowded", {"type": "mark", "verdict": "good"}, "5.0", "5.0",
         finish="prune"),
    Flow("mark-bad", "trial", {"type": "mark", "verdict": "bad", "reason": "test"}, "2.0", "1.0"),
    Flow("prune", "condemned", {"type": "prune"}, "1.0", "1.0"),
    Flow("discard", "staged", {"type": "discard", "slot": "2"}, "1.0", "1.0"),
    Flow("pin", "settled", {"type": "pin", "slot": "1"}, "2.0", "2.0"),
    Flow("begin", "fresh", {"type": "begin", "in-place": True}, "1.0", "1.0"),
    Flow("commit", "open", {"type": "commit"}, "1.0", NAMED),
    Flow("abort", "open", {"type": "abort"}, "1.0", "1.0"),
    Flow("recover-write", "cut-write", RECOVER, "1.0", "1.0"),
    Flow("recover-place", "cut-place", RECOVER, "1.0", "1.0"),
    Flow("recover-arm", "cut-arm", RECOVER, "2.0", "2.0"),
    Flow("recover-rollback", "cut-rollback", RECOVER, "1.0", "1.0"),
    Flow("recover-begin", "cut-begin", RECOVER, "1.0", "1.0"),
    Flow("recover-commit", "cut-commit", RECOVER, NAMED, NAMED),
)

# What needs power to go off and on: for cuts only.
BOOTS = (
    Flow("boot-trial", "armed", RECOVER, "2.0", "1.0", script=("boot", "recover") * 5),
    Flow("boot-bless", "armed", RECOVER, "2.0", "2.0", script=("boot", "recover", "good", "boot")),
    Flow("boot-changed", "cut-commit", RECOVER, NAMED, "1.0", script=("boot", "recover") * 5),
    Flow("boot-lost", "open", RECOVER, "1.0", "1.0", script=("boot", "recover")),
    Flow("boot-unplaced", "cut-place", RECOVER, "1.0", "1.0", script=("boot", "recover")),
)

FOLLOW_UP = "9.0"               # what a normal update afterwards installs
