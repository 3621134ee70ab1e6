#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Every hostile stream is refused with its error: by the gate alone, then, as root, by the applier on real Btrfs, with
nothing outside the new subvolumes changed.

    test-hostile.py STREAM-APPLY [--btrfs]
"""
import argparse
import os
import pathlib
import subprocess
import sys

sys.path.insert(0, str(pathlib.Path(__file__).parent))
from btrfsdisk import BtrfsDisk, fingerprint  # noqa: E402
from hostile import CASES, VICTIM  # noqa: E402
from streamwriter import UUID_B, StreamWriter  # noqa: E402


def run(command, stream):
    p = subprocess.run(command, input=stream, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                       timeout=60, check=False)
    text = p.stderr.decode(errors="replace").strip()
    return p.returncode, text


def verdict(c, code, text):
    """None, or what is wrong."""
    kinds = c.kind.split("|")
    if code != 1:
        return f"exit status {code} instead of 1: {text}"
    if not any(text.startswith(f"stream-apply: {kind}: ") for kind in kinds):
        return f"expected {c.kind}, got: {text}"
    return None


def victims():
    return [fingerprint(path, with_times=False) for path in (VICTIM, VICTIM + "-dir")]


def gate(program, failures):
    n = 0
    for c in CASES:
        code, text = run([program, *c.options, "--check", "-"], c.stream)
        if c.applies:
            wrong = None if code == 0 else f"the gate alone should let it pass: {text}"
        else:
            wrong = verdict(c, code, text)
        if wrong:
            failures.append(f"{c.number} {c.name} (gate): {wrong}")
        n += 1
    return n


def applier(program, failures):
    n = 0
    with BtrfsDisk("hostile", "1G") as disk:
        outside = disk.path / "outside"
        outside.mkdir()
        (outside / "victim").write_bytes(b"untouched")
        pathlib.Path(VICTIM).write_bytes(b"untouched")
        os.makedirs(VICTIM + "-dir", exist_ok=True)
        untouched = victims()
        for i, c in enumerate(CASES):
            dest = disk.path / f"dest{i}"
            dest.mkdir()
            before = fingerprint(outside), sorted(os.listdir(disk.path))
            code, text = run([program, *c.options, "-", dest], c.stream)
            wrong = verdict(c, code, text)
            if not wrong and (fingerprint(outside), sorted(os.listdir(disk.path))) != before:
                wrong = "something outside has changed"
            if not wrong and victims() != untouched:
                wrong = "what a link points to has changed"
            for subvol in dest.iterdir():
                if not wrong and disk.is_read_only(subvol) and c.number not in (33, 29, 40):
                    wrong = "a refused subvolume counts as complete"
                disk.delete(subvol)
            if wrong:
                failures.append(f"{c.number} {c.name} (applier): {wrong}")
            n += 1

        os.unlink(VICTIM)
        os.rmdir(VICTIM + "-dir")

        # A base of the right UUID that somebody made writable is no base.
        dest = disk.path / "bases"
        dest.mkdir()
        run([program, "-", dest], StreamWriter().subvol("a", UUID_B).end().bytes())
        subprocess.run(["btrfs", "property", "set", "-f", "-ts", dest / "a", "ro", "false"],
                       check=True)
        code, text = run([program, f"--base={dest / 'a'}", "-", dest],
                         StreamWriter().snapshot("b", UUID_B, b"c" * 16).end().bytes())
        if code != 1 or "ParentMissing" not in text:
            failures.append(f"34 writable base: {code} {text}")
    return n + 1


def main():
    p = argparse.ArgumentParser()
    p.add_argument("program")
    p.add_argument("--btrfs", action="store_true")
    args = p.parse_args()
    failures = []

    if args.btrfs:
        if os.geteuid() != 0:
            print("needs root")
            return 77
        n = applier(args.program, failures)
    else:
        n = gate(args.program, failures)
    print("\n".join(failures) or f"{n} hostile streams refused")
    return bool(failures)


if __name__ == "__main__":
    sys.exit(main())
