# SPDX-License-Identifier: LGPL-2.1-or-later
"""One time of power, from boot to shutdown or power cut: the process that holds it.

The holder has a mount namespace of its own, the loop device and the mounts. The programs of the
machine run in a process id namespace below it: when the holder ends, the kernel ends them all.
SIGTERM is a clean shutdown, SIGUSR1 a power cut; the death of the owner process is a power cut
whose disk nobody will look at.

Files in the folder of the machine: machine.json (what `new` was told), session.json (while the
power is on), session.log, journal.jsonl, power.json (how the last session ended).
"""

import json
import os
import selectors
import shlex
import signal
import socket
import stat
import subprocess
import sys
import time
import traceback
import uuid

from . import bus, grubloader, journal, kernel, loader, ubootloader, writelog

PROGRAMS = ("abupdated", "abctl", "abupdate-initrd")


class Session:
    """The holder's state. @config: machine.json and what `boot` was told."""

    def __init__(self, folder, config):
        self.folder = folder
        self.config = config
        self.root = f"{folder}/root"
        self.log = open(f"{folder}/session.log", "ab", buffering=0)
        self.storage = self.loop = self.journal = None
        self.restarts = 0               # of the initrd
        self.parts = {}                 # {label: loop device} where the disk has parts
        self.init = 0
        self.init_control = -1
        self.mounts = []

    # ---- power on

    def _mount(self, source, target, fstype, flags=0, data=None):
        kernel.mount(source, target, fstype, flags, data)
        self.mounts.append(target)

    def _private_places(self):
        """/run and the polkit actions are the machine's own; the rest of the host is only used."""
        kernel.private_mounts()
        self._mount("tmpfs", "/run", "tmpfs", kernel.MS_NOSUID, "mode=755")
        os.makedirs("/run/systemd/system")
        os.mkdir("/run/lock")
        actions = "/usr/share/polkit-1/actions"
        if os.path.isdir(actions):
            private = f"{self.folder}/bus/actions"
            os.makedirs(private, exist_ok=True)
            source = self.config["source"]
            for name in os.listdir(f"{source}/dbus"):
                if name.endswith(".policy"):
                    with open(f"{source}/dbus/{name}", "rb") as policy, \
                            open(f"{private}/{name}", "wb") as target:
                        target.write(policy.read())
            self._mount(private, actions, None, kernel.MS_BIND)
        if self.config["polkit"] and os.path.isdir("/etc/polkit-1"):
            rules = f"{self.folder}/bus/polkit"
            os.makedirs(f"{rules}/rules.d", exist_ok=True)
            self._mount(rules, "/etc/polkit-1", None, kernel.MS_BIND)
        self.journal = journal.Journal("/run/systemd/journal/socket",
                                       f"{self.folder}/journal.jsonl")

    def _attach_disk(self):
        disk = f"{self.folder}/disk.img"
        if self.config["write_log"]:
            kernel.sparse_copy(disk, f"{self.folder}/base.img")
            self.storage = writelog.Storage(disk, f"{self.folder}/write.log",
                                            f"{self.folder}/front.img", self.log)
            disk = f"{self.folder}/front.img"
        self.parts = {name: kernel.Loop(disk, part=part)
                      for name, part in self.config["regions"].items()}
        if not self.parts:
            self.loop = kernel.Loop(disk)

    @property
    def _loops(self):
        return list(self.parts.values()) or [loop for loop in [self.loop] if loop]

    @staticmethod
    def _other_name(name, device):
        """A second node for a device."""
        node = f"/run/mapper-{name}"
        os.mknod(node, stat.S_IFBLK | 0o600, os.stat(device).st_rdev)
        return node

    def _load_entry(self):
        """The loader reads, counts and chooses; the initrd seals and mounts what the entry says."""
        boot = f"{self.folder}/efi"
        os.makedirs(boot, exist_ok=True)
        devices = {name: loop.device for name, loop in self.parts.items()}
        if self.config["loader"] == "grub":
            others = [device for name, device in devices.items() if name != "boot"]
            entry = grubloader.choose(devices["boot"], others, f"{self.folder}/grub")
        elif self.config["loader"] == "uboot":
            disk = f"{self.folder}/{'front' if self.storage else 'disk'}.img"
            entry = ubootloader.choose(disk, ubootloader.environment_of(disk))
            os.symlink(ubootloader.environment_of(disk), "/run/uboot-environment")
        self._mount(devices["boot"], boot, "ext4")
        if self.config["loader"] == "bls":
            folder = f"{boot}/loader/entries"
            entry = loader.choose(folder)
            entry.count(folder)
        for name in devices.keys() - {"boot"}:
            kernel.btrfs_forget(devices[name])
        if self.config["other_names"]:
            mounted = {name: self._other_name(name, path) for name, path in devices.items()}
        else:
            mounted = devices
        root = loader.Root(entry.options, mounted)
        initrd = self.config["programs"].get("abupdate-initrd")
        if initrd and self.config["initrd"]:
            subprocess.run([initrd, f"--device={root.device}", *["--seal"][:root.seal]],
                           stdout=self.log, stderr=self.log, check=False)
        os.makedirs(self.root, exist_ok=True)
        root.mount(self.root)
        self.mounts.append(self.root)
        self._mount(boot, f"{self.root}/efi", None, kernel.MS_BIND)
        self._mount("tmpfs", f"{self.root}/dev", "tmpfs", kernel.MS_NOSUID, "mode=755")
        os.makedirs(f"{self.root}/dev/disk/by-partlabel")
        for name, device in devices.items():
            os.symlink(device, f"{self.root}/dev/disk/by-partlabel/os-{name}")
        self.loop = next(self.parts[name] for name, path in mounted.items() if path == root.device)
        return entry.options

    def _load_default(self):
        """What firmware, loader and initrd do: count the try, follow the default subvolume."""
        initrd = self.config["programs"].get("abupdate-initrd")
        if initrd and self.config["initrd"]:
            with open("/run/cmdline", "w", encoding="ascii") as file:
                file.write(self.config["cmdline"] + "\n")
            kernel.mount("/run/cmdline", "/proc/cmdline", None, kernel.MS_BIND)
            # a reboot ends the first process of its namespace with this signal
            done = subprocess.run(["unshare", "--pid", "--fork", initrd, "--reboot",
                                   f"--device={self.loop.device}"], stdout=self.log,
                                  stderr=self.log, check=False)
            kernel.umount("/proc/cmdline")
            if done.returncode == -signal.SIGHUP:
                self.restarts += 1
                if self.restarts > 1:
                    raise RuntimeError("the initrd reboots again and again")
                return self._load_default()
            if done.returncode != 0:
                self.log.write(f"abupdate-initrd: exit {done.returncode}\n".encode())
        options = None
        flags = 0
        for word in self.config["cmdline"].split():
            if word.startswith("rootflags="):
                options = word.split("=", 1)[1]
            if word == "ro":
                flags = kernel.MS_RDONLY
        os.makedirs(self.root, exist_ok=True)
        device = self.loop.device
        if self.config["other_names"]:
            device = self._other_name("root", device)
        self._mount(device, self.root, "btrfs", flags, options)
        if self.config["other_names"]:
            os.unlink(device)
        return self.config["cmdline"]

    def _load(self):
        cmdline = self._load_entry() if self.parts else self._load_default()
        self._mount("tmpfs", f"{self.root}/proc", "tmpfs", kernel.MS_NOSUID, "mode=755")
        os.makedirs(f"{self.root}/proc/sys/kernel/random")
        boot_id = str(uuid.uuid4())
        texts = {"cmdline": cmdline, "sys/kernel/random/boot_id": boot_id}
        if self.config["release"]:
            texts["sys/kernel/osrelease"] = self.config["release"]
        for name, text in texts.items():
            with open(f"{self.root}/proc/{name}", "w", encoding="ascii") as file:
                file.write(text + "\n")
        self._mount("tmpfs", f"{self.root}/run", "tmpfs", kernel.MS_NOSUID, "mode=755")
        return boot_id

    def _daemon_command(self):
        program = self.config["programs"].get("abupdated")
        if not program:
            return None
        wrap = shlex.split(self.config["wrap"])
        return [*wrap, program, f"--root={self.root}"]

    def _run_init(self, ready, control):
        """Process 1 of the machine: bus, services, and the reaping of everybody."""
        kernel.die_with_parent(signal.SIGKILL)
        kernel.mount("proc", "/proc", "proc", kernel.MS_NOSUID)
        os.environ["DBUS_SYSTEM_BUS_ADDRESS"] = bus.ADDRESS
        os.environ["PATH"] = self.config["path"]
        command = self._daemon_command()
        if self.config["daemon"] != "none":
            launcher = f"{self.folder}/bus/abupdated"
            with open(launcher, "w", encoding="utf-8") as file:
                text = shlex.join(command) if command else "false"
                file.write(f"#!/bin/sh\nexec {text} 2>>{shlex.quote(self.folder)}/session.log\n")
            os.chmod(launcher, 0o755)
            bus.configure(f"{self.folder}/bus",
                          f"{self.config['source']}/dbus/org.abupdate1.conf", launcher)
            bus.start(f"{self.folder}/bus", self.log)
            if self.config["polkit"]:
                bus.start_polkit(self.log)
            if self.config["daemon"] == "direct" and command:
                subprocess.Popen(command, stdout=self.log, stderr=self.log)
        os.write(ready, b"ready\n")
        os.close(ready)
        self._init_loop(control)

    @staticmethod
    def _init_loop(control):
        """Serve the holder: 't' asks everybody to end; the end of the holder is our end."""
        selector = selectors.DefaultSelector()
        selector.register(control, selectors.EVENT_READ)
        while True:
            events = selector.select(0.5)
            try:
                while os.waitpid(-1, os.WNOHANG)[0]:
                    pass
            except ChildProcessError:
                pass
            if not events:
                continue
            order = os.read(control, 1)
            if order == b"t":
                for number, grace in ((signal.SIGTERM, 5.0), (signal.SIGKILL, 5.0)):
                    end = time.monotonic() + grace
                    try:
                        os.kill(-1, number)
                        while time.monotonic() < end:
                            os.waitpid(-1, os.WNOHANG)
                            time.sleep(0.005)
                    except (ChildProcessError, ProcessLookupError):
                        break
                os.write(control, b".")
            else:
                os._exit(0)

    def power_on(self, ready_fd):
        """Everything from the loader to a bus that takes calls. Raises what went wrong."""
        self._private_places()
        self._attach_disk()
        boot_id = self._load()
        os.makedirs(f"{self.folder}/bus", exist_ok=True)
        kernel.unshare(kernel.CLONE_NEWPID)
        ready_reader, ready_writer = os.pipe()
        ours, theirs = socket.socketpair()
        self.init = os.fork()
        if self.init == 0:
            try:
                os.close(ready_reader)
                os.close(ready_fd)
                ours.close()
                os.dup2(self.log.fileno(), 2)
                signal.set_wakeup_fd(-1)
                self._run_init(ready_writer, theirs.detach())
            except BaseException:
                self.log.write(traceback.format_exc().encode())
            finally:
                os._exit(1)
        os.close(ready_writer)
        theirs.close()
        self.init_control = ours.detach()
        with os.fdopen(ready_reader, "rb") as pipe:
            if not pipe.read():
                raise RuntimeError(f"the machine did not come up: see {self.folder}/session.log")
        with open(f"{self.folder}/session.json.new", "w", encoding="utf-8") as file:
            json.dump({"holder": os.getpid(), "init": self.init, "device": self.loop.device,
                       "boot_id": boot_id, "root": self.root, "bus": bus.ADDRESS,
                       "restarts": self.restarts}, file)
        os.rename(f"{self.folder}/session.json.new", f"{self.folder}/session.json")

    # ---- power off

    def _ask_init(self, order):
        if self.init_control >= 0:
            try:
                os.write(self.init_control, order)
                os.read(self.init_control, 1)
            except OSError:
                pass

    def _kill_init(self):
        if self.init:
            try:
                os.kill(self.init, signal.SIGKILL)
                os.waitpid(self.init, 0)
            except (ChildProcessError, ProcessLookupError):
                pass
            self.init = 0

    def _cut(self):
        """The disk keeps what the device has at this moment, whatever is still in memory."""
        for loop in self._loops:
            loop.cut()
        return {"entries": writelog.count_entries(self.storage.log)} if self.storage else {}

    def _release(self, clean):
        """Unmount and detach. Returns what could not be let go, for the tests to fail on."""
        left = []
        if self.journal:
            self.journal.socket.close()
        for target in reversed(self.mounts):
            try:
                kernel.umount(target, 0 if clean else kernel.MNT_DETACH)
            except OSError as error:
                left.append(str(error))
                try:
                    kernel.umount(target, kernel.MNT_DETACH)
                except OSError:
                    pass
        self.mounts = []
        left += [f"{loop.device} is still in use" for loop in self._loops if not loop.close()]
        if self.storage:
            self.storage.stop()
            kernel.LIBC.umount2(f"{self.folder}/front.img".encode(), kernel.MNT_DETACH)
        return left

    def power_off(self, cut):
        """End the session. With @cut nothing that is in memory reaches the disk's future."""
        result = {"cut": cut}
        try:
            if cut:
                result.update(self._cut())
            else:
                self._ask_init(b"t")
        except Exception as error:
            result["error"] = str(error)
        self._kill_init()
        result["left"] = self._release(clean=not cut)
        with open(f"{self.folder}/power.json", "w", encoding="utf-8") as file:
            json.dump(result, file)
        try:
            os.unlink(f"{self.folder}/session.json")
        except FileNotFoundError:
            pass

    # ---- between

    def serve(self, wake, owner):
        """Collect journal entries until somebody ends the session; True: by a power cut."""
        selector = selectors.DefaultSelector()
        selector.register(wake, selectors.EVENT_READ, "signal")
        selector.register(self.journal, selectors.EVENT_READ, "journal")
        if owner:
            selector.register(owner, selectors.EVENT_READ, "owner")
        while True:
            for key, _ in selector.select():
                if key.data == "journal":
                    self.journal.receive()
                elif key.data == "owner":
                    return True
                else:
                    for number in os.read(wake, 64):
                        if number == signal.SIGTERM:
                            return False
                        if number == signal.SIGUSR1:
                            return True


def main(folder, ready_fd, owner_pid):
    """The holder process. Writes "ok" or an error to @ready_fd, then lives as long as the power."""
    wake_reader, wake_writer = os.pipe()
    os.set_blocking(wake_writer, False)
    signal.set_wakeup_fd(wake_writer)   # an order that comes early waits here
    for number in (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda *_: None)
    owner = os.pidfd_open(owner_pid) if owner_pid else None
    with open(f"{folder}/boot.json", encoding="utf-8") as file:
        session = Session(folder, json.load(file))
    try:
        session.power_on(ready_fd)
    except BaseException as error:
        session.log.write(traceback.format_exc().encode())
        session.power_off(cut=False)
        os.write(ready_fd, str(error).encode() or b"unknown")
        return 1
    os.write(ready_fd, b"ok")
    os.close(ready_fd)
    session.power_off(cut=session.serve(wake_reader, owner))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3])))
