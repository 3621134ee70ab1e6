#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Kernel command lines that versions bring along, and kernels under their other names."""

import sys

from machinery import harness

MAKER, MACHINE = "usr/lib/kernel/cmdline", "etc/kernel/cmdline"
ODD = 'a=$x b=${y} c=`z` d;e {f} (g) [h] <i> k|l&m *? #n h="two words" memmap=64M$0x10000 dyndbg="file o.c +p; func q"'


def _brings(text, path=MAKER):
    """The change that gives a version a file with these words."""
    quoted = text.replace("'", "'\\''")
    return f"mkdir -p {path.rpartition('/')[0]} && printf %s '{quoted}' >{path}"


def _words(it):
    """What the running kernel was told, but for what names its root."""
    line = it.run("cat", f"{it.root}/proc/cmdline").out.strip()
    return " ".join(w for w in line.split(" ") if not w.startswith(("root=", "rootflags=", "BOOT_IMAGE=")))


def _boot_files(it):
    """Everything on the boot partition: names and sizes."""
    return it.run("find", f"{it.root}/efi", "-type", "f", "-printf", "%P %s\n").out


def _in_root(it, command):
    done = it.run("sh", "-c", f"cd {it.root} && {command}")
    assert done.code == 0, done


def _configure(it, line):
    _in_root(it, "mkdir -p etc/abupdate/abupdated.conf.d && "
             f"printf '[Boot]\\n{line}\\n' >etc/abupdate/abupdated.conf.d/words.conf")


def test_a_version_brings_its_words(case):
    """The words of a version are those of its slot, and no other's; Cmdline= and an older entry win."""
    it = case.machine(loader="bls")
    case.to(it, "2.0", change=_brings("# made by the maker\nquiet root=LABEL=none\n  ro panic=9\n"
                                      "rootflags=subvol=@,ssd single\n"))
    case.equal(_words(it), "rw quiet panic=9 single")
    case.check("subvol=@abupdate/slots/2/root,ssd" in it.run("cat", f"{it.root}/proc/cmdline").out)
    case.abctl(it, "rollback", "1")
    it.reboot()
    case.equal(_words(it), "rw quiet")
    _in_root(it, "sed -i 's/ single/ by=hand/' efi/loader/entries/abupdate-2.conf")
    case.abctl(it, "mark", "good", "2")
    case.abctl(it, "rollback", "2")
    it.reboot()
    case.equal(_words(it), "rw quiet panic=9 by=hand")
    # the administrator's file is the nearer one; it may be empty; without either it is as it runs
    case.to(it, "3.0", change=_brings("maker") + "; " + _brings("machine", MACHINE))
    case.equal(_words(it), "rw machine")
    case.to(it, "4.0", change=_brings("maker") + "; " + _brings("", MACHINE))
    case.equal(_words(it), "rw")
    case.to(it, "5.0", start="1.0", change=_brings("five=5"))
    case.to(it, "6.0", start="1.0")
    case.equal(_words(it), "rw five=5")
    _configure(it, "Cmdline=set=1")
    # what is not asked for is not looked at
    case.to(it, "7.0", start="1.0", change=_brings("it's"))
    case.equal(_words(it), "rw set=1")


def test_words_that_are_refused(case):
    """What a loader would read as something else is refused before the slot is there; nothing changes."""
    it = case.machine(loader="bls")
    seen, facts = _boot_files(it), case.facts(it)
    for number, (text, part) in enumerate((("it's", "agree"), ("a\\b", "agree"), ('a="b', "no end"),
                                           ("a\r\n", "0x0d"), ("x" * 1600, "characters"),
                                           ('"root=LABEL=x y"', "names a slot"))):
        refused = case.refused(it, "update", case.image(it, f"2.{number}", change=_brings(text)),
                               error="WrongLayout")
        case.check(part in refused.err and "/usr/lib/kernel/cmdline" in refused.err, refused)
        case.equal(_boot_files(it), seen)
        case.unchanged(it, facts)
    case.check("/etc/kernel/cmdline" not in it.abctl("check").out)
    _in_root(it, _brings("it's", MACHINE))
    case.check("/etc/kernel/cmdline of the version" in it.abctl("check").out)
    # a loader that is not told by us is told nothing
    it = case.machine()
    _in_root(it, _brings("it's", MACHINE))
    case.check("/etc/kernel/cmdline" not in it.abctl("check").out)
    case.to(it, "2.0", change=_brings("it's"))
    case.equal(_words(it), "rw quiet")


