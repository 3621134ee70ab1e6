# SPDX-License-Identifier: LGPL-2.1-or-later
"""Runs the cases of a test program, each with a guest of its own; a guest is cut once for all of a kind.

$ABUPDATE_BUILD is the build tree. Arguments choose cases by name.
"""

import argparse
import collections
import os
import shutil
import signal
import sys
import tempfile
import time
import traceback

from machinery.harness import scratch_parent
from tap import Tap

from . import disk, tree, uefi
from .case import Case, Failed
from .qemu import QEMU

# What is shown, with which slot and boot backend and initrd, and what the guest has besides.
Row = collections.namedtuple("Row", "function backend boot initrd options")


def rows(prefix, backend, boot, flows, initrd="initramfs-tools", options=()):
    """Cases on one kind of guest: {prefix + name: Row}."""
    return {prefix + name: Row(function, backend, boot, initrd, options)
            for name, function in flows.items()}


def _machine(row):
    """Other loaders than QEMU itself are started by firmware."""
    return "microvm" if row.boot == "default-subvolume" else "uefi"


def _one(row, cut, work, options):
    """Run one case; returns (problems, note)."""
    case = Case(cut, work, initrd=row.initrd, machine=_machine(row))
    try:
        note = row.function(case, **options)
        return [], ", ".join(filter(None, [f"{case.guest.boots} boots", note]))
    except Failed as error:
        where = [f"{f.filename}:{f.lineno}: {f.line}" for f in
                 traceback.extract_tb(error.__traceback__) if f.name == row.function.__name__]
        return [*where, str(error)], ""
    except Exception:
        return [traceback.format_exc()], ""
    finally:
        case.guest.kill()


def _cut(row, folder):
    """Cut the guest of this case, where there is none yet."""
    if _machine(row) == "uefi" and uefi.missing():
        raise tree.NoTree(f"not installed: {' '.join(uefi.missing())}")
    if not os.path.exists(f"{folder}/images.img"):
        disk.cut(os.environ["ABUPDATE_BUILD"], folder, (row.initrd,), backend=row.backend,
                 boot=row.boot, options=row.options)


def main(cases, doc):
    """Run what the arguments say of @cases: {name: Row}; returns the exit code."""
    parser = argparse.ArgumentParser(description=doc)
    parser.add_argument("--dir", help="keep the guests that are cut here")
    parser.add_argument("--cuts", type=int, default=20, help="so many power cuts")
    parser.add_argument("--jobs", type=int, default=2, help="boots after power cuts side by side")
    parser.add_argument("--seed", type=int, default=1, help="of the random moments")
    parser.add_argument("--keep", help="keep copies here that boot neither version after a power cut")
    parser.add_argument("name", nargs="*", choices=[[], *cases])
    args = parser.parse_args()
    tap = Tap()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    with tempfile.TemporaryDirectory(prefix="abupdate-vm-", dir=scratch_parent()) as top:
        for name in args.name or cases:
            row, started = cases[name], time.monotonic()
            cut = f"{args.dir or top}/{'-'.join([*row[1:4], *row.options])}"
            try:
                if not shutil.which(QEMU):
                    raise tree.NoTree(f"{QEMU} is not installed")
                _cut(row, cut)
            except tree.NoTree as error:
                tap.skip(name, str(error))
                continue
            options = {}
            if name.endswith("power-cuts"):
                options = {"count": args.cuts, "seed": args.seed, "jobs": args.jobs, "keep": args.keep}
            problems, note = _one(row, cut, f"{top}/{name}", options)
            shutil.rmtree(f"{top}/{name}", ignore_errors=True)
            tap.case(f"{name}: {row.function.__doc__.splitlines()[0].rstrip('.')}", problems,
                     f"{time.monotonic() - started:.0f} s, {note}" if note else "")
    return tap.done()
