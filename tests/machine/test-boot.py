#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Kernels on the boot partition: one copy for each content, room computed first, torn ones found."""

import os
import subprocess
import sys

from machinery import harness, kernel, loader

EFI = "efi/abupdate"


def _kernel(megabytes=0, seed="same"):
    """The change that gives a version a kernel of a size and content of its own."""
    return "for f in usr/lib/modules/*/vmlinuz; do " \
        f"{{ echo {seed}; head -c {megabytes}M /dev/zero; }} >$f; done"


def _copies(it):
    """The copies on the boot partition."""
    folder = f"{it.root}/{EFI}/kernels"
    return it.run("ls", folder).out.split()


def _seen(it):
    """Everything on the boot partition: names and sizes."""
    return it.run("find", f"{it.root}/efi", "-type", "f", "-printf", "%P %s\n").out.splitlines()


DEGRADED = "root=LABEL=machine rootflags=degraded rw"


def _size(it, copy):
    return os.path.getsize(f"/proc/{it.running['init']}/root{it.root}/{EFI}/kernels/{copy}")


def _spoil(it, copy):
    """The copy is torn: as long as it was, with other content."""
    path = f"{it.root}/{EFI}/kernels/{copy}"
    it.run("sh", "-c", f"printf x | dd of={path} conv=notrunc status=none")


def test_root_without_a_name(case):
    """The kernel has mounted a name that nobody has, as /dev/root without initrd and udev."""
    it = case.machine(boot={"other_names": True})
    case.check(f"/run/mapper-root {it.root} btrfs" in it.run("cat", "/proc/self/mounts").out)
    case.expect(it, state="steady", booted="1", next="1")
    case.update(it, "2.0")
    it.reboot(other_names=True)
    case.expect(it, state="trial", booted="2", version="2.0")


def test_half_a_mirror(case):
    """A root on two devices, of which one has gone, is updated, and its tries are counted, too."""
    it = case.machine()
    second = f"{case.tmp}/second.img"
    with open(second, "wb") as file:
        file.truncate(2 << 30)
    other = kernel.Loop(second)
    it.run("btrfs", "device", "add", "-f", other.device, it.root)
    it.run("btrfs", "balance", "start", "-f", "-dconvert=raid1", "-mconvert=raid1", it.root)
    case.to(it, "2.0")
    it.shutdown()
    case.check(other.close(), "the disk is still in use")
    os.unlink(second)
    it.boot(cmdline=DEGRADED)
    case.expect(it, state="steady", booted="2", version="2.0")
    case.update(it, "3.0")
    it.reboot(cmdline=DEGRADED)
    case.expect(it, state="trial", booted="3")
    case.equal(case.slot(it, 3)["tries-left"], 2)
    for _ in range(3):
        it.reboot(cmdline=DEGRADED)
    case.expect(it, state="fallback", booted="2", version="2.0")


def test_shared_copies(case):
    """Slots with one kernel share its copy; it goes with the last that needs it, and boots them all."""
    it = case.machine(loader="bls")
    case.to(it, "2.0", change=_kernel())
    case.equal(len(_copies(it)), 1)
    case.to(it, "3.0", change=_kernel())
    case.equal(len(_copies(it)), 1)
    case.update(it, "4.0", change=_kernel(seed="four"))
    case.equal(len(_copies(it)), 2)
    it.reboot()
    case.expect(it, version="4.0", state="trial")
    case.abctl(it, "rollback")
    it.reboot()
    case.expect(it, version="3.0")
    case.abctl(it, "discard", "4")
    case.equal(len(_copies(it)), 1)
    case.abctl(it, "discard", "2")
    it.reboot()
    case.expect(it, version="3.0", booted="3")
    case.equal(len(_copies(it)), 1)


def test_boot_partition_is_full(case):
    """A kernel that does not fit is refused before anything changes there; a bad slot's makes room."""
    it = case.machine(loader="bls")
    case.to(it, "2.0", change=_kernel(18, "two"))
    image = case.image(it, "3.0", start="1.0", change=_kernel(30, "three"))
    it.run("sh", "-c", f"head -c 14M /dev/zero >{it.root}/efi/ballast; sync -f {it.root}/efi")
    seen, facts = _seen(it), case.facts(it)
    refused = case.refused(it, "update", image, error="NoSpace")
    case.check("MiB are short on the boot partition" in refused.err, refused)
    case.equal(_seen(it), seen)
    case.unchanged(it, facts)
    case.abctl(it, "rollback")
    it.reboot()
    case.expect(it, version="1.0")
    case.equal(case.slot(it, 2)["state"], "bad")
    two, = [copy for copy in _copies(it) if _size(it, copy) > 1 << 20]
    case.abctl(it, "update", image)
    case.check(two not in _copies(it), "the kernel of the bad slot is there")
    it.reboot()
    case.expect(it, version="3.0", state="trial")


