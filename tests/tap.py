# SPDX-License-Identifier: LGPL-2.1-or-later
"""One line a test case in the Test Anything Protocol, for every Python runner in this tree."""

import sys


class Tap:
    """Counts cases; say done() at the end and leave with what it returns."""

    def __init__(self):
        self.count = self.failed = 0

    def case(self, name, problems=(), note=""):
        """One case: it fails where @problems is not empty; each problem is a text of lines."""
        self.count += 1
        self.failed += bool(problems)
        for problem in problems:
            for line in str(problem).rstrip("\n").splitlines():
                print(f"# {line}")
        note = f" # {note}" if note else ""
        print(f"{'not ok' if problems else 'ok'} {self.count} - {name}{note}", flush=True)

    def skip(self, name, why):
        """A case that cannot run here, and why."""
        self.count += 1
        print(f"ok {self.count} - {name} # SKIP {why}", flush=True)

    def done(self):
        """The plan; returns the exit code."""
        print(f"1..{self.count}")
        sys.stdout.flush()
        return 1 if self.failed else 0
