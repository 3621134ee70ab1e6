# SPDX-License-Identifier: LGPL-2.1-or-later
"""Power cuts below a boot partition of FAT: what the loader would do with any state that the writes of a guest could have
left it in, as it is and after fsck. The guest's own kernel and firmware write; the host reads with mtools, systemd-boot is a
model, GRUB is GRUB."""

import collections
import contextlib
import dataclasses
import itertools
import os
import random
import re
import shutil
import subprocess

from machinery import grubloader, kernel, loader, points, writelog
from machinery.disk import run

from . import cuts, uefi
from .case import Failed

MODULE = re.compile(r"[ ']initrd[ ']+(/[^' ]+)")


class Esp:
    """The file system in @image, with a folder @work for what is taken from it."""

    def __init__(self, image, work):
        self.image, self.work = image, work
        shutil.rmtree(work, ignore_errors=True)
        os.makedirs(f"{work}/loader/entries")

    def take(self, path):
        """Copy one file out of it."""
        target = f"{self.work}{path}"
        os.makedirs(os.path.dirname(target), exist_ok=True)
        run("mcopy", "-n", "-i", self.image, f"::{path}", target)
        return target

    def names(self, folder):
        """The files in a folder."""
        said = run("mdir", "-b", "-i", self.image, f"::{folder}/*").decode()
        return [line.strip().removeprefix("::") for line in said.splitlines() if not line.endswith("/")]

    def systemd_boot(self):
        """The slot of the entry that systemd-boot would boot; its kernel and initrd are what their names say."""
        for path in self.names("/loader/entries"):
            if loader.NAME.match(os.path.basename(path)):
                with contextlib.suppress(RuntimeError):     # what it cannot read it leaves out of the menu
                    self.take(path)
        found = loader.entries(f"{self.work}/loader/entries")
        for entry in found:
            if "linux" in entry.fields:             # and what it does not understand
                break
            os.unlink(f"{self.work}/loader/entries/{entry.name}")
        for key in ("linux", "initrd"):
            self.take(entry.fields[key])
        return self._slot(loader.choose(f"{self.work}/loader/entries").options)

    def grub(self):
        """The same for GRUB itself."""
        choice = grubloader.peek(self.image, (0, uefi.EFI_SIZE), [], f"{self.work}/grub")
        with open(self._entry(f"/abupdate/slot-{choice.slot}"), encoding="utf-8") as file:
            files = [choice.linux, *MODULE.findall(file.read())]
        if len(files) != 2:
            raise RuntimeError(f"no initrd for slot {choice.slot}")
        for path in files:
            loader.check_file(self.take(path))
        return self._slot(choice.options)

    def _entry(self, folder):
        entry = self.take(f"{folder}/entry.cfg")
        return entry if os.path.getsize(entry) else self.take(f"{folder}/entry.spare")

    @staticmethod
    def _slot(options):
        match = re.search(r"subvol=@abupdate/slots/([^/]+)/root", options)
        if not match or uefi.REBOOTS not in options:
            raise RuntimeError(f"not a whole command line: {options}")
        return match[1]


def entries(log):
    """Of a log of the whole disk what concerns the boot partition, as if that were a disk."""
    found, first, end = [], uefi.EFI_START // writelog.SECTOR, (uefi.EFI_START + uefi.EFI_SIZE) // writelog.SECTOR
    for entry in writelog.read_entries(log):
        if entry.is_write and first <= entry.sector < end:
            found.append(dataclasses.replace(entry, sector=entry.sector - first))
        elif entry.is_flush and found and not found[-1].is_flush:
            found.append(dataclasses.replace(entry, sector=0, length=0))
    return found


def _chosen(found, count, seed):
    """So many states, in the order of the log. FAT has sectors of 512 bytes, and nothing that holds several together."""
    every = points.points(found, 0, random.Random(seed), tear=writelog.SECTOR)
    return sorted(itertools.islice(every, count), key=lambda point: point.at)


