#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Writes Btrfs send streams by hand, good and bad ones.

    w = StreamWriter().subvol("root").mkfile("a").write("a", 0, b"data").end()
    open("image", "wb").write(w.bytes())

Every command is a method; raw() and attribute() make what no kernel would send.
"""
import struct
import uuid

MAGIC = b"btrfs-stream\0"

COMMANDS = {name: number for number, name in enumerate("""
    unspec subvol snapshot mkfile mkdir mknod mkfifo mksock symlink rename link unlink rmdir set_xattr
    remove_xattr write clone truncate chmod chown utimes end update_extent fallocate fileattr
    encoded_write enable_verity""".split())}

ATTRIBUTES = {name: number for number, name in enumerate("""
    unspec uuid ctransid ino size mode uid gid rdev ctime mtime atime otime xattr_name xattr_data path
    path_to path_link file_offset data clone_uuid clone_ctransid clone_path clone_offset clone_len
    fallocate_mode fileattr unencoded_file_len unencoded_len unencoded_offset compression
    encryption""".split())}

U32 = {"fallocate_mode", "compression", "encryption"}
U64 = {"ctransid", "ino", "size", "mode", "uid", "gid", "rdev", "file_offset", "clone_ctransid",
       "clone_offset", "clone_len", "fileattr", "unencoded_file_len", "unencoded_len",
       "unencoded_offset"}
TIMES = {"atime", "mtime", "ctime", "otime"}

UUID_A = uuid.UUID("aaaaaaaa-0000-4000-8000-000000000001").bytes
UUID_B = uuid.UUID("bbbbbbbb-0000-4000-8000-000000000002").bytes

_TABLE = []
for _i in range(256):
    for _ in range(8):
        _i = _i >> 1 ^ (0x82F63B78 if _i & 1 else 0)
    _TABLE.append(_i)


def crc32c(data, crc=0):
    """As send streams use it: seed 0, not inverted."""
    for byte in data:
        crc = _TABLE[(crc ^ byte) & 0xFF] ^ crc >> 8
    return crc


def encode(name, value):
    """The bytes of a value, by the type of its attribute."""
    if isinstance(value, bytes):
        return value
    if isinstance(value, str):
        return value.encode("utf-8", "surrogateescape")
    if name in U32:
        return struct.pack("<I", value)
    if name in U64:
        return struct.pack("<Q", value)
    if name in TIMES:
        return struct.pack("<QI", int(value) & 2**64 - 1, round(value % 1 * 10**9))
    raise TypeError(f"{name}={value!r}")


class StreamWriter:
    def __init__(self, version=1, header=True):
        self.version = version
        self.out = bytearray(self.header(version) if header else b"")
        self.ino = 256

    @staticmethod
    def header(version):
        return MAGIC + struct.pack("<I", version)

    def bytes(self):
        return bytes(self.out)

    # --- what no kernel would send

    def raw(self, data):
        self.out += data
        return self

    def attribute(self, name, value, size=None):
        """One attribute; @name may be a number, @size may lie."""
        number = name if isinstance(name, int) else ATTRIBUTES[name]
        value = encode(name, value)
        if name == "data" and self.version >= 2 and size is None:
            return struct.pack("<H", number) + value
        return struct.pack("<HH", number, len(value) if size is None else size) + value

    def frame(self, number, payload, size=None, crc=None):
        """One command; @size and @crc may lie."""
        head = struct.pack("<IH", len(payload) if size is None else size, number)
        if crc is None:
            crc = crc32c(head + b"\0\0\0\0" + payload)
        self.out += head + struct.pack("<I", crc) + payload
        return self

    def command(self, command, pairs):
        payload = b"".join(self.attribute(name, value) for name, value in pairs)
        return self.frame(command if isinstance(command, int) else COMMANDS[command], payload)

    # --- what it would

    def subvol(self, name, uuid=UUID_A, ctransid=7):
        return self.command("subvol", [("path", name), ("uuid", uuid), ("ctransid", ctransid)])

    def snapshot(self, name, clone_uuid, uuid=UUID_B, ctransid=8, clone_ctransid=7):
        return self.command("snapshot", [
            ("path", name), ("uuid", uuid), ("ctransid", ctransid), ("clone_uuid", clone_uuid),
            ("clone_ctransid", clone_ctransid)])

    def _make(self, kind, path, *more):
        self.ino += 1
        return self.command(kind, [("path", path), ("ino", self.ino), *more])

    def mkfile(self, path):
        return self._make("mkfile", path)

    def mkdir(self, path):
        return self._make("mkdir", path)

    def mknod(self, path, mode=0o20600, rdev=0x103):
        return self._make("mknod", path, ("rdev", rdev), ("mode", mode))

    def mkfifo(self, path, mode=0o10600):
        return self._make("mkfifo", path, ("rdev", 0), ("mode", mode))

    def mksock(self, path, mode=0o140600):
        return self._make("mksock", path, ("rdev", 0), ("mode", mode))

    def symlink(self, path, target):
        return self._make("symlink", path, ("path_link", target))

    def rename(self, path, to):
        return self.command("rename", [("path", path), ("path_to", to)])

    def link(self, path, existing):
        return self.command("link", [("path", path), ("path_link", existing)])

    def unlink(self, path):
        return self.command("unlink", [("path", path)])

    def rmdir(self, path):
        return self.command("rmdir", [("path", path)])

    def set_xattr(self, path, name, data):
        return self.command("set_xattr", [("path", path), ("xattr_name", name),
                                          ("xattr_data", data)])

    def remove_xattr(self, path, name):
        return self.command("remove_xattr", [("path", path), ("xattr_name", name)])

    def write(self, path, offset, data):
        return self.command("write", [("path", path), ("file_offset", offset), ("data", data)])

    def clone(self, path, offset, size, source, source_offset=0, uuid=UUID_A, ctransid=7):
        return self.command("clone", [
            ("file_offset", offset), ("clone_len", size), ("path", path), ("clone_uuid", uuid),
            ("clone_ctransid", ctransid), ("clone_path", source), ("clone_offset", source_offset)])

    def truncate(self, path, size):
        return self.command("truncate", [("path", path), ("size", size)])

    def chmod(self, path, mode):
        return self.command("chmod", [("path", path), ("mode", mode)])

    def chown(self, path, uid, gid):
        return self.command("chown", [("path", path), ("uid", uid), ("gid", gid)])

    def utimes(self, path, atime=1.5, mtime=2.5, ctime=3.5):
        return self.command("utimes", [("path", path), ("atime", atime), ("mtime", mtime),
                                       ("ctime", ctime)])

    def update_extent(self, path, offset, size):
        return self.command("update_extent", [("path", path), ("file_offset", offset),
                                              ("size", size)])

    def fallocate(self, path, mode, offset, size):
        return self.command("fallocate", [("path", path), ("fallocate_mode", mode),
                                          ("file_offset", offset), ("size", size)])

    def fileattr(self, path, flags):
        return self.command("fileattr", [("path", path), ("fileattr", flags)])

    def encoded_write(self, path, offset, data, file_len, plain_len, plain_offset=0,
                      compression=2, encryption=0):
        return self.command("encoded_write", [
            ("path", path), ("file_offset", offset), ("unencoded_file_len", file_len),
            ("unencoded_len", plain_len), ("unencoded_offset", plain_offset),
            ("compression", compression), ("encryption", encryption), ("data", data)])

    def end(self):
        return self.command("end", [])


def frames(data):
    """(command, first byte, byte behind the last) of each command of one stream."""
    at = len(StreamWriter.header(1))
    while at < len(data):
        size, number = struct.unpack_from("<IH", data, at)
        yield number, at, at + 10 + size
        at += 10 + size


def path_of(data, first):
    """The path of a command that begins with one, as the kernel sends them; else None."""
    number, size = struct.unpack_from("<HH", data, first + 10)
    return data[first + 14:first + 14 + size] if number == ATTRIBUTES["path"] else None


def bad_crc(data, at):
    """@data with one bit of the byte @at turned over."""
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1:]