def test_a_bad_slot_is_not_given_up_in_vain(case):
    """Where not even all kernels of bad slots make enough room, they stay, and can be armed again."""
    it = case.machine(loader="bls")
    case.to(it, "2.0", change=_kernel(18, "two"))
    case.abctl(it, "rollback")
    it.reboot()
    case.equal(case.slot(it, 2)["state"], "bad")
    image = case.image(it, "3.0", start="1.0", change=_kernel(70, "three"))
    seen = _seen(it)
    case.refused(it, "update", image, error="NoSpace")
    case.equal(_seen(it), seen)
    case.abctl(it, "mark", "good", "2")
    case.abctl(it, "rollback", "2")
    it.reboot()
    case.expect(it, booted="2", version="2.0")


def test_torn_copy(case):
    """A copy whose content is not what its name says is written anew before its slot is armed."""
    it = case.machine(loader="bls")
    case.update(it, "2.0", "--no-arm", change=_kernel())
    copy, = _copies(it)
    _spoil(it, copy)
    case.abctl(it, "rollback", "2")
    it.reboot()
    case.expect(it, version="2.0", state="trial")
    case.abctl(it, "rollback")
    case.equal(it.next_slot(), "1")


def test_torn_copy_of_a_device(case):
    """Where the tree cannot be looked into, a torn kernel is refused, and one that is gone too."""
    it = case.pair()
    case.update(it, "2.0", "--no-arm", change=_kernel())
    it.reboot()
    copy, = _copies(it)
    _spoil(it, copy)
    before = it.entries()
    case.refused(it, "rollback", "b", error="VerifyFailed")
    it.run("rm", f"{it.root}/{EFI}/kernels/{copy}")
    case.refused(it, "rollback", "b", error="WrongLayout")
    case.equal(it.entries(), before)
    case.equal(it.next_slot(), "a")


def test_used_up_slot_comes_back(case):
    """A proven slot that used up its tries keeps its kernel: it is marked good and armed, and boots."""
    it = case.machine(loader="bls")
    case.to(it, "2.0", change=_kernel())
    it.shutdown()
    # a hand, or a blessing that the boot partition has lost
    it.in_boot(lambda folder: os.rename(f"{folder}/loader/entries/abupdate-2.conf",
                                        f"{folder}/loader/entries/abupdate-2+0-3.conf"))
    it.boot()
    case.expect(it, booted="1")
    case.equal(list(it.entries()), ["abupdate-1.conf"])
    case.equal(len(_copies(it)), 1)
    case.abctl(it, "mark", "bad", "2")
    case.abctl(it, "mark", "good", "2")
    case.abctl(it, "rollback", "2")
    it.reboot()
    case.expect(it, booted="2", version="2.0", state="steady")


def test_leftovers_go(case):
    """What a cut has left on the boot partition goes with the next worker; what an entry names stays."""
    it = case.machine(loader="bls")
    case.to(it, "2.0", change=_kernel())
    copy, = _copies(it)
    folder = f"{it.root}/{EFI}"
    stray = "linux-" + 32 * "0"
    it.run("sh", "-c", f"cd {folder} && mkdir slot-9 && echo Kernel={stray} >slot-9/files && "
           f"echo >kernels/{stray} && echo >kernels/{copy}.new && rm slot-2/files")
    case.abctl(it, "prune", code=harness.ANY)
    case.equal(_copies(it), [copy])
    case.equal(sorted(os.path.dirname(line) for line in _seen(it) if "slot-" in line),
               ["abupdate/slot-1"])
    it.reboot()
    case.expect(it, version="2.0")
    case.abctl(it, "rollback")
    it.reboot()
    case.abctl(it, "mark", "good", "2")
    case.abctl(it, "rollback", "2")
    it.reboot()
    case.expect(it, version="2.0")


def test_two_that_bless(case):
    """systemd-bless-boot takes the counter off, before the verdict or after it: the other finds it done."""
    it = case.machine(loader="bls")

    def bless(folder):
        name, = [n for n in os.listdir(f"{folder}/loader/entries") if "+" in n] or [None]
        if name:
            os.rename(f"{folder}/loader/entries/{name}",
                      f"{folder}/loader/entries/{name.split('+')[0]}.conf")

    case.update(it, "2.0", change=_kernel())
    it.reboot()
    case.expect(it, state="trial", next="2")
    it.in_boot(bless)
    case.abctl(it, "mark", "good")
    case.expect(it, state="steady", next="2", good="2")
    case.update(it, "3.0", change=_kernel())
    it.reboot()
    case.abctl(it, "mark", "good")
    before = it.entries()
    it.in_boot(bless)
    case.equal(it.entries(), before)
    it.reboot()
    case.expect(it, booted="3", state="steady")
    # without a verdict, a version that it has blessed is bad when a person says so
    case.update(it, "4.0", change=_kernel())
    it.reboot()
    it.in_boot(bless)
    case.abctl(it, "mark", "bad")
    it.reboot()
    case.expect(it, booted="3")


