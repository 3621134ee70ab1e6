#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""What becomes of slots: rollback, blessing, tries, retention, pins, pruning."""

import os
import subprocess
import sys

from machinery import harness


def test_rollback_before_reboot(case):
    """Before the reboot a rollback disarms; the version is remembered and not installed again."""
    it = case.machine()
    case.update(it, "2.0")
    case.abctl(it, "rollback")
    case.expect(it, state="steady", booted="1", next="1", reboot_required=False)
    case.sound(it, ["1.0"])
    case.refused(it, "update", case.image(it, "2.0"), error="Refused", code=6)
    case.sound(it, ["1.0"])
    case.abctl(it, "update", "--accept=2.0", case.image(it, "2.0"))
    case.sound(it, ["2.0"])


def test_rollback_after_reboot(case):
    """After the reboot a rollback arms the slot before; the next boot is that one."""
    it = case.machine()
    case.update(it, "2.0")
    it.reboot()
    case.expect(it, state="trial", booted="2")
    case.abctl(it, "rollback")
    case.expect(it, booted="2", next="1", reboot_required=True)
    case.sound(it, ["1.0"])
    it.reboot()
    case.expect(it, booted="1", next="1", version="1.0")
    case.sound(it, ["1.0"])


def test_rollback_after_blessing(case):
    """A version that was blessed can still be left for the good one before it."""
    it = case.machine()
    case.to(it, "2.0")
    case.abctl(it, "rollback")
    case.expect(it, booted="2", next="1")
    it.reboot()
    case.expect(it, booted="1", version="1.0")
    case.sound(it, ["1.0"])


def test_rollback_from_old(case):
    """From the old system one can go on to the new one again: trust it, then name it."""
    it = case.machine()
    case.to(it, "2.0")
    case.abctl(it, "rollback", "1")
    it.reboot()
    case.expect(it, booted="1")
    case.refused(it, "rollback", "2", error="Refused", code=6)
    case.abctl(it, "mark", "good", "2")
    case.abctl(it, "rollback", "2")
    case.expect(it, next="2")
    it.reboot()
    case.expect(it, booted="2", version="2.0")
    case.sound(it, ["2.0"])


def test_rollback_repeats(case):
    """A rollback twice is a rollback once."""
    it = case.machine()
    case.to(it, "2.0")
    case.abctl(it, "rollback")
    again = case.abctl(it, "rollback", code=harness.ANY)
    case.check(again.code in (0, 3), again)
    case.expect(it, next="1")
    case.sound(it, ["1.0"])


def test_rollback_without_fallback(case):
    """Where nothing good is left a rollback is refused with a reason."""
    it = case.machine()
    before = case.facts(it)
    case.refused(it, "rollback", error=("NoFallback", "NothingToDo"), code=harness.ANY)
    case.unchanged(it, before)


def test_rollback_to_unknown(case):
    """An unknown slot is refused by name."""
    it = case.machine()
    before = case.facts(it)
    for slot in ("77", "../1", "1/root"):
        case.refused(it, "rollback", "--", slot, error=("UnknownSlot", "InvalidArgument"),
                     code=harness.ANY)
    case.unchanged(it, before)


def test_tries_used_up(case):
    """A version that never gets blessed is left after its tries; the machine says so."""
    it = case.machine()
    case.update(it, "2.0")
    boots = []
    for _ in range(5):
        it.reboot()
        boots.append(case.status(it)["booted"])
    case.equal(boots, ["2", "2", "2", "1", "1"])
    status = case.expect(it, booted="1", next="1", good="1")
    case.equal(status["state"], "fallback", status)
    case.check(status["reason"], "the status has no reason")
    case.equal(case.slot(it, 2)["state"], "bad")
    case.sound(it, ["1.0"])
    case.refused(it, "update", case.image(it, "2.0"), error="Refused", code=6)


def test_tries_by_power_cuts(case):
    """Tries count without any daemon: a version whose boots all end in power cuts is left."""
    it = case.machine()
    case.update(it, "2.0")
    it.shutdown()
    boots = []
    for _ in range(5):
        it.boot(daemon="none")
        boots.append(it.run("sh", "-c", f". {it.root}/etc/os-release; echo $VERSION_ID")
                     .out.strip())
        it.power_cut()
    case.equal(boots, ["2.0", "2.0", "2.0", "1.0", "1.0"])
    it.boot()
    case.expect(it, booted="1", state="fallback")
    case.sound(it, ["1.0"])


