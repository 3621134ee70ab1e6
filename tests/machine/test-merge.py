#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""A merge: by order, by itself, stopped, gone on with, and on a full disk."""

import subprocess
import sys
import time

from machinery import devices, disk, harness

CHANGE = "echo $VERSION >etc/motd"
CONF = "etc/abupdate/abupdated.conf"
CHUNK = 320 << 20       # of data, on a device of 3 GiB

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


class Chunks:
    """A merge of several chunks, and what is left of them on the old device."""

    def __init__(self, case):
        self.case, self.it = case, case.pair(boot=False, size=3712 << 20)
        devices.fill(self.it, "a", 1600)
        self.content = self.it.on_disk(content)
        self.seed = self.it.part_hash("a")
        self.it.boot()
        case.to(self.it, "2.0", base="1.0", change=CHANGE)
        self.left = self.to_merge()
        self.story = [self.left >> 20]

    def to_merge(self):
        """As the status has it, which is what the kernel says."""
        left = self.case.slot(self.it, "b")["to-merge"]
        self.case.equal(left, devices.bytes_on(self.it, 1))
        return left

    def moved(self, merge, least):
        """Wait until @least bytes more than before have left the old device."""
        def look():
            self.case.check(merge.poll() is None, "it has ended already")
            return devices.bytes_on(self.it, 1) <= self.left - least
        self.case.wait("chunks to move", look, seconds=120)

    def stopped(self, stop, least=1):
        """Merge until @least bytes have left, then stop(): a chunk has gone for good, and not all."""
        case, it = self.case, self.it
        with it.popen("abctl", "merge", stdout=subprocess.DEVNULL,
                      stderr=subprocess.DEVNULL) as merge:
            self.moved(merge, least)
            job = case.jobs(it)[0]
            case.check(job["phase"] == "merge" and 0 < job["bytes-done"] < job["bytes-total"], job)
            case.expect(it, state="merging")
            stop(merge)
            merge.wait(60)
        if not it.running:
            it.boot()
        case.runs(it, "2.0", "b")
        case.expect(it, state="steady", next="b")
        left = self.to_merge()
        case.check(0 < left <= self.left - CHUNK, f"{left} of {self.left} are left")
        case.equal(case.device_kind(it, "b"), "sprout")
        case.equal(it.part_hash("a"), self.seed)
        self.left = left
        self.story.append(left >> 20)

    def ends(self):
        """What is left goes, and all is there."""
        case, it = self.case, self.it
        case.abctl(it, "merge")
        case.equal(devices.bytes_on(it, 1), 0)
        it.reboot()
        case.runs(it, "2.0", "b")
        case.equal((case.device_kind(it, "b"), it.part_hash("a")), ("sealed", self.seed))
        case.equal(it.on_disk(content), self.content)
        return f"MiB on the old device: {', '.join(map(str, self.story))}, 0"


def content(top):
    """The SHA-256 of what lies beside the slots."""
    return disk.run("sha256sum", f"{top}/data/file").split()[0]


def test_stopped_between_chunks(case):
    """A merge is cancelled, waits, and its worker is killed inside the removal: the chunks that went stay gone."""
    merge = Chunks(case)
    it = merge.it

    def wait_and_die(running):
        case.abctl(it, "pause")
        time.sleep(1)                   # the chunk on its way stops, within half a second
        left = devices.bytes_on(it, 1)
        time.sleep(2)
        case.equal((running.poll(), case.phase(it), devices.bytes_on(it, 1)), (None, "merge", left))
        case.abctl(it, "resume")
        merge.left = left
        merge.story.append(left >> 20)
        merge.moved(running, 1)
        it.run("kill", "-KILL", *case.pids(it)[1])

    merge.stopped(lambda _: case.abctl(it, "cancel"))
    merge.stopped(wait_and_die)
    return merge.ends()


def test_power_cut_between_chunks(case):
    """The power is cut inside the removal: what had been committed stays moved, and it goes on."""
    merge = Chunks(case)
    # the move of a chunk is committed for certain when that of the next one begins
    merge.stopped(lambda _: merge.it.power_cut(), least=CHUNK + 1)
    return merge.ends()


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


class Balance:
    """Of the data on the sprout: first at work, then paused; both are an exclusive operation."""

    def __init__(self, case, it):
        self.case, self.it, self.top = case, it, "/run/all"
        self.run(f"mkdir -p {self.top}; mount -o subvolid=5 {it.root_source()} {self.top}; cd {self.top}; "
                 "head -c 16M /dev/urandom >block; "
                 "for n in $(seq 32); do dd if=block bs=16M status=none; done >filler; sync -f .")

    def run(self, script):
        """Inside, to a good end."""
        done = self.it.run("sh", "-ec", script)
        self.case.equal(done.code, 0, done)
        return done.out

    def during(self, first, rest):
        """Call first() while it is at work, rest() while it waits."""
        with self.it.popen("btrfs", "balance", "start", "-d", self.top, stdout=subprocess.DEVNULL,
                           stderr=subprocess.DEVNULL) as balance:
            self.case.wait("the balance", lambda: "is running" in self.it.run(
                "btrfs", "balance", "status", self.top).out)
            first()
            self.case.check(balance.poll() is None, "the balance was over")
            self.run(f"btrfs balance pause {self.top}")
            balance.wait(60)
        rest()
        self.run(f"btrfs balance cancel {self.top}; rm {self.top}/filler {self.top}/block; umount {self.top}")


def test_balance_and_merge(case):
    """While a balance is at work, or waits, no merge begins; then it does."""
    it = case.pair(size=2 << 30)
    seed = it.part_hash("a")
    case.to(it, "2.0", base="1.0", change=CHANGE)
    wait_for(it, 0)
    left = devices.bytes_on(it, 1)

    def busy(*order):
        said = case.refused(it, "merge", *order, error="Busy", code=5)
        case.check("is busy with 'balance" in said.err, said)
    Balance(case, it).during(busy, lambda: (busy(), busy("--scheduled")))
    case.expect(it, state="steady", booted="b", next="b")
    case.equal((case.device_kind(it, "b"), it.part_hash("a")), ("sprout", seed))
    case.check(0 < devices.bytes_on(it, 1) <= left)
    case.abctl(it, "merge")
    reboot(it)
    case.runs(it, "2.0", "b")
    case.equal(it.part_hash("a"), seed)


def test_balance_and_update(case):
    """While a balance is at work on a sprout, or waits, it takes no version; then it does."""
    it = case.pair(size=2 << 30)
    seed = it.part_hash("a")
    case.update(it, "2.0", "--no-arm", base="1.0", change=CHANGE)
    image = case.image(it, "3.0", base="1.0", change=CHANGE)

    def busy(*order):
        said = case.refused(it, *(order or ("update", image)), error="Busy", code=5)
        case.check("balance" in said.err, said)
    Balance(case, it).during(busy, lambda: (busy(), busy("begin", "--in-place")))
    case.expect(it, state="steady", booted="a", next="a", transaction="")
    case.equal((case.slot(it, "b")["version"], case.slot(it, "b")["state"]), ("2.0", "staged"))
    case.abctl(it, "update", image)
    it.reboot()
    case.runs(it, "3.0", "b")
    case.equal(it.part_hash("a"), seed)


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
