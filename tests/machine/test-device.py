#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The device of a version as a file: given away while the system runs, and taken back."""

import hashlib
import json
import os
import subprocess
import sys

from machinery import devices, disk, harness

CHANGE = "echo $VERSION >etc/motd"


def content(path, offset=0, length=None):
    """The SHA-256 of a part of a file."""
    digest = hashlib.sha256()
    left = os.path.getsize(path) - offset if length is None else length
    with open(path, "rb") as file:
        file.seek(offset)
        while left > 0:
            data = file.read(min(left, 1 << 20))
            digest.update(data)
            left -= len(data)
    return digest.hexdigest()


def plain_hash(it, name):
    """The SHA-256 of a device of the machine."""
    return content(f"{it.folder}/disk.img", *disk.regions(it.spec)[name])


def first_sum(path):
    """The digits in what an export writes beside its file."""
    with open(f"{path}.sha256", encoding="ascii") as file:
        return file.read().split()[0]


def test_export(case):
    """The running device, every byte of it: into a file with holes, packed, and through a pipe."""
    it = case.pair(size=1280 << 20)
    seed, size = plain_hash(it, "a"), disk.regions(it.spec)["a"][1]
    plain, packed = f"{case.tmp}/a.img", f"{case.tmp}/b.img.zst"
    case.abctl(it, "device", "export", "a", "-o", plain)
    case.equal((content(plain), os.path.getsize(plain)), (seed, size))
    case.equal(os.stat(plain).st_mode & 0o777, 0o600)
    case.check(os.stat(plain).st_blocks * 512 < size // 4, os.stat(plain))
    case.equal(first_sum(plain), seed)
    disk.run("sh", "-c", f"cd {case.tmp} && sha256sum --quiet -c a.img.sha256")
    case.abctl(it, "device", "export", "a", "-o", packed, "--compress=zstd")
    disk.run("zstd", "-q", "-d", packed)
    case.equal(content(f"{case.tmp}/b.img"), seed)
    case.equal(first_sum(packed), seed)
    piped = it.run("sh", "-c", "abctl device export a -o - | sha256sum")
    case.equal(piped.out.split()[0], seed)
    case.equal(plain_hash(it, "a"), seed)
    history = case.abctl(it, "--json=short", "history").data
    case.equal([e["type"] for e in history].count("export"), 3)


def test_export_is_refused(case):
    """Nothing but a sealed device is copied; nothing is left behind."""
    it = case.pair(size=1280 << 20)
    path = f"{case.tmp}/refused.img"
    case.refused(it, "device", "export", "b", "-o", path, error="BadDevice")
    case.refused(it, "device", "export", "c", "-o", path, error="UnknownSlot")
    case.to(it, "2.0", change=CHANGE)
    case.refused(it, "device", "export", "b", "-o", path, error="NotSealed")
    case.equal([n for n in os.listdir(case.tmp) if n.startswith("refused")], [])
    # what the running system reads below it is as good as any
    case.abctl(it, "device", "export", "a", "-o", path)
    case.equal(content(path), plain_hash(it, "a"))
    full = it.run("sh", "-c", "abctl device export a -o - >/dev/full")
    case.check(full.code != 0, full)


def test_stopped_export(case):
    """A reader that stops reading, and Ctrl-C: the job ends, and the machine takes the next."""
    it = case.pair(size=1280 << 20)
    seed = it.part_hash("a")
    with it.popen("sh", "-c", "abctl device export a -o - | sleep 100",
                  stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as pipe:
        case.wait("the export to begin", lambda: case.phase(it) == "write")
        case.abctl(it, "cancel")
        case.wait("its end", lambda: case.phase(it) is None)
        it.run("pkill", "-x", "sleep")
        pipe.wait(30)
    history = case.abctl(it, "--json=short", "history").data
    case.equal((history[0]["type"], history[0]["error"]), ("export", "Cancelled"))
    case.update(it, "2.0", change=CHANGE)
    case.equal(it.part_hash("a"), seed)


def test_restore(case):
    """A version that was overwritten comes back, boots, and is what it was."""
    it = case.pair(size=1280 << 20)
    seed, path = it.part_hash("a"), f"{case.tmp}/1.0.img"
    case.abctl(it, "device", "export", "a", "-o", path)
    case.refused(it, "device", "restore", path, "a", error="SlotInUse")
    case.refused(it, "device", "restore", path, "b", error="AmbiguousDevice")
    case.merged(it, "2.0", change=CHANGE)
    # the same file system is not on two devices: what is on a goes, in this boot
    case.abctl(it, "device", "restore", path, "a")
    case.equal(it.part_hash("a"), seed)
    case.equal((case.slot(it, "a")["state"], case.slot(it, "a")["version"]), ("staged", "1.0"))
    case.expect(it, state="steady", booted="b", next="b", good="b")
    it.reboot()
    case.merged(it, "3.0", change=CHANGE)
    it.reboot()
    case.runs(it, "3.0", "a")
    case.refused(it, "device", "restore", path, "a", error="SlotInUse")
    case.refused(it, "device", "restore", path, "b", error="BadImage", code=6)
    case.equal(case.slot(it, "b")["state"], "empty")
    case.merged(it, "4.0", change=CHANGE)
    it.reboot()
    case.runs(it, "4.0", "b")
    disk.run("zstd", "-q", path, "-o", f"{path}.zst")
    os.rename(f"{path}.sha256", f"{path}.zst.sha256")
    case.abctl(it, "device", "restore", f"{path}.zst", "a")
    case.equal(it.part_hash("a"), seed)
    case.abctl(it, "rollback", "a")
    it.reboot()
    case.expect(it, state="trial", booted="a", next="a")
    case.runs(it, "1.0", "a")
    case.abctl(it, "mark", "good")
    case.update(it, "5.0", change=CHANGE)
    it.reboot()
    case.runs(it, "5.0", "b")
    case.equal(it.part_hash("a"), seed)


def test_restore_is_refused(case):
    """What is no image, damaged, cut off, or does not fit: the device is a spare, and no more."""
    it = case.pair(size=1280 << 20)
    path, bad = f"{case.tmp}/1.0.img", f"{case.tmp}/bad.img"
    case.abctl(it, "device", "export", "a", "-o", path)
    case.merged(it, "2.0", change=CHANGE)
    it.reboot()
    old = it.part_hash("a")

    def refused(error, *args, spare=False, **facts):
        case.refused(it, "device", "restore", *args, bad, "a", error=error,
                     code=harness.ANY)
        case.equal(it.part_hash("a") == old, not spare)
        case.equal(case.slot(it, "a")["state"], "empty" if spare else "good")
        case.expect(it, state="steady", booted="b", next="b", **facts)

    with open(bad, "wb") as file:
        file.truncate(4 << 20)
    refused("BadImage")
    with open(bad, "wb") as file:
        file.write(b"short")
    refused("BadImage")
    disk.run("cp", "--sparse=always", path, bad)
    with open(bad, "r+b") as file:
        file.truncate((1280 << 20) + (1 << 20))
    refused("BadDevice")
    with open(bad, "r+b") as file:
        file.truncate(1280 << 20)
        file.seek(40 << 20)
        file.write(b"not what was there")
    refused("BadImage", f"--sha256={first_sum(path)}", spare=True)
    # as if the export had been cut off: packed, so that nobody knows how long it should be
    disk.run("sh", "-c", f"zstd -q <{path} | head -c 100000 >{bad}")
    refused("Truncated", spare=True)
    case.equal([e for e in it.entries() if "-a" in e], [])
    case.abctl(it, "device", "restore", path, "a")
    case.equal(it.part_hash("a"), old)


def test_restore_of_what_nobody_vouches_for(case):
    """With signatures asked for, only what this machine gave away itself comes back."""
    it = case.pair(size=1280 << 20)
    path = f"{case.tmp}/1.0.img"
    case.abctl(it, "device", "export", "a", "-o", path)
    case.merged(it, "2.0", change="sed -i s/Verification=none/Verification=signature/ "
                "etc/abupdate/abupdated.conf")
    it.reboot()
    sums, wrong, before = first_sum(path), "0" * 64, it.part_hash("a")
    os.rename(f"{path}.sha256", f"{case.tmp}/kept")
    case.refused(it, "device", "restore", path, "a", error="NotSigned", code=6)
    case.refused(it, "device", "restore", f"--sha256={wrong}", path, "a", error="NotSigned", code=6)
    case.equal(it.part_hash("a"), before)
    case.abctl(it, "device", "restore", f"--sha256={sums}", path, "a")
    case.equal(it.part_hash("a"), before)


def test_offline(case):
    """Without bus and daemon: given away, taken back, and refused for the same reasons."""
    it = case.pair(size=1280 << 20)
    seed, path = it.part_hash("a"), f"{case.tmp}/1.0.img"
    offline = f"--root={it.root}"
    case.merged(it, "2.0", change=CHANGE)
    it.reboot(daemon="none")
    case.abctl(it, offline, "device", "export", "a", "-o", path)
    case.equal(content(path), plain_hash(it, "a"))
    case.refused(it, offline, "device", "export", "c", "-o", f"{path}.2", error="UnknownSlot")
    case.refused(it, offline, "device", "restore", path, "b", error="SlotInUse")
    case.equal(it.part_hash("a"), seed)
    case.abctl(it, offline, "device", "restore", path, "a")
    case.equal(it.part_hash("a"), seed)
    case.abctl(it, offline, "rollback", "a")
    it.reboot()
    case.runs(it, "1.0", "a")


def test_killed_restore(case):
    """A worker that dies at every other sync: a spare or the version, and the running system stays."""
    it = case.pair(boot={"daemon": "none"}, size=1280 << 20)
    path = f"{case.tmp}/1.0.img"
    seed = it.part_hash("a")
    disk.run("dd", "if=" + devices.device(it, "a"), f"of={path}", "bs=1M", "conv=sparse", "status=none")
    image = case.image(it, "2.0", change=CHANGE)
    case.equal(case.worker(it, {"type": "update"}, image)["result"]["code"], 0)
    it.reboot(daemon="none")
    case.worker(it, {"type": "mark", "verdict": "good"})
    case.equal(case.worker(it, {"type": "merge"})["result"]["code"], 0)
    it.reboot(daemon="none")
    outcomes = []
    for number in range(1, 25, 2):
        done = case.worker(it, {"type": "restore", "slot": "a"}, path, wrap=devices.killed_at(number))
        if done["result"]:
            break
        if number % 4 == 1:             # the same boot goes on, or the power is cut
            it.power_cut()
            it.boot(daemon="none")
        world = case.worker(it, {"type": "recover"})["world"]
        case.equal((world["booted"], world["next"], world["state"]), ("b", "b", "steady"), world)
        slot = next(s for s in world["slots"] if s["id"] == "a")
        outcomes.append(slot["state"])
        case.check(slot["state"] in ("empty", "staged", "good"), json.dumps(slot))
        if slot["state"] != "empty":
            case.equal(it.part_hash("a"), seed)
    case.equal((done["result"] or {}).get("code"), 0, done)
    case.equal(it.part_hash("a"), seed)
    case.worker(it, {"type": "rollback", "slot": "a"})
    it.reboot(daemon="none")
    case.equal(case.worker(it, {"type": "recover"})["world"]["booted"], "a")
    return f"killed {len(outcomes)} times: {outcomes}"


if __name__ == "__main__":
    sys.exit(harness.main(globals()))
