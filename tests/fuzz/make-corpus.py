#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""make-corpus.py DIR - the first inputs of the fuzz targets: every hostile stream, and good ones."""
import gzip
import hashlib
import lzma
import pathlib
import sys
import zlib

sys.path.insert(0, str(pathlib.Path(__file__).parent.parent / "stream"))
from hostile import CASES  # noqa: E402
from streamwriter import UUID_A, StreamWriter  # noqa: E402


def good(version):
    w = StreamWriter(version).subvol("s").mkdir("d").mkfile("o257-7-0").rename("o257-7-0", "d/f")
    w.write("d/f", 0, b"data" * 50).clone("d/f", 4096, 4096, "d/f").truncate("d/f", 9000)
    w.chown("d/f", 1, 2).chmod("d/f", 0o4755).set_xattr("d/f", "user.a", b"b").utimes("d/f")
    w.symlink("l", "d/f").link("h", "d/f").mknod("n").mkfifo("p").mksock("q")
    w.remove_xattr("d/f", "user.a").unlink("h").rmdir("e").chmod("", 0o755).utimes("")
    if version == 2:
        w.fallocate("d/f", 3, 0, 4096).fileattr("d/f", 0x40).encoded_write("d/f", 0, b"x" * 40, 4096, 4096)
    w.end()
    return w.raw(StreamWriter(version).snapshot("t", UUID_A).rename("d", "e").end().bytes()).bytes()


MANIFEST = """\
Allow=setuid
BuildTime=1700000000
ChunkSize=1048576
Compatible=test-board
Compression=none
Epoch=3
Format=1
MaxFileSize=1073741824
PayloadSize=1048577
StreamSize=1048577
StreamVersion=1
Subvolume.00.Bytes=1048577
Subvolume.00.Digest={0}
Subvolume.00.Inodes=1
Subvolume.00.Name=root
Subvolume.00.Path=/
Subvolume.00.UUID=01020304-0506-0708-090a-0b0c0d0e0f10
{1}Version=1.0

{0}
{0}
"""


def manifests():
    digest = "ab" * 32
    second = MANIFEST[MANIFEST.index("Subvolume"):MANIFEST.index("{1}")].replace(".00.", ".01.").format(digest, "")
    second = second.replace("root", "usr").replace("=/", "=/usr").replace("UUID=01", "UUID=02")
    second = second.replace("Path", "Parent=11020304-0506-0708-090a-0b0c0d0e0f10\nSubvolume.01.Path")
    return [MANIFEST.format(digest, more).encode() for more in ("", "ValidUntil=1900000000\n", second)]


def main():
    out = pathlib.Path(sys.argv[1])
    streams = [good(1), good(2)] + [c.stream for c in CASES if len(c.stream) < 8192]
    packed = []
    for data in streams[:2]:
        packed += [b"\1" + lzma.compress(data), b"\2" + gzip.compress(data, mtime=0), b"\3" + zlib.compress(data),
                   b"\5\x14\0\0\0\x0c\0\0\0\x15abcd\x6d\0x\x11\0\0\0",
                   b"\0" + b"\x28\xb5\x2f\xfd\x04\x58\x29\x00\x00hello\x5a\x5c\x00\x00"]
    for name, inputs in (("stream", [bytes([i % 8]) + s for i, s in enumerate(streams)]), ("unpack", packed),
                         ("manifest", manifests()), ("signature", [b"\0"])):
        (out / name).mkdir(parents=True, exist_ok=True)
        for data in inputs:
            (out / name / hashlib.sha256(data).hexdigest()[:16]).write_bytes(data)


if __name__ == "__main__":
    main()
