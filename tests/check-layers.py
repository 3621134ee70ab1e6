#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""check-layers.py TOP - an include points sideways or down, never up; no header includes in circles."""

import pathlib
import re
import sys

from tap import Tap

# From the bottom up. A folder sees itself and everything before it in its own list.
TOWER = ["base", "os", "stream", "backends", "update"]
SEES = {layer: set(TOWER[:n + 1]) for n, layer in enumerate(TOWER)}
SEES["dbus"] = {"dbus"}
SEES["daemon"] = {*TOWER, "dbus", "daemon"}
SEES["health"] = {"base", "os", "health"}
SEES["client"] = {"base", "stream", "dbus", "client"}
# images are made and checked without a daemon, by a program of their own; who is trusted is in the configuration
SEES_STREAM = ("image-", "manifest.")
SEES_CONFIG = ("image-trust.c",)

# Where a library may be named at all; the bus stays in the two ends.
LIBRARIES = {
    "systemd/sd-bus": {"daemon", "client"},
    "systemd/sd-event": {"daemon", "client"},
    "curl/": {"client"},
    "libsmartcols/": {"client"},
    "btrfsutil": {"os"},
    "blkid/": {"os"},
    "libmount/": {"os"},
    "libeconf": {"os"},
    "seccomp": {"os"},
    "sys/capability": {"os"},
    "zstd": {"stream"},
    "lzma": {"stream"},
    "zlib": {"stream", "update"},
}

INCLUDE = re.compile(r'\s*#\s*include\s+(?:"([^"]+)"|<([^>]+)>)')


def includes(path):
    """(line number, quoted name or None, angle name or None) of every include."""
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        match = INCLUDE.match(line)
        if match:
            yield number, match[1], match[2]


def check_folder(top, folder):
    """What is wrong in one folder."""
    problems = []
    for path in sorted((top / folder).rglob("*.[ch]")):
        name = path.relative_to(top)
        for number, quoted, angled in includes(path):
            if quoted:
                layer = quoted.split("/")[0]
                if "/" not in quoted or not (top / quoted).is_file():
                    problems.append(f"{name}:{number}: \"{quoted}\" is no path from the top")
                elif path.name in SEES_CONFIG and quoted == "os/config.h":
                    pass
                elif layer not in SEES[folder]:
                    problems.append(f"{name}:{number}: {folder}/ may not see {quoted}")
                elif (folder, layer) == ("client", "stream") and not path.name.startswith(SEES_STREAM):
                    problems.append(f"{name}:{number}: abctl may not see {quoted}")
            for prefix, allowed in LIBRARIES.items():
                if angled and angled.startswith(prefix) and folder not in allowed:
                    problems.append(f"{name}:{number}: <{angled}> belongs to {sorted(allowed)}")
    return problems


def circles(top):
    """Headers that include each other in a circle."""
    graph = {}
    for folder in SEES:
        for path in (top / folder).rglob("*.h"):
            graph[str(path.relative_to(top))] = [q for _, q, _ in includes(path) if q]
    found, done = [], set()

    def walk(node, trail):
        if node in trail:
            found.append(" -> ".join([*trail[trail.index(node):], node]))
        elif node not in done:
            for child in graph.get(node, []):
                walk(child, [*trail, node])
            done.add(node)

    for node in sorted(graph):
        walk(node, [])
    return found


def main():
    """One case a folder, one for the circles."""
    top = pathlib.Path(sys.argv[1])
    tap = Tap()
    for folder in SEES:
        tap.case(f"layers: {folder}/", check_folder(top, folder))
    tap.case("layers: no circles of headers", circles(top))
    return tap.done()


if __name__ == "__main__":
    sys.exit(main())
