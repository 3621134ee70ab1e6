#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""check-initrd.py PROGRAM - abupdate-initrd is small, and is linked with few libraries."""

import os
import re
import subprocess
import sys
import tempfile

from tap import Tap

LIMIT = 1 << 20
# Besides libc less than 800 KiB in Debian 12, before the initrd is compressed.
LIBRARIES = {"libbtrfsutil.so.1", "libisal.so.2", "libmount.so.1", "libc.so.6"}


def size(program):
    """Bytes of it as a package brings it, without what only a debugger reads."""
    with tempfile.NamedTemporaryFile() as copy:
        subprocess.run(["strip", "-o", copy.name, program], check=True)
        return os.path.getsize(copy.name)


def needed(program):
    """The libraries that it is linked with."""
    said = subprocess.run(["readelf", "-dW", program], check=True, capture_output=True, text=True,
                          env=dict(os.environ, LC_ALL="C")).stdout
    return set(re.findall(r"\(NEEDED\).*\[(.+)\]", said))


def main():
    """Both questions."""
    tap, program = Tap(), sys.argv[1]
    libraries = needed(program)
    if any(name.startswith(("libasan", "libubsan")) for name in libraries):
        tap.skip("size and libraries of abupdate-initrd", "sanitizers")
        return tap.done()
    got = size(program)
    tap.case("abupdate-initrd is smaller than 1 MiB",
             [] if got < LIMIT else [f"{got} bytes"], f"{got >> 10} KiB")
    tap.case("the libraries of abupdate-initrd",
             [f"new: {name}" for name in sorted(libraries - LIBRARIES)], " ".join(sorted(libraries)))
    return tap.done()


if __name__ == "__main__":
    sys.exit(main())
