# SPDX-License-Identifier: LGPL-2.1-or-later
"""A Btrfs on a loop device for one test, and what a tree looks like in every attribute."""
import fcntl
import hashlib
import os
import pathlib
import shutil
import signal
import stat
import struct
import subprocess
import sys
import tempfile

FS_IOC_GETFLAGS = 0x80086601
FS_IOC_FIEMAP = 0xC020660B
BTRFS_IOC_SUBVOL_GETFLAGS = 0x80089419
CHATTR_FLAGS = 0x8 | 0x10 | 0x20 | 0x40 | 0x80 | 0x10000  # sync immutable append nodump noatime dirsync


def sh(*command, **kwargs):
    return subprocess.run([str(c) for c in command], check=True, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, **kwargs).stdout.decode()


class BtrfsDisk:
    """with BtrfsDisk("name", "1G") as disk: disk.path is the mounted top level."""

    def __init__(self, name, size, mkfs=(), options="noatime"):
        self.name, self.size, self.mkfs, self.options = name, size, mkfs, options
        self.dir = self.loop = None
        self.mounted = False

    def __enter__(self):
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # through __exit__
        shm = "/dev/shm" if os.path.isdir("/dev/shm") else None
        self.dir = pathlib.Path(tempfile.mkdtemp(prefix=f"abupdate-{self.name}-", dir=shm))
        try:
            self.path = self.dir / "mnt"
            self.path.mkdir()
            image = self.dir / "disk"
            sh("truncate", "-s", self.size, image)
            sh("mkfs.btrfs", "-q", "-f", *self.mkfs, image)
            self.loop = sh("losetup", "-f", "--show", image).strip()
            sh("mount", "-o", self.options, self.loop, self.path)
            self.mounted = True
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        if self.mounted:
            sh("umount", self.path)
        if self.loop:
            sh("losetup", "-d", self.loop)
        shutil.rmtree(self.dir, ignore_errors=True)

    @staticmethod
    def is_read_only(subvol):
        fd = os.open(subvol, os.O_RDONLY | os.O_DIRECTORY)
        try:
            return bool(struct.unpack("Q", fcntl.ioctl(fd, BTRFS_IOC_SUBVOL_GETFLAGS,
                                                       b"\0" * 8))[0] & 2)
        finally:
            os.close(fd)

    @staticmethod
    def delete(subvol):
        sh("btrfs", "-q", "subvolume", "delete", subvol)


def extents(fd):
    """(logical, physical, length) of every extent; physical tells what is shared."""
    out, start = [], 0
    while True:
        count = 64
        buf = bytearray(struct.pack("QQIIII", start, 2**64 - 1 - start, 1, 0, count, 0) +
                        b"\0" * 56 * count)
        fcntl.ioctl(fd, FS_IOC_FIEMAP, buf)
        mapped = struct.unpack_from("QQIIII", buf)[3]
        for i in range(mapped):
            logical, physical, length, _, _, flags = struct.unpack_from("QQQQQI", buf, 32 + 56 * i)
            out.append((logical, physical, length, flags))
            if flags & 1:
                return out
        if mapped == 0:
            return out
        start = out[-1][0] + out[-1][2]


def chattr(fd, *flags):
    """Those that are set of @flags, or of all that a stream can say and the kernel take at any time."""
    try:
        return struct.unpack("l", fcntl.ioctl(fd, FS_IOC_GETFLAGS, b"\0" * 8))[0] & (sum(flags) or CHATTR_FLAGS)
    except OSError:
        return 0


def describe(path, st, with_times, with_flags):
    d = {"mode": oct(st.st_mode), "uid": st.st_uid, "gid": st.st_gid, "nlink": st.st_nlink}
    if stat.S_ISDIR(st.st_mode):
        d["nlink"] = 1
    if with_times:
        d["mtime"], d["atime"] = st.st_mtime_ns, st.st_atime_ns
    d["xattrs"] = {n: os.getxattr(path, n, follow_symlinks=False)
                   for n in sorted(os.listxattr(path, follow_symlinks=False))}
    if stat.S_ISLNK(st.st_mode):
        d["target"] = os.readlink(path)
    elif stat.S_ISREG(st.st_mode):
        d["size"] = st.st_size
        fd = os.open(path, os.O_RDONLY | os.O_NOATIME)
        try:
            h = hashlib.blake2b(digest_size=16)
            size = st.st_size
            at = 0
            while at < size:
                # holes of huge files are not read
                try:
                    data = os.lseek(fd, at, os.SEEK_DATA)
                except OSError:
                    break
                hole = os.lseek(fd, data, os.SEEK_HOLE)
                while data < hole:
                    block = os.pread(fd, min(hole - data, 4096 - data % 4096), data)
                    if block.strip(b"\0"):
                        h.update(struct.pack("Q", data) + block)
                    data += len(block)
                at = hole
            d["content"] = h.hexdigest()
            if with_flags:
                d["flags"] = chattr(fd)
        finally:
            os.close(fd)
    elif stat.S_ISCHR(st.st_mode) or stat.S_ISBLK(st.st_mode):
        d["rdev"] = st.st_rdev
    elif stat.S_ISDIR(st.st_mode) and with_flags:
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
        d["flags"] = chattr(fd)
        os.close(fd)
    return d


def fingerprint(top, with_times=True, with_flags=False):
    """path -> every attribute; hard links as the first name of their inode."""
    top = os.fsencode(top)
    out, first = {}, {}

    def visit(path, name):
        st = os.lstat(path)
        d = describe(path, st, with_times, with_flags)
        if not stat.S_ISDIR(st.st_mode):
            d["same"] = first.setdefault(st.st_ino, name)
        out[name] = d
        if stat.S_ISDIR(st.st_mode):
            for entry in sorted(os.listdir(path)):
                visit(os.path.join(path, entry), os.path.join(name, entry))

    visit(top, b"")
    return out


def differences(a, b, ignore=()):
    """Lines for people: what is not equal."""
    out = []
    for name in sorted(set(a) | set(b)):
        if name not in a or name not in b:
            out.append(f"{name!r} only in the {'second' if name not in a else 'first'}")
            continue
        for key in sorted(set(a[name]) | set(b[name])):
            if (key, name) not in ignore and a[name].get(key) != b[name].get(key):
                out.append(f"{name!r} {key}: {a[name].get(key)!r} != {b[name].get(key)!r}")
    return out


def shared_ranges(top):
    """Which ranges of which files share data, as a canonical set: independent of where it lies. And what cannot be told so
    closely, for the disk has packed it: {(file, offset): is it shared at all?}."""
    top = os.fsencode(top)
    owners, packed = {}, {}
    for root, _, files in os.walk(top):
        for name in files:
            path = os.path.join(root, name)
            st = os.lstat(path)
            if not stat.S_ISREG(st.st_mode) or st.st_nlink > 1:
                continue
            fd = os.open(path, os.O_RDONLY | os.O_NOATIME)
            os.fsync(fd)
            try:
                for logical, physical, length, flags in extents(fd):
                    if flags & (0x2 | 0x4 | 0x200 | 0x800):
                        continue
                    for k in range(0, length, 4096):
                        where = os.path.relpath(path, top), logical + k
                        if flags & 0x8:
                            packed[where] = bool(flags & 0x2000)
                        else:
                            owners.setdefault(physical + k, []).append(where)
            finally:
                os.close(fd)
    return {tuple(sorted(v)) for v in owners.values() if len(v) > 1}, packed
