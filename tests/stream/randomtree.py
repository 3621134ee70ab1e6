# SPDX-License-Identifier: LGPL-2.1-or-later
"""Random trees and random changes to them, reproducible from a seed: everything Btrfs can hold that a send stream can
carry, with a liking for what goes wrong."""
import ctypes
import errno
import fcntl
import os
import random
import stat
import struct

FICLONE = 0x40049409
FICLONERANGE = 0x4020940D
PUNCH, KEEP = 2, 1
FS_IOC_GETFLAGS, FS_IOC_SETFLAGS = 0x80086601, 0x40086602
SYNC, IMMUTABLE, APPEND, NODUMP, NOATIME, DIRSYNC, NOCOW = 0x8, 0x10, 0x20, 0x40, 0x80, 0x10000, 0x800000

_libc = ctypes.CDLL(None, use_errno=True)


def fallocate(fd, mode, offset, size):
    if _libc.fallocate(fd, mode, ctypes.c_long(offset), ctypes.c_long(size)) != 0:
        raise OSError(ctypes.get_errno(), "fallocate")


def acl(*entries):
    """A POSIX ACL as the kernel stores it: (tag, permissions, id)."""
    return struct.pack("<I", 2) + b"".join(
        struct.pack("<HHI", tag, perm, ident & 0xFFFFFFFF) for tag, perm, ident in entries)


ACCESS = acl((1, 7, -1), (2, 5, 1000), (4, 5, -1), (8, 7, 50), (16, 7, -1), (32, 4, -1))
DEFAULT = acl((1, 7, -1), (2, 7, 1001), (4, 5, -1), (16, 7, -1), (32, 0, -1))
CAPS = [struct.pack("<IIIII", 0x02000001, 1 << n, 0, 0, 0) for n in (10, 12, 13)]


