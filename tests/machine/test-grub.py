#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Boot=grub: GRUB's own programs read, choose and count what the service writes."""

import os
import re
import sys

from machinery import grubloader, harness


def _read(path):
    with open(path, "rb") as file:
        return file.read()


def _kernel(it, slot):
    """The kernel that the menu entry of a slot names."""
    def work(folder):
        entry = _read(f"{folder}/abupdate/slot-{slot}/entry.cfg").decode()
        return _read(folder + re.search(r"^ *linux '(.*?)'", entry, re.M)[1])
    return it.in_boot(work)


def _device(folder):
    """What is mounted there, in whatever namespace."""
    number = os.stat(folder).st_dev
    return f"/dev/loop{os.minor(number)}"


def test_menu_of_grub(case):
    """Boot=grub with slots that are subvolumes: GRUB's own language chooses, counts and goes back."""
    case.grub()
    it = case.machine(loader="grub")
    case.expect(it, booted="1", next="1", state="steady")
    case.update(it, "2.0", change="echo two >etc/motd")
    case.equal(it.next_slot(), "2")
    case.tries_run_out(it, "2", "2.0")
    case.equal(it.in_boot(lambda folder: sorted(os.listdir(f"{folder}/abupdate"))),
               ["grubenv-0", "grubenv-1", "kernels", "slot-1", "slot-2"])
    case.update(it, "3.0", change="echo three >etc/motd")
    case.abctl(it, "rollback")
    case.equal(it.next_slot(), "1")
    case.update(it, "3.1", change="echo more >etc/motd")
    it.reboot()
    case.abctl(it, "mark", "good")
    case.expect(it, version="3.1", state="steady")
    it.reboot()
    case.expect(it, version="3.1", state="steady")
    case.abctl(it, "rollback")
    it.reboot()
    case.expect(it, booted="1", version="1.0")


def test_entry_that_was_emptied(case):
    """A power cut while a proven entry was written anew, and fsck after it: GRUB takes the copy, the next job puts it right."""
    case.grub()
    it = case.machine(loader="grub")
    case.abctl(it, "status")

    def cut(folder):
        entry = f"{folder}/abupdate/slot-1/entry.cfg"
        os.rename(entry, entry.replace(".cfg", ".spare"))
        open(entry, "wb").close()

    text = it.in_boot(lambda folder: _read(f"{folder}/abupdate/slot-1/entry.cfg"))
    it.in_boot(cut)
    case.equal(it.next_slot(), "1")
    it.reboot()
    case.abctl(it, "check", "--repair")
    case.equal(it.in_boot(lambda folder: _read(f"{folder}/abupdate/slot-1/entry.cfg")), text)
    case.equal(it.in_boot(lambda folder: os.path.exists(f"{folder}/abupdate/slot-1/entry.spare")), False)


def test_kernel_that_is_gone(case):
    """A kernel that cannot be loaded leads to the fallback, whatever else is in the menu."""
    case.grub()
    it = case.machine(loader="grub")
    case.update(it, "2.0", change="for f in usr/lib/modules/*/vmlinuz; do echo two >$f; done")
    case.equal(it.next_slot(), "2")

    def remove(folder):
        entry = _read(f"{folder}/abupdate/slot-2/entry.cfg").decode()
        os.unlink(folder + re.search(r"^ *linux '(.*?)'", entry, re.M)[1])
    it.in_boot(remove)
    it.run("sync", "-f", f"{it.root}/efi")
    case.equal(it.next_slot(), "1")


def test_kernel_in_the_slot(case):
    """KernelFrom=slot: GRUB reads the kernel out of the snapshot, also after a commit in place."""
    case.grub()
    it = case.machine(loader="grub")
    slot = "mkdir -p etc/abupdate/abupdated.conf.d && " \
        "printf '[Boot]\\nKernelFrom=slot\\n' >etc/abupdate/abupdated.conf.d/grub.conf"
    it.run("sh", "-c", f"cd {it.root} && {slot}")
    case.to(it, "2.0", change=slot)
    case.equal(it.in_boot(lambda folder: sorted(os.listdir(f"{folder}/abupdate/slot-2"))),
               ["entry.cfg"])
    case.abctl(it, "begin", "--in-place")
    it.run("sh", "-c", f"cd {it.root}/usr/lib/modules && mv * 7.0 && echo seven >7.0/vmlinuz")
    case.abctl(it, "commit")
    it.reboot()
    case.expect(it, booted="2", state="trial")
    case.check("/modules/7.0/vmlinuz" in it.in_boot(
        lambda folder: _read(f"{folder}/abupdate/slot-2/entry.cfg").decode()))


