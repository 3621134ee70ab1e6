#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Every system call of the applier fails once, and every allocation of memory.

For each call that the applier makes and each error that it can give, strace lets the n-th one fail. The engine must end
with a typed error and leave a subvolume that does not count as complete, or, where the failure does not matter (EINTR,
an ioctl it can do without), with a result equal to what was sent. Never a crash, a hang or a wrong result.

    inject.py STREAM-APPLY [--every=N] [--alloc=DENY-ALLOC.SO]     inject only at every N-th place (1 is all)

With --alloc the same for allocations: the n-th fails, alone and with all later ones, of a plain and of a packed image.
"""
import argparse
import os
import pathlib
import re
import shutil
import subprocess
import sys

sys.path.insert(0, str(pathlib.Path(__file__).parent))
from btrfsdisk import BtrfsDisk, differences, fingerprint, sh  # noqa: E402
from randomtree import RandomTree  # noqa: E402

ERRORS = {
    "openat": ("ENOSPC", "EIO", "EMFILE", "ENOMEM"), "openat2": ("EIO", "ENOMEM", "EAGAIN"),
    "pwritev": ("ENOSPC", "EIO", "EDQUOT", "EINTR"), "pwrite64": ("ENOSPC", "EINTR"),
    "ioctl": ("ENOSPC", "EIO", "EDQUOT", "ENOMEM", "EINTR"), "mkdirat": ("ENOSPC", "EDQUOT"),
    "symlinkat": ("ENOSPC",), "mknodat": ("ENOSPC",), "linkat": ("EMLINK", "ENOSPC"), "renameat": ("ENOSPC", "EIO"),
    "unlinkat": ("EIO",), "fchmod": ("EIO",), "fchmodat": ("EIO",), "fchown": ("EDQUOT",), "fchownat": ("EIO",),
    "utimensat": ("EIO",), "fsetxattr": ("ENOSPC", "EOPNOTSUPP"), "lsetxattr": ("ENOSPC",), "fremovexattr": ("EIO",),
    "fgetxattr": ("EIO",), "ftruncate": ("EIO",), "fallocate": ("ENOSPC", "EINTR"), "newfstatat": ("EIO",),
    "fchdir": ("EIO",), "syncfs": ("EIO", "ENOSPC"), "read": ("EIO", "EINTR"), "poll": ("EINTR",), "mmap": ("ENOMEM",),
    "eventfd2": ("EMFILE",), "clone3": ("EAGAIN",),
}


def count_calls(trace):
    """call -> (how often before the engine begins, how often in all): the loader of the program is not meant."""
    before, counts, begun = {}, {}, False
    for line in pathlib.Path(trace).read_text(errors="replace").splitlines():
        m = re.match(r"\d+ +(\w+)\(", line)
        if m:
            begun = begun or m[1] == "eventfd2"
            counts[m[1]] = counts.get(m[1], 0) + 1
            if not begun:
                before[m[1]] = counts[m[1]]
    return {call: (before.get(call, 0), n) for call, n in counts.items()}


def main():
    p = argparse.ArgumentParser()
    p.add_argument("program")
    p.add_argument("--every", type=int, default=1)
    p.add_argument("--alloc", metavar="SO")
    p.add_argument("--seed", type=int, default=7)
    args = p.parse_args()
    if os.geteuid() != 0 or not shutil.which("strace"):
        print("needs root and strace")
        return 77

    bad, runs, survived = [], 0, 0
    with BtrfsDisk("inject", "2G") as disk:
        sh("btrfs", "-q", "subvolume", "create", disk.path / "live")
        tree = RandomTree(disk.path / "live", args.seed)
        tree.steps(60)
        sh("btrfs", "-q", "subvolume", "snapshot", "-r", disk.path / "live", disk.path / "one")
        tree.steps(40)
        sh("btrfs", "-q", "subvolume", "snapshot", "-r", disk.path / "live", disk.path / "two")
        image = disk.dir / "image"
        both = b""
        for send in (["--proto", "2", disk.path / "one"], ["-p", disk.path / "one", disk.path / "two"]):
            sh("btrfs", "-q", "send", *send, "-f", image)
            both += image.read_bytes()
        image.write_bytes(both)
        want = [fingerprint(disk.path / n) for n in ("one", "two")]

        def run(*inject):
            return apply(["strace", "-f", "-qq", "-o", disk.dir / "trace", *inject], image)

        def apply(wrapper, image, **env):
            dest = disk.path / "dest"
            dest.mkdir()
            p = subprocess.run([*wrapper, args.program, image, dest], stderr=subprocess.PIPE, timeout=120,
                               check=False, env=dict(os.environ, **env))
            wrong = None
            if p.returncode not in (0, 1):
                wrong = f"ended with {p.returncode}"
            elif p.returncode == 1 and not re.match(rb"stream-apply: \w+: .", p.stderr) and b"cannot" not in p.stderr:
                wrong = f"no typed error: {p.stderr!r}"
            for n, name in enumerate(("one", "two")):
                subvol = dest / name
                if not wrong and p.returncode == 0 and differences(want[n], fingerprint(subvol)):
                    wrong = "success, but the result is wrong"
                if not wrong and p.returncode == 1 and subvol.exists() and disk.is_read_only(subvol) and \
                        differences(want[n], fingerprint(subvol)):
                    wrong = f"{name} is incomplete and counts as complete"
            for subvol in sorted(dest.iterdir()):
                disk.delete(subvol)
            dest.rmdir()
            return p.returncode, wrong

        code, wrong = run()
        if code or wrong:
            print(f"without any failure: {wrong or code}")
            return 1
        counts = count_calls(disk.dir / "trace")
        places = [(call, error, when) for call, errors in ERRORS.items() for error in errors
                  for first, last in [counts.get(call, (0, 0))] for when in range(first + 1, last + 1)]
        for call, error, when in places[::args.every]:
            code, wrong = run("-e", f"inject={call}:error={error}:when={when}")
            survived += code == 0
            runs += 1
            if wrong:
                bad.append(f"{call} #{when} {error}: {wrong}")
                print(bad[-1], flush=True)

        allocations = 0
        for packed in (None, "zstd", "xz", "gzip") if args.alloc else ():
            stream = image
            if packed:
                stream = disk.dir / packed
                stream.write_bytes(subprocess.run([packed, "-c", image], stdout=subprocess.PIPE, check=True).stdout)
            env = {"LD_PRELOAD": args.alloc, "DENY_ALLOC_COUNT": str(disk.dir / "count")}
            apply([], stream, **env)
            count = int((disk.dir / "count").read_text())
            allocations += count
            # the packed differ only where they begin
            last, step = (60, max(args.every // 2, 1)) if packed else (count, args.every)
            for n in range(1, last + 1, step):
                for fail_from in ("0", "1"):
                    code, wrong = apply([], stream, **env, DENY_ALLOC=str(n), DENY_ALLOC_FROM=fail_from)
                    survived += code == 0
                    runs += 1
                    if wrong:
                        bad.append(f"{packed or 'plain'}: allocation {n}{' and all later' * int(fail_from)}: {wrong}")
                        print(bad[-1], flush=True)
        print(f"{allocations} allocations")
    print(f"{runs} failures injected into {sum(c in ERRORS for c in counts)} kinds of calls "
          f"({len(places)} places), {survived} did not matter, {len(bad)} wrong")
    return bool(bad)


if __name__ == "__main__":
    sys.exit(main())
