# SPDX-License-Identifier: LGPL-2.1-or-later
"""Power cuts below a boot partition of FAT: what the loader would do with any state that the writes of a guest could have
left it in. The guest's own kernel and firmware write; the host reads with mtools, systemd-boot is a model, GRUB is GRUB."""

import collections
import contextlib
import itertools
import os
import random
import re
import shutil

from machinery import grubloader, kernel, loader, points, writelog
from machinery.disk import run

from . import cuts, uefi
from .case import Failed

MODULE = re.compile(r"[ ']initrd[ ']+(/[^' ]+)")


class Esp:
    """The boot partition of one image of a disk, as a folder @work for what is taken from it."""

    def __init__(self, image, work):
        self.image, self.work = image, work
        shutil.rmtree(work, ignore_errors=True)
        os.makedirs(f"{work}/loader/entries")

    def take(self, path):
        """Copy one file out of it."""
        target = f"{self.work}{path}"
        os.makedirs(os.path.dirname(target), exist_ok=True)
        run("mcopy", "-n", "-i", f"{self.image}@@{uefi.EFI_START}", f"::{path}", target)
        return target

    def names(self, folder):
        """The files in a folder."""
        said = run("mdir", "-b", "-i", f"{self.image}@@{uefi.EFI_START}", f"::{folder}/*").decode()
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
        part = (uefi.EFI_START, uefi.EFI_SIZE)
        choice = grubloader.peek(self.image, part, [], f"{self.work}/grub")
        with open(self.take(f"/abupdate/slot-{choice.slot}/entry.cfg"), encoding="utf-8") as file:
            files = [choice.linux, *MODULE.findall(file.read())]
        if len(files) != 2:
            raise RuntimeError(f"no initrd for slot {choice.slot}")
        for path in files:
            loader.check_file(self.take(path))
        return self._slot(choice.options)

    @staticmethod
    def _slot(options):
        match = re.search(r"subvol=@abupdate/slots/([^/]+)/root", options)
        if not match or uefi.REBOOTS not in options:
            raise RuntimeError(f"not a whole command line: {options}")
        return match[1]


END = uefi.EFI_START + uefi.EFI_SIZE


def _entries(log):
    """What matters to the boot partition, of a log of the whole disk."""
    found = []
    for entry in writelog.read_entries(log) if os.path.exists(log) else []:
        if entry.sector * writelog.SECTOR < END and (entry.is_write or (found and not found[-1].is_flush)):
            found.append(entry)
    return found


def _chosen(entries, count, seed):
    """So many states, in the order of the log. FAT has sectors of 512 bytes, and nothing that holds several together."""
    every = points.points(entries, 0, random.Random(seed), tear=writelog.SECTOR)
    return sorted(itertools.islice(every, count), key=lambda point: point.at)


def replay(case, name, judge, stages, chosen):
    """Judges the states @chosen(entries) of the disk @name. @stages: [(stage, how many entries the log had at its beginning,
    slots that may boot)]. Returns {(stage, slot): how often}; Failed where something else boots."""
    work = f"{case.work}/replay"
    os.makedirs(work)
    kernel.sparse_copy(f"{case.cut}/{name}.img", f"{work}/base")
    os.truncate(f"{work}/base", END)
    seen = collections.Counter()
    with writelog.Replay(f"{work}/base", case.guest.write_log(name), f"{work}/disk", kernel.sparse_copy) as disk:
        disk.entries = _entries(case.guest.write_log(name))
        for point in chosen(disk.entries):
            point.build(disk, f"{work}/copy")
            stage, _, may = [s for s in stages if s[1] <= point.last][-1]
            try:
                slot = judge(Esp(f"{work}/copy", f"{work}/esp"))
            except (RuntimeError, OSError, UnicodeDecodeError, LookupError) as error:
                raise Failed(f"{stage}, {point}: {error!r}") from error
            case.equal(slot in may, True, f"{stage}, {point}: slot {slot} boots, not one of {may}")
            seen[stage, slot] += 1
    return seen


class Stages:
    """What goes on, by the entries of the log of a disk."""

    def __init__(self, case, name):
        self.log, self.all = case.guest.write_log(name), []

    def begin(self, stage, *slots):
        """From now on, everything before being durable, only @slots may boot."""
        self.all.append((stage, len(_entries(self.log)), slots))


def power_cuts(case, judge, count=20, seed=1, jobs=1):
    """Tried in vain, updated, rolled back: after a cut below FAT the loader finds a complete version at any time."""
    del jobs
    case.guest.logged = ["disk"]
    stages = Stages(case, "disk")
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
    case.guest.kill()
    # no boot is needed to know: many more than of those that boot
    seen = replay(case, "disk", judge, stages.all, lambda entries: _chosen(entries, 50 * count, seed))
    return cuts.told(seen)


def bls_power_cuts(case, **options):
    """Tried in vain, updated, rolled back: after a cut below FAT systemd-boot finds a complete version at any time."""
    return power_cuts(case, Esp.systemd_boot, **options)


def grub_power_cuts(case, **options):
    """Tried in vain, updated, rolled back: after a cut below FAT GRUB finds a complete version at any time."""
    return power_cuts(case, Esp.grub, **options)
