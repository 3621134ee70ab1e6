# SPDX-License-Identifier: LGPL-2.1-or-later
"""A bus with the system's own configuration, our policy file, and the daemon on it; all of it in namespaces of our own."""
import json
import os
import pathlib
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time

from wire import BusError, Peer, Variant

TOP = pathlib.Path(__file__).resolve().parents[2]
HERE = pathlib.Path(__file__).resolve().parent
NAME, PATH = "org.abupdate1", "/org/abupdate1"
MANAGER, SLOT, JOB = f"{NAME}.Manager", f"{NAME}.Slot", f"{NAME}.Job"
PROPERTIES = "org.freedesktop.DBus.Properties"
ERR = f"{NAME}.Error."
DENIED = "org.freedesktop.DBus.Error.AccessDenied"
NOBODY = 65534
POLKITD = ("/usr/lib/polkit-1/polkitd", "/usr/libexec/polkitd")


def slot(number, **more):
    return {"id": str(number), "state": "good", "version": f"{number}.0", "reason": "", "pinned": False,
            "created": 1700000000000000 + number, "size": 1000 * number, "exclusive": number, "read-only": False,
            "kernel-version": "6.1.0", "devices": [], "tries-left": -1,
            "tries": -1, **more}


def world(slots=2, **more):
    return {"backend": "snapshot", "boot-backend": "default-subvolume", "verification": "none",
            "capabilities": ["incremental"], "state": "steady", "reason": "it is the default", "version": "1.0",
            "booted": "1", "next": "1", "good": "1", "reboot-required": False, "transaction": "", "problems": [],
            "slots": slots if isinstance(slots, list) else [slot(i) for i in range(1, slots + 1)],
            "refused": [{"version": "0.9", "reason": "condemned"}],
            "history": [{"time": 10 + i, "job": i, "type": "update", "slot": "1", "version": "1.0", "status": 0,
                         "error": "", "message": f"message {i}"} for i in range(1, 4)], **more}


class Bus:
    """with Bus(build) as b: b.daemon is running, b.peer() is a connection. @activation: options with which the bus
    starts the daemon."""

    def __init__(self, build, start=True, policy=True, activation=None):
        self.build, self.processes, self.peers = pathlib.Path(build), [], []
        self.dir = pathlib.Path(tempfile.mkdtemp(prefix="abus-", dir="/tmp"))
        self.dir.chmod(0o755)
        self.root = self.dir / "root"
        self.root.mkdir()
        self.address = f"unix:path={self.dir}/bus"
        self.env = {**os.environ, "DBUS_SYSTEM_BUS_ADDRESS": self.address, "ABUPDATE_LOG_LEVEL": "7"}
        self.write_world(world())
        self.daemon = None
        self.start, self.policy, self.activation = start, policy, activation

    def __enter__(self):
        try:
            self.start_bus()
            if self.start:
                self.start_daemon()
        except BaseException:
            self.clean_up(False)
            raise
        return self

    def __exit__(self, *exc):
        fine = not exc or exc[0] is None
        try:
            if fine:
                self.leave()
        except BaseException:
            fine = False
            raise
        finally:
            self.clean_up(fine)

    def leave(self):
        """A daemon that has nothing to do ends well; a sanitizer would say otherwise."""
        if self.daemon and self.daemon.poll() is None and self.bus.poll() is None and self.pids() == []:
            eq(quit_daemon(self), 0)

    def clean_up(self, fine):
        for p in self.peers:
            p.close()
        for p in reversed(self.processes):
            p.kill()
            p.wait()
        if not fine:
            print((self.dir / "log").read_text(errors="replace"), file=sys.stderr)
        shutil.rmtree(self.dir)

    def start_bus(self):
        text = pathlib.Path("/usr/share/dbus-1/system.conf").read_text(encoding="utf-8")
        text = re.sub(r"<(user|fork|syslog|pidfile|servicehelper|includedir|include|standard_system_servicedirs)\b[^>]*/>",
                      "", text)
        text = re.sub(r"<(user|pidfile|servicehelper|includedir|include)\b[^>]*>[^<]*</\1>", "", text)
        text = re.sub(r"<listen>.*</listen>", f"<listen>{self.address}</listen>", text)
        if self.activation:
            text = re.sub(r"<type>.*</type>", f"<servicedir>{self.dir}/services</servicedir>", text)
            (self.dir / "services").mkdir()
            (self.dir / "services" / f"{NAME}.service").write_text(
                f"[D-BUS Service]\nName={NAME}\nUser=root\n"
                f"Exec={shlex.join(map(str, self.daemon_command(*self.activation)))}\n")
        includes = [TOP / "dbus" / f"{NAME}.conf"] if self.policy else []
        includes += pathlib.Path("/usr/share/dbus-1/system.d").glob("org.freedesktop.PolicyKit1.conf")
        lines = "".join(f"<include>{i}</include>\n" for i in includes)
        lines += '<policy user="root"><allow own="org.freedesktop.PolicyKit1"/></policy>\n'
        text = text.replace("</busconfig>", lines + "</busconfig>")
        (self.dir / "bus.conf").write_text(text)
        self.bus = self.spawn("dbus-daemon", f"--config-file={self.dir}/bus.conf", "--nofork", "--nopidfile")
        self.until(self.listening)

    def listening(self):
        try:
            Peer(self.address).close()
            return True
        except (FileNotFoundError, ConnectionRefusedError):
            return False

    def spawn(self, *args, env=None):
        with open(self.dir / "log", "ab") as log:
            p = subprocess.Popen([str(a) for a in args], env=env or self.env, stdout=log, stderr=log,
                                 stdin=subprocess.DEVNULL)
        self.processes.append(p)
        return p

    def daemon_command(self, *options):
        return (self.build / "daemon" / "abupdated", f"--root={self.root}", f"--worker-program={HERE}/fake-worker",
                *(options or ("--idle-timeout=infinity",)))

    def start_daemon(self, *options, wait="world", env=None):
        """@wait: until it has looked at the machine ("world"), until it has its name ("name"), or not (None)."""
        self.daemon = self.spawn(*self.daemon_command(*options), env=env)
        if wait:
            p = self.peer()
            self.until(lambda: p.driver("NameHasOwner", "s", [NAME])[0])
            if wait == "world":
                manager(p, "ListJobs")
            p.close()
        return self.daemon

    def peer(self, uid=0):
        p = Peer(self.address, uid)
        self.peers.append(p)
        return p

    def write_world(self, w):
        (self.root / "world").write_text(w if isinstance(w, str) else json.dumps(w))

    def script(self, **types):
        """What the workers of each type do; see fake-worker. Whole or not at all: a worker may be reading it."""
        (self.root / "script.new").write_text(json.dumps(types))
        (self.root / "script.new").rename(self.root / "script")

    def orders(self, kind=None):
        """[order, facts] of every worker so far."""
        try:
            lines = (self.root / "orders").read_text().splitlines()
        except FileNotFoundError:
            return []
        return [o for o in map(json.loads, lines) if kind is None or o[0]["type"] == kind]

    @staticmethod
    def until(test, timeout=10.0, what="condition"):
        end = time.monotonic() + timeout
        while not (v := test()):
            if time.monotonic() > end:
                raise TimeoutError(f"{what} did not come true within {timeout} s")
            time.sleep(0.01)
        return v

    def start_polkit(self, *rules):
        """The real one, with our actions and @rules (JavaScript); the directories are private to the namespace."""
        etc = pathlib.Path("/etc/polkit-1/rules.d")
        for old in etc.iterdir():
            old.unlink()
        for i, rule in enumerate(rules):
            (etc / f"{i:02}-test.rules").write_text(rule)
        shutil.copy(TOP / "dbus" / f"{NAME}.policy", "/usr/share/polkit-1/actions/")
        program = next(p for p in POLKITD if os.path.exists(p))
        p = self.spawn(program, "--no-debug")
        peer = self.peer()
        self.until(lambda: peer.driver("NameHasOwner", "s", ["org.freedesktop.PolicyKit1"])[0])
        peer.close()
        return p

    def pids(self):
        """Living children of the daemon."""
        path = f"/proc/{self.daemon.pid}/task/{self.daemon.pid}/children"
        return [int(n) for n in pathlib.Path(path).read_text().split()]

    def rss(self):
        text = pathlib.Path(f"/proc/{self.daemon.pid}/status").read_text()
        return int(re.search(r"VmRSS:\s*(\d+)", text)[1])

    def sanitized(self):
        """A sanitizer keeps what was freed: memory says nothing then."""
        return "libasan" in pathlib.Path(f"/proc/{self.daemon.pid}/maps").read_text()

    def rss_at_most(self, limit):
        """In KiB."""
        assert self.rss() <= limit or self.sanitized(), (self.rss(), limit)

    def fds(self):
        return sorted(os.listdir(f"/proc/{self.daemon.pid}/fd"), key=int)