def _typed(it, words):
    """What somebody adds to the command line at the menu, for this boot."""
    it.run("sh", "-c", f"sed -i 's|$| {words}|' {it.root}/proc/cmdline")


def test_words_of_one_boot(case):
    """A rollback or an update out of a rescue boot leads into no rescue: a slot keeps its own words."""
    for kind in ("bls", "grub"):
        if kind == "grub":
            case.grub()
        it = case.machine(loader=kind)
        _typed(it, "own=1")
        case.update(it, "2.0")
        it.reboot()
        case.abctl(it, "mark", "good")
        _typed(it, "own=2 systemd.unit=rescue.target init=/bin/sh")
        case.abctl(it, "rollback", "1")
        case.abctl(it, "mark", "good", "2")
        case.abctl(it, "rollback", "2")
        it.reboot()
        words = it.run("cat", f"{it.root}/proc/cmdline").out.split()
        case.expect(it, booted="2")
        case.equal([w for w in words if w.startswith(("own", "systemd", "init"))], ["own=1"])
        _typed(it, "rd.break single")
        case.update(it, "3.0")
        it.reboot()
        words = it.run("cat", f"{it.root}/proc/cmdline").out.split()
        case.expect(it, booted="3")
        case.equal([w for w in words if w in ("own=1", "rd.break", "single")], ["own=1"])


def test_tries_that_were_given(case):
    """How many tries a slot had is known beside what is left, whatever its own configuration says."""
    it = case.machine()
    conf = "mkdir -p etc/abupdate/abupdated.conf.d && " \
        "printf '[Boot]\\nTries=%s\\n' >etc/abupdate/abupdated.conf.d/tries.conf"
    it.run("sh", "-c", f"cd {it.root} && {conf % 2}")
    case.update(it, "2.0", change=conf % 5)
    it.reboot(initrd=False)
    slot = case.slot(it, 2)
    case.equal((slot["state"], slot["tries-left"], slot["tries"]), ("trial", 2, 2))
    it.reboot()
    slot = case.slot(it, 2)
    case.equal((slot["state"], slot["tries-left"], slot["tries"]), ("trial", 1, 2))
    case.abctl(it, "mark", "good")
    case.equal(case.slot(it, 2)["tries"], -1)


def _lost_trial(case, it, release):
    """Slot 2 is on trial and used up; where the boots go back, slot 1 has modules for @release."""
    it.run("sh", "-c", f"cd {it.root}/usr/lib/modules && mv * {release}")
    case.update(it, "2.0")
    for _ in range(3):
        it.reboot()
        case.expect(it, booted="2", state="trial")
        case.equal(it.running["restarts"], 0)
    it.reboot()
    case.expect(it, booted="1", state="fallback")
    return it.running["restarts"]


def test_fallback_with_its_own_kernel(case):
    """Where the fallback has no modules for the kernel that runs, the initrd reboots, once."""
    case.equal(_lost_trial(case, case.machine(), "5.0.0-other"), 1)
    case.equal(_lost_trial(case, case.machine(), os.uname().release), 0)


def test_initrd_only_looks(case):
    """Where nothing is on trial, or a rescue is asked for, the initrd writes nothing to the disk."""
    it = case.machine()
    it.run("dd", "if=/dev/zero", f"of={it.root}/etc/log", "bs=4k", "count=1", "conv=fsync")
    it.power_cut()

    def superblock():
        with open(f"{it.folder}/disk.img", "rb") as file:
            file.seek(loader.SUPER)
            return file.read(4096)

    before = superblock()
    case.check(before[96:104] != bytes(8), "there is no log to replay")
    with kernel.Loop(f"{it.folder}/disk.img") as loop:
        done = it.programs()["abupdate-initrd"], f"--device={loop.device}"
        case.equal(subprocess.run(done, check=False).returncode, 0)
    case.check(superblock() == before, "the initrd has written to the disk")
    it.boot()
    case.update(it, "2.0")
    it.shutdown()
    it.boot(daemon="none", cmdline="root=LABEL=machine rootflags=rescue=nologreplay ro")
    it.shutdown()
    it.boot()
    slot = case.slot(it, 2)
    case.equal((slot["state"], slot["tries-left"]), ("trial", 2))


