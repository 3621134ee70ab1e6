#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Streams that must be refused, one by one, with the error that each must give.

CASES is what tests/machine/test-hostile-daemon.py feeds to the whole daemon; run as a program it writes them to files:

    hostile.py DIR
"""
import collections
import gzip
import lzma
import pathlib
import struct
import sys

sys.path.insert(0, str(pathlib.Path(__file__).parent))
from streamwriter import COMMANDS, MAGIC, UUID_A, UUID_B, StreamWriter, bad_crc  # noqa: E402

# options: of stream-apply. applies: refused by the applier, the gate cannot know.
Case = collections.namedtuple("Case", "number name kind stream options applies")
CASES = []


def case(number, name, kind, stream, *options, applies=False):
    data = stream.bytes() if isinstance(stream, StreamWriter) else stream
    CASES.append(Case(number, name, kind, data, options, applies))


def begun(version=1):
    return StreamWriter(version).subvol("s")


def on_path(number, name, path, kind="UnsafePath"):
    """The same bad path in every place where a command takes one."""
    w = begun().mkfile("f").mkdir("d")
    case(number, f"{name} in mkfile", kind, begun().mkfile(path).end())
    case(number, f"{name} in mkdir", kind, begun().mkdir(path).end())
    case(number, f"{name} in symlink", kind, begun().symlink(path, "x").end())
    case(number, f"{name} in mkfifo", kind, begun().mkfifo(path).end())
    case(number, f"{name} in mknod", kind, begun().mknod(path).end())
    case(number, f"{name} in rename from", kind, begun().mkfile("f").rename(path, "g").end())
    case(number, f"{name} in rename to", kind, begun().mkfile("f").rename("f", path).end())
    case(number, f"{name} in link", kind, begun().mkfile("f").link(path, "f").end())
    case(number, f"{name} in link to", kind, begun().mkfile("f").link("g", path).end())
    case(number, f"{name} in unlink", kind, begun().unlink(path).end())
    case(number, f"{name} in rmdir", kind, begun().rmdir(path).end())
    case(number, f"{name} in write", kind, begun().write(path, 0, b"x").end())
    case(number, f"{name} in truncate", kind, begun().truncate(path, 1).end())
    case(number, f"{name} in clone", kind, begun().mkfile("f").clone(path, 0, 4096, "f").end())
    case(number, f"{name} in clone source", kind,
         begun().mkfile("f").clone("f", 0, 4096, path).end())
    if path:
        case(number, f"{name} in chmod", kind, begun().chmod(path, 0o644).end())
        case(number, f"{name} in chown", kind, begun().chown(path, 1, 1).end())
        case(number, f"{name} in utimes", kind, begun().utimes(path).end())
        case(number, f"{name} in set_xattr", kind, begun().set_xattr(path, "user.a", b"").end())
        case(number, f"{name} in remove_xattr", kind, begun().remove_xattr(path, "user.a").end())
    return w


# what links point to; a test that may run as root makes it and looks after it
VICTIM = "/tmp/abupdate-hostile-victim"

# 30, 44: links are stored, never followed
for target in (VICTIM + "-dir", "../abupdate-hostile", "/proc/self/root", "d"):
    w = begun().mkdir("d").symlink("l", target)
    case(30, f"file through a link to {target}", "UnsafePath", w.mkfile("l/x").end(), applies=True)
    w = begun().symlink("l", target)
    case(30, f"write to a link to {target}", "UnsafePath", w.write("l", 0, b"x").end(),
         applies=True)
case(30, "a directory replaced by a link", "UnsafePath",
     begun().mkdir("d").mkfile("d/a").rename("d", "e").symlink("d", "/tmp").mkfile("d/x").end(),
     applies=True)
case(30, "mode through a link", "UnsafePath",
     begun().symlink("l", VICTIM).chmod("l", 0o777).end(), applies=True)
case(30, "truncate a link", "UnsafePath", begun().symlink("l", VICTIM).truncate("l", 0).end(),
     applies=True)
case(30, "write to a device that the stream made", "Failed",
     begun().mknod("null").write("null", 0, b"x").end(), applies=True)
case(30, "write to a fifo", "Failed", begun().mkfifo("p").write("p", 0, b"x").end(), applies=True)

# 31: paths
on_path(31, "..", "..")
on_path(31, "../x", "../x")
on_path(31, "a/../b", "a/../b")
on_path(31, "a/..", "a/..")
on_path(31, "absolute path", "/etc/x")
on_path(31, "empty path", "")
on_path(31, "empty component", "a//b")
on_path(31, "trailing slash", "a/")
on_path(31, ".", ".")
on_path(31, "./x", "./x")
on_path(31, "a/.", "a/.")
on_path(31, "NUL", "a\0b")
on_path(31, "name of 256", "n" * 256)
on_path(31, "path of 4097", "/".join(["p" * 255] * 16 + ["q"]))
for name in ("..", ".", "a/b", "/a", "", "a\0", "n" * 256, "../../pwned"):
    case(31, f"subvolume named {name[:12]!r}", "UnsafePath", StreamWriter().subvol(name).end())

# 32, 33: order
case(32, "a command before subvol", "BadStream", StreamWriter().mkfile("f").subvol("s").end())
case(32, "end before subvol", "BadStream", StreamWriter().end())
case(33, "two subvols in a stream", "BadStream", begun().subvol("t", UUID_B).end())
case(33, "a snapshot in a subvol", "BadStream", begun().snapshot("t", UUID_A).end())
case(33, "two streams where one is allowed", "LimitExceeded",
     begun().end().bytes() + StreamWriter().subvol("t", UUID_B).end().bytes(), "--max-subvols=1")

# 34, 35: what it builds on
case(34, "snapshot of an unknown base", "ParentMissing",
     StreamWriter().snapshot("s", UUID_B, UUID_A).end(), applies=True)
case(35, "clone from an unknown subvolume", "ParentMissing",
     begun().mkfile("f").clone("f", 0, 4096, "g", uuid=UUID_B).end(), applies=True)
case(35, "clone from a missing file", "BadStream",
     begun().mkfile("f").clone("f", 0, 4096, "g").end(), applies=True)
case(35, "clone from a link", "UnsafePath",
     begun().symlink("l", "/etc/passwd").mkfile("f").clone("f", 0, 4096, "l").end(), applies=True)
case(35, "clone from behind a link", "UnsafePath",
     begun().symlink("l", "/etc").mkfile("f").clone("f", 0, 4096, "l/passwd").end(), applies=True)
case(35, "clone from behind the end", "BadStream",
     begun().mkfile("g").write("g", 0, b"x" * 4096).mkfile("f").clone("f", 0, 8192, "g").end(),
     applies=True)
case(35, "clone from a device", "Failed",
     begun().mknod("n").mkfile("f").clone("f", 0, 4096, "n").end(), applies=True)

# 36: commands and attributes
case(36, "command 0", "BadStream", begun().command(0, []).end())
case(36, "command 27", "BadStream", begun().command(27, []).end())
case(36, "command 65535", "BadStream", begun().command(65535, []).end())
case(36, "unknown attribute", "BadStream",
     begun().frame(COMMANDS["unlink"], struct.pack("<HH", 99, 0)).end())
case(36, "attribute 0", "BadStream",
     begun().frame(COMMANDS["unlink"], struct.pack("<HH", 0, 0)).end())
case(36, "attribute of another command", "BadStream",
     begun().command("unlink", [("path", "f"), ("size", 1)]).end())
case(36, "attribute twice", "BadStream",
     begun().command("unlink", [("path", "f"), ("path", "g")]).end())
for missing in ("path", "file_offset", "data"):
    pairs = [("path", "f"), ("file_offset", 0), ("data", b"x")]
    case(36, f"write without {missing}", "BadStream",
         begun().command("write", [p for p in pairs if p[0] != missing]).end())
for name in ("subvol", "snapshot"):
    case(36, f"{name} without anything", "BadStream", StreamWriter().command(name, []).end())
for name in sorted(set(COMMANDS) - {"unspec", "subvol", "snapshot", "end", "enable_verity"}):
    case(36, f"{name} without attributes", "BadStream", begun(2).command(name, []).end())
case(36, "end with an attribute", "BadStream", begun().command("end", [("size", 1)]))
case(36, "version 2 command in version 1", "BadStream", begun(1).fileattr("f", 0).end())
case(36, "fs-verity", "NotSupported", begun(2).command("enable_verity", []).end())
case(36, "no-data stream", "NotSupported", begun().mkfile("f").update_extent("f", 0, 1).end())

# 37: versions
for version in (0, 4, 2**32 - 1):
    case(37, f"version {version}", "BadStream", StreamWriter(version).subvol("s").end())
case(37, "version 3", "NotSupported", StreamWriter(3).subvol("s").end())
case(37, "no stream at all", "BadStream", b"#!/bin/sh\nexit 0\n" * 100)
case(37, "empty", "Truncated", b"")
case(37, "half a header", "Truncated", MAGIC[:7])
case(37, "only a header", "Truncated", StreamWriter())

# 38, 39: framing
good = begun().mkfile("f").write("f", 0, b"data" * 10).end().bytes()
for at in (17, 21, 25, 30, 60, len(good) - 1):
    # a length that grew makes the command reach past the end
    case(38, f"bit flipped at byte {at}", "BadStream|Truncated", bad_crc(good, at))
case(38, "crc 0", "BadStream", begun().frame(COMMANDS["end"], b"", crc=0))
case(39, "command of 0xfffffff0 bytes", "BadStream",
     begun().frame(COMMANDS["write"], b"x", size=0xFFFFFFF0).end())
case(39, "command of 1 MiB", "BadStream",
     begun().frame(COMMANDS["write"], b"x" * 2**20).end())
case(39, "attribute longer than its command", "BadStream",
     begun().frame(COMMANDS["unlink"], begun().attribute("path", "f", size=99)).end())
case(39, "half an attribute header", "BadStream",
     begun().frame(COMMANDS["unlink"], b"\x0f\x00\x01").end())
case(39, "one byte of an attribute", "BadStream", begun().frame(COMMANDS["unlink"], b"\x0f").end())
for name, size in (("size", 7), ("size", 9), ("size", 0)):
    case(39, f"number of {size} bytes", "BadStream",
         begun().command("truncate", [("path", "f"), (name, b"x" * size)]).end())
case(39, "uuid of 15 bytes", "BadStream", StreamWriter().subvol("s", b"x" * 15).end())
case(39, "nanoseconds of 10^9", "BadStream", begun().mkfile("f").utimes(
    "f", struct.pack("<QI", 1, 10**9)).end())

# 40: the end
case(40, "no end", "Truncated", begun().mkfile("f"))
case(40, "cut inside a command", "Truncated", good[:-3])
case(40, "cut in a header", "Truncated", good[:len(good) - 10 + 5])
case(40, "one byte after the end", "BadStream", good + b"x")
case(40, "zeros after the end", "BadStream", good + b"\0" * 512)
case(40, "half a header after the end", "Truncated", good + MAGIC[:5])
case(40, "a command after the end", "BadStream", begun().end().mkfile("f"))

# 41: what the policy does not allow
case(41, "device node", "ForbiddenContent", begun().mknod("n").end(), "--no-devices")
case(41, "block device", "ForbiddenContent", begun().mknod("n", 0o60600).end(), "--no-devices")
for mode in (0o4755, 0o2755, 0o6755):
    case(41, f"mode {mode:o}", "ForbiddenContent", begun().mkfile("f").chmod("f", mode).end(),
         "--no-setuid")
case(41, "setuid fifo", "ForbiddenContent", begun().mkfifo("f", 0o14755).end(), "--no-setuid")
case(41, "capabilities", "ForbiddenContent",
     begun().mkfile("f").set_xattr("f", "security.capability", b"\1" * 20).end(), "--no-setuid")
case(41, "security xattr", "ForbiddenContent",
     begun().mkfile("f").set_xattr("f", "security.selinux", b"x").end(), "--no-xattrs")
case(41, "trusted xattr", "ForbiddenContent",
     begun().mkfile("f").set_xattr("f", "trusted.overlay.opaque", b"y").end(), "--no-xattrs")
case(41, "xattr of no kind", "BadStream", begun().mkfile("f").set_xattr("f", "evil", b"x").end())
case(41, "mknod of a directory", "BadStream", begun().mknod("n", 0o40755).end())
case(41, "mknod of a file", "BadStream", begun().mknod("n", 0o100755).end())
case(41, "mkfifo of a device", "BadStream", begun().mkfifo("n", 0o20644).end())
case(41, "mksock of a fifo", "BadStream", begun().mksock("n", 0o10644).end())
case(41, "mode above 07777", "BadStream", begun().mkfile("f").chmod("f", 0o104755).end())
case(41, "owner -1", "BadStream", begun().mkfile("f").chown("f", 2**32 - 1, 0).end())
case(41, "owner 2^32", "BadStream", begun().mkfile("f").chown("f", 2**32, 0).end())

# 42: sparse bombs
case(42, "write at 2^62", "LimitExceeded",
     begun().mkfile("f").write("f", 2**62, b"x").end(), "--max-file=1G")
case(42, "truncate to 2^60", "LimitExceeded",
     begun().mkfile("f").truncate("f", 2**60).end(), "--max-file=1G")
case(42, "clone to 2^60", "LimitExceeded",
     begun().mkfile("f").clone("f", 2**60, 4096, "f").end(), "--max-file=1G")
case(42, "fallocate of 2^60", "LimitExceeded",
     begun(2).mkfile("f").fallocate("f", 0, 0, 2**60).end(), "--max-bytes=1G")
for offset in (2**63 - 1, 2**63, 2**64 - 1):
    case(42, f"write at {offset:#x}", "LimitExceeded",
         begun().mkfile("f").write("f", offset, b"xx").end())
case(42, "truncate to 2^64-1", "LimitExceeded", begun().mkfile("f").truncate("f", 2**64 - 1).end())
case(42, "clone of 2^64-1", "BadStream",
     begun().mkfile("f").clone("f", 0, 2**64 - 1, "f", 4096).end())
case(42, "clone of 0", "BadStream", begun().mkfile("f").clone("f", 0, 0, "f").end())
case(42, "more bytes than allowed", "LimitExceeded",
     begun().mkfile("f").write("f", 0, b"x" * 600).write("f", 0, b"x" * 600).end(),
     "--max-bytes=1K")
case(42, "empty encoded write", "BadStream",
     begun(2).mkfile("f").encoded_write("f", 0, b"", 4096, 4096).end())
for lens in ((4096, 2**18, 0), (8192, 4096, 0), (4096, 4096, 4096), (0, 4096, 0),
             (1, 1, 2**64 - 1)):
    case(42, f"encoded write of {lens}", "BadStream",
         begun(2).mkfile("f").encoded_write("f", 0, b"x", *lens).end())
case(42, "encrypted write", "NotSupported",
     begun(2).mkfile("f").encoded_write("f", 0, b"x", 4096, 4096, encryption=1).end())
case(42, "unknown compression", "BadStream",
     begun(2).mkfile("f").encoded_write("f", 0, b"x", 4096, 4096, compression=8).end())
case(42, "unknown fallocate mode", "BadStream",
     begun(2).mkfile("f").fallocate("f", 0x08, 0, 4096).end())

# 43: inodes
w = begun()
for i in range(101):
    w.mkfile(f"f{i}")
case(43, "more inodes than allowed", "LimitExceeded", w.end(), "--max-inodes=100")

# 29: decompression
case(29, "damaged gzip", "BadStream", bad_crc(gzip.compress(good, mtime=0), 30))
case(29, "cut gzip", "Truncated", gzip.compress(good)[:-4])
case(29, "cut xz", "Truncated", lzma.compress(good)[:-4])
case(29, "bytes after gzip", "BadStream", gzip.compress(good) + b"garbage")
case(29, "xz with a large window", "NotSupported", lzma.compress(good, preset=9))
case(29, "bomb", "BadStream", gzip.compress(good + b"\0" * 2**28))


if __name__ == "__main__":
    out = pathlib.Path(sys.argv[1])
    out.mkdir(parents=True, exist_ok=True)
    for i, c in enumerate(CASES):
        (out / f"{i:03}-{c.number}.stream").write_bytes(c.stream)
        print(f"{i:03}-{c.number}.stream\t{c.kind}\t{c.name}")
