#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Every hostile stream, handed to the whole daemon: each is refused with its name, and the machine is as before."""

import hashlib
import os
import sys
import uuid

from machinery import harness
from machinery.signed import trusting

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "stream"))
from hostile import CASES
from streamwriter import UUID_A, UUID_B

CHUNK = 1 << 20
SHOWN = 50  # entries of the history that are told
PACKED = {b"\x1f\x8b": "gzip", b"\xfd7": "xz"}
# what an option of stream-apply is in a manifest
SUFFIX = {"K": 1 << 10, "G": 1 << 30}
ALLOWED = {"--no-devices": "devices", "--no-setuid": "setuid", "--no-xattrs": "xattrs"}
LIMITS = {"--max-file": "MaxFileSize", "--max-bytes": "Subvolume.00.Bytes", "--max-inodes": "Subvolume.00.Inodes"}
# abctl asks for nothing where a file is empty
ASKED = {"empty": "BadInput"}
# a manifest knows how long the stream is, unpacked
LONGER = {"bomb": "LimitExceeded"}
# bytes and inodes of a subvolume that is right, where what follows it is wrong
WHOLE = {"two streams where one is allowed": (0, 0), "half a header after the end": (40, 1)}
SIGNED = 4  # every so many are signed as well


def manifest_of(c):
    """The text of a manifest, not signed, that allows all but what the case's options forbid."""
    fields = {"Compatible": "test-machine", "BuildTime": 1700000000, "ChunkSize": CHUNK, "Epoch": 1, "Format": 1,
              "Compression": PACKED.get(c.stream[:2], "none"), "PayloadSize": len(c.stream), "StreamSize": len(c.stream),
              "StreamVersion": 3, "MaxFileSize": (1 << 63) - 1, "Version": "2.0", "Subvolume.00.Bytes": 1 << 24,
              "Subvolume.00.Digest": "ab" * 32, "Subvolume.00.Inodes": 1000, "Subvolume.00.Name": "s",
              "Subvolume.00.Path": "/", "Subvolume.00.UUID": uuid.UUID(bytes=UUID_A)}
    if c.number == 34:
        fields["Subvolume.00.Parent"] = uuid.UUID(bytes=UUID_B)
    if c.name in WHOLE:
        fields["Subvolume.00.Bytes"], fields["Subvolume.00.Inodes"] = WHOLE[c.name]
    allowed = ["devices", "setuid", "xattrs"]
    for option in c.options:
        name, _, value = option.partition("=")
        if name in ALLOWED:
            allowed.remove(ALLOWED[name])
        elif name in LIMITS:
            fields[LIMITS[name]] = int(value.rstrip("KG")) * SUFFIX.get(value[-1], 1)
    fields["Allow"] = " ".join(allowed)
    lines = sorted(f"{key}={value}" for key, value in fields.items())
    chunks = [hashlib.sha256(c.stream[at:at + CHUNK]).hexdigest() for at in range(0, len(c.stream), CHUNK)]
    return "\n".join(lines) + "\n\n" + "\n".join(chunks) + "\n"


class Round:
    """One machine that is asked again and again."""

    def __init__(self, case, it):
        self.case, self.it, self.n, self.jobs = case, it, 0, 0
        case.abctl(it, "status")
        self.daemon = case.pids(it)[0]
        self.before = case.facts(it)
        self.entries = self.history()

    def history(self):
        return self.case.abctl(self.it, "--json=short", "history").data

    def refused(self, c, kind, *args):
        """The image at the end of @args is refused: by name, told of in the history, nothing left."""
        case, it = self.case, self.it
        names = kind.split("|")
        try:
            case.refused(it, "update", *args, error=names, code=6 if names == ["ForbiddenContent"] else 1)
            case.unchanged(it, self.before)
            case.equal(case.pids(it), (self.daemon, set()), "the daemon is another one, or a worker is left")
            self.told(names)
        except harness.Failed as error:
            raise harness.Failed(f"{c.number} {c.name}: {error}") from error
        self.n += 1

    def told(self, names):
        """Refused before its job began, it is none; else its entry came to those that were there."""
        now = self.history()
        new = [e for e in now if e["job"] > self.entries[0]["job"]] if self.entries else now
        kept = min(len(self.entries) + len(new), SHOWN)
        self.case.equal(now, (new + self.entries)[:kept], "the history has lost something")
        self.case.check(len(new) <= 1 and all(e["error"] in names for e in new), new)
        self.entries = now
        self.jobs += len(new)

    def end(self):
        self.case.sound(self.it, ["1.0"], changed=["etc/abupdate"])
        self.case.expect(self.it, state="steady", booted="1", next="1", version="1.0")
        return f"{self.n} streams, {self.jobs} jobs"


def file_of(case, c):
    path = f"{case.tmp}/hostile.send"
    with open(path, "wb") as file:
        file.write(c.stream)
    return path


def test_unsigned(case):
    """Where nothing is verified: all that needs no limits to be wrong."""
    it = case.machine()
    it.run("sed", "-i", "s,^\\[Update\\],[Update]\\nSubvolumes=s:/,", f"{it.root}/etc/abupdate/abupdated.conf")
    doing = Round(case, it)
    for c in CASES:
        if not c.options:
            doing.refused(c, ASKED.get(c.name, c.kind), file_of(case, c))
    return doing.end()


def test_signed(case):
    """With a manifest, rightly signed by a maker who is trusted: what its limits refuse, and some of the others."""
    it, maker = trusting(case)
    doing = Round(case, it)
    for i, c in enumerate(CASES):
        if not c.stream or (not c.options and i % SIGNED != 0):
            continue  # of nothing there is no manifest
        path = file_of(case, c)
        with open(path + ".manifest", "w", encoding="utf-8") as file:
            file.write(manifest_of(c))
        maker.run("sign", f"--key={maker.key}", path + ".manifest")
        doing.refused(c, LONGER.get(c.name, c.kind), path)
    return doing.end()


if __name__ == "__main__":
    sys.exit(harness.main(globals()))
