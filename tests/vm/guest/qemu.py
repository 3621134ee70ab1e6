# SPDX-License-Identifier: LGPL-2.1-or-later
"""A guest under QEMU, without KVM: boot, give orders, reboot, cut the power.

QEMU leaves at every reset (-no-reboot) and is started again by wait_up(), so boots are counted, also
those of a system that panics before it can say anything.
"""

import base64
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import time

from machinery import kernel
from machinery.disk import run

from . import uefi

QEMU = "qemu-system-x86_64"
BOOT_LIMIT = 400        # seconds of one boot, on a busy machine
DISKS = ("boot", "disk", "a", "b")      # in this order; firmware boots from the first one
CMDLINE = (f"root=LABEL=guest rw console=ttyS0 net.ifnames=0 {uefi.REBOOTS} random.trust_cpu=on audit=0 "
           "mitigations=off cryptomgr.notests no_timer_check raid=noautodetect "
           "systemd.show_status=no systemd.log_level=notice systemd.machine_id=6775657374677565737467756573740a")


class Dead(Exception):
    """The guest did not come up, or went away while it was asked."""


def clock():
    """What a microvm cannot find out itself on a busy host: how fast its time stamp counter runs."""
    with open("/proc/cpuinfo", encoding="ascii") as file:
        found = re.search(r"cpu MHz\s*: ([0-9.]+)", file.read())
    khz = int(float(found[1]) * 1000) if found else 2000000
    return f"tsc_early_khz={khz} lpj={khz * 2}"


