#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""test-tree-items.py TREE-DIGEST CHECK-MANIFEST: a tree has one digest, whether it is read by its names, from the items of its
subvolume, or by the checker that knows the document alone."""
import importlib.util
import os
import pathlib
import random
import stat
import subprocess
import sys

from btrfsdisk import BtrfsDisk, sh
from randomtree import RandomTree

sys.path.insert(0, str(pathlib.Path(__file__).parent.parent))

from tap import Tap  # noqa: E402

INLINE = 2048


def on_disk(top):
    """What stat() says that the files take, each inode once."""
    device, sizes = os.lstat(top).st_dev, {}
    for directory, _, names in os.walk(os.fsencode(top)):
        for name in names:
            st = os.lstat(os.path.join(directory, name))
            if st.st_dev == device and stat.S_ISREG(st.st_mode):
                sizes[st.st_ino] = st.st_blocks * 512
    return sum(sizes.values())


class Trees:
    def __init__(self, program, checker, disk):
        self.program, self.checker, self.disk, self.n = program, checker, disk, 0

    def make(self):
        self.n += 1
        path = self.disk.path / f"t{self.n}"
        sh("btrfs", "-q", "subvolume", "create", path)
        return path

    def digest(self, path):
        """(size on disk, digest, bytes read from files)"""
        out = subprocess.run([self.program, path], check=True, stdout=subprocess.PIPE).stdout.decode().split()
        return out[-4], out[-3], int(out[-1])

    def compare(self, path):
        """Problems, and the bytes read by names and by items. Writable, the tree is read by its names."""
        sh("btrfs", "filesystem", "sync", path)
        _, by_names, many = self.digest(path)
        sh("btrfs", "property", "set", path, "ro", "true")
        size, by_items, few = self.digest(path)
        theirs = self.checker.tree_digest(path)
        sh("btrfs", "property", "set", "-f", path, "ro", "false")
        problems = [f"{what}: {one}, the checker {theirs}" for what, one in (("by names", by_names), ("by items", by_items))
                    if one != theirs]
        if int(size) != (wanted := on_disk(path)):
            problems.append(f"it takes {wanted} bytes, not {size}")
        return problems, many, few


def many_small(top):
    """More names than are asked for at once, in an order that is not that of their inodes; none needs its file opened."""
    names = [f"{i:05}" for i in range(5000)]
    random.Random(1).shuffle(names)
    for name in names:
        (top / name).write_text(name * (int(name) % 300))


def of_every_size(top):
    for size in (0, 1, INLINE - 1, INLINE, INLINE + 1, 4095, 4096, 4097, 300000):
        (top / f"f{size}").write_bytes(random.Random(size).randbytes(size))


def packed(top):
    """Small enough for the items, and not there as it is."""
    os.setxattr(top, "btrfs.compression", b"zstd")
    for i in range(40):
        (top / f"f{i}").write_bytes(b"the same again " * (i * 5))


def longer_than_its_content(top):
    """A file in an item that was made longer afterwards, or shorter, or has holes only."""
    for name, size in (("longer", 3000), ("much", 10**6), ("shorter", 10)):
        (top / name).write_bytes(b"x" * 1000)
        sh("btrfs", "filesystem", "sync", top)
        os.truncate(top / name, size)
    (top / "hole").touch()
    os.truncate(top / "hole", 5000)
    sh("fallocate", "-l", "6000", top / "kept")
    (top / "beyond").touch()
    sh("fallocate", "-n", "-l", "6000", top / "beyond")


def attributes(top):
    """Some in one item, as their hashes collide or not; and more of one file than a reading takes."""
    for i in range(3):
        (top / f"f{i}").write_bytes(b"x")
        os.symlink("x" * (1 + 1300 * i), top / f"l{i}")
    for i in range(300):
        os.setxattr(top / "f0", f"user.{i}", b"v" * (i % 50))
    for i in range(40):
        os.setxattr(top / "f1", f"user.large{i}", bytes([i]) * 7000)
    os.setxattr(top / "l1", "trusted.link", b"", follow_symlinks=False)
    # the file system's hash of both is the same: they share an item
    os.setxattr(top / "f2", "user.wnrarklrh", b"one")
    os.setxattr(top / "f2", "user.uhfannpto", b"two")
    os.setxattr(top / "f2", "user.b", b"")
    os.setxattr(top / "f2", "user.ba", b"2")
    os.setxattr(top / "f2", "user.a", b"1")


def in_pieces(top):
    """More extents than a reading takes, and small files around it."""
    (top / "before").write_bytes(b"before")
    with open(top / "file", "wb") as file:
        for i in range(4000):
            os.pwrite(file.fileno(), b"x" * 4096, i * 8192)
    (top / "behind").write_bytes(b"behind")


def several_names(top):
    """Of one inode, in one directory and in others, and of more than one tells its number."""
    for place in ("a", "b"):
        (top / place).mkdir()
    for i in range(50):
        (top / "a" / f"f{i}").write_bytes(b"small" * i)
        os.link(top / "a" / f"f{i}", top / "a" / f"again{i}")
        os.link(top / "a" / f"f{i}", top / "b" / f"{50 - i}")
    os.symlink("target", top / "a" / "link")
    os.link(top / "a" / "link", top / "b" / "link", follow_symlinks=False)


def kinds(top):
    """What is no file, and a subvolume that does not belong to it, with the number of a file."""
    os.mkfifo(top / "fifo")
    os.mknod(top / "node", 0o20600, os.makedev(300, 70000))
    for i in range(1000):
        (top / f"f{i}").write_bytes(b"x")
    sh("btrfs", "-q", "subvolume", "create", top / "inside")
    (top / "inside" / "file").write_bytes(b"not of this tree")


TREES = (many_small, of_every_size, packed, longer_than_its_content, attributes, in_pieces, several_names, kinds)


def main():
    tap = Tap()
    if os.geteuid() != 0:
        print("1..0 # SKIP needs root")
        return 0
    spec = importlib.util.spec_from_file_location("checker", sys.argv[2])
    checker = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(checker)
    with BtrfsDisk("items", "1G") as disk:
        trees = Trees(sys.argv[1], checker, disk)
        for make in TREES:
            top = trees.make()
            make(top)
            problems, many, few = trees.compare(top)
            if make is many_small and not (many > 0 and few == 0):
                problems.append(f"{few} bytes of {many} were read from files: the items were not")
            tap.case(make.__name__.replace("_", " "), problems)
        for seed in range(8):
            top = trees.make()
            tree = RandomTree(top, seed)
            tree.huge = 2**20
            tree.steps(400)
            tap.case(f"a random tree, seed {seed}", trees.compare(top)[0])
    return tap.done()


if __name__ == "__main__":
    sys.exit(main())
