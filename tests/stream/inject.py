#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Every system call of the applier fails once, and every allocation of memory.

For each call that the applier makes and each error that it can give, strace lets the n-th one fail. The engine must end
with a typed error and leave a subvolume that does not count as complete, or, where the failure does not matter (EINTR,
an ioctl it can do without), with a result equal to what was sent. Never a crash, a hang or a wrong result.

    inject.py STREAM-APPLY [--sample=N] [--seed=N] [--deny=DENY-IOCTL.SO] [--every=N] [--alloc=DENY-ALLOC.SO]

--sample chooses so many places by the seed (0: all, some thousands). --deny also lets the copying fail that replaces cloning.

With --alloc the same for allocations, at every N-th: it fails, alone and with all later ones, of a plain and of a packed image.
"""
import argparse
import errno
import os
import pathlib
import random
import re
import shutil
import subprocess
import sys

sys.path.insert(0, str(pathlib.Path(__file__).parent))
from btrfsdisk import BtrfsDisk, differences, fingerprint, sh  # noqa: E402
from randomtree import DEFAULT, RandomTree  # noqa: E402
from streamwriter import COMMANDS, StreamWriter, frames  # noqa: E402

EVERYWHERE = ("ENOSPC", "EIO", "EDQUOT", "EINTR", "ENOMEM")
# and what is special to a call
CALLS = {
    "openat": ("EMFILE",), "openat2": ("EAGAIN", "EMFILE"), "pwritev": (), "ioctl": (), "mkdirat": (),
    "symlinkat": (), "mknodat": (), "linkat": ("EMLINK",), "renameat": (), "unlinkat": (), "fchmod": (), "fchmodat": (),
    "fchown": (), "fchownat": (), "utimensat": (), "fsetxattr": ("EOPNOTSUPP",), "lsetxattr": (), "fremovexattr": (),
    "lremovexattr": (), "fgetxattr": (), "ftruncate": (), "fallocate": (), "newfstatat": (), "fchdir": (), "syncfs": (),
    "read": (), "poll": (), "mmap": (), "eventfd2": ("EMFILE",), "clone3": ("EAGAIN",),
}
# where the kernel cannot share data
COPYING = ("lseek", "pread64", "pwrite64")
FICLONERANGE = 0x4020940D


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


def settle_what_is_rare(top):
    """What random trees seldom have: each of these needs calls of its own."""
    box = top / "box"
    box.mkdir()
    for name in ("one", "two", "three"):
        os.symlink("target", box / name)
        os.setxattr(box / name, "trusted.t", b"1", follow_symlinks=False)
    os.setxattr(box, "system.posix_acl_default", DEFAULT)
    os.chown(box / "three", 7, 7, follow_symlinks=False)
    os.mkfifo(box / "fifo")
    os.setxattr(box / "fifo", "trusted.t", b"1")
    os.mkdir(box / "inside")
    (box / "whole").write_bytes(os.urandom(50000))
    sh("cp", "--reflink=always", box / "whole", box / "clone")


def change_what_is_rare(top):
    box = top / "box"
    os.removexattr(box / "fifo", "trusted.t")
    os.removexattr(box / "one", "trusted.t", follow_symlinks=False)
    os.unlink(box / "two")
    os.rmdir(box / "inside")
    os.truncate(box / "clone", 100)
    os.link(box / "whole", top / "again")


def with_allocation(stream):
    """What no kernel sends yet."""
    at = max(first for number, first, _ in frames(stream) if number == COMMANDS["end"])
    more = StreamWriter(2, header=False).fallocate("box/whole", 1, 2**20, 4096).fileattr("box/whole", 1 << 8)
    return stream[:at] + more.bytes() + stream[at:]


def main():
    p = argparse.ArgumentParser()
    p.add_argument("program")
    p.add_argument("--sample", type=int, default=0)
    p.add_argument("--deny", metavar="SO")
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
        settle_what_is_rare(disk.path / "live")
        sh("btrfs", "-q", "subvolume", "snapshot", "-r", disk.path / "live", disk.path / "one")
        change_what_is_rare(disk.path / "live")
        tree.steps(40)
        sh("btrfs", "-q", "subvolume", "snapshot", "-r", disk.path / "live", disk.path / "two")
        image = disk.dir / "image"
        both = b""
        for send in (["--proto", "2", disk.path / "one"], ["-p", disk.path / "one", disk.path / "two"]):
            sh("btrfs", "-q", "send", *send, "-f", image)
            both += image.read_bytes() if both else with_allocation(image.read_bytes())
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

        def places_of(wrapper, calls):
            code, wrong = run(*wrapper)
            if code or wrong:
                raise SystemExit(f"without any failure: {wrong or code}")
            counts = count_calls(disk.dir / "trace")
            missing = [call for call in calls if counts.get(call, (0, 0))[0] == counts.get(call, (0, 0))[1]]
            if missing:
                raise SystemExit(f"the applier never calls {missing}")
            return [(wrapper, call, error, when) for call in calls for error in EVERYWHERE + CALLS.get(call, ())
                    for when in range(counts[call][0] + 1, counts[call][1] + 1)]

        places = places_of((), CALLS)
        if args.deny:
            places += places_of(("-E", f"LD_PRELOAD={args.deny}", "-E", f"DENY_IOCTL={FICLONERANGE:#x}", "-E",
                                 f"DENY_ERRNO={errno.EOPNOTSUPP}"), COPYING)
        chosen = random.Random(args.seed).sample(places, args.sample) if args.sample else places
        for wrapper, call, error, when in chosen:
            code, wrong = run(*wrapper, "-e", f"inject={call}:error={error}:when={when}")
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
    print(f"{runs} failures injected into {len({place[1] for place in places})} kinds of calls "
          f"({len(places)} places), {survived} did not matter, {len(bad)} wrong")
    return bool(bad)


if __name__ == "__main__":
    sys.exit(main())
