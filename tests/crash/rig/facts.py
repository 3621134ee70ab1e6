# SPDX-License-Identifier: LGPL-2.1-or-later
"""Everything about the layout of a machine's file system, read through its top-level subvolume.

Asks the kernel itself: a sweep looks thousands of times, and a process per question would be most
of its time.
"""

import array
import fcntl
import hashlib
import os
import re
import struct
import zlib

from machinery.digest import entries

BTRFS_IOC_TREE_SEARCH_V2 = 0xC0709411
BTRFS_IOC_INO_LOOKUP = 0xD0009412
ROOT_TREE = 1
ROOT_TREE_DIR = 6
ROOT_ITEM, ROOT_BACKREF, DIR_ITEM = 132, 144, 84
FIRST_SUBVOLUME = 256
TOP_SUBVOLUME = 5
MAX = (1 << 64) - 1
RESERVE = 1 << 20

SLOT_PATH = re.compile(r"@abupdate/slots/([1-9]\d*)/(root(?:/.+)?|image/[^/]+)$")
HOME = {"boot.conf", "slots", "staging", "state"}
STATE = {"history", "journal", "lock", "refused", "reserve"}


def _search(fd, low, high, low_type, high_type):
    """Yield (object id, type, offset, data) from the tree of roots."""
    size = 1 << 16
    at = (low, low_type, 0)
    while True:
        buffer = array.array("B", bytes(112 + size))
        struct.pack_into("<7Q4I", buffer, 0, ROOT_TREE, at[0], high, at[2], MAX, 0, MAX, at[1],
                         high_type, 1 << 20, 0)
        struct.pack_into("<Q", buffer, 104, size)
        fcntl.ioctl(fd, BTRFS_IOC_TREE_SEARCH_V2, buffer, True)
        count, = struct.unpack_from("<I", buffer, 64)
        if count == 0:
            return
        place = 112
        for _ in range(count):
            _, objectid, offset, kind, length = struct.unpack_from("<3Q2I", buffer, place)
            place += 32
            if low_type <= kind <= high_type:
                yield objectid, kind, offset, bytes(buffer[place:place + length])
            place += length
        at = (objectid, kind, offset + 1)


def default_subvolume(fd):
    """The id of the subvolume that a mount without options takes."""
    for _, _, _, data in _search(fd, ROOT_TREE_DIR, ROOT_TREE_DIR, DIR_ITEM, DIR_ITEM):
        length, = struct.unpack_from("<H", data, 27)
        if data[30:30 + length] == b"default":
            return struct.unpack_from("<Q", data)[0]
    return TOP_SUBVOLUME


def _folder(fd, tree, inode):
    """The path of a directory inside subvolume @tree, with a slash at its end or empty."""
    buffer = array.array("B", struct.pack("<2Q", tree, inode) + bytes(4080))
    fcntl.ioctl(fd, BTRFS_IOC_INO_LOOKUP, buffer, True)
    return bytes(buffer[16:]).split(b"\0", 1)[0]


def subvolumes(fd):
    """{id: (path, uuid, read-only)} of all that are not being deleted."""
    roots, places = {}, {}
    for objectid, kind, offset, data in _search(fd, FIRST_SUBVOLUME, MAX - 256, ROOT_ITEM,
                                                ROOT_BACKREF):
        if kind == ROOT_ITEM:
            flags, refs = struct.unpack_from("<QI", data, 208)
            if refs > 0:
                roots[objectid] = (data[247:263].hex(), bool(flags & 1))
        elif kind == ROOT_BACKREF:
            inode, _, length = struct.unpack_from("<2QH", data)
            places[objectid] = (offset, inode, data[18:18 + length])

    def path(subvolume):
        if subvolume == TOP_SUBVOLUME:
            return b""
        parent, inode, name = places[subvolume]
        above = path(parent)
        return (above + b"/" if above else b"") + _folder(fd, parent, inode) + name

    # one that is in no folder any more is deleted; its root says so after the next commit
    return {number: (os.fsdecode(path(number)), *facts)
            for number, facts in roots.items() if number in places}


def _files(top):
    """{path: content, or None for a directory} of all that is in no subvolume but the top."""
    found = {}
    device = os.lstat(top).st_dev
    todo = [""]
    while todo:
        folder = todo.pop()
        for entry in os.scandir(f"{top}/{folder}"):
            name = f"{folder}/{entry.name}" if folder else entry.name
            info = entry.stat(follow_symlinks=False)
            if info.st_dev != device:
                continue
            found[name] = None
            if entry.is_dir(follow_symlinks=False):
                todo.append(name)
            elif entry.is_file(follow_symlinks=False):
                with open(entry.path, "rb") as file:
                    found[name] = file.read()
            else:
                found[name] = b"not a regular file"
    return found


def parse(data):
    """Key=Value lines as a dictionary."""
    return dict(line.split("=", 1) for line in data.decode().splitlines() if "=" in line)