# --- calls, as a client makes them

def manager(peer, member, signature="", args=(), **kw):
    return peer.call(NAME, PATH, MANAGER, member, signature, args, **kw)


def post(peer, member, signature="", args=(), **kw):
    return peer.post(NAME, PATH, MANAGER, member, signature, args, **kw)


def get(peer, name, path=PATH, interface=MANAGER):
    return peer.call(NAME, path, PROPERTIES, "Get", "ss", [interface, name])[0]


def get_all(peer, path=PATH, interface=MANAGER):
    return peer.call(NAME, path, PROPERTIES, "GetAll", "s", [interface])[0]


def listen(peer):
    peer.driver("AddMatch", "s", [f"type='signal',sender='{NAME}'"])


def image():
    """A descriptor to hand in. The caller closes it."""
    fd = os.memfd_create("image")
    os.write(fd, b"x" * 1000)
    os.lseek(fd, 0, os.SEEK_SET)
    return fd


def options(**more):
    kinds = {bool: "b", int: "t", str: "s"}
    return {k.replace("_", "-"): Variant(kinds[type(v)], v) for k, v in more.items()}


def update(peer, name="image.send", opts=None, flags=0):
    """Posts Update, returns the serial."""
    fd = image()
    try:
        return post(peer, "Update", "hsa{sv}", [0, name, opts or {}], fds=[fd], flags=flags)
    finally:
        os.close(fd)


def fails(name, function, *args, **kw):
    """@function must fail with the bus error @name (ours where it has no dot). Returns the text."""
    name = name if "." in name else ERR + name
    try:
        got = function(*args, **kw)
    except BusError as e:
        assert e.name == name, f"{e.name} ({e.text}) instead of {name}"
        return e.text
    raise AssertionError(f"{got} instead of {name}")


def eq(got, want):
    assert got == want, f"\n  got  {got}\n  want {want}"


def ended(peer, number, timeout=10.0):
    """[id, path, status, error, message] of JobRemoved."""
    return peer.signal("JobRemoved", lambda m: m.body[0] == number, timeout).body


def quit_daemon(b, timeout=10.0):
    b.daemon.send_signal(signal.SIGTERM)
    return b.daemon.wait(timeout)
