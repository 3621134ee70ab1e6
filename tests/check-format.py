#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""check-format.py TOP - what a reviewer would otherwise say twice about the look of a file."""

import pathlib
import re
import subprocess
import sys

from tap import Tap

LINES_MAX = 400
COLUMNS_MAX = 128       # of comments and strings, which clang-format leaves alone
LICENSE = "SPDX-License-Identifier: LGPL-2.1-or-later"
UNFINISHED = re.compile(r"\b(TO" r"DO|FIX" r"ME|XX" r"X)\b")
TEXT = {".c", ".h", ".py", ".sh", ".build", ".txt", ".xml", ".conf", ".policy", ".in", ".md", ""}
CODE = {".c", ".h", ".py", ".sh", ".build"}
BYTES = "tests/fuzz/corpus/"


def tracked(top):
    """The files of the tree; of a folder that is no git tree, all but build trees."""
    listing = subprocess.run(
        ["git", "-c", "safe.directory=*", "-C", top, "ls-files", "-z", "--cached", "--others",
         "--exclude-standard"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=False)
    if listing.returncode == 0:
        names = [n for n in listing.stdout.decode().split("\0") if n]
    else:
        names = [str(p.relative_to(top)) for p in top.rglob("*")
                 if not any(part.startswith((".git", "build")) for part in p.parts)]
    return sorted(top / n for n in names if (top / n).is_file() and not (top / n).is_symlink()
                  and not n.startswith(BYTES))


def check_text(path, name):
    """Problems of one text file."""
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        return [f"{name}: not UTF-8"]
    lines = text.split("\n")
    is_code = path.suffix in CODE or text.startswith("#!")
    problems = []
    if text and not text.endswith("\n"):
        problems.append(f"{name}: no newline at the end")
    if is_code and not any(LICENSE in line for line in lines[:3]):
        problems.append(f"{name}:1: the line '{LICENSE}' is missing")
    if path.suffix in (".c", ".h") and len(lines) - 1 > LINES_MAX:
        problems.append(f"{name}: {len(lines) - 1} lines, {LINES_MAX} are allowed: split it")
    for number, line in enumerate(lines, 1):
        if line != line.rstrip():
            problems.append(f"{name}:{number}: blanks at the end")
        if is_code and len(line) > COLUMNS_MAX:
            problems.append(f"{name}:{number}: {len(line)} columns")
        if is_code and "\t" in line:
            problems.append(f"{name}:{number}: a tab")
        if is_code and UNFINISHED.search(line):
            problems.append(f"{name}:{number}: unfinished")
    return problems


def clang_format(paths):
    """What clang-format would change."""
    done = subprocess.run(["clang-format", "--dry-run", "--Werror", *map(str, paths)],
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False, text=True)
    return [done.stdout] if done.returncode else []


def main():
    """One case for the texts of each folder, one for clang-format of each."""
    top = pathlib.Path(sys.argv[1]).resolve()
    tap = Tap()
    folders = {}
    for path in tracked(top):
        folders.setdefault(path.relative_to(top).parts[0] if path.parent != top else ".",
                           []).append(path)
    for folder, paths in sorted(folders.items()):
        texts = [p for p in paths if p.suffix in TEXT and p.name != "LICENSE"]
        tap.case(f"text: {folder}",
                 [line for p in texts for line in check_text(p, p.relative_to(top))])
        sources = [p for p in paths if p.suffix in (".c", ".h")]
        if sources:
            tap.case(f"clang-format: {folder}", clang_format(sources))
    return tap.done()


if __name__ == "__main__":
    sys.exit(main())