def _fsck(image):
    """What systems do at boot."""
    done = subprocess.run(["fsck.vfat", "-a", image], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
    if done.returncode not in (0, 1):
        raise Failed(f"fsck.vfat: {done.stdout.decode()}")


def _disk(case):
    """Which one has the boot partition."""
    return "boot" if case.seed else "disk"


def replay(case, judge, stages, count, seed):
    """Judges so many states of the boot partition. @stages: [(stage, how many entries the log had at its beginning, slots that
    may boot)]. Returns {(stage, slot): how often}; Failed where something else boots."""
    work, log = f"{case.work}/replay", case.guest.write_log(_disk(case))
    os.makedirs(work)
    run("dd", f"if={case.cut}/{_disk(case)}.img", f"of={work}/base", "bs=1M", f"skip={uefi.EFI_START >> 20}",
        f"count={uefi.EFI_SIZE >> 20}", "conv=sparse")
    seen = collections.Counter()
    with writelog.Replay(f"{work}/base", log, f"{work}/disk", kernel.sparse_copy) as disk:
        disk.entries = entries(log)
        for point in _chosen(disk.entries, count, seed):
            point.build(disk, f"{work}/copy")
            stage, _, may = [s for s in stages if s[1] <= point.last][-1]
            for checked in (False, True):
                if checked:
                    _fsck(f"{work}/copy")
                try:
                    slot = judge(Esp(f"{work}/copy", f"{work}/esp"))
                except (RuntimeError, OSError, UnicodeDecodeError, LookupError) as error:
                    raise Failed(f"{stage}, {point}, {checked=}: {error!r}") from error
                case.equal(slot in may, True, f"{stage}, {point}, {checked=}: slot {slot} boots, not one of {may}")
            seen[stage, slot] += 1
    return seen


class Stages(list):
    """(stage, how many entries the log had at its beginning, slots that may boot) of a guest, which is logged from now on."""

    def __init__(self, case):
        super().__init__()
        self.log = case.guest.write_log(_disk(case))
        case.guest.logged = [_disk(case)]

    def begin(self, stage, *slots):
        """From now on, everything before being durable, only @slots may boot."""
        self.append((stage, len(entries(self.log)) if self else 0, slots))


def _snapshots(case, stages):
    stages.begin("install 3.1", "1", "2")
    case.up("1.0")
    case.update("3.1")
    case.reboot()
    stages.begin("try 3.1", "1", "2")
    case.equal(case.up("1.0", boots=3), 3)
    case.gone_back("3.1", "used up its tries")
    stages.begin("install 2.0", "1", "3")
    case.update("2.0")
    case.reboot()
    stages.begin("try 2.0", "1", "3")
    case.up("2.0")
    case.blessed("2.0")
    stages.begin("good", "3")
    case.do("sync")
    stages.begin("roll back", "1", "3")
    case.do("abctl rollback")
    stages.begin("rolled back", "1")
    case.reboot()
    case.up("1.0")


def _devices(case, stages):
    stages.begin("install 2.0", "a", "b")
    case.up("1.0")
    case.update("2.0")
    case.reboot()
    stages.begin("try 2.0", "a", "b")
    case.up("2.0")
    case.blessed("2.0")
    stages.begin("merge", "b")
    case.merge()
    stages.begin("roll back", "a", "b")
    case.do("abctl rollback a")
    stages.begin("rolled back", "a")
    case.do("abctl status && sync")


def _power_cuts(case, judge, count=20, seed=1, **_):
    stages = Stages(case)
    (_devices if case.seed else _snapshots)(case, stages)
    case.guest.kill()
    # no boot is needed to know: many more than of those that boot
    return cuts.told(replay(case, judge, stages, 50 * count, seed))


def bls_power_cuts(case, **options):
    """Updated, rolled back: after a cut below FAT systemd-boot finds a complete version at any time."""
    return _power_cuts(case, Esp.systemd_boot, **options)


def grub_power_cuts(case, **options):
    """Updated, rolled back: after a cut below FAT GRUB finds a complete version at any time."""
    return _power_cuts(case, Esp.grub, **options)
