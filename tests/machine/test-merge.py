#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""A merge that begins by itself, is stopped, meets a full disk, and goes on."""

import subprocess
import sys
import time

from machinery import devices, harness

CHANGE = "echo $VERSION >etc/motd"
CONF = "etc/abupdate/abupdated.conf"

# Every turn of a merge begins late enough for somebody to come in between.
SLOWLY = ("strace -f -qq -o /dev/null -e trace=ioprio_set "
          "-e inject=ioprio_set:delay_enter=3000000")


def wait_for(it, after):
    """MergeAfter=@after, in the configuration of a system that cannot be written to."""
    it.run("sh", "-ec", f"[ -e /run/conf.old ] || {{ cp {it.root}/{CONF} /run/conf.old; "
           f"cp /run/conf.old /run/conf; mount --bind /run/conf {it.root}/{CONF}; }}; "
           f"{{ cat /run/conf.old; printf '[Seed]\\nMergeAfter={after}\\n'; }} >/run/conf")


def reboot(it, **options):
    """A reboot, without the configuration that was put over that of the system."""
    it.run("sh", "-c", f"umount {it.root}/{CONF}; rm -f /run/conf.old")
    it.reboot(**options)


def due(case, it, code=0):
    """What the timer does."""
    return case.abctl(it, "merge", "--scheduled", code=code)


def test_merge(case):
    """The new version becomes complete by itself; the old device keeps every byte."""
    it = case.pair()
    seed = it.part_hash("a")
    image = case.image(it, "2.0", change=CHANGE)
    case.refused(it, "merge", error="NothingToDo", code=3)
    case.abctl(it, "update", image)
    it.reboot()
    case.refused(it, "merge", error="Conflict")
    case.abctl(it, "mark", "good")
    case.abctl(it, "merge")
    case.runs(it, "2.0", "b")
    case.expect(it, state="steady", next="b")
    case.check(all("device=" not in options for options in it.entries().values()), it.entries())
    case.refused(it, "merge", error="NothingToDo", code=3)
    case.equal(it.part_hash("a"), seed)
    it.reboot()
    case.runs(it, "2.0", "b")
    case.equal(it.part_hash("a"), seed)


def test_merge_without_the_old_device(case):
    """After a merge the old device may break, go away, or be somebody else's."""
    it = case.pair()
    case.merged(it, "2.0", change=CHANGE)
    it.reboot()
    it.shutdown()
    devices.on_device(it, "a", "wipefs", "-qa")
    it.boot()
    case.runs(it, "2.0", "b")
    on = devices.device(it, "a")
    it.run("mkfs.ext4", "-q", "-F", on)
    case.abctl(it, "check", code=harness.ANY)
    case.equal(case.slot(it, "a")["state"], "incomplete")
    case.refused(it, "rollback", "a", error="NoFallback")
    case.refused(it, "update", case.image(it, "3.0"), error="BadDevice")
    it.run("wipefs", "-qa", on)
    case.update(it, "3.0", change=CHANGE)
    it.reboot()
    case.runs(it, "3.0", "a")


def test_rollback_after_the_merge(case):
    """Until the old device is taken again it boots, and then takes a version as before."""
    it = case.pair()
    seed = it.part_hash("a")
    case.merged(it, "2.0", change=CHANGE)
    it.reboot()
    case.abctl(it, "rollback")
    it.reboot()
    case.runs(it, "1.0", "a")
    case.equal(case.slot(it, "b")["state"], "bad")
    case.equal(it.part_hash("a"), seed)
    case.update(it, "3.0", change=CHANGE)
    it.reboot()
    case.runs(it, "3.0", "b")
    case.equal(it.part_hash("a"), seed)


def test_begins_by_itself(case):
    """Not before the blessing, not before its time, not where it never should; then it does."""
    it = case.pair()
    seed = it.part_hash("a")
    due(case, it, code=3)
    case.update(it, "2.0", change=CHANGE)
    it.reboot()
    wait_for(it, 0)
    due(case, it, code=3)
    case.expect(it, state="trial")
    case.abctl(it, "mark", "good")
    wait_for(it, 86400)
    result = due(case, it, code=3)
    case.check("8639" in result.err or "86400" in result.err, result)
    wait_for(it, "never")
    case.check("MergeAfter=never" in due(case, it, code=3).err, "no word of the reason")
    case.equal(case.device_kind(it, "b"), "sprout")
    wait_for(it, 0)
    due(case, it)
    case.equal(case.device_kind(it, "b"), "standalone")
    due(case, it, code=3)
    case.equal(it.part_hash("a"), seed)
    reboot(it)
    case.runs(it, "2.0", "b")


