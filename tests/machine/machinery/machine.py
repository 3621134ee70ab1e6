# SPDX-License-Identifier: LGPL-2.1-or-later
"""class Machine: what the command `machine` and every test drive."""

import json
import os
import pwd
import shutil
import signal
import subprocess
import sys
import time

from . import bus, disk, grubloader, kernel, loader, maker, session, ubootloader, writelog

HERE = os.path.dirname(os.path.abspath(__file__))
SOURCE = os.path.dirname(os.path.dirname(os.path.dirname(HERE)))
KINDS = {("snapshot", "default-subvolume"), ("snapshot", "bls"), ("snapshot", "grub"), ("seed", "bls"),
         ("seed", "grub"), ("snapshot", "uboot"), ("seed", "uboot")}
CMDLINE = "BOOT_IMAGE=/boot/vmlinuz root=LABEL=machine rw quiet"


class MachineError(Exception):
    """The machine itself could not do it; says nothing of the software on it."""


class Result:
    """How a command inside the machine ended."""

    def __init__(self, argv, code, out, err):
        self.argv, self.code, self.out, self.err = argv, code, out, err

    @property
    def data(self):
        """Standard output as JSON."""
        return json.loads(self.out)

    def __str__(self):
        return (f"$ {' '.join(map(str, self.argv))}\nexit {self.code}\n--- stdout\n{self.out}"
                f"--- stderr\n{self.err}")


def find_programs(build):
    """Where the build tree @build has our programs; those it lacks are left out."""
    found = {}
    for folder, _, names in os.walk(build):
        for name in session.PROGRAMS:
            path = os.path.join(folder, name)
            if name in names and os.access(path, os.X_OK):
                found.setdefault(name, path)
    return found