class RandomTree:
    """Works below @top, which is a writable subvolume. Every operation may fail for reasons of its own (a name that is
    taken, a directory that is not empty); that is part of the game."""

    def __init__(self, top, seed):
        self.top, self.rng = os.fsencode(top), random.Random(seed)
        self.huge = 2**33

    def bound(self, size):
        """From now on no file is longer."""
        self.huge = size
        for path in self.all()[1]:
            if os.stat(self.full(path)).st_size > size:
                self.chattr(path, 0, IMMUTABLE | APPEND)
                os.truncate(self.full(path), size)

    def chattr(self, path, on, off):
        fd = os.open(self.full(path), os.O_RDONLY | os.O_NONBLOCK)
        try:
            flags = struct.unpack("l", fcntl.ioctl(fd, FS_IOC_GETFLAGS, bytes(8)))[0]
            fcntl.ioctl(fd, FS_IOC_SETFLAGS, struct.pack("l", flags & ~off | on))
        finally:
            os.close(fd)

    # --- choosing

    def all(self):
        dirs, files, others = [b""], [], []
        for root, ds, fs in os.walk(self.top):
            rel = os.path.relpath(root, self.top)
            rel = b"" if rel == b"." else rel
            for name in sorted(ds + fs):
                path = os.path.join(rel, name)
                mode = os.lstat(os.path.join(self.top, path)).st_mode
                (dirs if stat.S_ISDIR(mode) else files if stat.S_ISREG(mode) else others).append(path)
        return dirs, files, others

    def full(self, path):
        return os.path.join(self.top, path) if path else self.top

    def name(self):
        r = self.rng
        kind = r.random()
        if kind < 0.75:
            return b"%c%d" % (r.choice(b"abcdefg"), r.randrange(40))
        if kind < 0.80:
            return bytes(r.choice(b"xyz") for _ in range(r.choice((200, 254, 255))))
        if kind < 0.90:
            return bytes(r.choice([b for b in range(1, 256) if b != 47]) for _ in range(r.randint(1, 12)))
        return r.choice([b"o257-7-0", b"o260-9-0", b"-rf", b" ", b"...", b"..x", b"\n", b"\xff\xfe",
                         "ümlaut-日本".encode(), b"a\\b"])

    def place(self, dirs):
        return os.path.join(self.rng.choice(dirs), self.name())

    # --- data

    def blob(self, size):
        r = self.rng
        kind = r.random()
        if kind < 0.4:
            return r.randbytes(size)
        if kind < 0.6:
            return bytes(size)
        return (b"%08x" % r.randrange(16 ** 8) * (size // 8 + 1))[:size]

    def size(self):
        return self.rng.choice((0, 1, 10, 2047, 2048, 2049, 4095, 4096, 4097, 8192, 20000, 65536, 131072, 200001,
                                524288))

    def op_file(self, dirs, files, others):
        fd = os.open(self.full(self.place(dirs)), os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
        try:
            os.write(fd, self.blob(self.size()))
        finally:
            os.close(fd)

    def with_file(self, files, flags=os.O_RDWR):
        return os.open(self.full(self.rng.choice(files)), flags)

    def op_write(self, dirs, files, others):
        fd = self.with_file(files)
        try:
            end = os.fstat(fd).st_size
            at = self.rng.choice((0, self.rng.randint(0, min(end, 2**22)), end, end + 5000,
                                  self.rng.randrange(64) * 4096))
            if at < 2**30:
                os.pwrite(fd, self.blob(self.size()), at)
        finally:
            os.close(fd)

    def op_truncate(self, dirs, files, others):
        fd = self.with_file(files)
        try:
            os.ftruncate(fd, self.rng.choice((0, 1, 4095, 4096, 5000, 65536, 2**20, self.huge)))
        finally:
            os.close(fd)

    def op_hole(self, dirs, files, others):
        fd = self.with_file(files)
        try:
            at = self.rng.randrange(32) * 4096 + self.rng.choice((0, 0, 100))
            fallocate(fd, PUNCH | KEEP, at, self.rng.choice((4096, 5000, 65536)))
        finally:
            os.close(fd)

    def op_allocate(self, dirs, files, others):
        fd = self.with_file(files)
        try:
            fallocate(fd, self.rng.choice((0, KEEP, 16)), self.rng.randrange(64) * 4096,
                      self.rng.choice((4096, 65536, 2**20)))
        finally:
            os.close(fd)

    def op_clone(self, dirs, files, others):
        with open(self.full(self.rng.choice(files)), "rb") as src, open(self.full(self.place(dirs)), "xb") as dst:
            fcntl.ioctl(dst, FICLONE, src.fileno())

    def op_clone_range(self, dirs, files, others):
        r = self.rng
        with open(self.full(r.choice(files)), "rb") as src, open(self.full(r.choice(files)), "r+b") as dst:
            blocks = os.fstat(src.fileno()).st_size // 4096
            at = r.randint(0, blocks)
            size = r.randint(0, blocks - at) * 4096
            if size:
                fcntl.ioctl(dst, FICLONERANGE,
                            struct.pack("qQQQ", src.fileno(), at * 4096, size, r.randrange(64) * 4096))

    # --- names

    def op_dir(self, dirs, files, others):
        os.mkdir(self.full(self.place(dirs)))

    def op_deep(self, dirs, files, others):
        path = self.place(dirs)
        for _ in range(self.rng.randint(2, 12)):
            os.mkdir(self.full(path))
            path = os.path.join(path, self.name())
        os.mknod(self.full(path), stat.S_IFREG | 0o640)

    def op_symlink(self, dirs, files, others):
        target = self.rng.choice([b"x", b"/etc/passwd", b"../..", b"a" * 1000, b"\xff", self.name()])
        os.symlink(target, self.full(self.place(dirs)))

    def op_node(self, dirs, files, others):
        kind = self.rng.choice((stat.S_IFIFO, stat.S_IFSOCK, stat.S_IFCHR, stat.S_IFBLK))
        dev = os.makedev(*self.rng.choice(((1, 3), (8, 17), (259, 70000), (4095, 1048575))))
        os.mknod(self.full(self.place(dirs)), kind | self.rng.choice((0o600, 0o4711, 0o666)), dev)

    def op_link(self, dirs, files, others):
        os.link(self.full(self.rng.choice(files + others)), self.full(self.place(dirs)),
                follow_symlinks=False)

    def op_rename(self, dirs, files, others):
        things = dirs[1:] + files + others
        target = self.rng.choice(things) if self.rng.random() < 0.3 else self.place(dirs)
        os.rename(self.full(self.rng.choice(things)), self.full(target))

    def op_swap(self, dirs, files, others):
        a, b = self.rng.sample(dirs[1:] + files + others, 2)
        AT_FDCWD, EXCHANGE = -100, 2
        if _libc.renameat2(AT_FDCWD, self.full(a), AT_FDCWD, self.full(b), EXCHANGE) != 0:
            raise OSError(ctypes.get_errno(), "renameat2")

    def op_unlink(self, dirs, files, others):
        os.unlink(self.full(self.rng.choice(files + others)))

    def op_rmdir(self, dirs, files, others):
        top = self.full(self.rng.choice(dirs[1:]))
        for root, ds, fs in os.walk(top, topdown=False):
            for name in fs:
                os.unlink(os.path.join(root, name))
            for name in ds:
                path = os.path.join(root, name)
                os.unlink(path) if os.path.islink(path) else os.rmdir(path)
        os.rmdir(top)

    def op_recreate(self, dirs, files, others):
        path = self.full(self.rng.choice(files + others))
        os.unlink(path)
        self.rng.choice((os.mkdir, lambda p: os.symlink(b"y", p), lambda p: open(p, "wb").close()))(path)

    # --- inodes

    def op_chmod(self, dirs, files, others):
        path = self.full(self.rng.choice(dirs + files))
        os.chmod(path, self.rng.choice((0o644, 0o755, 0o600, 0, 0o7777, 0o4755, 0o2755, 0o1777, 0o2770)))

    def op_chown(self, dirs, files, others):
        path = self.full(self.rng.choice(dirs + files + others))
        mode = os.lstat(path).st_mode
        os.lchown(path, self.rng.choice((0, 1, 1000, 65534, 4000000000)), self.rng.choice((0, 5, 1000, 99999)))
        if self.rng.random() < 0.5 and not stat.S_ISLNK(mode):
            os.chmod(path, mode & 0o7777)  # keep setuid over a change of the owner

    def op_utimes(self, dirs, files, others):
        path = self.full(self.rng.choice(dirs + files + others))
        times = [self.rng.choice((0, 1, -1, -2**31, 2**33, 10**9, 17 * 10**8)) * 10**9 + self.rng.randrange(10**9)
                 for _ in range(2)]
        os.utime(path, ns=tuple(times), follow_symlinks=False)

    def op_xattr(self, dirs, files, others):
        path = self.full(self.rng.choice(dirs + files))
        name = self.rng.choice((b"user.a", b"user.b", b"user." + b"n" * 200, b"trusted.t", b"security.x"))
        os.setxattr(path, name, self.blob(self.rng.choice((0, 1, 20, 1000, 3000))), follow_symlinks=False)

    def op_xattr_other(self, dirs, files, others):
        path = self.full(self.rng.choice(others))
        os.setxattr(path, self.rng.choice((b"trusted.t", b"security.x")), b"v%d" % self.rng.randrange(100),
                    follow_symlinks=False)

    def op_no_xattr(self, dirs, files, others):
        path = self.full(self.rng.choice(dirs + files + others))
        names = os.listxattr(path, follow_symlinks=False)
        if names:
            os.removexattr(path, self.rng.choice(names), follow_symlinks=False)

    def op_acl(self, dirs, files, others):
        os.setxattr(self.full(self.rng.choice(dirs + files)), "system.posix_acl_access", ACCESS)

    def op_default_acl(self, dirs, files, others):
        os.setxattr(self.full(self.rng.choice(dirs)), "system.posix_acl_default", DEFAULT)

    def op_compression(self, dirs, files, others):
        os.setxattr(self.full(self.rng.choice(dirs + files)), "btrfs.compression",
                    self.rng.choice((b"zstd", b"lzo", b"zlib")))

    def op_chattr(self, dirs, files, others):
        """Seldom the root, where nothing could be made any more; and some are changed again."""
        flags = self.rng.choice((SYNC, NODUMP, NOATIME, NODUMP | NOATIME | SYNC, IMMUTABLE, APPEND, APPEND | NODUMP, DIRSYNC))
        path = self.rng.choice(files + dirs[1:] + (dirs[:1] if flags & ~(IMMUTABLE | APPEND) == flags else []))
        self.chattr(path, flags, self.rng.choice((0, 0xF8, IMMUTABLE | APPEND)) & ~flags)

    def op_no_chattr(self, dirs, files, others):
        self.chattr(self.rng.choice(dirs + files), 0, IMMUTABLE | APPEND | self.rng.choice((0, SYNC | NODUMP | NOATIME)))

    def op_nocow(self, dirs, files, others):
        self.chattr(self.rng.choice(dirs + files), NOCOW, 0)

    def op_caps(self, dirs, files, others):
        os.setxattr(self.full(self.rng.choice(files)), "security.capability", self.rng.choice(CAPS))

    def step(self):
        ops = sorted(n for n in dir(self) if n.startswith("op_"))
        weights = [{"op_file": 6, "op_dir": 3, "op_write": 4, "op_rename": 4, "op_clone_range": 2}.get(n, 1.5) for n in ops]
        op = self.rng.choices(ops, weights)[0]
        try:
            getattr(self, op)(*self.all())
            return op
        except (OSError, IndexError, ValueError) as e:
            if isinstance(e, OSError) and e.errno in (errno.EIO, errno.EROFS):
                raise
            return None

    def steps(self, count):
        return sum(self.step() is not None for _ in range(count))