def test_health_in_status(case):
    """What the checks of this boot said is in status and check, before anybody asks why."""
    it = case.machine()
    it.run("sh", "-c", f"mkdir -p {it.root}/run/abupdate; printf 'error the check x failed\\nwarning "
           f"the check y failed\\n' >{it.root}/run/abupdate/health")
    case.abctl(it, "prune", code=harness.ANY)
    problems = [p for p in case.status(it)["problems"] if p.startswith("health")]
    case.equal(problems, ["health: the check x failed", "health: the check y failed"])
    case.check("the check x failed" in case.abctl(it, "status").out)
    case.check("abupdate-health-check" in it.abctl("check").out)


def test_choices_by_name(case):
    """What beats the order of the entries is told, and nothing is armed while it is there."""
    it = case.machine(loader="bls")
    image = case.image(it, "2.0")
    variables = f"{it.root}/sys/firmware/efi/efivars"
    vendor = "4a67b082-0a4c-41cf-b6c7-440b29bb8c4f"
    it.run("mkdir", "-p", variables)
    seen = _seen(it)
    for word, path, text in (
            ("default", f"{it.root}/efi/loader/loader.conf", "timeout 3\ndefault abupdate-1.conf\n"),
            ("preferred", f"{it.root}/efi/loader/loader.conf", "  preferred\tx*\n"),
            ("set-default", f"{variables}/LoaderEntryDefault-{vendor}", "x"),
            ("set-preferred", f"{variables}/LoaderEntryPreferred-{vendor}", "x"),
            ("sort-key", f"{it.root}/efi/loader/entries/aaa.conf", "sort-key a\nlinux /x\n")):
        it.run("sh", "-c", f"printf %b '{text}' >{path}")
        refused = case.refused(it, "update", image, error="WrongLayout")
        case.check(word in refused.err, refused)
        it.run("rm", path)
        case.equal(_seen(it), seen)
    it.run("sh", "-c", f"echo 'default-x y' >{it.root}/efi/loader/loader.conf")
    case.abctl(it, "update", image)


def test_entry_that_was_emptied(case):
    """A power cut while a proven entry was written anew, and fsck after it: the second boots, the next job mends it."""
    it = case.machine(loader="bls")
    case.abctl(it, "status")

    def cut(folder):
        entry = f"{folder}/loader/entries/abupdate-1"
        os.rename(f"{entry}.conf", f"{entry}+9-99.conf")
        open(f"{entry}.conf", "wb").close()

    def listed(folder):
        return sorted(os.listdir(f"{folder}/loader/entries"))

    before = it.in_boot(listed)
    it.in_boot(cut)
    it.reboot()
    case.abctl(it, "status")
    case.equal(it.in_boot(listed), before)
    case.expect(it, booted="1", next="1", state="steady")
    case.update(it, "2.0")
    it.reboot()
    case.expect(it, booted="2")


MUTE = """mkdir -p /run/mute; cd /run/mute
printf '#!/bin/sh\nexit 1\n' >abctl
printf '#!/bin/sh\necho "$*" >>/run/mute/asked\ncase "$*" in *is-active*) exit 1; esac\n' >systemctl
chmod +x abctl systemctl
PATH=/run/mute:$PATH exec {} --root={} deadline"""


def test_deadline_unread(case):
    """A boot that is not complete in time, and where nobody can read the machine: a try, or left alone."""
    it = case.machine(loader="bls")
    deadline = MUTE.format(f"{case.build}/health/abupdate-health", it.root)
    case.update(it, "2.0")
    it.reboot()
    said = it.run("sh", "-c", deadline)
    case.equal(said.code, 0, said)
    case.check("no verdict can be given" in said.err, said)
    case.equal(it.run("tail", "-n", "1", "/run/mute/asked").out, "--no-block reboot\n")
    it.run("rm", "-r", "/run/mute")
    case.abctl(it, "mark", "good")
    said = it.run("sh", "-c", deadline)
    case.equal(said.code, 1, said)
    case.equal(it.run("grep", "-c", "reboot", "/run/mute/asked").out, "0\n")


def test_deadline_unread_device(case):
    """The same on a device: what lies in it says for ever that it was staged, so it is left alone."""
    it = case.machine(backend="seed", loader="bls")
    case.update(it, "2.0")
    it.reboot()
    case.abctl(it, "mark", "good")
    said = it.run("sh", "-c", MUTE.format(f"{case.build}/health/abupdate-health", it.root))
    case.equal(said.code, 1, said)
    case.equal(it.run("grep", "-c", "reboot", "/run/mute/asked").out, "0\n")


if __name__ == "__main__":
    sys.exit(harness.main(globals()))
