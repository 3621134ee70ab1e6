# SPDX-License-Identifier: LGPL-2.1-or-later
"""Every write of a machine's disk in order, and the disk as it was after any of them.

The format is that of dm-log-writes, written by QEMU's blklogwrites below the loop device.
"""

import os
import struct
import subprocess
import time
from dataclasses import dataclass

MAGIC = 0x6A736677736872
SECTOR = 512
FLUSH, FUA, DISCARD, MARK = 1, 2, 4, 8


@dataclass(frozen=True)
class Entry:
    """One request: where it goes on the disk and where its data is in the log."""

    sector: int
    length: int
    flags: int
    offset: int

    @property
    def is_flush(self):
        """Whether everything before this entry is durable after it."""
        return bool(self.flags & (FLUSH | FUA))

    @property
    def is_write(self):
        """Whether the entry changes the disk (discards are left out: a device may ignore them)."""
        return self.length > 0 and not self.flags & (DISCARD | MARK)


def read_entries(path):
    """All entries of a log, first to last."""
    found = []
    with open(path, "rb") as file:
        magic, version, count, sector_size = struct.unpack("<QQQI", file.read(28).ljust(28, b"\0"))
        if (magic, version, count) == (0, 0, 0):
            return []                   # nothing was written
        if magic != MAGIC or version != 1 or sector_size != SECTOR:
            raise ValueError(f"{path} is no write log")
        at = SECTOR
        for _ in range(count):
            file.seek(at)
            head = file.read(32)
            if len(head) < 32:
                break
            sector, sectors, flags, _ = struct.unpack("<4Q", head)
            has_data = not flags & (DISCARD | MARK)
            length = sectors * SECTOR if has_data else 0
            found.append(Entry(sector, length, flags, at + SECTOR))
            at += SECTOR + length
    return found


def count_entries(path):
    """How many entries the log has now."""
    with open(path, "rb") as file:
        return struct.unpack("<QQQ", file.read(24).ljust(24, b"\0"))[2]


def last_flush(entries, until=None):
    """The number of entries up to and with the last flush among the first @until."""
    until = len(entries) if until is None else until
    for number in range(until, 0, -1):
        if entries[number - 1].is_flush:
            return number
    return 0


class Replay:
    """A disk that moves forward through a log: prefix by prefix, or with a subset of the rest."""

    def __init__(self, base, log, image, copy):
        self.entries = read_entries(log)
        self.image = image
        self.at = 0
        copy(base, image)
        self._log = os.open(log, os.O_RDONLY)
        self._image = os.open(image, os.O_RDWR)

    def close(self):
        """Close the files; the image stays."""
        os.close(self._log)
        os.close(self._image)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def _apply(self, entry, target):
        data = os.pread(self._log, entry.length, entry.offset)
        os.pwrite(target, data, entry.sector * SECTOR)

    def forward(self, until):
        """Apply the entries up to number @until."""
        for entry in self.entries[self.at:until]:
            if entry.is_write:
                self._apply(entry, self._image)
        self.at = max(self.at, until)

    def open_writes(self):
        """Writes before the current entry that no flush has made durable: a cut may lose any."""
        return [n for n in range(last_flush(self.entries, self.at), self.at)
                if self.entries[n].is_write]

    def apply(self, entry, image):
        """Apply one entry, whole or cut short, to a copy of the image."""
        target = os.open(image, os.O_RDWR)
        try:
            self._apply(entry, target)
        finally:
            os.close(target)

    def apply_to(self, image, numbers):
        """Apply single entries to a copy of the image."""
        target = os.open(image, os.O_RDWR)
        try:
            for number in numbers:
                self._apply(self.entries[number], target)
        finally:
            os.close(target)


class Storage:
    """qemu-storage-daemon: shows @disk as the file @front and logs every request to @log."""

    def __init__(self, disk, log, front, stderr):
        for path in (front, log):
            with open(path, "wb"):
                pass
        os.truncate(log, 16 << 30)
        ready = f"{front}.pid"
        if os.path.exists(ready):
            os.unlink(ready)
        self.log = log
        self.process = subprocess.Popen(
            ["qemu-storage-daemon",
             "--blockdev", f"driver=file,filename={disk},node-name=disk,discard=unmap",
             "--blockdev", f"driver=file,filename={log},node-name=log",
             "--blockdev", "driver=blklogwrites,node-name=both,file=disk,log=log,"
                           "log-sector-size=512,log-super-update-interval=1",
             "--export", f"type=fuse,id=front,node-name=both,mountpoint={front},writable=on",
             "--pidfile", ready], stderr=stderr, stdin=subprocess.DEVNULL,
            start_new_session=True)
        end = time.monotonic() + 20
        while not os.path.exists(ready):
            if self.process.poll() is not None or time.monotonic() > end:
                raise RuntimeError("qemu-storage-daemon did not start: see session.log")
            time.sleep(0.01)

    def stop(self):
        """End it after the last user of the front file has gone."""
        self.process.terminate()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