def test_stopped_and_gone_on(case):
    """Service or worker ended, power cut: it goes on. Cancelled: held until the next boot."""
    it = case.pair(size=1280 << 20)
    seed = it.part_hash("a")
    case.to(it, "2.0", change=CHANGE)

    def slowly():
        reboot(it, wrap=SLOWLY)
        wait_for(it, 0)

    def stopped(stop):
        with it.popen("abctl", "merge", "--scheduled", stdout=subprocess.DEVNULL,
                      stderr=subprocess.DEVNULL) as merge:
            case.wait("the merge to begin", lambda: case.phase(it) == "merge")
            stop()
            merge.wait(30)
        case.equal(case.device_kind(it, "b"), "sprout")

    slowly()
    stopped(lambda: case.abctl(it, "cancel"))
    case.check("cancelled or failed" in due(case, it, code=3).err, "no word of the reason")
    slowly()
    for _ in range(2):                  # as a shutdown, or an upgrade of the service, does
        stopped(lambda: it.run("kill", "-TERM", *case.pids(it)[0]))
    stopped(lambda: it.run("kill", "-KILL", *case.pids(it)[1]))
    it.power_cut()
    it.boot()
    wait_for(it, 0)
    due(case, it)
    case.equal(case.device_kind(it, "b"), "standalone")
    reboot(it)
    case.runs(it, "2.0", "b")
    case.equal((case.device_kind(it, "b"), it.part_hash("a")), ("sealed", seed))


def test_stopped_merge(case):
    """A merge is cancelled, its worker killed, the power cut: it goes on each time."""
    it = case.pair(size=2 << 30)
    seed = it.part_hash("a")
    case.to(it, "2.0", change=CHANGE)
    it.reboot(wrap=SLOWLY)

    def begun(merge):
        def look():
            case.check(merge.poll() is None, "it has ended already")
            return case.phase(it) == "merge"
        case.wait("the merge to begin", look)

    for stop in (lambda: case.abctl(it, "cancel"),
                 lambda: it.run("kill", "-KILL", *case.pids(it)[1]),
                 it.power_cut):
        with it.popen("abctl", "merge", stdout=subprocess.DEVNULL,
                      stderr=subprocess.DEVNULL) as merge:
            begun(merge)
            case.expect(it, state="merging")
            stop()
            merge.wait(30)
        if not it.running:
            it.boot()
        case.runs(it, "2.0", "b")
        case.equal(case.device_kind(it, "b"), "sprout")
    case.abctl(it, "merge")
    it.reboot()
    case.runs(it, "2.0", "b")
    case.equal(case.device_kind(it, "b"), "sealed")
    case.equal(it.part_hash("a"), seed)


def test_paused(case):
    """It waits for as long as somebody likes, moves nothing, and goes on; or ends while it waits."""
    it = case.pair(size=1280 << 20)
    seed = it.part_hash("a")
    case.to(it, "2.0", base="1.0", change=CHANGE)
    case.refused(it, "pause", error="NothingToDo", code=3)
    it.reboot(wrap=SLOWLY)
    for end in ("cancel", "resume"):
        with it.popen("abctl", "merge", stdout=subprocess.DEVNULL,
                      stderr=subprocess.DEVNULL) as merge:
            case.wait("the merge to begin", lambda: case.phase(it) == "merge")
            case.abctl(it, "pause")
            time.sleep(4)       # longer than the turn that was about to begin
            case.equal((merge.poll(), case.phase(it), case.device_kind(it, "b")), (None, "merge", "sprout"))
            case.refused(it, "prune", error="Busy", code=5)
            case.abctl(it, end)
            merge.wait(60)
        case.equal(case.device_kind(it, "b"), "sprout" if end == "cancel" else "standalone")
    it.reboot()
    case.runs(it, "2.0", "b")
    case.equal((case.device_kind(it, "b"), it.part_hash("a")), ("sealed", seed))


def test_full_disk(case):
    """What runs does not fit any more: said so, nothing is lost, and with room it ends."""
    it = case.pair(size=1280 << 20)
    case.merged(it, "2.0", change=f"{CHANGE}; head -c 100M /dev/urandom >usr/share/big")
    it.reboot()
    seed = it.part_hash("b")
    case.to(it, "3.0", base="2.0", change=CHANGE)
    wait_for(it, 0)
    full = it.run("sh", "-ec", f"mkdir -p /run/all; mount -o subvolid=5 {it.root_source()} /run/all; "
                  "head -c 2G /dev/urandom >/run/all/filler || true; sync -f /run/all || true")
    case.check("No space left" in full.err, full)
    case.refused(it, "merge", error="NoSpace")
    case.expect(it, state="steady", booted="a", next="a")
    case.equal(it.run("cat", f"{it.root}/etc/motd").out, "3.0\n")
    due(case, it, code=3)
    freed = it.run("sh", "-ec", "rm /run/all/filler; sync -f /run/all; umount /run/all")
    case.equal(freed.code, 0, freed)
    case.abctl(it, "merge")
    reboot(it)
    case.runs(it, "3.0", "a")
    case.equal((case.device_kind(it, "a"), it.part_hash("b")), ("sealed", seed))


if __name__ == "__main__":
    sys.exit(harness.main(globals()))
