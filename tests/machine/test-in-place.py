#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The running system is changed in place, on a sprout of its device."""

import os
import sys

from machinery import harness

CHANGE = "echo $VERSION >etc/motd; cp usr/bin/hello usr/bin/hello.$VERSION"


def begin(case, it):
    """Open a transaction, and change the running system as a package manager does."""
    name = case.abctl(it, "--json=short", "begin", "--in-place").data["transaction"]
    case.equal((case.status(it)["transaction"], case.status(it)["next"]), (name, "a"))
    case.equal(it.run("sh", "-c", f"echo mine >{it.root}/etc/mine").code, 2)
    it.run("mount", "-o", "remount,rw", it.root)
    it.run("sh", "-c", f"echo mine >{it.root}/etc/mine; rm {it.root}/usr/bin/hello")
    return name


def test_in_place(case):
    """begin --in-place, change the running system, commit: the sprout has it, the seed does not."""
    it = case.pair(subvolumes="apps:/opt/apps data:/usr/share/data")
    seed = it.part_hash("a")
    name = begin(case, it)
    it.run("sh", "-c", f"echo mine >{it.root}/opt/apps/content")
    case.refused(it, "update", case.image(it, "2.0"), error="TransactionOpen", code=5)
    case.refused(it, "begin", "--in-place", error="TransactionOpen", code=5)
    case.refused(it, "rollback", "b", error=harness.ANY_ERROR, code=harness.ANY)
    it.run("pkill", "-x", "abupdated")
    case.equal(case.status(it)["transaction"], name)
    case.abctl(it, "commit")
    status = case.status(it)
    case.equal((status["transaction"], status["next"], status["state"]), ("", "b", "staged"))
    it.reboot()
    case.equal(it.run("cat", f"{it.root}/etc/mine").out, "mine\n")
    case.equal(it.run("cat", f"{it.root}/opt/apps/content").out, "mine\n")
    status = case.status(it)
    case.equal((status["version"], status["booted"], status["transaction"]),
               (f"1.0+{name}", "b", ""))
    case.abctl(it, "mark", "good")
    case.abctl(it, "merge")
    case.equal(it.part_hash("a"), seed)
    it.reboot()
    begun = case.abctl(it, "--json=short", "begin", "--in-place").data
    case.equal(begun["slot"], "a")
    it.reboot()
    case.equal((case.status(it)["booted"], case.status(it)["transaction"]), ("b", ""))


def test_in_place_aborted(case):
    """begin --in-place, change the running system, abort: the next boot is as it was before."""
    it = case.pair()
    seed = it.part_hash("a")
    begin(case, it)
    case.abctl(it, "abort")
    case.equal(case.status(it)["transaction"], "")
    case.refused(it, "begin", "--in-place", error="Conflict")
    case.check(any("not what is in it" in line for line in case.status(it)["problems"]))
    case.equal(it.part_hash("a"), seed)
    it.reboot()
    case.check(not any("not what is in it" in line for line in case.status(it)["problems"]))
    case.runs(it, "1.0", "a")
    case.equal(it.run("cat", f"{it.root}/etc/mine").code, 1)
    begin(case, it)
    case.abctl(it, "commit")
    it.reboot()
    case.equal(it.run("cat", f"{it.root}/etc/mine").out, "mine\n")


def test_in_place_power_cut(case):
    """A power cut in an open transaction boots the system as it was before."""
    it = case.pair()
    begin(case, it)
    it.run("sh", "-c", f"rm -r {it.root}/usr/bin {it.root}/etc/os-release; sync -f {it.root}")
    it.power_cut()
    it.boot()
    case.runs(it, "1.0", "a")
    case.equal((case.status(it)["transaction"], case.slot(it, "b")["state"]), ("", "empty"))
    case.update(it, "2.0", change=CHANGE)
    it.reboot()
    case.runs(it, "2.0", "b")


def test_in_place_offline(case):
    """Without bus and daemon; abctl takes the read-only flag off every mount of the system."""
    it = case.pair()
    it.reboot(daemon="none")
    offline, side = f"--root={it.root}", f"{it.folder}/a side"
    os.mkdir(side)
    it.run("mount", "--bind", "-o", "ro", it.root, side)
    it.run("mount", "-o", "remount,bind,ro", side)
    said = case.abctl(it, offline, "begin", "--in-place").out
    case.check("can be written to now" in said, said)
    for place in (it.root, side):
        case.equal(it.run("touch", f"{place}/etc/mine").code, 0)
    case.abctl(it, offline, "commit")
    it.run("umount", side)
    it.reboot()
    case.equal(case.status(it)["booted"], "b")
    case.equal(it.run("cat", f"{it.root}/etc/mine").code, 0)


if __name__ == "__main__":
    sys.exit(harness.main(globals()))
