#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""check-lint.py TOP BUILD - clang-tidy on every source that BUILD compiles, shellcheck on scripts.

A source that was clean is not looked at again before it, a header or the rules change: what was
seen is kept in BUILD/lint.
"""

import concurrent.futures
import hashlib
import json
import os
import pathlib
import subprocess
import sys

from tap import Tap


def tidy(source, build):
    """Problems that clang-tidy finds in one source file."""
    done = subprocess.run(["clang-tidy", "--quiet", "-p", build, source], stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, check=False, text=True)
    return [] if done.returncode == 0 else [done.stdout or done.stderr]


def is_shell(path):
    """Whether a file is a shell script, by its first line."""
    try:
        with open(path, "rb") as file:
            first = file.readline(80)
    except OSError:
        return False
    return first.startswith(b"#!") and first.rstrip().endswith((b"/sh", b"/bash", b"env bash"))


def digest(*paths):
    """One digest for the content of files."""
    total = hashlib.sha256()
    for path in paths:
        total.update(pathlib.Path(path).read_bytes())
    return total.hexdigest()


def main():
    """One case a file."""
    top, build = pathlib.Path(sys.argv[1]).resolve(), pathlib.Path(sys.argv[2]).resolve()
    tap = Tap()
    with open(build / "compile_commands.json", encoding="utf-8") as file:
        commands = json.load(file)
    sources = sorted({str((pathlib.Path(c["directory"]) / c["file"]).resolve()) for c in commands})
    sources = [s for s in sources if s.startswith(f"{top}/") and not s.startswith(f"{build}/")]
    headers = [p for p in sorted(top.rglob("*.h")) if build not in p.parents]
    rules = digest(top / ".clang-tidy", *headers)
    seen = build / "lint"
    seen.mkdir(exist_ok=True)

    def look(source):
        mark = seen / hashlib.sha256((rules + source + digest(source)).encode()).hexdigest()
        if mark.exists():
            return []
        problems = tidy(source, str(build))
        if not problems:
            mark.touch()
        return problems

    with concurrent.futures.ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        for source, problems in zip(sources, pool.map(look, sources)):
            tap.case(f"clang-tidy: {os.path.relpath(source, top)}", problems)
    for path in sorted(p for p in top.rglob("*") if p.is_file() and ".git" not in p.parts
                       and build not in p.parents and is_shell(p)):
        done = subprocess.run(["shellcheck", str(path)], stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, check=False, text=True)
        tap.case(f"shellcheck: {path.relative_to(top)}", [done.stdout] if done.returncode else [])
    return tap.done()


if __name__ == "__main__":
    sys.exit(main())
