# SPDX-License-Identifier: LGPL-2.1-or-later
"""python3 -m machinery.silent FILE SIZE read|statfs - mounts a FUSE file over FILE that can be opened and never be read.

What the last argument says is taken from the kernel and not answered. Says "ready" when the file can be opened, "asked" when
it has taken the first such request. The mount ends with the namespace of the machine.
"""

import os
import stat
import struct
import sys

from . import kernel

FORGET, GETATTR, OPEN, READ, STATFS, RELEASE, FLUSH, INIT, INTERRUPT, BATCH_FORGET = \
    2, 3, 14, 15, 17, 18, 25, 26, 36, 42
ENOSYS = 38
HOUR = 3600


def answer(opcode, size):
    """The body of the answer to a request; None: it gets an error."""
    if opcode == INIT:
        return struct.pack("<IIIIHHIIHHI7I", 7, 31, 0, 0, 16, 12, 1 << 17, 1, 0, 0, 0, *[0] * 7)
    if opcode == GETATTR:
        return struct.pack("<QII", HOUR, 0, 0) + struct.pack(
            "<QQQQQQIIIIIIIIII", 1, size, (size + 511) // 512, 0, 0, 0, 0, 0, 0,
            stat.S_IFREG | 0o444, 1, 0, 0, 0, 4096, 0)
    if opcode == OPEN:
        return struct.pack("<QII", 1, 0, 0)
    return b"" if opcode in (RELEASE, FLUSH) else None


def main():
    """Serve until killed."""
    path, size, unanswered = sys.argv[1], int(sys.argv[2]), {"read": READ, "statfs": STATFS}[sys.argv[3]]
    device = os.open("/dev/fuse", os.O_RDWR)
    kernel.mount("silent", path, "fuse", kernel.MS_RDONLY,
                 f"fd={device},rootmode=100000,user_id=0,group_id=0,allow_other")
    print("ready", flush=True)
    while True:
        request = os.read(device, 1 << 18)
        _, opcode, unique = struct.unpack_from("<IIQ", request)
        if opcode == unanswered:
            print("asked", flush=True)
        elif opcode not in (FORGET, INTERRUPT, BATCH_FORGET):
            body = answer(opcode, size)
            os.write(device, struct.pack("<IiQ", 16 + len(body or b""), 0 if body is not None else -ENOSYS,
                                         unique) + (body or b""))


main()