def test_kernel_of_a_commit(case):
    """What a transaction did to the kernel is what its commit boots, from the boot partition."""
    case.grub()
    it = case.machine(loader="grub")
    case.abctl(it, "begin", "--in-place")
    case.equal(it.next_slot(), "2")
    it.run("sh", "-c", f"cd {it.root}/usr/lib/modules && mv * 7.0 && echo seven >7.0/vmlinuz")
    case.abctl(it, "commit")
    case.equal(it.next_slot(), "1")
    case.equal(_kernel(it, 1), b"seven\n")
    for _ in range(3):
        it.reboot()
        case.expect(it, booted="1", state="trial")
    it.reboot()
    case.expect(it, booted="2", state="fallback")


def test_part_of_grub_cfg(case):
    """What grub-mkconfig is given finds the boot partition by itself, and is GRUB's language."""
    case.grub()
    it = case.machine(loader="grub")
    done = it.run("env", f"ABUPDATE_BOOT=/nowhere {it.root}/usr {it.root}/efi", grubloader.SCRIPT)
    case.equal(done.code, 0, done)
    uuid = it.in_boot(lambda folder: grubloader.uuid_of(_device(folder)))
    case.equal(done.out, grubloader.script(uuid))
    case.equal(it.run("env", "ABUPDATE_BOOT=/nowhere", grubloader.SCRIPT).out, "")
    # a grub.cfg without it: then nothing is armed
    it.run("sh", "-c", f"mkdir {it.root}/efi/grub; echo 'set timeout=1' >{it.root}/efi/grub/grub.cfg")
    case.refused(it, "update", case.image(it, "2.0"), error="WrongLayout")
    with open(f"{case.tmp}/grub.cfg", "w", encoding="ascii") as file:
        file.write(done.out)
    it.run("cp", f"{case.tmp}/grub.cfg", f"{it.root}/efi/grub/grub.cfg")
    case.update(it, "2.0")


def test_commands_of_grub(case):
    """It takes no commands but those of the modules that the documentation names."""
    text = grubloader.script("0000-0000").replace("\\\n", " ")
    own = re.findall(r"^function (\w+)", text, re.M)
    words = set(re.findall(r"^ *(?:if )?([a-z_]+|\[)", text, re.M))
    case.equal(words - {*own, "if", "else", "fi", "for", "do", "done", "function"},
               {"[", "load_env", "save_env", "search", "set", "source"})


def test_environment_of_grub(case):
    """A copy of the environment that is torn, empty or gone does not hold; the other one does."""
    case.grub()
    it = case.machine(loader="grub")
    case.update(it, "2.0", change="echo two >etc/motd")
    it.shutdown()

    def spoil(number, text):
        def work(folder):
            with open(f"{folder}/abupdate/grubenv-{number}", "r+b") as file:
                file.truncate(0 if text is None else 1024)
                file.write(text or b"")
        it.in_boot(work)

    def held(folder):
        copies = grubloader.environment(f"{folder}/abupdate")
        return max((0, 1), key=lambda n: int(copies[n].get("abupdate_serial", 0)))

    number = it.in_boot(held)
    good = it.in_boot(lambda folder: _read(f"{folder}/abupdate/grubenv-{number}"))
    case.equal(it.next_slot(), "2")
    case.equal(good[512:], b"#" * 512, "it is not in one sector")
    for text in (good[:good.index(b"abupdate_end")].ljust(1024, b"#"), b"\0" * 1024, b"x" * 1024, None):
        spoil(number, text)
        case.equal(it.next_slot(), "1")
    it.boot()
    case.expect(it, booted="1", next="1")
    case.abctl(it, "rollback", "2")
    case.equal(it.next_slot(), "2")


def test_condemned_in_the_last_try(case):
    """A verdict in the last boot that there is stands: the reason is told, not the count."""
    case.grub()
    it = case.machine(loader="grub")
    case.update(it, "2.0", change="echo two >etc/motd")
    for _ in range(3):
        it.reboot()
    case.equal(case.slot(it, 2)["tries-left"], 0)
    case.abctl(it, "mark", "bad", "2", "--reason=sick")
    it.reboot()
    case.expect(it, booted="1", next="1")
    case.equal(case.slot(it, 2)["reason"], "sick")


if __name__ == "__main__":
    sys.exit(harness.main(globals()))