def test_words_of_a_commit(case):
    """A transaction that changes the file changes what is booted; one that does not leaves it as it was."""
    it = case.machine(loader="bls")
    _in_root(it, _brings("never=armed", MACHINE))
    case.abctl(it, "begin", "--in-place")
    case.abctl(it, "commit")
    case.check(it.entries()["abupdate-1+3.conf"].endswith("/root rw quiet"), it.entries())
    it.reboot()
    case.equal(_words(it), "rw quiet")
    case.abctl(it, "mark", "good")
    case.abctl(it, "begin", "--in-place")
    _in_root(it, _brings("it's", MACHINE))
    seen = _boot_files(it)
    case.refused(it, "commit", error="WrongLayout")
    case.equal(_boot_files(it), seen)
    copy = it.next_slot()
    _in_root(it, _brings("by=commit", MACHINE))
    case.abctl(it, "commit")
    it.reboot()
    case.expect(it, booted="1", state="trial")
    case.equal(_words(it), "rw by=commit")
    for _ in range(3):
        it.reboot()
    case.expect(it, booted=copy, state="fallback")
    case.equal(_words(it), "rw quiet")


def _cut_commit(case, call, number):
    """A machine whose worker dies in that call of a commit that changes the words, and then the power;
    None where there are not so many."""
    it = case.machine(loader="bls", boot={"daemon": "none"})
    case.worker(it, {"type": "update"}, case.image(it, "2.0", change=_brings("words=old")))
    it.reboot(daemon="none")
    for order in {"type": "mark", "verdict": "good"}, {"type": "begin", "in-place": True}:
        case.equal(case.worker(it, order)["result"]["code"], 0)
    _in_root(it, _brings("words=new"))
    it.run("sync", "-f", it.root)
    outcome = case.worker(it, {"type": "commit"}, wrap=(
        "strace", "-f", "-qq", "-o", "/dev/null", "-e", f"inject={call}:signal=KILL:when={number}"))
    case.check(not outcome["result"] or outcome["result"]["code"] == 0, outcome)
    it.power_cut()
    return None if outcome["result"] else it


def test_words_in_a_power_cut(case):
    """Wherever the power goes in a commit that changes the words: what boots is told its own."""
    boots = []
    for call in ("renameat", "unlinkat", "syncfs"):
        for number in range(1, 40):
            it = _cut_commit(case, call, number)
            if not it:
                break
            it.boot()
            booted = case.status(it)["booted"]
            case.equal(_words(it), "rw words=" + ("new" if booted == "2" else "old"), call, number)
            if booted == "3":
                case.equal(case.slot(it, 2)["state"], "bad", call, number)
            boots.append(booted)
            it.destroy()
    case.equal(set(boots), {"2", "3"}, boots)
    return f"{len(boots)} cuts, {boots.count('2')} of them boot what was committed"


def _record(it, slot):
    return it.run("cat", f"{it.root}/efi/abupdate/state/slot-{slot}").out.splitlines()


def test_words_of_a_device(case):
    """A device that does not run is armed with the words that it brought, and keeps them in a merge."""
    it = case.pair()
    case.update(it, "2.0", "--no-arm", change=_brings("two=2 rootflags=device=/dev/none,ssd"))
    case.check("Cmdline=two=2 rootflags=device=/dev/none,ssd" in _record(it, "b"), _record(it, "b"))
    it.reboot()
    case.equal(_words(it), "ro abupdate.seal quiet")
    case.abctl(it, "rollback", "b")
    it.reboot()
    case.expect(it, booted="b", version="2.0")
    case.equal(_words(it), "ro two=2")
    line = it.run("cat", f"{it.root}/proc/cmdline").out
    case.check("os-a,ssd" in line and "none" not in line, line)
    case.abctl(it, "mark", "good")
    case.abctl(it, "merge")
    it.reboot()
    case.equal(_words(it), "ro abupdate.seal two=2")
    # and in a file
    path = f"{case.tmp}/b.img"
    case.abctl(it, "device", "export", "b", "-o", path)
    case.check("Cmdline=two=2 rootflags=device=/dev/none,ssd" in _record(it, "b"))
    case.abctl(it, "rollback", "a")
    it.reboot()
    case.expect(it, booted="a")
    case.abctl(it, "discard", "b")
    case.abctl(it, "device", "restore", path, "b", "--accept=2.0")
    case.check("Cmdline=two=2 rootflags=device=/dev/none,ssd" in _record(it, "b"))
    case.abctl(it, "rollback", "b")
    it.reboot()
    case.expect(it, booted="b", version="2.0")
    case.equal(_words(it), "ro abupdate.seal two=2")


