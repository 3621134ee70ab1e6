# SPDX-License-Identifier: LGPL-2.1-or-later
"""A guest under QEMU, without KVM: boot, give orders, reboot, cut the power.

QEMU leaves at every reset (-no-reboot) and is started again by wait_up(), so boots are counted, also
those of a system that panics before it can say anything.
"""

import base64
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
BOOT_LIMIT = 300        # seconds of one boot, on a busy machine
CMDLINE = ("root=LABEL=guest rw console=ttyS0 net.ifnames=0 panic=1 random.trust_cpu=on audit=0 "
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
    """A machine with the disk of a cut() in @cut; what it writes goes to an overlay in @work."""

    def __init__(self, cut, work, initrd="initramfs-tools", machine="microvm", cmdline=""):
        self.cut, self.work, self.machine = os.path.abspath(cut), os.path.abspath(work), machine
        self.kernel, self.initrd = f"{cut}/vmlinuz", f"{cut}/initrd-{initrd}"
        self.cmdline = f"{CMDLINE} {cmdline}"
        self.disk, self.log = f"{self.work}/disk.qcow2", f"{self.work}/console.log"
        self.process = self.agent = None
        self.boots = 0
        self.boot_id = self.unread = ""
        self.variables = f"{self.work}/variables.fd"
        os.makedirs(work, exist_ok=True)
        if machine == "uefi" and not os.path.exists(self.variables):
            shutil.copy(uefi.VARIABLES, self.variables)
        if not os.path.exists(self.disk):
            run("qemu-img", "create", "-q", "-f", "qcow2", "-F", "raw", "-b", f"{self.cut}/disk.img",
                self.disk)

    def arguments(self, port=None):
        """The command line of QEMU; @port: the descriptor of the agent's socket."""
        cmdline, kind, firmware = self.cmdline, self.machine, []
        if kind == "uefi":
            kind, firmware = "q35", ["-drive", f"if=pflash,format=raw,readonly=on,file={uefi.CODE}",
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
        return [QEMU, "-M", kind, "-accel", "tcg", "-cpu", "max", "-smp", "1", "-m", "768",
                "-nodefaults", "-no-reboot", "-display", "none", *console,
                *(firmware or ["-kernel", self.kernel, "-initrd", self.initrd, "-append", cmdline]),
                "-drive", f"if=none,id=disk,file={self.disk},format=qcow2,cache=writeback",
                "-device", "virtio-blk-pci,drive=disk",
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
        self.agent, self.unread = ours, ""
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
        """Wait until the agent speaks, with at most @boots boots; returns how many it took."""
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
                self.boot_id = line.split()[1]
                return count
        raise Dead(f"not up after {boots} boots\n{self.tail()}")

    def run(self, script, limit=120):
        """Run a shell script inside; returns (exit code, what it said)."""
        self.agent.sendall(base64.b64encode(script.encode()) + b"\n")
        line = self._line(limit)
        if line is None:
            raise Dead(f"the guest went away during: {script}\n{self.tail()}")
        code, said = line.split(" ", 1)
        return int(code), base64.b64decode(said).decode(errors="replace")

    def send(self, script):
        """Give an order whose answer nobody waits for."""
        self.agent.sendall(base64.b64encode(script.encode()) + b"\n")

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

    def snapshot(self, path):
        """A copy of the disk as a power cut at this moment would leave it."""
        self.process.send_signal(signal.SIGSTOP)
        shutil.copy(self.disk, path)
        self.process.send_signal(signal.SIGCONT)

    def tail(self, size=3000):
        """The end of the console."""
        try:
            with open(self.log, "rb") as file:
                file.seek(max(os.path.getsize(self.log) - size, 0))
                return file.read().decode(errors="replace")
        except FileNotFoundError:
            return ""