def journal(data):
    """The fields of the newest valid record of a journal file; {} where there is none."""
    best = {}
    for at in (0, 4096):
        block = (data or b"")[at:at + 4096].rstrip(b"\0")
        match = re.match(rb"Crc=([0-9a-f]{8})\n", block)
        if match and int(match[1], 16) == zlib.crc32(block[13:]):
            fields = parse(block[13:])
            if not best or int(fields["Seq"]) > int(best["Seq"]):
                best = fields
    return best


class Facts:
    """The layout at one moment. Compare two with same_as()."""

    def __init__(self, top):
        fd = os.open(top, os.O_RDONLY | os.O_DIRECTORY)
        try:
            self.default = default_subvolume(fd)
            self.subvolumes = subvolumes(fd)
        finally:
            os.close(fd)
        self.files = _files(top)
        self.files.pop("@abupdate/state/lock", None)
        self.paths = {facts[0]: number for number, facts in self.subvolumes.items()}
        self.slots = {name.split("/")[2]: parse(self.files.get(f"{name}/slot.conf") or b"")
                      for name in self.files if re.match(r"@abupdate/slots/[^/]+$", name)}
        self.journal = journal(self.files.get("@abupdate/state/journal"))

    @property
    def next(self):
        """The slot that boots next; None where the default is no slot's root."""
        for slot in self.slots:
            if self.paths.get(f"@abupdate/slots/{slot}/root") == self.default:
                return slot
        return None

    @property
    def tries(self):
        """Boots that the slot on trial has left; None where nothing is on trial."""
        record = parse(self.files.get("@abupdate/boot.conf") or b"")
        return int(record["TriesLeft"]) if record.get("TargetId") == str(self.default) else None

    @property
    def states(self):
        """What the slots are, without their numbers and the words for people."""
        return sorted((conf.get("Version"), conf.get("State"), conf.get("Pinned"))
                      for conf in self.slots.values())

    @property
    def refused(self):
        """The versions that are not installed again, as the file has them."""
        data = self.files.get("@abupdate/state/refused") or b""
        return sorted(re.findall(rb'"version":"([^"]*)"', data))

    @property
    def history(self):
        """Lines of the history."""
        return (self.files.get("@abupdate/state/history") or b"").splitlines()

    def changes(self, other):
        """Lines about what is different in @other."""
        lines = []
        if self.default != other.default:
            lines.append(f"default subvolume {self.default} -> {other.default}")
        for what, a, b in (("subvolume", self.subvolumes, other.subvolumes),
                           ("file", self.files, other.files)):
            lines += [f"{what} {key}: {a.get(key, 'absent')} -> {b.get(key, 'absent')}"
                      for key in sorted(a.keys() | b.keys(), key=str)
                      if a.get(key, "absent") != b.get(key, "absent")]
        return lines

    def strays(self):
        """I2: lines about what lies where nothing should once recovery has ended."""
        lines = [f"{name} lies at the top" for name in self.files
                 if "/" not in name and name != "@abupdate"]
        for name in self.files:
            parts = name.split("/")
            if len(parts) == 2 and parts[1].removesuffix(".new") not in HOME:
                lines.append(f"{name} is nothing of ours")
            if parts[1:2] == ["staging"] and len(parts) > 2:
                lines.append(f"{name} is left in the quarantine")
            if parts[1:2] == ["state"] and len(parts) > 2 and \
                    parts[2].removesuffix(".new") not in STATE:
                lines.append(f"{name} is no state")
            if parts[1:2] == ["slots"] and len(parts) > 3 and \
                    "/".join(parts[3:]).removesuffix(".new") not in ("slot.conf", "image"):
                lines.append(f"{name} is no part of a slot")
        wanted = set()
        for slot, conf in self.slots.items():
            if conf.get("State") not in ("staged", "good", "bad"):
                lines.append(f"slot {slot} has no slot.conf that says what it is")
            for word in conf.get("Subvolumes", "").split():
                name, place = word.split(":", 1)
                wanted.add(f"@abupdate/slots/{slot}/image/{name}")
                wanted.add(f"@abupdate/slots/{slot}/root{place.rstrip('/')}")
        have = self.paths.keys()
        lines += [f"subvolume {path} is of no slot" for path in sorted(have - wanted)]
        lines += [f"subvolume {path} is missing" for path in sorted(wanted - have)]
        if len(self.files.get("@abupdate/state/reserve", bytes(RESERVE))) != RESERVE:
            lines.append("the reserve has no space")
        if self.journal and self.journal.get("Phase") != "idle":
            lines.append(f"the journal is in phase {self.journal.get('Phase')}")
        return lines


def digest(tree, places=()):
    """One digest for a bootable tree. Folders that hold other subvolumes may have any time: these
    were put there on this machine."""
    parents = {os.fsencode(os.path.dirname(place.strip("/"))) for place in places}
    total = hashlib.sha256()
    for name, what in entries(tree):
        if name in parents:
            what = [*what[:3], 0, *what[4:]]
        total.update(repr((name, what)).encode())
    return total.hexdigest()
