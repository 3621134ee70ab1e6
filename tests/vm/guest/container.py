# SPDX-License-Identifier: LGPL-2.1-or-later
"""The system of a guest without its kernel: real systemd, bus and polkit in systemd-nspawn, within seconds.

No loader, no initrd and no kernel of its own: what runs is the default subvolume of the disk that was cut, and a start
after an update is what the loader would have chosen, but counts no tries. Loop devices and file systems are the host's.
"""

import os
import shutil
import signal
import subprocess
import time

from machinery import kernel

NSPAWN = "systemd-nspawn"
ORDERS = "/mnt"         # inside
LIMIT = 120             # seconds of one start


class NoContainer(Exception):
    """There is no container; the text says why."""


def must_be_here():
    """NoContainer where there is no systemd-nspawn."""
    if not shutil.which(NSPAWN):
        raise NoContainer(f"{NSPAWN} is not installed (package systemd-container)")


def _kill(process):
    """End what runs in @process: where nspawn alone is killed, its systemd lives on."""
    with open(f"/proc/{process.pid}/task/{process.pid}/children", encoding="ascii") as file:
        for child in file.read().split():
            os.kill(int(child), signal.SIGKILL)
    process.communicate()


class Container:
    """The system on a copy of disk.img in @cut, which is kept in @work."""

    def __init__(self, cut, work):
        must_be_here()
        self.cut, self.work = os.path.abspath(cut), os.path.abspath(work)
        self.disk = f"{self.work}/disk.img"
        os.makedirs(self.work, exist_ok=True)
        if not os.path.exists(self.disk):
            kernel.sparse_copy(f"{self.cut}/disk.img", self.disk)

    def run(self, script):
        """Start it, run a shell script when it is up, stop it: (exit code, what it said, seconds until the script began)."""
        return kernel.in_private_namespace(self._run, script)

    def _run(self, script):
        root, orders, images = (f"{self.work}/{name}" for name in ("root", "orders", "images"))
        shutil.rmtree(orders, ignore_errors=True)
        for folder in (root, orders, images):
            os.makedirs(folder, exist_ok=True)
        with open(f"{orders}/script", "w", encoding="utf-8") as file:
            file.write(script)
        kernel.mount("tmpfs", "/run", "tmpfs")      # nspawn refuses one that is on a disk
        with kernel.Loop(self.disk) as loop, kernel.Loop(f"{self.cut}/images.img") as maker:
            kernel.mount(loop.device, root, "btrfs")
            kernel.mount(maker.device, images, "ext4", kernel.MS_RDONLY)
            started = time.time()
            try:
                process = subprocess.Popen(
                    [NSPAWN, "--quiet", f"--directory={root}", "--boot", "--register=no", "--keep-unit",
                     "--console=passive", "--capability=all", "--private-network", "--bind-ro=/sys/fs/btrfs",
                     f"--bind={orders}:{ORDERS}", f"--bind-ro={images}:/opt", f"--bind={loop.device}",
                     "--bind=/dev/btrfs-control", "--bind=/dev/loop-control",
                     "systemd.wants=guest-script.service"],
                    stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                    text=True, preexec_fn=lambda: kernel.die_with_parent(signal.SIGTERM))
                told = process.communicate(timeout=LIMIT)[0]
            except subprocess.TimeoutExpired as error:
                _kill(process)
                raise NoContainer(f"the script has not ended after {LIMIT} s: {script}") from error
            finally:
                kernel.umount(images)
                kernel.umount(root)
        try:
            with open(f"{orders}/code", encoding="ascii") as code, \
                 open(f"{orders}/said", encoding="utf-8", errors="replace") as said:
                return int(code.read()), said.read(), os.stat(f"{orders}/begun").st_mtime - started
        except FileNotFoundError:
            raise NoContainer(f"{NSPAWN} ended with {process.returncode} before the script did: "
                              f"{told[-2000:]}") from None
