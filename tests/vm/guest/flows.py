# SPDX-License-Identifier: LGPL-2.1-or-later
"""What is shown on every kind of guest: its case.up("1.0") is version 1.0 as an installer leaves it."""

import random
import re

from machinery import writelog

from . import cuts

WHOLE = {"2.1": "sha256sum --quiet -c /usr/share/bulk.sha256"}


def there_and_back(case):
    """Update, reboot, blessed by the unit; rollback by command, before and after the reboot."""
    case.up("1.0")
    case.update("2.0")
    case.do("abctl rollback")
    case.equal(case.status()["reboot-required"], False)
    case.update("2.0", "--accept=2.0")
    case.reboot()
    case.up("2.0")
    case.blessed("2.0")
    if case.guest.machine != "uefi":
        case.do("dmesg | grep 'abupdate-initrd: slot 3 is on trial, 1 tries left'")
    case.do("abctl rollback")
    case.reboot()
    case.up("1.0")
    case.gone_back("2.0", "rolled back")


def sick(case):
    """A version whose check fails: its tries are used up, the old one runs, the reason is told."""
    case.up("1.0")
    case.update("3.0")
    case.reboot()
    case.equal(case.up("1.0", boots=3), 3)
    case.gone_back("3.0", "check.d/10-sick failed with status 7")


def panic(case):
    """A version whose first process dies: the kernel panics, and its tries are used up."""
    case.up("1.0")
    case.update("3.1")
    case.reboot()
    case.equal(case.up("1.0", boots=3), 3)
    case.gone_back("3.1", "used up its tries")


def lost(case):
    """A version whose initrd does not find the root: it gives up by itself, and the loader goes back."""
    case.up("1.0")
    case.update("3.3")
    case.reboot()
    start = len(case.guest.tail(1 << 30))
    case.equal(case.up("1.0", boots=3), 3)
    said = case.guest.tail(1 << 30)[start:]
    case.equal(said.count("Run /init"), 3, said)
    case.equal(len(re.findall("Gave up waiting for root|Boot has failed", said)), 2, said)
    case.equal("Kernel panic" in said, False, said)
    case.gone_back("3.3", "used up its tries")


def late(case):
    """A boot that is not complete in time is given up at once."""
    case.up("1.0")
    case.update("3.2")
    case.reboot()
    case.equal(case.up("1.0", boots=2), 2)
    case.gone_back("3.2", "not complete after 5 s")


def emergency(case):
    """A version that does not mount what fstab says ends in the emergency shell: it is left in time."""
    case.up("1.0")
    case.update("3.4")
    case.reboot()
    start = len(case.guest.tail(1 << 30))
    # no verdict can be written to a boot partition that is not mounted: the loader counts
    boots, reason = (3, "used up its tries") if case.guest.machine == "uefi" else (2, "not complete after 60 s")
    case.equal(case.up("1.0", boots=boots), boots)
    said = case.guest.tail(1 << 30)[start:]
    case.equal(said.count("You are in emergency mode"), boots - 1, said)
    case.gone_back("3.4", reason)


def power_cuts(case, count=20, seed=1, jobs=2, keep=None):
    """Updated and blessed; where the power goes at any moment: old or new, complete."""
    case.up("1.0")
    with cuts.Moments(case, random.Random(seed), cuts.UPDATE, count // 8 + 2) as moments:
        case.update("2.1")
        moments.begin("restart")
        case.reboot()
        moments.begin(cuts.FIRST_BOOT)
        case.guest.wait_up()
        moments.begin("bless")
        case.up("2.1")
        if case.seed:
            moments.begin(cuts.MERGE)
            case.merge()
    case.blessed("2.1")
    case.guest.kill()
    return cuts.told(cuts.boot_all(case, moments, count, ("1.0", "2.1"), WHOLE, jobs, keep))


def write_cuts(case, count=20, seed=1, jobs=2, keep=None):
    """The same between any two writes of the disk, its cache lost in part."""
    log, stages = case.guest.write_log("disk"), [("update", 0)]
    case.guest.logged = ["disk"]
    case.up("1.0")
    case.update("2.1")
    stages.append(("restart", writelog.count_entries(log)))
    case.reboot()
    stages.append((cuts.FIRST_BOOT, writelog.count_entries(log)))
    case.up("2.1")
    case.blessed("2.1")
    case.guest.kill()
    moments = cuts.Writes(case, seed, stages)
    return cuts.told(cuts.boot_all(case, moments, count, ("1.0", "2.1"), WHOLE, jobs, keep))
