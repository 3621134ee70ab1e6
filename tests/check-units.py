#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""check-units.py BUILD PROGRAM... - systemd-analyze verify on every unit, with the programs of the build."""

import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

from tap import Tap


def main():
    """One case a unit."""
    build, programs = pathlib.Path(sys.argv[1]), {os.path.basename(p): os.path.abspath(p)
                                                   for p in sys.argv[2:]}
    source = pathlib.Path(__file__).resolve().parent.parent / "systemd"
    units = sorted([*(build / "systemd").glob("*.service"), *source.glob("*.timer")])
    tap = Tap()
    if not shutil.which("systemd-analyze"):
        tap.skip("units", "systemd-analyze is not installed")
        return tap.done()
    with tempfile.TemporaryDirectory(prefix="abupdate-units-") as top:
        for unit in units:
            text = re.sub(r"^(ExecStart=)\S*/(\S+)", lambda m: m[1] + programs[m[2]],
                          unit.read_text(encoding="utf-8"), flags=re.M)
            (pathlib.Path(top) / unit.name).write_text(text, encoding="utf-8")
        for unit in units:
            done = subprocess.run(["systemd-analyze", "verify", "--man=no", f"{top}/{unit.name}"],
                                  stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                                  check=False)
            lines = [line for line in done.stdout.splitlines() if "abupdate" in line]
            tap.case(f"units: {unit.name}", lines)
    return tap.done()


if __name__ == "__main__":
    sys.exit(main())
