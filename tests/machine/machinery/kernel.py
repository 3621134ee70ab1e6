# SPDX-License-Identifier: LGPL-2.1-or-later
"""The few system calls that Python's library lacks: mounts, namespaces, loop devices."""

import ctypes
import errno
import fcntl
import hashlib
import os
import pickle
import struct
import time
import traceback

LIBC = ctypes.CDLL(None, use_errno=True)

CLONE_NEWNS = 0x00020000
CLONE_NEWPID = 0x20000000
MS_RDONLY = 1
MS_NOSUID = 2
MS_NODEV = 4
MS_BIND = 4096
MS_REC = 16384
MS_PRIVATE = 1 << 18
MNT_DETACH = 2
PR_SET_PDEATHSIG = 1

LOOP_CTL_GET_FREE = 0x4C82
LOOP_CONFIGURE = 0x4C0A
LOOP_SET_STATUS64 = 0x4C04
LOOP_GET_STATUS64 = 0x4C05
LO_FLAGS_READ_ONLY = 1
LO_FLAGS_AUTOCLEAR = 4
BTRFS_IOC_FORGET_DEV = 0x50009405
BTRFS_IOC_SNAP_DESTROY = 0x5000940F


def _check(result, what):
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")
    return result


def mount(source, target, fstype=None, flags=0, data=None):
    """mount(2)."""
    args = [a.encode() if isinstance(a, str) else a for a in (source, target, fstype, data)]
    _check(LIBC.mount(args[0], args[1], args[2], ctypes.c_ulong(flags), args[3]),
           f"mount {source} at {target}")


def umount(target, flags=0):
    """umount2(2); a target that is no mount point is an error."""
    _check(LIBC.umount2(target.encode(), flags), f"umount {target}")


def unshare(flags):
    """unshare(2)."""
    _check(LIBC.unshare(flags), "unshare")


def syncfs(path):
    """Write the file system of @path to its device; never sync(2), which waits for everybody's."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        _check(LIBC.syncfs(fd), f"syncfs {path}")
    finally:
        os.close(fd)


def die_with_parent(signal_number):
    """Have the kernel send @signal_number to this process when its parent ends."""
    LIBC.prctl(PR_SET_PDEATHSIG, signal_number, 0, 0, 0)


def private_mounts():
    """Give this process a mount namespace that tells nobody else what happens in it."""
    unshare(CLONE_NEWNS)
    mount("none", "/", None, MS_REC | MS_PRIVATE)


def btrfs_forget(device):
    """Drop the kernel's memory of an unmounted Btrfs device; without one it does nothing."""
    try:
        fd = os.open("/dev/btrfs-control", os.O_RDWR)
    except FileNotFoundError:
        return
    try:
        fcntl.ioctl(fd, BTRFS_IOC_FORGET_DEV,
                    bytearray(struct.pack("q4088s", 0, device.encode())))
    except OSError:
        pass
    finally:
        os.close(fd)


def limit_loop(fd, size):
    """Let the loop device at @fd end after @size bytes; 0: with its file."""
    info = bytearray(232)
    fcntl.ioctl(fd, LOOP_GET_STATUS64, info)
    struct.pack_into("=Q", info, 32, size)          # lo_sizelimit
    fcntl.ioctl(fd, LOOP_SET_STATUS64, info)


