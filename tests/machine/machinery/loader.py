# SPDX-License-Identifier: LGPL-2.1-or-later
"""A boot loader that reads entries by the Boot Loader Specification, counts and chooses as
systemd-boot does, and an initrd that makes known to the kernel what the entry names, and no more.

Written from the documentation of systemd-boot, not from the product: what both have wrong in the
same way would not be seen.
"""

import errno
import functools
import hashlib
import os
import re
import struct

from . import kernel

NAME = re.compile(r"(?P<id>.+?)(\+(?P<left>\d+)(-(?P<done>\d+))?)?\.conf$")
SUPER, FSID, MAGIC = 65536, 32, 64


class Entry:
    """One file in loader/entries."""

    def __init__(self, folder, name):
        match = NAME.match(name)
        self.name, self.id = name, match["id"]
        self.left = None if match["left"] is None else int(match["left"])
        self.done = int(match["done"] or 0)
        with open(f"{folder}/{name}", encoding="utf-8") as file:
            pairs = [line.split(None, 1) for line in file if line.strip() and line[0] != "#"]
        self.fields = {pair[0]: pair[1].strip() for pair in pairs if len(pair) == 2}

    @property
    def options(self):
        """The kernel command line."""
        return self.fields.get("options", "")

    def count(self, folder):
        """Take one try: the name says how many are left."""
        if self.left:
            self.left, self.done = self.left - 1, self.done + 1
            name = f"{self.id}+{self.left}-{self.done}.conf"
            os.rename(f"{folder}/{self.name}", f"{folder}/{name}")
            self.name = name
            kernel.syncfs(folder)


def _version_key(text):
    return [(1, int(word), "") if word.isdigit() else (0, 0, word)
            for word in re.findall(r"\d+|\D+", text)]


def _before(a, b):
    """Negative where the loader shows @a before @b."""
    for one, two in (((a.left == 0), (b.left == 0)),
                     ("sort-key" not in a.fields, "sort-key" not in b.fields)):
        if one != two:
            return -1 if one < two else 1
    if "sort-key" in a.fields:
        for key in ("sort-key", "machine-id"):
            one, two = a.fields.get(key, ""), b.fields.get(key, "")
            if one != two:
                return -1 if one < two else 1
        one, two = (_version_key(e.fields.get("version", "")) for e in (a, b))
        if one != two:
            return -1 if one > two else 1
    one, two = _version_key(a.id), _version_key(b.id)
    return 0 if one == two else -1 if one > two else 1


def entries(folder):
    """All entries in the order of the menu."""
    found = [Entry(folder, name) for name in sorted(os.listdir(folder)) if NAME.match(name)]
    return sorted(found, key=functools.cmp_to_key(_before))


def check_file(path):
    """A kernel that is gone or torn does not boot; some have in their names what is in them."""
    if not os.path.exists(path):
        raise RuntimeError(f"{path} is not there")
    match = re.search(r"-([0-9a-f]{32})$", path)
    with open(path, "rb") as file:
        if match and hashlib.sha256(file.read()).hexdigest()[:32] != match[1]:
            raise RuntimeError(f"{path} is torn")


def choose(folder):
    """What boots, were the power to come on now."""
    found = entries(folder)
    if not found:
        raise RuntimeError("no boot entry")
    for kind in ("linux", "initrd"):
        if kind in found[0].fields:
            check_file(f"{folder}/../..{found[0].fields[kind]}")
    return found[0]


def fsid(path, offset=0):
    """The id of the Btrfs on a device, as text; None where there is none."""
    with open(path, "rb") as file:
        file.seek(offset + SUPER)
        block = file.read(4096)
    if block[MAGIC:MAGIC + 8] != b"_BHRfS_M":
        return None
    text = block[FSID:FSID + 16].hex()
    return "-".join((text[:8], text[8:12], text[12:16], text[16:20], text[20:]))


def generation(path, offset=0):
    """The generation in the first superblock."""
    with open(path, "rb") as file:
        file.seek(offset + SUPER + 72)
        return struct.unpack("<Q", file.read(8))[0]


def number_of_devices(path):
    """How many devices the file system on a device wants; a sprout counts its seed."""
    with open(path, "rb") as file:
        file.seek(SUPER + 136)
        return struct.unpack("<Q", file.read(8))[0]


class Root:
    """What an entry says of the root. @devices: {label of the partition: path}."""

    def __init__(self, options, devices):
        words = options.split()
        self.flags = kernel.MS_RDONLY if "ro" in words else 0
        value = dict(w.split("=", 1) for w in words if "=" in w)
        uuid = value["root"].split("=", 1)[1]
        paths = {fsid(path): path for label, path in devices.items() if label != "boot"}
        if uuid not in paths:
            raise RuntimeError(f"no device has root=UUID={uuid}: the initrd waits for ever")
        self.device = paths[uuid]
        self.seal = "abupdate.seal" in words
        self.named = []
        self.rest = []
        for option in value.get("rootflags", "").split(","):
            if option.startswith("device="):
                label = option.rsplit("/", 1)[1].removeprefix("os-")
                self.named.append(devices[label])
            elif option:
                self.rest.append(option)

    def _check_named(self):
        """A seed that ever had a sprout stays known to the kernel of the host, whatever it is told to
        forget: a machine that was just switched on knows only what the entry names."""
        named = {fsid(path) for path in self.named} - {None, fsid(self.device)}
        if len(named) + 1 < number_of_devices(self.device):
            raise OSError(errno.ENOENT, f"{self.device} builds on a device that the entry does not name")

    def mount(self, target, top=False, read_only=False):
        """Mount it; with @top all of the file system."""
        self._check_named()
        rest = ["subvolid=5"] if top else self.rest
        data = ",".join([*rest, *(f"device={path}" for path in self.named)])
        kernel.mount(self.device, target, "btrfs",
                     self.flags | (kernel.MS_RDONLY if read_only else 0), data)
