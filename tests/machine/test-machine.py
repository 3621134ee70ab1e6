#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The machine itself: what it promises to every other test."""

import os
import signal
import subprocess
import sys
import time

from machinery import harness, invariants, kernel, machine, writelog

NO_DAEMON = {"daemon": "none", "initrd": False}
BUS_ONLY = {"initrd": False}


def _write(it, name, text, sync):
    with_sync = f"sync -f {it.root}" if sync else "true"
    it.run("sh", "-c", f"echo {text} >{it.root}/home/{name}; {with_sync}")


def test_layout(case):
    """A new machine is one good slot, received from the maker."""
    it = case.machine(boot=False)
    facts = case.facts(it)
    case.equal(facts["next"], "1")
    case.equal(facts["slots"]["1"]["Version"], "1.0")
    case.check(facts["subvolumes"]["@abupdate/slots/1/image/root"]["received"] != "-")
    case.sound(it, ["1.0"])


def test_every_boot_is_new(case):
    """Each boot has a boot id of its own; what was written stays."""
    it = case.machine(boot=NO_DAEMON)
    first = it.boot_id
    told = it.run("cat", f"{it.root}/proc/sys/kernel/random/boot_id").out.strip()
    case.equal(told, first)
    _write(it, "kept", "text", sync=False)
    it.reboot(**NO_DAEMON)
    case.check(it.boot_id != first)
    case.equal(it.run("cat", f"{it.root}/home/kept").out, "text\n")


def test_follows_default(case):
    """The loader follows the default subvolume, and rootflags= before it."""
    it = case.machine(boot=NO_DAEMON)
    it.run("sh", "-c", f"mount -o subvolid=5 $(findmnt -no SOURCE {it.root} | sed 's/\\[.*//') /mnt"
           " && btrfs subvolume snapshot /mnt/@abupdate/slots/1/root /mnt/other"
           " && echo other >/mnt/other/home/who"
           " && btrfs subvolume set-default /mnt/other && umount /mnt")
    it.reboot(**NO_DAEMON)
    case.equal(it.run("cat", f"{it.root}/home/who").out, "other\n")
    it.reboot(cmdline="root=LABEL=machine rootflags=subvol=@abupdate/slots/1/root", **NO_DAEMON)
    case.check(it.run("cat", f"{it.root}/home/who").code != 0)
    case.check(case.facts(it)["next"] is None)
    case.check(invariants.strays(case.facts(it)), "a stray subvolume goes unseen")


def test_power_cut(case):
    """A power cut keeps what was synced and loses what was not."""
    it = case.machine(boot=NO_DAEMON)
    _write(it, "kept", "text", sync=True)
    _write(it, "lost", "text", sync=False)
    it.power_cut()
    it.boot(**NO_DAEMON)
    case.equal(it.run("ls", f"{it.root}/home").out, "kept\n")


def test_write_log(case):
    """With a write log the disk can be had as it was after any write."""
    it = case.machine(boot=NO_DAEMON, write_log=True)
    _write(it, "one", "text", sync=True)
    _write(it, "two", "text", sync=True)
    _write(it, "lost", "text", sync=False)
    cut = it.power_cut()
    entries = writelog.read_entries(f"{it.folder}/write.log")
    case.check(cut["entry"] > 10, cut)
    it.boot(**NO_DAEMON)
    case.equal(it.run("ls", f"{it.root}/home").out, "one\ntwo\n")
    it.power_cut(entry=0)
    it.boot(**NO_DAEMON)
    # what the session before wrote is the base of this log: nothing of it can be lost any more
    case.equal(it.run("ls", f"{it.root}/home").out, "one\ntwo\n")
    return f"{len(entries)} log entries"


def test_write_log_prefixes(case):
    """Every prefix of a write log that ends in a flush mounts; a middle one shows the first file only."""
    it = case.machine(boot=NO_DAEMON, write_log=True)
    _write(it, "one", "text", sync=True)
    marker = writelog.count_entries(f"{it.folder}/write.log")
    _write(it, "two", "text", sync=True)
    it.power_cut()
    seen = set()

    def look(image):
        with kernel.Loop(image) as loop:
            kernel.mount(loop.device, it.root, "btrfs", 0, None)
            names = tuple(sorted(os.listdir(f"{it.root}/home")))
            kernel.umount(it.root)
        return names

    with writelog.Replay(f"{it.folder}/base.img", f"{it.folder}/write.log",
                         f"{case.tmp}/now.img", kernel.sparse_copy) as replay:
        for number, entry in enumerate(replay.entries, 1):
            if entry.is_flush:
                replay.forward(number)
                kernel.sparse_copy(replay.image, f"{case.tmp}/try.img")
                names = kernel.in_private_namespace(look, f"{case.tmp}/try.img")
                seen.add(names)
                if number <= marker:
                    case.check("two" not in names, "the future is in the past")
    case.equal(seen, {(), ("one",), ("one", "two")})