class Guest:
    """A machine with the disks of a cut() in @cut; what it writes goes to overlays in @work. `disks`
    says which of them are plugged in at the next boot, `late` which of those only by plug(), of `logged`
    every write is kept in write_log(); those of `two_paths` are two SCSI disks each, "b" and "b-2"."""

    def __init__(self, cut, work, initrd="initramfs-tools", machine="microvm", cmdline=""):
        self.options = {"initrd": initrd, "machine": machine, "cmdline": cmdline}
        self.cut, self.work, self.machine = os.path.abspath(cut), os.path.abspath(work), machine
        self.kernel, self.initrd = f"{cut}/vmlinuz", f"{cut}/initrd-{initrd}"
        self.cmdline = f"{CMDLINE} {cmdline}"
        self.disks = [name for name in DISKS if os.path.exists(f"{self.cut}/{name}.img")]
        self.late, self.logged = [], []
        self.two_paths = []
        if os.path.exists(f"{self.cut}/two-paths"):
            with open(f"{self.cut}/two-paths", encoding="ascii") as file:
                self.two_paths = file.read().split()
        self.log = f"{self.work}/console.log"
        self.process = self.agent = None
        self.boots, self.is_up = 0, False
        self.boot_id = self.unread = ""
        self.variables = f"{self.work}/variables.fd"
        os.makedirs(work, exist_ok=True)
        if machine == "uefi" and not os.path.exists(self.variables):
            shutil.copy(uefi.VARIABLES, self.variables)
        for name in self.disks:
            if not os.path.exists(self._overlay(name)):
                run("qemu-img", "create", "-q", "-f", "qcow2", "-F", "raw",
                    "-b", f"{self.cut}/{name}.img", self._overlay(name))

    def _overlay(self, name):
        return f"{self.work}/{name}.qcow2"

    def write_log(self, name):
        """What machinery.writelog reads, of all boots."""
        return f"{self.work}/{name}.log"

    @staticmethod
    def _device(name):
        return f"drive={name},id=disk-{name},serial={name}"

    def _disk(self, name):
        """The words for one disk, with one path or two."""
        if name in self.two_paths:
            path = f"scsi-hd,drive={name},serial={name},share-rw=on,bus=scsi-{name}.0"
            return ["-blockdev", f"qcow2,node-name={name},file.driver=file,file.filename={self._overlay(name)}",
                    "-device", f"virtio-scsi-pci,id=scsi-{name}",
                    "-device", f"{path},id=disk-{name}", "-device", f"{path},id=disk-{name}-2"]
        if name in self.logged:
            log, more = self.write_log(name), os.path.exists(self.write_log(name))
            with open(log, "ab"):
                pass
            return ["-blockdev", f"qcow2,node-name={name}-disk,file.driver=file,file.filename={self._overlay(name)}",
                    "-blockdev", f"blklogwrites,node-name={name},file={name}-disk,log.driver=file,log.filename={log},"
                                 f"log-super-update-interval=1,{'log-append=on' if more else 'log-sector-size=512'}",
                    "-device", f"virtio-blk-pci,{self._device(name)}"]
        drive = f"if=none,id={name},file={self._overlay(name)},format=qcow2,cache=writeback"
        attached = [] if name in self.late else ["-device", f"virtio-blk-pci,{self._device(name)}"]
        return ["-drive", drive, *attached]

    def arguments(self, port=None):
        """The command line of QEMU; @port: the descriptor of the agent's socket."""
        cmdline, kind, firmware = self.cmdline, self.machine, []
        if kind == "uefi":
            kind, firmware = "pc", ["-drive", f"if=pflash,format=raw,readonly=on,file={uefi.CODE}",
                                     "-drive", f"if=pflash,format=raw,file={self.variables}"]
        if kind == "microvm":
            kind, cmdline = "microvm,pcie=on,rtc=on", f"{cmdline} {clock()}"
        console = ["-chardev", f"file,id=console,path={self.log},append=on",
                   "-serial", "chardev:console"]
        if port is None:
            console = ["-serial", "mon:stdio"]
            cmdline += " systemd.wants=guest-shell.service"
        else:
            console += ["-device", "virtio-serial-pci", "-chardev", f"socket,id=agent,fd={port}",
                        "-device", "virtserialport,chardev=agent,name=agent"]
        console += ["-qmp", f"unix:{self.work}/control,server=on,wait=off"]
        return [QEMU, "-M", kind, "-accel", "tcg", "-cpu", "max", "-smp", "1", "-m", "768",
                "-nodefaults", "-no-reboot", "-display", "none", *console,
                *(firmware or ["-kernel", self.kernel, "-initrd", self.initrd, "-append", cmdline]),
                *(word for name in self.disks for word in self._disk(name)),
                "-drive", f"if=none,id=images,file={self.cut}/images.img,format=raw,read-only=on",
                "-device", "virtio-blk-pci,drive=images"]

    def start(self):
        """Power on."""
        ours, theirs = socket.socketpair()
        self.process = subprocess.Popen(
            self.arguments(theirs.fileno()), pass_fds=[theirs.fileno()],
            stdin=subprocess.DEVNULL, stderr=open(f"{self.work}/qemu.log", "ab"),
            preexec_fn=lambda: kernel.die_with_parent(signal.SIGKILL))
        theirs.close()
        self.agent, self.unread, self.is_up = ours, "", False
        self.boots += 1

    def _line(self, limit):
        """The next line from the agent; None when the guest has gone."""
        end = time.monotonic() + limit
        while "\n" not in self.unread:
            self.agent.settimeout(max(end - time.monotonic(), 0.01))
            try:
                data = self.agent.recv(1 << 16)
            except TimeoutError as error:
                raise Dead(f"no word from the guest for {limit} s\n{self.tail()}") from error
            except ConnectionResetError:
                data = b""
            if not data:
                self.process.wait()
                return None
            self.unread += data.decode()
        line, self.unread = self.unread.split("\n", 1)
        return line

    def wait_up(self, boots=1):
        """Wait until the agent speaks, with at most @boots boots; returns how many it took. Where it has
        spoken already there is nothing to wait for."""
        if self.is_up and self.process.poll() is None:
            return 0
        retried = False
        for count in range(1, boots + 1):
            if self.process is None or self.process.poll() is not None:
                self.start()
            try:
                line = self._line(BOOT_LIMIT)
            except Dead:
                if retried or self.machine == "uefi" or "Run /init" in self.tail(1 << 20):
                    raise
                # the emulated board now and then does not get as far as the kernel's first program
                retried = True
                self.kill()
                self.start()
                line = self._line(BOOT_LIMIT)
            if line:
                self.boot_id, self.is_up = line.split()[1], True
                return count
        raise Dead(f"not up after {boots} boots\n{self.tail()}")

    def run(self, script, limit=120):
        """Run a shell script inside; returns (exit code, what it said)."""
        self.send(script)
        return self.answer(limit)

    def send(self, script):
        """Give an order, and do not wait for its answer."""
        self.agent.sendall(base64.b64encode(script.encode()) + b"\n")

    def answer(self, limit=120):
        """What run() returns, to an order that was sent."""
        line = self._line(limit)
        if line is None:
            raise Dead(f"the guest went away while it was asked\n{self.tail()}")
        code, said = line.split(" ", 1)
        return int(code), base64.b64decode(said).decode(errors="replace")

    def _control(self, order, **words):
        """Tell QEMU something."""
        with socket.socket(socket.AF_UNIX) as control:
            control.connect(f"{self.work}/control")
            control.settimeout(60)
            file = control.makefile("rw", encoding="utf-8")
            file.readline()
            for line in ({"execute": "qmp_capabilities"}, {"execute": order, "arguments": words}):
                print(json.dumps(line), file=file, flush=True)
                said = json.loads(file.readline())
                while "event" in said:
                    said = json.loads(file.readline())
                if "error" in said:
                    raise Dead(f"{line}: {said['error']['desc']}")

    def unplug(self, name):
        """Pull the cable of a disk. It is there again at the next boot. Not on a microvm."""
        self._control("device_del", id=f"disk-{name}")

    def plug(self, name):
        """Attach a disk that is late. Not on a microvm."""
        self._control("device_add", driver="virtio-blk-pci",
                      **dict(word.split("=") for word in self._device(name).split(",")))

    def wait_down(self, limit=60):
        """Wait until QEMU has left."""
        try:
            self.process.wait(limit)
        except subprocess.TimeoutExpired as error:
            raise Dead(f"still running after {limit} s\n{self.tail()}") from error
        self.agent.close()

    def reboot(self, boots=1):
        """Restart in good order; returns the number of boots until it was up."""
        self.send("systemctl reboot")
        self.wait_down()
        return self.wait_up(boots)

    def kill(self):
        """Power cut: what the host's file holds now is what the disk holds."""
        if self.process and self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        if self.agent:
            self.agent.close()

    def snapshot(self, folder):
        """A copy of all disks as a power cut at this moment would leave them, in a new folder; False
        where the power is off."""
        process = self.process
        if not process or process.poll() is not None:
            return False
        os.makedirs(folder)
        process.send_signal(signal.SIGSTOP)
        try:
            for name in self.disks:
                shutil.copy(self._overlay(name), folder)
            if self.machine == "uefi":
                shutil.copy(self.variables, folder)
        finally:
            process.send_signal(signal.SIGCONT)
        return True

    def tail(self, size=3000):
        """The end of the console."""
        try:
            with open(self.log, "rb") as file:
                file.seek(max(os.path.getsize(self.log) - size, 0))
                return file.read().decode(errors="replace")
        except FileNotFoundError:
            return ""