def test_blessed_is_not_counted(case):
    """A blessed version boots for ever."""
    it = case.machine()
    case.to(it, "2.0")
    for _ in range(5):
        it.reboot()
    case.expect(it, booted="2", state="steady")


def test_mark_bad(case):
    """Condemning the booted slot arms the last good one."""
    it = case.machine()
    case.update(it, "2.0")
    it.reboot()
    case.abctl(it, "mark", "bad", "--reason=no network")
    case.expect(it, booted="2", next="1")
    case.check("no network" in case.slot(it, 2)["reason"])
    it.reboot()
    case.expect(it, booted="1")
    case.sound(it, ["1.0"])
    case.refused(it, "update", case.image(it, "2.0"), error="Refused", code=6)


def test_mark_bad_staged(case):
    """Condemning a slot that waits for its first boot disarms it."""
    it = case.machine()
    case.update(it, "2.0")
    case.abctl(it, "mark", "bad", "2")
    case.expect(it, booted="1", next="1")
    case.equal(case.slot(it, 2)["state"], "bad")
    case.sound(it, ["1.0"])


def test_mark_last_good_bad(case):
    """The last good slot cannot be condemned: nothing would be left to boot."""
    it = case.machine()
    before = case.facts(it)
    case.refused(it, "mark", "bad", error=("NoFallback", "SlotInUse"))
    case.unchanged(it, before)


def test_mark_good_repeats(case):
    """Blessing twice is blessing once."""
    it = case.machine()
    case.to(it, "2.0")
    again = case.abctl(it, "mark", "good", code=harness.ANY)
    case.check(again.code in (0, 3), again)
    case.expect(it, state="steady", good="2")


def test_retention(case):
    """Blessing keeps as many proven slots as Keep= says, beside the booted one."""
    it = case.machine()
    for number in range(2, 8):
        case.to(it, f"{number}.0", base=f"{number - 1}.0")
    slots = sorted(s["id"] for s in case.status(it)["slots"])
    case.equal(slots, ["4", "5", "6", "7"])
    case.sound(it, ["7.0"])


def test_pin(case):
    """A pinned slot outlives retention and prune; unpinned it goes."""
    it = case.machine()
    case.abctl(it, "pin", "1")
    for number in range(2, 7):
        case.to(it, f"{number}.0", base=f"{number - 1}.0")
    case.check(case.slot(it, 1)["pinned"])
    case.refused(it, "discard", "1", error="SlotPinned")
    case.abctl(it, "unpin", "1")
    case.abctl(it, "prune", code=harness.ANY)
    case.check(case.slot(it, 1) is None)
    case.sound(it, ["6.0"])


def test_prune_nothing(case):
    """Pruning where nothing is to be pruned is exit code 3."""
    it = case.machine()
    before = case.facts(it)
    case.refused(it, "prune", error="NothingToDo", code=3)
    case.unchanged(it, before)


def test_discard(case):
    """A slot can be deleted by name; its space comes back."""
    it = case.machine()
    case.to(it, "2.0")
    case.abctl(it, "discard", "1")
    case.check(case.slot(it, 1) is None)
    case.sound(it, ["2.0"])
    case.check(not any(p.startswith("@abupdate/slots/1/") for p in case.facts(it)["subvolumes"]))


def test_discard_in_use(case):
    """Neither the booted nor the next slot can be deleted, nor one that is not there."""
    it = case.machine()
    case.update(it, "2.0")
    before = case.facts(it)
    case.refused(it, "discard", "1", error="SlotInUse")
    case.refused(it, "discard", "2", error="SlotInUse")
    case.refused(it, "discard", "9", error="UnknownSlot")
    case.unchanged(it, before)


def test_numbers_rise(case):
    """The number of a discarded slot is not given again."""
    it = case.machine()
    case.update(it, "2.0")
    case.abctl(it, "rollback")
    case.abctl(it, "discard", "2", code=harness.ANY)
    case.update(it, "3.0")
    case.check("3" in case.facts(it)["slots"], lambda: case.facts(it)["slots"])
    case.sound(it, ["3.0"])


def test_without_initrd(case):
    """Where abupdate-initrd does not run, the daemon of the new version still shows the trial."""
    it = case.machine()
    case.update(it, "2.0")
    it.reboot(initrd=False)
    case.expect(it, booted="2", state="trial")
    case.abctl(it, "mark", "good")
    case.expect(it, state="steady")