def _change_in_place(case, it, command):
    case.abctl(it, "begin", "--in-place")
    it.run("mount", "-o", "remount,rw", it.root)
    _in_root(it, command)
    case.abctl(it, "commit")
    it.reboot()
    case.abctl(it, "mark", "good")


def test_words_of_a_device_in_place(case):
    """What was committed on a sprout has its words: new ones where the file was changed, else as before."""
    it = case.pair()
    case.merged(it, "2.0", change=_brings("two=2 init=/x"))
    it.reboot()
    _change_in_place(case, it, "echo x >etc/motd")
    case.expect(it, booted="a")
    case.equal(_words(it), "ro two=2 init=/x")
    case.abctl(it, "merge")
    it.reboot()
    _change_in_place(case, it, _brings("three=3", MACHINE))
    case.expect(it, booted="b")
    case.equal(_words(it), "ro three=3")
    # a file that nobody asked stays what it was, also when somebody would ask
    case.abctl(it, "merge")
    it.reboot()
    conf = "etc/abupdate/abupdated.conf.d/words.conf"
    _change_in_place(case, it, f"mkdir -p etc/abupdate/abupdated.conf.d && printf '[Boot]\\nCmdline=set=1\\n' "
                     f">{conf} && " + _brings("four=4", MACHINE))
    case.equal(_words(it), "ro set=1")
    case.abctl(it, "merge")
    it.reboot()
    _change_in_place(case, it, f"rm {conf}")
    case.equal(_words(it), "ro set=1")


def _commit_words(case, it):
    """Other words by a transaction on the slot that runs and has proven itself."""
    case.abctl(it, "mark", "good")
    case.abctl(it, "begin", "--in-place")
    _in_root(it, _brings("by=commit", MACHINE))
    case.abctl(it, "commit")
    it.reboot()
    case.expect(it, booted="2", state="trial")
    case.equal(_words(it), "rw by=commit")


def test_words_through_grub(case):
    """No character of them means anything to GRUB: its own programs pass them on."""
    case.grub()
    it = case.machine(loader="grub")
    case.update(it, "2.0", change=_brings(ODD))
    it.run("grub-script-check", f"{it.root}/efi/abupdate/slot-2/entry.cfg")
    it.reboot()
    case.expect(it, booted="2", version="2.0")
    # the quotes are those of its own command; what ends a line of its terminal is lost on us
    case.equal(_words(it).replace(" ", ""), f"rw{ODD}".replace(" ", "").replace('"', ""))
    _commit_words(case, it)


def test_words_through_uboot(case):
    """The same of U-Boot, which is stopped by an apostrophe, and takes backslashes away."""
    case.uboot()
    it = case.machine(loader="uboot")
    case.update(it, "2.0", change=_brings(ODD))
    it.reboot()
    case.expect(it, booted="2", version="2.0")
    case.equal(_words(it), "rw " + ODD)
    _commit_words(case, it)


def _kernels(it):
    """The first lines of the kernels on the boot partition."""
    return it.run("sh", "-c", f"cd {it.root}/efi/abupdate/kernels && head -qn1 linux-*").out.splitlines()


def test_other_names_of_kernels(case):
    """A kernel is found by the names that it has on devices, where its version has modules."""
    it = case.machine(loader="bls")
    modules = "cd usr/lib/modules/*/ && v=$(basename $PWD) && top=../../../.. && touch modules.dep"
    image = case.image(it, "2.0", change=f"{modules} && mkdir -p $top/boot && mv vmlinuz $top/boot/zImage-9.9")
    seen = _boot_files(it)
    case.refused(it, "update", image, error="WrongLayout")
    case.equal(_boot_files(it), seen)
    for version, change in (("3.0", "mv vmlinuz Image.gz"),
                            ("4.0", "mkdir -p $top/boot && mv vmlinuz $top/boot/kernel-$v"),
                            ("5.0", "mkdir -p $top/boot && echo other >$top/boot/Image-$v")):
        case.to(it, version, start="1.0", change=f"{modules} && {change}")
        case.expect(it, version=version)
        case.check(f"kernel of {version}" in _kernels(it), _kernels(it))
    case.check("other" not in _kernels(it), _kernels(it))
    # what U-Boot loads has no name of its own there
    case.uboot()
    it = case.machine(loader="uboot")
    case.update(it, "2.0", change=f"{modules} && mv vmlinuz Image")
    it.reboot()
    case.expect(it, booted="2", state="trial")
    case.equal(_kernels(it), ["kernel of 2.0"])


if __name__ == "__main__":
    sys.exit(harness.main(globals()))
