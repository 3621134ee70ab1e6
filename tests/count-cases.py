#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""count-cases.py TESTLOG.json... - single test cases out of meson's logs.

Understands what cmocka, TAP and Python's unittest print. A program that prints no cases is one
case; one that failed without a failed case (a crash, a timeout) is one failed case more.
"""

import json
import re
import sys

LINES_BEFORE, LINES_AFTER = 25, 4


def count(entry):
    """(passed, failed, skipped) of one program."""
    text = f"{entry.get('stdout') or ''}\n{entry.get('stderr') or ''}"
    skipped = len(re.findall(r"^ok \d+.*# SKIP", text, re.M | re.I))
    passed = len(re.findall(r"^ok \d+", text, re.M)) - skipped
    failed = len(re.findall(r"^not ok \d+", text, re.M))

    started = len(re.findall(r"^\[ RUN      \]", text, re.M))
    good = len(re.findall(r"^\[       OK \]", text, re.M))
    left_out = len(re.findall(r"^\[  SKIPPED \] \w+$", text, re.M)) // 2
    passed += good
    skipped += left_out
    failed += started - good - left_out

    for ran, outcome in re.findall(r"^Ran (\d+) tests? in .*\n+(OK|FAILED)(?=.*$)", text, re.M):
        tail = re.search(rf"^Ran {ran} tests? in .*\n+{outcome} *(?:\((.*)\))?$", text, re.M)
        counts = {k: int(v) for k, v in re.findall(r"(\w+)=(\d+)", (tail and tail[1]) or "")}
        bad = counts.get("failures", 0) + counts.get("errors", 0)
        failed += bad
        skipped += counts.get("skipped", 0)
        passed += int(ran) - bad - counts.get("skipped", 0)

    fine = entry["result"] in ("OK", "EXPECTEDFAIL", "SKIP")
    if entry["result"] == "SKIP" and passed + failed + skipped == 0:
        skipped = 1
    elif passed + failed + skipped == 0:
        passed, failed = int(fine), int(not fine)
    elif not fine and failed == 0:
        failed = 1
    return passed, failed, skipped


def explain(entry):
    """What a program said of its failed cases: the log of a machine out of reach is this text alone."""
    lines = f"{entry.get('stdout') or ''}\n{entry.get('stderr') or ''}".splitlines()
    bad = [i for i, line in enumerate(lines)
           if re.match(r"not ok \d|\[  (FAILED|  ERROR) |(FAIL|ERROR): |Traceback ", line)]
    shown = {j for i in bad for j in range(max(0, i - LINES_BEFORE), i + LINES_AFTER)}
    for j in sorted(shown or range(max(0, len(lines) - LINES_BEFORE), len(lines))):
        if j < len(lines):
            print(f"    {lines[j][:200]}")


def main():
    """Add up all logs; the last line is the sum."""
    total = [0, 0, 0]
    for path in sys.argv[1:]:
        try:
            with open(path, encoding="utf-8") as file:
                entries = [json.loads(line) for line in file if line.strip()]
        except FileNotFoundError:
            print(f"{path}: no test has run")
            total[1] += 1
            continue
        for entry in entries:
            numbers = count(entry)
            total = [a + b for a, b in zip(total, numbers)]
            if numbers[1]:
                print(f"failed: {entry['name']}: {numbers[1]} of {sum(numbers)}")
                explain(entry)
    if total[2]:
        print(f"{total[2]} skipped")
    print(f"{total[0]} passed, {total[1]} failed")
    return 1 if total[1] else 0


if __name__ == "__main__":
    sys.exit(main())
