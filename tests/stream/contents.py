#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""contents.py TREE-DIGEST: what a base has told spares reading, and never hides a change."""
import mmap
import os
import pathlib
import random
import subprocess
import sys

from btrfsdisk import BtrfsDisk, sh

sys.path.insert(0, str(pathlib.Path(__file__).parent.parent))

from tap import Tap  # noqa: E402

SIZE = 200000


def overwrite(path):
    with open(path, "r+b") as file:
        file.seek(4096)
        file.write(b"other")


def same_size_and_times(path):
    st = path.stat()
    overwrite(path)
    os.utime(path, ns=(st.st_atime_ns, st.st_mtime_ns))


def through_memory(path):
    with open(path, "r+b") as file, mmap.mmap(file.fileno(), 0) as view:
        view[8192:8196] = b"mmap"


def replace(path):
    new = path.with_name("new")
    new.write_bytes(random.Random(path.name).randbytes(SIZE))
    new.rename(path)


def exchange(path):
    """Two names swap their inodes: nothing is read, and all is another."""
    other = path.with_name("f0")
    path.rename(path.with_name("x"))
    other.rename(path)
    path.with_name("x").rename(other)


WAYS = {
    "overwritten": overwrite,
    "overwritten, times set back": same_size_and_times,
    "written through memory": through_memory,
    "written past the cache": lambda p: sh("dd", "if=/dev/zero", f"of={p}", "bs=4096", "count=2", "conv=notrunc",
                                           "oflag=direct"),
    "shortened": lambda p: os.truncate(p, 5000),
    "longer": lambda p: os.truncate(p, SIZE + 5000),
    "hole": lambda p: sh("fallocate", "-p", "-o", "8192", "-l", "4096", p),
    "zeros": lambda p: sh("fallocate", "-z", "-o", "8192", "-l", "4096", p),
    "collapsed": lambda p: sh("cp", "--reflink=always", p.with_name("f1"), p),
    "replaced": replace,
    "exchanged": exchange,
    "mode alone": lambda p: p.chmod(0o600),
    "gone": lambda p: p.unlink(),
    "not at all": lambda p: None,
}


class Case:
    def __init__(self, program, disk):
        self.program, self.disk, self.n = program, disk, 0

    def digest(self, path, *options):
        """(was the base known?, digest, bytes read)"""
        out = subprocess.run([self.program, *options, path], check=True, stdout=subprocess.PIPE).stdout.decode().split()
        return "unknown" not in out, out[-3], int(out[-1])

    def snapshot(self, source, read_only=True):
        self.n += 1
        path = self.disk.path / f"s{self.n}"
        sh("btrfs", "-q", "subvolume", "snapshot", *(["-r"] if read_only else []), source, path)
        return path

    def base(self):
        """A read-only subvolume with 20 files that is known."""
        self.n += 1
        live = self.disk.path / f"live{self.n}"
        sh("btrfs", "-q", "subvolume", "create", live)
        rng = random.Random(self.n)
        for i in range(20):
            (live / f"f{i}").write_bytes(rng.randbytes(SIZE))
        base = self.snapshot(live)
        self.digest(base, "--save")
        return base

    def change(self, base, function):
        work = self.snapshot(base, read_only=False)
        function(work / "f7")
        return self.snapshot(work)


def test_ways(case, tap):
    """Whatever is done to a file: the same digest as if all had been read, and no more than that file is read."""
    base = case.base()
    for name, function in WAYS.items():
        changed = case.change(base, function)
        known, quick, few = case.digest(changed, f"--known={base}")
        _, slow, many = case.digest(changed)
        tap.case(f"one file {name}", ([] if known else ["the base is not known"]) +
                 ([] if quick == slow else ["another digest"]) +
                 ([] if few <= 2 * SIZE < 10 * SIZE < many else [f"{few} of {many} bytes were read"]))


def test_chain(case, tap):
    """What a base did not read itself it tells the next one all the same."""
    base = case.base()
    first = case.change(base, overwrite)
    case.digest(first, f"--known={base}", "--save")
    second = case.change(first, through_memory)
    _, quick, few = case.digest(second, f"--known={first}")
    tap.case("a chain of three", [] if quick == case.digest(second)[1] and few == SIZE else [f"{few} bytes"])


def test_untrusted(case, tap):
    """A base that was writable since, a damaged file, one of another subvolume: everything is read."""
    def problems(known, quick, slow):
        return [f"known: {known}"] * bool(known) + ["another digest"] * (quick != slow)

    def check(name, harm):
        base = case.base()
        changed = case.change(base, overwrite)
        harm(base)
        known, quick, _ = case.digest(changed, f"--known={base}")
        tap.case(name, problems(known, quick, case.digest(changed)[1]))

    def file_of(base):
        names = sorted(base.parent.glob(".contents-*"), key=lambda p: p.stat().st_mtime_ns)
        return names[-1]

    def rewrite(base, function):
        path = file_of(base)
        data = bytearray(path.read_bytes())
        function(data)
        path.write_bytes(data)

    def flip(data):
        data[-1] ^= 1

    def cut(data):
        del data[-1:]

    def write_inside(base):
        sh("btrfs", "property", "set", "-f", base, "ro", "false")
        overwrite(base / "f3")
        sh("sync", "-f", base)
        sh("btrfs", "property", "set", base, "ro", "true")

    check("the base was written to", write_inside)
    check("the base is writable", lambda base: sh("btrfs", "property", "set", "-f", base, "ro", "false"))
    check("a flipped bit", lambda base: rewrite(base, flip))
    check("a byte less", lambda base: rewrite(base, cut))
    check("empty", lambda base: rewrite(base, bytearray.clear))
    check("none", lambda base: file_of(base).unlink())
    check("of another one", lambda base: file_of(base).write_bytes(file_of(case.base()).read_bytes()))


def main():
    tap = Tap()
    if os.geteuid() != 0:
        print("1..0 # SKIP needs root")
        return 0
    with BtrfsDisk("contents", "1G") as disk:
        case = Case(sys.argv[1], disk)
        test_ways(case, tap)
        test_chain(case, tap)
        test_untrusted(case, tap)
    return tap.done()


if __name__ == "__main__":
    sys.exit(main())
