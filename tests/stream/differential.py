#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Random trees and changes, sent by the kernel, applied by ours and by btrfs receive.

A pair is one full and one incremental stream of the same random tree. What ours makes must equal what was sent in every
attribute, and share data where the result of btrfs receive does. Where btrfs receive itself differs from what was sent,
that is counted, not held against us. Some streams of version 2 get the inode flags, which kernels do not send; where all of
a pair have them they are compared with the source.

    differential.py STREAM-APPLY [--pairs=N] [--seed=N] [--jobs=N] [--minutes=N] [--deny=SO]
                                 [--resume=RESUME] [--keep]
"""
import argparse
import collections
import errno
import os
import pathlib
import random
import stat
import subprocess
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).parent))
from btrfsdisk import BtrfsDisk, chattr, differences, fingerprint, sh, shared_ranges  # noqa: E402
from randomtree import RandomTree  # noqa: E402
from streamwriter import COMMANDS, StreamWriter, frames, path_of  # noqa: E402

FORMATS = [(), ("--proto", "1"), ("--proto", "2"), ("--proto", "2", "--compressed-data")]
PACKERS = [None, None, None, ("zstd", "-q", "-1"), ("gzip", "-1"), ("xz", "-0")]
DISKS = [("noatime", ()), ("noatime,compress-force=zstd:1", ()), ("noatime,compress-force=zlib:1", ()),
         ("noatime,compress-force=lzo", ()), ("noatime", ("-n", "4096"))]
DENIED = {"encoded write": (0x40809440, (errno.ENOTTY, errno.EINVAL, errno.ENOSPC)),
          "clone range": (0x4020940D, (errno.EOPNOTSUPP, errno.EINVAL))}


class Mismatch(Exception):
    pass


def flags_of(top):
    """path -> inode, flags as a stream says them, of all that has flags in a stream."""
    named = {0x8: 1 << 5, 0x10: 1 << 6, 0x20: 1 << 7, 0x40: 1 << 8, 0x80: 1 << 9, 0x10000: 1 << 10, 0x800000: 1 << 1}
    found = {}
    for root, dirs, files in os.walk(os.fsencode(top)):
        for path in [root] + [os.path.join(root, name) for name in files]:
            st = os.lstat(path)
            if stat.S_ISDIR(st.st_mode) or stat.S_ISREG(st.st_mode):
                fd = os.open(path, os.O_RDONLY | os.O_NOATIME)
                flags = chattr(fd, *named)
                os.close(fd)
                relative = os.path.relpath(path, os.fsencode(top))
                found[b"" if relative == b"." else relative] = st.st_ino, sum(v for k, v in named.items() if flags & k)
    return found


class Pair:
    def __init__(self, disk, args, seed, stats):
        self.disk, self.seed, self.stats = disk, seed, stats
        self.program, self.deny, self.resume = args.program, args.deny, args.resume
        self.cloned = True
        self.flags = True  # every stream so far can say them
        self.flagged = {}
        self.rng = random.Random(f"pair{seed}")
        self.dir = disk.path / f"p{seed}"
        self.src, self.ours, self.theirs = (self.dir / d for d in ("src", "ours", "theirs"))

    def send(self, snapshot, parent=None):
        image = self.disk.dir / f"p{self.seed}-{snapshot.name}"
        fmt = self.rng.choice(FORMATS)
        sh("btrfs", "-q", "send", *fmt, *(("-p", parent) if parent else ()), "-f", image, snapshot)
        self.flags = self.flags and "2" in fmt and self.rng.random() < 0.7
        if self.flags:
            image.write_bytes(self.with_flags(image.read_bytes(), snapshot, parent))
        self.stats[" ".join(fmt) or "default"] += 1
        self.flagged[snapshot.name] = self.flags
        return image

    def with_flags(self, stream, snapshot, parent):
        """The stream with the commands that no kernel sends yet: what the flags are in the end, and, where paths are what they
        will be, others before."""
        want, had = flags_of(snapshot), flags_of(parent) if parent else {}
        writer, done = StreamWriter(2, header=False), len(StreamWriter.header(2))
        writer.raw(stream[:done])
        for number, first, end in frames(stream):
            if number == COMMANDS["end"]:
                for path, (ino, flags) in want.items():
                    if not parent or had.get(path) != (ino, flags):
                        writer.fileattr(path, flags)
            writer.raw(stream[first:end])
            path = path_of(stream, first) if number == COMMANDS["utimes"] and not parent else None
            if path in want and self.rng.random() < 0.3:
                writer.fileattr(path, self.rng.choice((0x40, 0x80, 0x3e0, 0x20)))
        return writer.bytes()

    def pack(self, image):
        packer = self.rng.choice(PACKERS)
        if not packer:
            return image
        packed = image.with_suffix(".packed")
        with open(packed, "wb") as f:
            subprocess.run([*packer, "-c", image], stdout=f, check=True)
        self.stats[packer[0]] += 1
        return packed

    def apply(self, image, *args):
        packed = self.pack(image)
        if self.resume:
            return self.apply_in_parts(packed)
        command = [self.program, *args, packed, self.ours]
        env = dict(os.environ)
        if self.deny and self.rng.random() < 0.2:  # a kernel that cannot
            name = self.rng.choice(sorted(DENIED))
            env |= {"LD_PRELOAD": self.deny, "DENY_IOCTL": hex(DENIED[name][0]),
                    "DENY_ERRNO": str(self.rng.choice(DENIED[name][1]))}
            self.cloned = False  # or it lies otherwise: what the disk compresses is not compared
            self.stats[f"applied without the ioctl {name}"] += 1
        if self.rng.random() < 0.2:  # through a pipe
            command = ["sh", "-c", 'exec 3<"$1"; shift; cat <&3 | "$@"', "sh", packed,
                       self.program, *args, "-", self.ours]
        p = subprocess.run([str(c) for c in command], stderr=subprocess.PIPE, env=env, check=False)
        if p.returncode:
            raise Mismatch(f"ours failed: {p.stderr.decode()}")

    def apply_in_parts(self, packed):
        """The engine dies again and again, and the next one goes on from a copy made at its last checkpoint."""
        size = packed.stat().st_size
        every = max(1, size // self.rng.choice((size, 30, 5)))
        p = subprocess.run([self.resume, packed, self.ours, str(every)], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                           check=False)
        if p.returncode:
            raise Mismatch(f"in parts of {every}: {p.stderr.decode()}")
        self.stats["times an engine died"] += int(p.stdout.split()[0])

    def compare(self, name):
        flags = self.flagged[name]  # btrfs receive does not set them: with the source alone ours is compared
        want = fingerprint(self.src / name, with_flags=flags)
        got = fingerprint(self.ours / name, with_flags=flags)
        wrong = differences(want, got)
        there = (self.theirs / name).exists()
        theirs = differences(fingerprint(self.src / name), fingerprint(self.theirs / name)) if there else []
        if wrong and set(wrong) <= set(theirs):
            self.stats["streams that do not say what was sent, to btrfs receive neither"] += 1
        elif wrong:
            raise Mismatch(f"{name}: sent != ours\n" + "\n".join(wrong[:20]))
        self.stats["entries compared"] += len(want)
        self.stats["entries compared with their flags"] += len(want) * flags
        self.stats["immutable or append-only of these"] += sum(bool(e.get("flags", 0) & 0x30) for e in want.values())
        if not self.disk.is_read_only(self.ours / name):
            raise Mismatch(f"{name} is writable")
        if not there:
            return
        self.stats["btrfs receive differs from what was sent"] += bool(theirs)
        for what in {line.split(" ", 1)[1].split(":")[0] if line.startswith("b'' ") else "other" for line in theirs}:
            self.stats[f"  of these in {'the root directory, ' + what if what != 'other' else 'other entries'}"] += 1
        shared, packed = shared_ranges(self.ours / name)
        missing = [group for group in shared_ranges(self.theirs / name)[0] - shared
                   if not all(packed.get(where) for where in group)]
        if missing and self.cloned:
            raise Mismatch(f"{name}: not shared as by btrfs receive: {sorted(missing)[:5]}")

    def receive(self, image):
        p = subprocess.run(["btrfs", "-q", "receive", "-f", image, self.theirs], stderr=subprocess.PIPE, check=False)
        if p.returncode:
            self.stats["btrfs receive failed"] += 1
        return p.returncode == 0

    def run(self):
        for d in (self.dir, self.src, self.ours, self.theirs):
            d.mkdir()
        live = self.src / "live"
        sh("btrfs", "-q", "subvolume", "create", live)
        tree = RandomTree(live, self.seed)
        self.stats["operations"] += tree.steps(self.rng.choice((20, 60, 120)))
        sh("btrfs", "-q", "subvolume", "snapshot", "-r", live, self.src / "one")
        tree.bound(2**24)  # an incremental stream says a new hole in an old file as zeros
        self.stats["operations"] += tree.steps(self.rng.choice((1, 10, 40, 100)))
        sh("btrfs", "-q", "subvolume", "snapshot", "-r", live, self.src / "two")

        one = self.send(self.src / "one")
        two = self.send(self.src / "two", self.src / "one")
        received = self.receive(one) and self.receive(two)
        self.stats["pairs with btrfs receive beside"] += received
        if self.rng.random() < 0.2:  # both in one image
            both = self.disk.dir / f"p{self.seed}-both"
            both.write_bytes(one.read_bytes() + two.read_bytes())
            self.apply(both)
        else:
            self.apply(one)
            self.apply(two, f"--base={self.ours / 'one'}")
        self.compare("one")
        self.compare("two")

    def clean(self):
        for image in self.disk.dir.glob(f"p{self.seed}-*"):
            image.unlink()
        for d in (self.src, self.ours, self.theirs):
            for subvol in d.iterdir() if d.exists() else ():
                self.disk.delete(subvol)
            d.rmdir()
        self.dir.rmdir()


def side_by_side(args):
    """The same seeds, in equal parts, by processes of their own."""
    part = -(-args.pairs // args.jobs)
    children = []
    for first in range(0, args.pairs, part):
        command = [sys.executable, __file__, args.program, f"--pairs={min(part, args.pairs - first)}",
                   f"--seed={args.seed + first}", f"--minutes={args.minutes}"]
        command += [f"--{name}={value}" for name, value in (("deny", args.deny), ("resume", args.resume)) if value]
        children.append(subprocess.Popen(command))
    return max(child.wait() for child in children)


def main():
    p = argparse.ArgumentParser()
    p.add_argument("program")
    p.add_argument("--pairs", type=int, default=int(os.environ.get("ABUPDATE_PAIRS", "200")))
    p.add_argument("--seed", type=int, default=int(os.environ.get("ABUPDATE_SEED", "1")))
    p.add_argument("--jobs", type=int, default=1)
    p.add_argument("--minutes", type=float, default=0, help="stop after so long, however many pairs")
    p.add_argument("--deny", metavar="SO", help="deny-ioctl.so: sometimes run ours as on a kernel without an ioctl")
    p.add_argument("--resume", metavar="PROGRAM", help="apply with this one, which dies and goes on, instead of the first")
    p.add_argument("--keep", action="store_true", help="stop at the first failure and leave the disk mounted until Enter")
    args = p.parse_args()
    if os.geteuid() != 0:
        print("needs root")
        return 77

    if args.jobs > 1:
        return side_by_side(args)

    stats, failures, start = collections.Counter(), [], time.monotonic()
    try:
        return one_by_one(args, stats, failures, start)
    finally:  # also where somebody ends it
        for name, n in sorted(stats.items()):
            print(f"{n:9} {name}")
        print(f"{stats['pairs']} pairs from seed {args.seed} in {time.monotonic() - start:.0f} s, "
              f"{len(failures)} failures", flush=True)


def one_by_one(args, stats, failures, start):
    done = 0
    while done < args.pairs and not (args.minutes and time.monotonic() > start + args.minutes * 60):
        batch = (args.seed + done) // 25  # a seed alone says everything
        options, mkfs = DISKS[batch % len(DISKS)]
        with BtrfsDisk("differential", "8G", mkfs, options) as disk:
            while done < args.pairs and (args.seed + done) // 25 == batch:
                pair = Pair(disk, args, args.seed + done, stats)
                done += 1
                try:
                    pair.run()
                except Mismatch as e:
                    failures.append(f"seed {pair.seed} ({options}): {e}")
                    print(failures[-1], flush=True)
                    if args.keep:
                        input(f"{pair.dir} - Enter to go on: ")
                        return 1
                pair.clean()
                stats["pairs"] += 1
    return bool(failures)


if __name__ == "__main__":
    sys.exit(main())
