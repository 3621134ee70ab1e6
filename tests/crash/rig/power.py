# SPDX-License-Identifier: LGPL-2.1-or-later
"""A disk image attached and booted without bus and daemon: loader, initrd, root, workers.

Only for processes with a mount namespace of their own (kernel.private_mounts()).
"""

import os
import subprocess
import time
import uuid

from machinery import kernel, worker

from . import facts

MS_REMOUNT = 32
CMDLINE = "BOOT_IMAGE=/boot/vmlinuz root=LABEL=machine rw quiet\n"


class Outcome:
    """How a worker ended."""

    def __init__(self, what, raw, seconds):
        self.what = what
        self.raw = raw
        self.seconds = seconds
        self.result = raw["result"] or {}
        self.status = raw["status"]

    @property
    def killed(self):
        """Whether it ended without its last words."""
        return not self.result

    @property
    def code(self):
        """0, -errno, or None where it said nothing."""
        return self.result.get("code")

    @property
    def kind(self):
        """The stable name of the error."""
        return self.result.get("kind", "")

    def __str__(self):
        return f"{self.what}: {self.result or f'died, status {self.status}'}"


class Power:
    """One time of power of the disk @image, in @folder.

    @slot: this one is the running system, as if it had been booted before (no initrd then);
    without it the loader's way: count the try, mount the default subvolume read-only.
    """

    def __init__(self, programs, folder, image, log, slot=None):
        self.programs = programs
        self.root, self.top = f"{folder}/root", f"{folder}/top"
        self.log = log
        self.mounts = []
        self.loop = kernel.Loop(image)
        try:
            if not slot:
                self.count_try()
            self._mount(slot)
        except BaseException:
            self.off()
            raise

    def count_try(self):
        """What the initrd does before the root is mounted."""
        done = subprocess.run([self.programs["abupdate-initrd"], f"--device={self.loop.device}"],
                              stdout=self.log, stderr=self.log, check=False)
        if done.returncode != 0:
            raise RuntimeError(f"abupdate-initrd: exit {done.returncode}")

    def _at(self, source, target, *args):
        kernel.mount(source, target, *args)
        self.mounts.append(target)

    def _mount(self, slot):
        os.makedirs(self.root, exist_ok=True)
        os.makedirs(self.top, exist_ok=True)
        if slot:
            self._at(self.loop.device, self.root, "btrfs", 0, f"subvol=@abupdate/slots/{slot}/root")
        else:
            self._at(self.loop.device, self.root, "btrfs", kernel.MS_RDONLY)

    def go_on(self):
        """After a look at the root: writable, with a /proc and a view of the whole file system."""
        kernel.mount("none", self.root, None, MS_REMOUNT)
        self._at(self.loop.device, self.top, "btrfs", 0, "subvolid=5")
        self._at("tmpfs", f"{self.root}/proc", "tmpfs", kernel.MS_NOSUID, "mode=755")
        os.makedirs(f"{self.root}/proc/sys/kernel/random")
        for name, text in (("cmdline", CMDLINE),
                           ("sys/kernel/random/boot_id", f"{uuid.uuid4()}\n")):
            with open(f"{self.root}/proc/{name}", "w", encoding="ascii") as file:
                file.write(text)
        return self

    def order(self, what, image=None, wrap=(), on_packet=None):
        """Run a worker to its end."""
        start = time.monotonic()
        raw = worker.order(self.programs["abupdated"], self.root, what, image, wrap, on_packet)
        return Outcome(what, raw, time.monotonic() - start)

    def facts(self):
        """The layout now."""
        return facts.Facts(self.top)

    def off(self):
        """Unmount in order and detach. Returns lines about what could not be let go."""
        left = []
        for target in reversed(self.mounts):
            try:
                kernel.umount(target)
            except OSError as error:
                left.append(str(error))
                kernel.umount(target, kernel.MNT_DETACH)
        self.mounts = []
        if not self.loop.close():
            left.append(f"{self.loop.device} is still in use")
        return left

    def mounted(self):
        """Where its file system is mounted (other machines' mounts come and go meanwhile)."""
        with open("/proc/self/mountinfo", encoding="utf-8") as file:
            rows = [line.split() for line in file]
        return sorted(row[4] for row in rows if row[row.index("-") + 2] == self.loop.device)
