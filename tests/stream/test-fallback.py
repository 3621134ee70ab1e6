#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Where the kernel cannot share data, it is copied: equal, and no larger than it was.

    test-fallback.py STREAM-APPLY DENY-IOCTL.SO
"""
import errno
import os
import pathlib
import subprocess
import sys

sys.path.insert(0, str(pathlib.Path(__file__).parent))
from btrfsdisk import BtrfsDisk  # noqa: E402
from streamwriter import StreamWriter  # noqa: E402

FICLONERANGE = 0x4020940D
SIZE = 2**36  # far more than the disk has
BLOCK = 4096


def stream():
    w = StreamWriter().subvol("s").mkfile("source")
    w.truncate("source", SIZE)
    w.write("source", 0, b"a" * BLOCK).write("source", SIZE // 2, b"b" * BLOCK)
    w.mkfile("whole").clone("whole", 0, SIZE, "source")
    # over old data: a hole of the source is a hole here; what lies around stays
    w.mkfile("part").write("part", 0, b"x" * 12 * BLOCK)
    w.clone("part", 4 * BLOCK, 4 * BLOCK, "source", SIZE // 2 - 2 * BLOCK)
    # a range that ends in a hole behind the end
    w.mkfile("end").write("end", 0, b"x" * BLOCK).clone("end", 0, 2**20, "source")
    return w.end().bytes()


def wrong_in(top):
    sizes = {"whole": SIZE, "part": 12 * BLOCK, "end": 2**20}
    for name, size in sizes.items():
        st = os.stat(top / name)
        if st.st_size != size:
            return f"{name} has {st.st_size} bytes"
        if st.st_blocks * 512 > 12 * BLOCK:
            return f"{name} takes {st.st_blocks} blocks"
    if (top / "part").read_bytes() != b"x" * 4 * BLOCK + b"\0" * 2 * BLOCK + b"b" * BLOCK + b"\0" * BLOCK + \
            b"x" * 4 * BLOCK:
        return "the contents of part"
    if (top / "end").read_bytes() != b"a" * BLOCK + b"\0" * (2**20 - BLOCK):
        return "the contents of end"
    with open(top / "whole", "rb") as f:
        for at, want in ((0, b"a"), (BLOCK, b"\0"), (SIZE // 2, b"b"), (SIZE // 2 + BLOCK, b"\0"), (SIZE - BLOCK, b"\0")):
            f.seek(at)
            if f.read(BLOCK) != want * BLOCK:
                return f"the contents of whole at {at}"
    return None


def main():
    program, deny = sys.argv[1:]
    if os.geteuid() != 0:
        print("needs root")
        return 77
    with BtrfsDisk("fallback", "1G") as disk:
        for code in (None, errno.EOPNOTSUPP, errno.EINVAL, errno.EXDEV):
            dest = disk.path / str(code)
            dest.mkdir()
            env = dict(os.environ)
            if code:
                env |= {"LD_PRELOAD": deny, "DENY_IOCTL": hex(FICLONERANGE), "DENY_ERRNO": str(code)}
            p = subprocess.run([program, "-", dest], input=stream(), env=env, stderr=subprocess.PIPE, check=False)
            wrong = p.stderr.decode() if p.returncode else wrong_in(dest / "s")
            if wrong:
                print(f"cloning answers {code}: {wrong}")
                return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