def test_side_by_side(case):
    """Machines do not see each other."""
    one, two = case.machine(boot=BUS_ONLY), case.machine(boot=BUS_ONLY)
    _write(one, "mine", "one", sync=True)
    case.equal(two.run("ls", f"{two.root}/home").out, "")
    case.check(not os.path.exists(f"{one.root}/etc"), "the root is visible outside")
    names = one.run("dbus-send", "--system", "--print-reply", "--dest=org.freedesktop.DBus", "/",
                    "org.freedesktop.DBus.ListNames").out
    case.check("org.freedesktop.DBus" in names, names)


def test_bus_rules(case):
    """The bus is as strict as a system bus: nobody takes our name, nobody owns strange names."""
    it = case.machine(boot=BUS_ONLY)
    ask = ["dbus-send", "--system", "--print-reply", "--dest=org.freedesktop.DBus", "/",
           "org.freedesktop.DBus.RequestName"]
    for name in ("org.abupdate1", "org.example.Strange"):
        result = it.run(*ask, f"string:{name}", "uint32:4", user="nobody")
        case.check("AccessDenied" in result.err, result)


def test_polkit(case):
    """The real polkitd answers on the machine's bus and knows our actions."""
    if not os.path.isdir("/usr/share/polkit-1/actions"):
        raise harness.Skip("no polkit on this host")
    it = case.machine(boot={"polkit": True, "initrd": False})
    answer = it.run("dbus-send", "--system", "--print-reply",
                    "--dest=org.freedesktop.PolicyKit1", "/org/freedesktop/PolicyKit1/Authority",
                    "org.freedesktop.PolicyKit1.Authority.EnumerateActions", "string:C")
    case.check("org.abupdate1.update" in answer.out, answer)


def test_journal(case):
    """What a program tells the journal can be read by the test."""
    it = case.machine(boot=NO_DAEMON)
    it.run("sh", "-c", "printf 'MESSAGE=hello\\nABUPDATE_SLOT=7\\n' | "
           f"{sys.executable} -c 'import socket,sys;"
           "s=socket.socket(socket.AF_UNIX,socket.SOCK_DGRAM);"
           "s.sendto(sys.stdin.buffer.read(),\"/run/systemd/journal/socket\")'")
    case.wait("the entry", lambda: it.journal(ABUPDATE_SLOT="7"))


def test_owner_dies(case):
    """A machine whose owner dies leaves no process, mount or loop device."""
    it = case.machine(boot=False)
    command = [f"{os.path.dirname(os.path.abspath(__file__))}/machine", f"--dir={it.folder}"]
    with subprocess.Popen(["sleep", "100"]) as owner:
        subprocess.run([*command, f"--owner={owner.pid}", "boot", "--daemon=none", "--no-initrd"],
                       check=True)
        holder = it.running["holder"]
        owner.kill()
    case.wait("the holder to end", lambda: not os.path.exists(f"/proc/{holder}"))
    case.check(not it.running)
    case.equal(harness.leaked_loops(case.tmp), [])


def test_holder_is_killed(case):
    """Even SIGKILL of the holder leaves no process, mount or loop device."""
    it = case.machine(boot=NO_DAEMON)
    facts = it.running
    with it.popen("sleep", "1000") as sleeper:
        os.kill(facts["holder"], signal.SIGKILL)
        sleeper.wait(10)
    case.wait("the loop device to go", lambda: not harness.leaked_loops(case.tmp))
    case.check(not it.running)


def test_command_line(case):
    """The command does all of it: new, boot, image, exec, power-cut, info, destroy."""
    folder = f"{case.tmp}/by-hand"
    command = [f"{os.path.dirname(os.path.abspath(__file__))}/machine", f"--dir={folder}",
               f"--owner={os.getpid()}"]

    def run(*args, code=0):
        done = subprocess.run([*command, *args], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                              check=False, text=True)
        case.equal(done.returncode, code, done.stdout, done.stderr)
        return done.stdout + done.stderr

    case.check("begin with `new`" in run("boot", code=1))
    run("new", "--os=tiny")
    run("boot", "--daemon=nonsense", code=2)
    run("boot", "--daemon=none", "--no-initrd")
    case.check("on already" in run("boot", code=1))
    run("exec", "--", "sh", "-c", "exit 7", code=7)
    run("image", "--version=2.0", "--base=1.0", "--change=echo hi >etc/motd", "-o",
        f"{case.tmp}/two.send")
    case.check(os.path.getsize(f"{case.tmp}/two.send") > 100)
    case.check('"power": "on"' in run("info"))
    run("power-cut")
    case.check("it first" in run("exec", "true", code=1))
    run("destroy")
    case.check(not os.path.exists(folder))


def test_quick(case):
    """A machine is there in seconds."""
    case.machine(boot=False)            # the cache is warm after this
    started = time.monotonic()
    it = machine.Machine(f"{case.tmp}/quick", owner=os.getpid())
    case.machines.append(it)
    it.new(os_tree="tiny").boot(**NO_DAEMON)
    seconds = time.monotonic() - started
    case.check(seconds < 10, f"{seconds:.1f} s")
    return f"new and boot in {seconds:.1f} s"


if __name__ == "__main__":
    sys.exit(harness.main(globals()))
