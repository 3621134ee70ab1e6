# SPDX-License-Identifier: LGPL-2.1-or-later
"""Disks of machines at the moments at which a job begins: made once by real jobs."""

import os
import random
import shutil
import subprocess
import tempfile

from machinery import disk, kernel, maker
from machinery.machine import find_programs

from .facts import digest
from .power import Power

SIZE = 1 << 30
CHANGE = ("printf 'of %s\\n' $VERSION >usr/share/a/new; rm usr/share/b/1; "
          "mv usr/share/c usr/share/d; cp usr/share/a/2 usr/share/a/copy; "
          "head -c 20000 /dev/urandom >usr/share/a/1; chmod 600 usr/share/b/4")
KEEP_ONE = CHANGE + "; sed -i s/Keep=3/Keep=1/ etc/abupdate/abupdated.conf"
NAMED = "changed"       # the version that an in-place change makes


# A record in the journal is the one thing for which the product calls fdatasync().
RECORD = "fdatasync"


def killed_at(call, number):
    """The command that kills what follows when it makes @call the @number-th time, before it."""
    return ["strace", "-f", "-qq", "-o", "/dev/null", "-e", f"trace={call}",
            "-e", f"inject={call}:signal=KILL:when={number}"]


class Stages:
    """Everything that the jobs need, in a folder in memory. Use it in a `with` statement."""

    def __init__(self, build, subvolumes="", read_only=False):
        self.programs = find_programs(build)
        missing = {"abupdated", "abupdate-initrd"} - self.programs.keys()
        if missing:
            raise RuntimeError(f"{build} has no {' and no '.join(sorted(missing))}")
        self.folder = tempfile.mkdtemp(prefix="abupdate-crash-", dir="/dev/shm")
        self.spec = {"os": f"{self.folder}/os", "size": SIZE, "read_only": read_only,
                     "subvolumes": subvolumes}
        self.log = open(f"{self.folder}/log", "ab", buffering=0)
        self.versions = {}              # digest of a root: its version
        self.disks = {}                 # stage: (image, the slot that runs)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.log.close()
        shutil.rmtree(self.folder)

    @property
    def places(self):
        """Where further subvolumes stand in the root."""
        return [place for _, place in disk.split_subvolumes(self.spec["subvolumes"])[1:]]

    def image(self, name):
        """The path of an update image."""
        return f"{self.folder}/{name}.send"

    def identify(self, tree):
        """The version whose every byte @tree has, or None."""
        return self.versions.get(digest(tree, self.places))

    # ---- making them

    def build(self):
        """Make the disks, the images, and every stage. Runs in a private namespace."""
        small_tree(self.spec["os"])
        disk.make_pair(self.folder, self.spec)
        options = {"subvolumes": self.spec["subvolumes"], "start": "1.0", "change": CHANGE}
        digests = {}
        for version in ("2.0", "3.0", "9.0"):
            digests[version] = maker.make_image(self.folder, version, self.image(version),
                                                **options)["root"]
        maker.make_image(self.folder, "2.0", self.image("2.0-incremental"), base="1.0", **options)
        options["change"] = KEEP_ONE
        digests["5.0"] = maker.make_image(self.folder, "5.0", self.image("5.0"),
                                          **options)["root"]
        digests["1.0"] = maker.digests(self.folder, "1.0", self.spec["subvolumes"])["root"]
        if not self.places:
            self.versions = {value: version for version, value in digests.items()}
        os.unlink(f"{self.folder}/maker.img")
        self._prepare()
        return self.versions, self.disks

    def _prepare(self):
        self.disks["fresh"] = (f"{self.folder}/disk.img", "1")
        self._learn("fresh", "1", "1.0")
        self._stage("armed", "fresh", ("update", "2.0"))
        self._learn("armed", "2", "2.0")
        self._stage("staged", "fresh", ("update", "2.0", {"arm": False}))
        self._stage("trial", "armed", ("reboot",))
        self._stage("settled", "trial", ("good",))
        self._stage("crowded", "settled", ("update", "3.0"), ("reboot",), ("good",),
                    ("update", "9.0"), ("reboot",), ("good",), ("update", "5.0"), ("reboot",))
        self._learn("crowded", "3", "3.0")
        self._learn("crowded", "4", "9.0")
        self._learn("crowded", "5", "5.0")
        self._stage("condemned", "fresh", ("update", "2.0"), ("rollback",), ("update", "3.0"),
                    ("rollback",))
        self._cut("cut-write", "fresh", "verify", "1", "update", "2.0")
        self._cut("cut-place", "fresh", "arm", "1", "update", "2.0")
        self._cut("cut-arm", "fresh", "arm", "2", "update", "2.0")
        self._cut("cut-rollback", "settled", "condemn", "1", "rollback")
        if not self.spec["read_only"]:
            self._cut("cut-begin", "fresh", "arm", "1", "begin")
            self._stage("open", "fresh", ("begin",), ("change",))
            self._cut("cut-commit", "open", "record", "1", "commit")
            self._learn("open", "1", NAMED)

    def _learn(self, stage, slot, version):
        """What @version looks like as a root; where the maker's own can be compared, it must."""
        def look():
            power = Power(self.programs, f"{self.folder}/look", self.disks[stage][0], self.log,
                          slot)
            found = digest(power.root, self.places)
            return found, power.off()
        found, left = kernel.in_private_namespace(look)
        if left:
            raise RuntimeError(f"stage {stage}: {left}")
        if not self.places and version != NAMED and self.versions.get(found) != version:
            raise RuntimeError(f"slot {slot} of stage {stage} is not the maker's {version}")
        self.versions[found] = version

    def _stage(self, name, start, *steps):
        source, slot = self.disks[start]
        image = f"{self.folder}/{name}.img"
        kernel.sparse_copy(source, image)
        self.disks[name] = (image, kernel.in_private_namespace(self._run, image, slot, steps))

    def _run(self, image, slot, steps):
        power = Power(self.programs, f"{self.folder}/look", image, self.log, slot).go_on()
        for verb, *rest in steps:
            if verb == "reboot":
                left = power.off()
                if left:
                    raise RuntimeError(f"{image}: {left}")
                power = Power(self.programs, f"{self.folder}/look", image, self.log).go_on()
                slot = power.facts().next
            elif verb == "change":
                change_in_place(power.root)
            else:
                done = self.order(power, verb, *rest)
                if done.code != 0:
                    raise RuntimeError(str(done))
        left = power.off()
        if left:
            raise RuntimeError(f"{image}: {left}")
        return slot

    def _cut(self, name, start, phase, next_slot, *order):
        """A stage at which @order was cut off in @phase, when @next_slot already or still boots
        next: found by trying, whatever calls the product makes."""
        source, slot = self.disks[start]
        image = f"{self.folder}/{name}.img"

        def attempt(call, number):
            power = Power(self.programs, f"{self.folder}/look", image, self.log, slot).go_on()
            killed = self.order(power, *order, wrap=killed_at(call, number)).killed
            facts = power.facts()
            power.off()
            return killed, facts.journal.get("Phase") == phase and facts.next == next_slot

        for call in (RECORD, "fsync"):
            killed, number = True, 0
            while killed:
                number += 1
                kernel.sparse_copy(source, image)
                killed, found = kernel.in_private_namespace(attempt, call, number)
                if killed and found:
                    self.disks[name] = (image, slot)
                    return
        raise RuntimeError(f"{order} cannot be cut off in {phase} with {next_slot} next")

    def order(self, power, verb, version=None, options=None, wrap=()):
        """Run a job by a short name."""
        what = {"good": {"type": "mark", "verdict": "good"},
                "begin": {"type": "begin", "in-place": True}}.get(verb, {"type": verb})
        return power.order({**what, **(options or {})}, version and self.image(version), wrap)

    def disk_for(self, stage, target):
        """A copy of a stage with a file system id of its own: jobs are tried side by side."""
        source, slot = self.disks[stage]
        kernel.sparse_copy(source, target)
        subprocess.run(["btrfstune", "-f", "-u", target], check=True, stdout=subprocess.DEVNULL)
        return slot