class Machine:
    """A machine in @folder. Use it in a `with` statement to have it destroyed at the end."""

    def __init__(self, folder, build=None, owner=None):
        self.folder = os.path.abspath(folder)
        self.build = build and os.path.abspath(build)
        self.owner = owner
        self.root = f"{self.folder}/root"

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.destroy()

    # ---- facts

    def _read(self, name):
        try:
            with open(f"{self.folder}/{name}", encoding="utf-8") as file:
                return json.load(file)
        except FileNotFoundError:
            return None

    def _write(self, name, data):
        with open(f"{self.folder}/{name}.new", "w", encoding="utf-8") as file:
            json.dump(data, file, indent=1)
        os.rename(f"{self.folder}/{name}.new", f"{self.folder}/{name}")

    @property
    def spec(self):
        """What `new` was told."""
        spec = self._read("machine.json")
        if spec is None:
            raise MachineError(f"there is no machine in {self.folder}: begin with `new`")
        return spec

    @property
    def running(self):
        """The facts of the session while the power is on, else None."""
        facts = self._read("session.json")
        if facts and os.path.exists(f"/proc/{facts['holder']}"):
            with open(f"/proc/{facts['holder']}/cmdline", "rb") as file:
                if os.fsencode(self.folder) in file.read().split(b"\0"):
                    return facts
        return None

    def _session(self):
        facts = self.running
        if not facts:
            raise MachineError("the machine is off: `boot` it first")
        return facts

    @property
    def boot_id(self):
        """The id of this boot."""
        return self._session()["boot_id"]

    def info(self):
        """Everything about the machine as one dictionary."""
        facts = self.running
        return {"folder": self.folder, "power": "on" if facts else "off", **self.spec,
                **(facts or {}), "last-power-off": self._read("power.json"),
                "versions": maker.versions(self.folder)}

    def programs(self):
        """The programs of the build tree, by name."""
        build = self.build or self.spec.get("build")
        return find_programs(build) if build else {}

    # ---- life

    def new(self, os_tree="host", size=disk.DEFAULT_SIZE, write_log=False, read_only=False,
            subvolumes="", backend="snapshot", boot="default-subvolume", sizes=None):
        """Install version 1.0 on a new disk."""
        if (backend, boot) not in KINDS:
            raise MachineError(f"this machine cannot be installed with {backend} and {boot}")
        if os.path.exists(f"{self.folder}/machine.json"):
            raise MachineError(f"{self.folder} is a machine already: `destroy` it first")
        if os.path.isdir(os_tree):
            os_tree = os.path.abspath(os_tree)
        os.makedirs(self.folder, exist_ok=True)
        pair = {"os": os_tree, "size": size, "read_only": read_only, "subvolumes": subvolumes}
        if boot != "default-subvolume":
            pair.update(backend=backend, boot=boot, sizes=sizes or {})
        disk.make_pair(self.folder, pair)
        self._write("machine.json", {**pair, "write_log": write_log, "backend": backend,
                                     "boot": boot, "build": self.build})
        return self

    def boot(self, cmdline=CMDLINE, daemon="activated", polkit=False, wrap="", initrd=True,
             release=None, other_names=False):
        """Power on. @daemon: activated, direct or none. @wrap: a command in front of the daemon.
        @release: what the kernel says that it is. @other_names: the devices are mounted under names
        of their own, as a map of several paths is; without a loader, under one that is gone then, as
        /dev/root is where there was no initrd."""
        if self.running:
            raise MachineError("the power is on already")
        spec = self.spec
        programs = self.programs()
        path = ":".join([*dict.fromkeys(map(os.path.dirname, programs.values())),
                         os.environ.get("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")])
        self._write("boot.json", {
            "cmdline": cmdline, "daemon": daemon, "polkit": polkit, "wrap": wrap, "path": path,
            "initrd": initrd, "programs": programs, "source": SOURCE,
            "write_log": spec["write_log"], "loader": spec["boot"], "regions": disk.regions(spec),
            "release": release, "other_names": other_names})
        reader, writer = os.pipe()
        environ = dict(os.environ, PYTHONPATH=os.path.dirname(HERE))
        holder = subprocess.Popen(
            [sys.executable, "-m", "machinery.session", self.folder, str(writer),
             str(self.owner or 0)],
            pass_fds=[writer], env=environ, start_new_session=True, stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        os.close(writer)
        with os.fdopen(reader, "rb") as pipe:
            answer = pipe.read().decode()
        if answer != "ok":
            holder.wait()
            raise MachineError(answer or f"the holder died: see {self.folder}/session.log")
        self._holder = holder
        return self

    def _power_off(self, number):
        facts = self._session()
        try:
            pidfd = os.pidfd_open(facts["holder"])
        except ProcessLookupError:
            return None
        try:
            signal.pidfd_send_signal(pidfd, number)
            end = time.monotonic() + 90
            while self.running:
                if getattr(self, "_holder", None) and self._holder.poll() is not None:
                    break
                if time.monotonic() > end:
                    raise MachineError("the holder does not end")
                time.sleep(0.01)
        finally:
            os.close(pidfd)
        if getattr(self, "_holder", None):
            self._holder.wait()
            self._holder = None
        result = self._read("power.json")
        if result.get("error"):
            raise MachineError(result["error"])
        if result["left"]:
            raise MachineError(f"not let go at power off: {', '.join(result['left'])}")
        return result

    def shutdown(self):
        """End everything in order and unmount."""
        return self._power_off(signal.SIGTERM)

    def reboot(self, **options):
        """A clean reboot."""
        self.shutdown()
        return self.boot(**options)

    def power_cut(self, entry=None):
        """Stop everything at once; the disk keeps what it had. Returns the facts of the cut.

        With a write log the disk loses what no flush had made durable, or everything after log
        entry number @entry.
        """
        result = self._power_off(signal.SIGUSR1)
        if "entries" in result:
            with writelog.Replay(f"{self.folder}/base.img", f"{self.folder}/write.log",
                                 f"{self.folder}/disk.cut", kernel.sparse_copy) as replay:
                durable = writelog.last_flush(replay.entries, result["entries"])
                result["entry"] = durable if entry is None else entry
                replay.forward(result["entry"])
            os.rename(f"{self.folder}/disk.cut", f"{self.folder}/disk.img")
        return result

    def destroy(self):
        """Nothing is left. Repeatable; works on a machine in any state."""
        if self.running:
            try:
                self._power_off(signal.SIGUSR1)
            except MachineError:
                pass
        shutil.rmtree(self.folder, ignore_errors=True)

    # ---- inside

    def environment(self):
        """The environment of a command inside the machine."""
        self._session()
        boot = self._read("boot.json")
        return dict(os.environ, PATH=boot["path"], DBUS_SYSTEM_BUS_ADDRESS=bus.ADDRESS,
                    MACHINE_ROOT=self.root, MACHINE_DIR=self.folder)

    def command(self, argv, user=None, cwd=None):
        """The command line that runs @argv inside, as @user where given, in the folder @cwd (/)."""
        enter = ["nsenter", f"--target={self._session()['init']}", "--mount", "--pid"]
        if user:
            entry = pwd.getpwnam(user)
            enter += [f"--setuid={entry.pw_uid}", f"--setgid={entry.pw_gid}"]
        there = ["env", f"--chdir={cwd}"] if cwd else []
        return [*enter, "--", *there, *map(str, argv)]

    def popen(self, *argv, user=None, cwd=None, **kwargs):
        """Start a command inside the machine."""
        return subprocess.Popen(self.command(argv, user, cwd), env=self.environment(), **kwargs)

    def run(self, *argv, user=None, timeout=120, stdin=subprocess.DEVNULL, **kwargs):
        """Run a command inside the machine to its end."""
        with self.popen(*argv, user=user, stdin=stdin, stdout=subprocess.PIPE,
                        stderr=subprocess.PIPE, text=True, **kwargs) as process:
            try:
                out, err = process.communicate(timeout=timeout)
            except subprocess.TimeoutExpired:
                process.kill()
                out, err = process.communicate()
                return Result(argv, "timeout", out, err)
        return Result(argv, process.returncode, out, err)

    def abctl(self, *args, **kwargs):
        """Run abctl inside the machine."""
        return self.run("abctl", "--no-pager", *args, **kwargs)

    # ---- outside

    def image(self, version, output, **kwargs):
        """Have the maker write an update image; see maker.make_image()."""
        kwargs.setdefault("subvolumes", self.spec["subvolumes"])
        return maker.make_image(self.folder, version, os.path.abspath(output), **kwargs)

    def on_disk(self, function, *args):
        """Call function(top, *args) where @top shows the whole file system, on or off."""
        facts = self.running
        parts = disk.regions(self.spec)

        def work():
            top = f"{self.folder}/top"
            os.makedirs(top, exist_ok=True)
            if facts and parts:
                kernel.mount(self.root_source(), top, "btrfs", kernel.MS_RDONLY, "subvolid=5")
                return function(top, *args)
            if parts:
                return self._on_parts(parts, top, function, *args)
            if facts:
                kernel.mount(facts["device"], top, "btrfs", 0, "subvolid=5")
                return function(top, *args)
            with disk.mounted(f"{self.folder}/disk.img", top):
                try:
                    return function(top, *args)
                finally:
                    kernel.umount(top)
        return kernel.in_private_namespace(work)

    def root_source(self):
        """The device that the kernel names for the running root: its sprout, once there is one."""
        with open(f"/proc/{self._session()['init']}/mountinfo", encoding="utf-8") as file:
            rows = [line.split() for line in file]
        row = next(row for row in rows if row[4] == self.root)
        return row[row.index("-") + 2]

    def part_hash(self, name):
        """A digest of everything on one part of the disk, as it is now."""
        offset, length = disk.regions(self.spec)[name]
        return kernel.content_hash(f"{self.folder}/disk.img", offset, length)

    def next_slot(self):
        """The slot of the entry that the loader would choose."""
        if self.spec["boot"] in ("grub", "uboot"):
            return self._peek().slot
        return self._with_boot(lambda folder: loader.choose(folder).id.split("-", 1)[1])

    def _peek(self, others=()):
        if self.spec["boot"] == "uboot":
            return ubootloader.peek(f"{self.folder}/disk.img", self.uboot_environment)
        return grubloader.peek(f"{self.folder}/disk.img", disk.regions(self.spec)["boot"], others,
                               f"{self.folder}/peek")

    @property
    def uboot_environment(self):
        """The file with both copies of U-Boot's environment."""
        return ubootloader.environment_of(f"{self.folder}/disk.img")

    def in_boot(self, function):
        """Call function(path) with the boot partition mounted there."""
        return self._with_boot(lambda folder: function(folder.removesuffix("/loader/entries")))

    def entries(self):
        """The files of all boot entries, the loader's choice first: {name: options}."""
        return self._with_boot(lambda folder: {e.name: e.options for e in loader.entries(folder)})

    def _with_boot(self, function):
        if self.running:
            return function(f"/proc/{self._session()['init']}/root{self.root}/efi/loader/entries")

        def work():
            os.makedirs(f"{self.folder}/efi", exist_ok=True)
            part = disk.regions(self.spec)["boot"]
            with kernel.Loop(f"{self.folder}/disk.img", part=part) as loop:
                kernel.mount(loop.device, f"{self.folder}/efi", "ext4")
                try:
                    return function(f"{self.folder}/efi/loader/entries")
                finally:
                    kernel.umount(f"{self.folder}/efi")
        return kernel.in_private_namespace(work)

    def root_slot(self):
        """The slot whose root the kernel has mounted."""
        with open(f"/proc/{self._session()['init']}/mountinfo", encoding="utf-8") as file:
            rows = [line.split() for line in file]
        return next(row for row in rows if row[4] == self.root)[3].split("/")[3]

    def _on_parts(self, parts, top, function, *args):
        """What would boot, mounted as its entry says; no try is counted."""
        image = f"{self.folder}/disk.img"
        loops = {name: kernel.Loop(image, part=part) for name, part in parts.items()}
        try:
            os.makedirs(f"{self.folder}/efi", exist_ok=True)
            kernel.mount(loops["boot"].device, f"{self.folder}/efi", "ext4")
            if self.spec["boot"] in ("grub", "uboot"):
                entry = self._peek([loop.device for n, loop in loops.items() if n != "boot"])
            else:
                entry = loader.choose(f"{self.folder}/efi/loader/entries")
            root = loader.Root(entry.options, {n: loop.device for n, loop in loops.items()})
            root.mount(top, top=True, read_only=True)
            try:
                return function(top, *args)
            finally:
                kernel.umount(top)
        finally:
            kernel.LIBC.umount2(f"{self.folder}/efi".encode(), 0)
            for loop in loops.values():
                loop.close()

    def journal(self, **match):
        """Journal entries so far whose fields are as in @match."""
        try:
            with open(f"{self.folder}/journal.jsonl", encoding="utf-8") as file:
                entries = [json.loads(line) for line in file]
        except FileNotFoundError:
            return []
        return [e for e in entries if all(e.get(k) == v for k, v in match.items())]
