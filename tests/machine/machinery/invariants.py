# SPDX-License-Identifier: LGPL-2.1-or-later
"""What must hold after anything whatever: the next boot is complete and known (I1), nothing lies
about outside slots, state and the boot switch (I2)."""

import os
import re
import subprocess

from .digest import entries, tree_digest

KEPT = "@abupdate/kept/"  # of an update that was cut off, for the next one
SLOT_PATH = re.compile(r"@abupdate/slots/(\d+)/(root(/.+)?|image/[^/]+)$")
ROW = re.compile(r"ID (\d+) .*?parent (\d+) .*?parent_uuid (\S+)\s+received_uuid (\S+)\s+"
                 r"uuid (\S+) path (.*)$")


def subvolumes(top):
    """Every subvolume below @top (the whole file system): {path: {id, uuid, received, parent}}."""
    text = subprocess.run(["btrfs", "subvolume", "list", "-p", "-u", "-q", "-R", top],
                          stdout=subprocess.PIPE, check=True, text=True).stdout
    found = {}
    for line in text.splitlines():
        match = ROW.match(line)
        found[match[6]] = {"id": int(match[1]), "parent": match[3], "received": match[4],
                           "uuid": match[5]}
    return found


def default_path(top):
    """The path of the default subvolume, "" for the top itself."""
    text = subprocess.run(["btrfs", "subvolume", "get-default", top], stdout=subprocess.PIPE,
                          check=True, text=True).stdout.strip()
    return text.split(" path ", 1)[1] if " path " in text else ""


def read_conf(path):
    """A slot.conf as a dictionary."""
    with open(path, encoding="utf-8") as file:
        return dict(line.rstrip("\n").split("=", 1) for line in file)


def is_read_only(path):
    """Whether a subvolume is read-only."""
    return "ro=true" in subprocess.run(["btrfs", "property", "get", path, "ro"], check=True,
                                       stdout=subprocess.PIPE, text=True).stdout


def facts(top):
    """Everything about the layout in one dictionary of plain data."""
    slots = {}
    for name in sorted(os.listdir(f"{top}/@abupdate/slots"), key=lambda n: (len(n), n)):
        conf = f"{top}/@abupdate/slots/{name}/slot.conf"
        slots[name] = read_conf(conf) if os.path.exists(conf) else None
    default = default_path(top)
    match = SLOT_PATH.match(default)
    staging = f"{top}/@abupdate/staging"
    return {
        "top": sorted(os.listdir(top)),
        "default": default,
        "next": match[1] if match and match[2] == "root" else None,
        "slots": slots,
        "subvolumes": {path: info for path, info in subvolumes(top).items() if not path.startswith(KEPT)},
        "kept": sorted(os.listdir(f"{top}/{KEPT}")) if os.path.isdir(f"{top}/{KEPT}") else [],
        "staging": sorted(os.listdir(staging)) if os.path.isdir(staging) else [],
        "state": sorted(os.listdir(f"{top}/@abupdate/state")),
    }


def strays(found):
    """I2: lines about what lies where nothing should."""
    lines = [f"{name} at the top" for name in found["top"] if name != "@abupdate"]
    lines += [f"staging/{name}" for name in found["staging"]]
    lines += [f"kept/{name}" for name in found["kept"]]
    for path in found["subvolumes"]:
        match = SLOT_PATH.match(path)
        if not match:
            lines.append(f"subvolume {path}")
        elif match[1] not in found["slots"]:
            lines.append(f"subvolume {path} of no slot")
    for slot, conf in found["slots"].items():
        if conf is None:
            lines.append(f"slot {slot} has no slot.conf")
        if f"@abupdate/slots/{slot}/root" not in found["subvolumes"]:
            lines.append(f"slot {slot} has no root")
    if found["next"] is None:
        lines.append(f"the default subvolume is {found['default'] or 'the top'}")
    return lines


def slot_digests(top, slot):
    """The digest of every subvolume of a slot's image, by name."""
    folder = f"{top}/@abupdate/slots/{slot}"
    pairs = [word.split(":", 1) for word in read_conf(f"{folder}/slot.conf")["Subvolumes"].split()]
    return {name: tree_digest(f"{folder}/image/{name}") for name, _ in pairs}


def slot_version(top, slot, digests, changed=()):
    """I1 for one slot: the version whose every byte it has, by comparing with the maker's digests.

    @digests: {version: {subvolume: digest}}. @changed: folders and files of the root that the test
    itself has changed. Returns (version or None, lines about differences).
    """
    folder = f"{top}/@abupdate/slots/{slot}"
    conf = read_conf(f"{folder}/slot.conf")
    pairs = [word.split(":", 1) for word in conf["Subvolumes"].split()]
    have = slot_digests(top, slot)
    version = next((v for v, d in digests.items()
                    if all(d.get(n) == h for n, h in have.items())), None)
    problems = [] if version else [f"slot {slot}: the image is none of {sorted(digests)}"]
    for name, place in pairs:
        top_of = place.rstrip("/") + "/"
        inside = [p[len(top_of):] for _, p in pairs if p != place and p.startswith(top_of)]
        problems += compare(f"{folder}/image/{name}", f"{folder}/root{place}",
                            [*inside, *changed])
    return version, [f"slot {slot}: {line}" for line in problems]


def compare(image, root, places):
    """Differences between what was received and what will be booted.

    At @places other subvolumes stand in the root; the folders that hold them may have a new time.
    """
    parents = {os.fsencode(os.path.dirname(place)) for place in places}

    def listing(top):
        for name, what in entries(top, places):
            yield name, [*what[:3], 0, *what[4:]] if name in parents else what

    one, two = dict(listing(image)), dict(listing(root))
    return [f"{os.fsdecode(name) or '.'}: image {one.get(name)}, root {two.get(name)}"
            for name in sorted(one.keys() | two.keys()) if one.get(name) != two.get(name)][:5]


def problems(top, digests, allowed=None, changed=()):
    """I1 and I2 together: lines about everything wrong; [] is what every test wants.

    @allowed: the versions of which the next boot may be one (default: all known). @changed: see
    slot_version().
    """
    found = facts(top)
    lines = strays(found)
    if found["next"] in found["slots"]:
        version, wrong = slot_version(top, found["next"], digests, changed)
        lines += wrong
        if version and allowed and version not in allowed:
            lines.append(f"the next boot is {version}, not one of {sorted(allowed)}")
    return lines