def small_tree(top):
    """A system of some twenty files: it is compared byte by byte thousands of times."""
    rng = random.Random(1)
    for folder in "abc":
        os.makedirs(f"{top}/usr/share/{folder}")
        for number in range(5):
            with open(f"{top}/usr/share/{folder}/{number}", "wb") as file:
                file.write(rng.randbytes((100, 3000, 9000, 30000, 70000)[number]))
    os.symlink("a/1", f"{top}/usr/share/link")
    os.link(f"{top}/usr/share/a/3", f"{top}/usr/share/hard")
    os.mkfifo(f"{top}/usr/share/fifo")
    os.setxattr(f"{top}/usr/share/b/2", "user.test", b"attribute")
    os.chown(f"{top}/usr/share/b/3", 1234, 4321)


def change_in_place(root):
    """What a package manager does to the running system inside a transaction."""
    with open(f"{root}/usr/share/a/3", "r+b") as file:
        file.write(b"changed in place")
    with open(f"{root}/usr/share/added", "w", encoding="utf-8") as file:
        file.write("added in place\n")
    os.unlink(f"{root}/usr/share/a/4")
    for path in (f"{root}/usr/share/a/3", f"{root}/usr/share/added", f"{root}/usr/share/a",
                 f"{root}/usr/share"):
        os.utime(path, ns=(10 ** 18, 10 ** 18))