def test_entries_of_the_loader(case):
    """Boot=bls with slots that are subvolumes: armed, counted, given up, forgotten by entries."""
    it = case.machine(loader="bls")
    case.update(it, "2.0", change="echo two >etc/motd")
    case.equal([name.split("+")[0] for name in it.entries()], ["abupdate-2", "abupdate-1.conf"])
    case.tries_run_out(it, "2", "2.0")
    case.abctl(it, "prune")
    case.equal(list(it.entries()), ["abupdate-1.conf"])
    case.update(it, "3.0", change="echo three >etc/motd")
    it.reboot()
    case.abctl(it, "mark", "good")
    case.expect(it, version="3.0", state="steady")
    case.abctl(it, "rollback")
    it.reboot()
    case.expect(it, booted="1", version="1.0")


def test_default_that_goes(case):
    """Where entries name the root, the slot that is the default subvolume can go like any other."""
    for loader in ("bls", "grub"):
        it = case.machine(loader=loader)
        case.equal(it.on_disk(default_subvolume), "@abupdate/slots/1/root", loader)
        case.to(it, "2.0", change="echo two >etc/motd")
        case.abctl(it, "discard", "1")
        case.equal(it.on_disk(default_subvolume), "@abupdate/slots/2/root", loader)
        case.update(it, "3.0", change="echo three >etc/motd")
        case.equal(it.on_disk(quarantined), [], loader)
        it.reboot()
        case.expect(it, booted="3", version="3.0", state="trial")


def test_default_in_quarantine(case):
    """A quarantine that cannot be emptied keeps no job from being done; it goes when it can."""
    it = case.machine()
    it.on_disk(make_default_in_quarantine)
    case.refused(it, "prune", error="NothingToDo", code=3)
    case.equal(it.on_disk(quarantined), ["job-1"])
    it.on_disk(lambda top: subprocess.run(
        ["btrfs", "subvolume", "set-default", f"{top}/@abupdate/slots/1/root"], check=True))
    case.refused(it, "prune", error="NothingToDo", code=3)
    case.equal(it.on_disk(quarantined), [])
    case.update(it, "2.0")
    case.sound(it, ["2.0"])


def test_many_incomplete(case):
    """Slots that are none, more than anybody reads about, hide nothing of the machine."""
    it = case.machine()
    it.on_disk(lambda top: [os.mkdir(f"{top}/@abupdate/slots/{n}") for n in range(1000, 1400)])
    found = case.abctl(it, "--json=short", "check", code=harness.ANY)
    case.check("there is more" in found.out, found)
    case.expect(it, booted="1", version="1.0")
    case.update(it, "2.0")
    case.expect(it, next="1400")


def default_subvolume(top):
    """The path of the default subvolume."""
    done = subprocess.run(["btrfs", "subvolume", "get-default", top], check=True,
                          stdout=subprocess.PIPE, text=True)
    return done.stdout.split()[-1]


def quarantined(top):
    """What is in the quarantine."""
    return sorted(os.listdir(f"{top}/@abupdate/staging"))


def make_default_in_quarantine(top):
    """A default subvolume there: like one that is being sent, it cannot be deleted."""
    job = f"{top}/@abupdate/staging/job-1"
    os.mkdir(job)
    subprocess.run(["btrfs", "--quiet", "subvolume", "create", f"{job}/root"], check=True)
    subprocess.run(["btrfs", "subvolume", "set-default", f"{job}/root"], check=True)


def test_condemned_in_the_last_try(case):
    """A verdict in the last boot that there is stands: the reason is told, not the count."""
    for kind in ("default-subvolume", "bls"):
        it = case.machine(loader=kind)
        case.update(it, "2.0", change="echo two >etc/motd")
        for _ in range(3):
            it.reboot()
        case.expect(it, booted="2", state="trial")
        case.equal(case.slot(it, 2)["tries-left"], 0, kind)
        case.abctl(it, "mark", "bad", "2", "--reason=sick")
        case.equal((case.slot(it, 2)["state"], case.slot(it, 2)["reason"]), ("bad", "sick"), kind)
        it.reboot()
        case.expect(it, booted="1", next="1")
        case.equal(case.slot(it, 2)["reason"], "sick", kind)


if __name__ == "__main__":
    sys.exit(harness.main(globals()))