class Loop:
    """A loop device that goes away by itself: with the last of this object and its mounts."""

    def __init__(self, path, read_only=False, part=(0, 0)):
        """@part: (offset, length) where it is not the whole file."""
        self.path = os.path.realpath(path)
        backing = os.open(path, os.O_RDONLY if read_only else os.O_RDWR)
        try:
            self.fd, self.device = self._configure(backing, read_only, part)
        finally:
            os.close(backing)

    @staticmethod
    def _configure(backing, read_only, part):
        flags = LO_FLAGS_AUTOCLEAR | (LO_FLAGS_READ_ONLY if read_only else 0)
        info = struct.pack("=5Q4I64s64s32s2Q", 0, 0, 0, *part, 0, 0, 0, flags, b"", b"", b"", 0, 0)
        config = struct.pack("=2I", backing, 0) + info + bytes(64)
        control = os.open("/dev/loop-control", os.O_RDWR)
        try:
            for _ in range(200):
                device = f"/dev/loop{fcntl.ioctl(control, LOOP_CTL_GET_FREE)}"
                try:
                    fd = os.open(device, os.O_RDONLY if read_only else os.O_RDWR)
                except FileNotFoundError:
                    time.sleep(0.02)
                    continue
                try:
                    fcntl.ioctl(fd, LOOP_CONFIGURE, config)
                    return fd, device
                except OSError as error:
                    os.close(fd)
                    if error.errno != errno.EBUSY:
                        raise
            raise OSError(errno.EBUSY, "no free loop device")
        finally:
            os.close(control)

    @property
    def _sysfs(self):
        return f"/sys/block/{os.path.basename(self.device)}"

    def attached(self):
        """Whether the device still holds our file (its number may have gone to somebody else)."""
        try:
            with open(f"{self._sysfs}/loop/backing_file", encoding="utf-8") as file:
                return file.read().strip() == self.path
        except OSError:
            return False

    def cut(self):
        """Let no request through any more, from one moment to the next.

        What is under way is finished first; everything after it fails, for the device has shrunk
        to one sector. The backing file stays as it is now.
        """
        limit_loop(self.fd, 512)

    def close(self, wait=10.0):
        """Forget the file system and let go. Returns False when somebody still holds the device."""
        if self.fd < 0:
            return True
        btrfs_forget(self.device)
        os.close(self.fd)
        self.fd = -1
        end = time.monotonic() + wait
        while self.attached():
            if time.monotonic() > end:
                return False
            time.sleep(0.01)
        return True

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


def sparse_copy(source, target):
    """Copy a sparse file, holes as holes."""
    src = os.open(source, os.O_RDONLY)
    dst = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        size = os.fstat(src).st_size
        os.ftruncate(dst, size)
        at = 0
        while at < size:
            try:
                at = os.lseek(src, at, os.SEEK_DATA)
            except OSError as error:
                if error.errno == errno.ENXIO:
                    break
                raise
            end = os.lseek(src, at, os.SEEK_HOLE)
            os.lseek(dst, at, os.SEEK_SET)
            while at < end:
                done = os.sendfile(dst, src, at, min(end - at, 1 << 30))
                if done == 0:
                    raise OSError(errno.EIO, f"{source} shrank while it was copied")
                at += done
    finally:
        os.close(src)
        os.close(dst)


def content_hash(path, offset, length):
    """A digest of a part of a sparse file; a hole and zeroes are the same."""
    digest = hashlib.sha256()
    block = 1 << 16
    zero = bytes(block)
    fd = os.open(path, os.O_RDONLY)
    try:
        at, end = offset, offset + length
        while at < end:
            try:
                at = max(at, os.lseek(fd, at, os.SEEK_DATA) // block * block)
            except OSError as error:
                if error.errno == errno.ENXIO:
                    break
                raise
            data = os.pread(fd, min(block, end - at), at) if at < end else b""
            if data and data != zero[:len(data)]:
                digest.update(struct.pack("<Q", at - offset) + data)
            at += block
    finally:
        os.close(fd)
    return digest.hexdigest()


def in_private_namespace(function, *args, **kwargs):
    """Call @function in a child with a mount namespace of its own: its mounts end with it.

    Returns what it returns and raises what it raises.
    """
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            os.close(reader)
            private_mounts()
            outcome = (True, function(*args, **kwargs))
            status = 0
        except BaseException as error:
            error.__traceback__ = None
            outcome = (False, (error, traceback.format_exc()))
        try:
            try:
                data = pickle.dumps(outcome)
            except Exception:  # an exception that cannot travel
                data = pickle.dumps((False, (RuntimeError(outcome[1][1]), "")))
            with os.fdopen(writer, "wb") as pipe:
                pipe.write(data)
        finally:
            os._exit(status)
    os.close(writer)
    with os.fdopen(reader, "rb") as pipe:
        data = pipe.read()
    os.waitpid(pid, 0)
    if not data:
        raise RuntimeError("the child in its own namespace died")
    good, value = pickle.loads(data)
    if good:
        return value
    raise value[0]
