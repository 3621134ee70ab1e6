#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""A system call of the whole worker fails in the middle of an image: a typed error, nothing stays, and again it works. (Every
call of the engine alone: tests/stream/inject.py.)"""

import os
import random
import re
import sys

from machinery import harness

ERRORS = {"ENOSPC": {"NoSpace"}, "EDQUOT": {"QuotaExceeded"}, "EIO": {"Failed", "VerifyFailed"},
          "ENOMEM": {"NoMemory"}, "EINTR": {"Failed"}}
CALLS = ("mkdirat", "symlinkat", "fchmodat", "fchown", "pwritev", "utimensat", "renameat", "openat2", "linkat",
         "fsetxattr", "syncfs")
EACH = 2  # places of each call
CHANGE = ("mkdir usr/a usr/b; for i in $(seq 30); do echo $i >usr/a/$i; ln usr/a/$i usr/b/$i; "
          "ln -s x usr/a/l$i; mkdir usr/b/d$i; chown 1:2 usr/a/$i; touch -d 2001-02-03 usr/a/$i; chmod 4755 usr/a/$i; done; "
          "python3 -c 'import os; [os.setxattr(f\"usr/a/{i}\", \"user.a\", b\"b\") for i in range(1, 31)]'")


def strace(case, *args):
    return ["strace", "-f", "-qq", "-o", f"{case.tmp}/trace", *args]


def places(case, rng):
    """(call, error, when) while the image is written: from the first subvolume in the quarantine on."""
    counts, first = {}, {}
    with open(f"{case.tmp}/trace", encoding="utf-8", errors="replace") as file:
        for line in file:
            match = re.match(r"\d+ +(\w+)\(", line)
            if match:
                counts[match[1]] = counts.get(match[1], 0) + 1
                if "BTRFS_IOC_SUBVOL_CREATE" in line and not first:
                    first = dict(counts)
    for call in CALLS:
        case.check(counts.get(call, 0) > first.get(call, 0), f"the worker never calls {call}", counts)
        after = range(first.get(call, 0) + 1, counts[call] + 1)
        for when in sorted(rng.sample(after, min(EACH, len(after)))):
            yield call, rng.choice(sorted(ERRORS)), when


def test_calls(case):
    """Two places of each call that writes, by a seed; the errors change."""
    it = case.machine(boot={"daemon": "none"})
    image = case.image(it, "2.0", change=CHANGE)
    order = {"type": "update", "arm": False}
    before = case.facts(it)
    outcome = case.worker(it, order, image, wrap=strace(case))
    case.equal(outcome["result"]["code"], 0, outcome)
    case.worker(it, {"type": "discard", "slot": outcome["result"]["slot"]})
    case.unchanged(it, before)
    seed = int(os.environ.get("ABUPDATE_SEED", "1"))
    n = refused = 0
    for call, error, when in list(places(case, random.Random(seed))):
        outcome = case.worker(it, order, image, wrap=strace(case, "-e", f"inject={call}:error={error}:when={when}"))
        result, what = outcome["result"], f"{call} #{when} {error}"
        n += 1
        case.check(result, what, outcome)
        if result["code"] == 0:
            case.worker(it, {"type": "discard", "slot": result["slot"]})
        else:
            refused += 1
            case.check(result["kind"] in ERRORS[error] and result["text"], what, result)
        case.unchanged(it, before)
        case.sound(it, ["1.0"])
    outcome = case.worker(it, order, image)
    case.equal(outcome["result"]["code"], 0, outcome)
    return f"seed {seed}, {n} failures, {refused} failed the job"


if __name__ == "__main__":
    sys.exit(harness.main(globals()))
