# SPDX-License-Identifier: LGPL-2.1-or-later
"""GRUB itself as the loader of a machine: grub-emu runs the part of grub.cfg that the product ships,
with GRUB's own language, file systems and writes, on the machine's disk; what it would load is taken
as the choice."""

import os
import pty
import re
import select
import subprocess
import tempfile
import time


HERE = os.path.dirname(os.path.abspath(__file__))
SCRIPT = os.path.join(HERE, "..", "..", "..", "grub", "01_abupdate")
LIMIT = 60
# An emulator boots nothing: what the entry would load is said instead.
HEAD = """\
set timeout=0
set default=0
function linux {
        if [ -f "$1" ]; then
                echo "<linux>$@</linux>"
                exit
        fi
        false
}
function initrd {
        true
}
"""
OTHER = """
menuentry other --id other {
        echo "<linux>other</linux>"
        exit
}
"""
SLOT = re.compile(r"subvol=@abupdate/slots/([^/]+)/root")


def run(*argv, **kwargs):
    """A command whose failure is an exception with what it said."""
    done = subprocess.run(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, check=False, **kwargs)
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(map(str, argv))}: {done.stderr.decode().strip()}")
    return done.stdout


class Choice:
    """What GRUB would boot. The try has been counted on the device that it was given."""

    def __init__(self, words):
        self.linux, _, self.options = words.partition(" ")
        match = SLOT.search(self.options)
        self.slot = match and match[1]
        self.id = f"abupdate-{self.slot}"


def script(uuid):
    """What the product adds to the grub.cfg of a machine whose boot partition has that id."""
    with tempfile.TemporaryDirectory(prefix="grub-script-") as folder:
        os.makedirs(f"{folder}/boot/abupdate")
        for name, text in (("mountpoint", "exit 0"), ("probe", f"echo {uuid}")):
            with open(f"{folder}/{name}", "w", encoding="ascii") as file:
                file.write(f"#!/bin/sh\n{text}\n")
            os.chmod(f"{folder}/{name}", 0o755)
        return run(SCRIPT, env=dict(os.environ, PATH=f"{folder}:{os.environ['PATH']}",
                                    grub_probe=f"{folder}/probe",
                                    ABUPDATE_BOOT=f"{folder}/boot")).decode()


def _configuration(uuid):
    """What grub-mkconfig makes: the parts in the order of their names, other systems among them."""
    parts = {"00_header": HEAD, os.path.basename(SCRIPT): script(uuid), "05_other": OTHER,
             "30_os-prober": OTHER}
    return "".join(parts[name] for name in sorted(parts))


def uuid_of(boot):
    """The id of the file system on a device or image."""
    return run("blkid", "-p", "-o", "value", "-s", "UUID", boot).decode().strip()


def _emulate(command):
    """What the command says on a terminal of its own."""
    master, slave = pty.openpty()
    said = b""
    end = time.monotonic() + LIMIT
    with subprocess.Popen(command, stdin=slave, stdout=slave, stderr=slave, close_fds=True,
                          start_new_session=True, env=dict(os.environ, TERM="dumb")) as process:
        os.close(slave)
        try:
            while b"</linux>" not in said and time.monotonic() < end:
                if select.select([master], [], [], 1)[0]:
                    said += os.read(master, 1 << 16)
                elif process.poll() is not None:
                    break
            process.wait(max(end - time.monotonic(), 0.1))
        except (OSError, subprocess.TimeoutExpired):
            pass                        # its terminal has gone, or it asks for a key
        finally:
            process.kill()
            os.close(master)
    return said.decode(errors="replace")


def choose(boot, others, work):
    """Let GRUB boot from @boot (a device or image, which it writes to) with the devices @others
    beside it; @work is a folder for its configuration."""
    os.makedirs(work, exist_ok=True)
    with open(f"{work}/grub.cfg", "w", encoding="ascii") as file:
        file.write(_configuration(uuid_of(boot)))
    run("grub-script-check", f"{work}/grub.cfg")
    with open(f"{work}/device.map", "w", encoding="ascii") as file:
        for number, path in enumerate([boot, *others]):
            file.write(f"(hd{number}) {path}\n")
    said = _emulate(["grub-emu", "-m", f"{work}/device.map", "-d", os.path.abspath(work),
                     "-r", "host"])
    match = re.search(r"<linux>(.*?)</linux>", said.replace("\r", "").replace("\n", ""))
    if not match:
        raise RuntimeError(f"GRUB boots nothing: {said[-2000:]}")
    return Choice(match[1])


def peek(image, part, others, work):
    """What GRUB would boot were the power to come on now: on a copy of @part of the image, which is
    all that GRUB sees, also while it is mounted."""
    os.makedirs(work, exist_ok=True)
    copy = f"{work}/boot.copy"
    with open(image, "rb") as source, open(copy, "wb") as target:
        source.seek(part[0])
        target.write(source.read(part[1]))
    try:
        return choose(copy, others, work)
    finally:
        os.unlink(copy)


def first_files(where, slot, options, initrd=False):
    """What an installer writes into the folder abupdate of the boot partition @where."""
    with open(f"{where}/abupdate/slot-{slot}/entry.cfg", "w", encoding="ascii") as file:
        words = " ".join(f"'{word}'" for word in options.split())
        line = f"        initrd '/abupdate/slot-{slot}/initrd'\n" if initrd else ""
        file.write(f"menuentry 'Version 1.0' --id 'abupdate-{slot}' {{\n"
                   '        set root="${abupdate_device}"\n'
                   f"        linux '/abupdate/slot-{slot}/linux' {words}\n{line}}}\n")
    for number in (0, 1):
        run("grub-editenv", f"{where}/abupdate/grubenv-{number}", "create")
    run("grub-editenv", f"{where}/abupdate/grubenv-0", "set", "abupdate_serial=1",
        f"abupdate_next={slot}", f"abupdate_slots={slot}", "abupdate_end=1")


def environment(folder):
    """Both copies of the environment in the mounted folder abupdate, as dictionaries."""
    found = []
    for number in (0, 1):
        said = run("grub-editenv", f"{folder}/grubenv-{number}", "list").decode()
        found.append(dict(line.split("=", 1) for line in said.splitlines()))
    return found
