# SPDX-License-Identifier: LGPL-2.1-or-later
"""The states in which a power cut may leave a disk whose writes are logged."""

import itertools

from . import kernel, writelog

TEAR = 4096             # writes are torn at this size, where nothing else is said: what a superblock of Btrfs relies on


class Point:
    """One state of the disk: the first @at entries and @more single ones, torn where so said."""

    def __init__(self, kind, at, more=(), torn=()):
        self.kind, self.at, self.more, self.torn = kind, at, more, dict(torn)

    @property
    def last(self):
        """The last entry of which anything is there."""
        return max([self.at, *(n + 1 for n in self.more)])

    def __str__(self):
        more = f" and {[(n, self.torn[n]) if n in self.torn else n for n in self.more]}"
        return f"{self.kind} {self.at}{more if self.more else ''}"

    def build(self, replay, image):
        """Make the disk in the file @image; @replay has come to @at or less."""
        replay.forward(self.at)
        kernel.sparse_copy(replay.image, image)
        for number in self.more:
            entry = replay.entries[number]
            if number in self.torn:
                entry = writelog.Entry(entry.sector, self.torn[number], entry.flags, entry.offset)
            replay.apply(entry, image)


def points(entries, end, rng, tear=TEAR):
    """The moment the job says that it is done, every flush, then prefixes and subsets in turn
    without an end; writes are torn after a multiple of @tear bytes."""
    flushes = [n for n in range(1, len(entries) + 1) if entries[n - 1].is_flush]
    prefixes = [n for n in range(len(entries) + 1) if n == 0 or entries[n - 1].is_write]
    spans = [(a, b) for a, b in zip([0, *flushes], [*flushes, len(entries)]) if b > a]
    rng.shuffle(flushes)
    rng.shuffle(prefixes)
    if end:
        yield Point("prefix", end)
    yield from (Point("flush", n) for n in flushes)
    for turn in itertools.count():
        if prefixes and turn % 2 == 0:
            yield Point("prefix", prefixes.pop())
            continue
        first, end = rng.choice(spans)
        last = rng.randint(first + 1, end)
        share = rng.choice((0.1, 0.5, 0.9))
        more = [n for n in range(first, last) if entries[n].is_write and rng.random() < share]
        torn = {n: rng.randrange(tear, entries[n].length, tear) for n in more
                if entries[n].length > tear and rng.random() < 0.2}
        if more:
            yield Point("torn" if torn else "subset", first, more, torn)
