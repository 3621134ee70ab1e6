# SPDX-License-Identifier: LGPL-2.1-or-later
"""What every test of abctl needs: a private bus, the fake service on it, abctl in a pipe or on a terminal.

A test is a function whose name begins with "case_"; it gets a World and fails by an exception. main() runs those of a
module and prints TAP.
"""

import fcntl
import json
import os
import pathlib
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import tempfile
import termios
import time
import traceback

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))
from tap import Tap  # noqa: E402

CONFIG = """<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-BUS Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig>
 <type>test</type>
 <listen>unix:path={path}</listen>
 <policy context="default">
  <allow send_destination="*" eavesdrop="true"/>
  <allow eavesdrop="true"/>
  <allow own="*"/>
  <allow user="*"/>
 </policy>
</busconfig>
"""
ESCAPE = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


def wait_for(what, predicate, seconds=20):
    """Waits until @predicate gives something true, and returns it."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        value = predicate()
        if value:
            return value
        time.sleep(0.02)
    raise AssertionError(f"{what}: not within {seconds} s")


class World:
    """One bus, at most one fake service, and abctl. Everything that was started ends with it."""

    def __init__(self, build):
        self.build = pathlib.Path(build)
        self.dir = tempfile.TemporaryDirectory(prefix="abctl-test-")
        self.path = pathlib.Path(self.dir.name)
        self.children = []
        self.service = None
        self.sink = self.path / "sink"
        self.log = self.path / "log"
        self.env = dict(os.environ, LC_ALL="C.UTF-8", TZ="UTC", TERM="xterm", PAGER="cat",
                        DBUS_SYSTEM_BUS_ADDRESS=f"unix:path={self.path}/bus",
                        ASAN_OPTIONS="detect_leaks=1")
        for name in ("NO_COLOR", "COLUMNS", "ABUPDATE_PAGER", "JOURNAL_STREAM", "http_proxy",
                     "https_proxy", "no_proxy"):
            self.env.pop(name, None)

    def __enter__(self):
        (self.path / "bus.conf").write_text(CONFIG.format(path=self.path / "bus"))
        self.start(["dbus-daemon", "--nofork", "--config-file", self.path / "bus.conf"],
                   stderr=subprocess.DEVNULL)
        wait_for("the bus", (self.path / "bus").exists)
        return self

    def __exit__(self, *_):
        for child in reversed(self.children):
            if child.poll() is None:
                child.kill()
            child.wait()
        self.dir.cleanup()

    def start(self, argv, **more):
        """Starts a process that ends with this world."""
        child = subprocess.Popen([str(a) for a in argv], env=self.env, **more)
        self.children.append(child)
        return child

    def fake(self, *options):
        """Starts the fake service, or starts it again, and waits until it has its name."""
        if self.service:
            self.service.kill()
            self.service.wait()
        self.service = self.start([self.build / "tests/client/fake-abupdated", "--sink", self.sink,
                                   "--log", self.log, *options])
        wait_for("the service", lambda: subprocess.run(
            ["dbus-send", "--system", "--print-reply", "--dest=org.abupdate1", "/org/abupdate1",
             "org.freedesktop.DBus.Peer.Ping"], env=self.env, check=False,
            capture_output=True).returncode == 0)

    def calls(self):
        """What the service was asked so far, a line each."""
        return self.log.read_text().splitlines() if self.log.exists() else []

    def abctl(self, *argv, expect=0, **more):
        """Runs abctl with pipes; returns (stdout, stderr) after a look at the exit code."""
        more.setdefault("stdin", subprocess.DEVNULL)
        done = subprocess.run([str(self.build / "client/abctl"), *map(str, argv)], text=True,
                              env=more.pop("env", self.env), stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE, timeout=60, check=False, **more)
        assert done.returncode == expect, \
            f"exit code {done.returncode}, not {expect}\n{done.stdout}\n{done.stderr}"
        assert "\x1b" not in done.stdout + done.stderr, "an escape sequence in a pipe"
        return done.stdout, done.stderr

    def json(self, *argv, expect=0):
        """Runs abctl with --json=short; returns the value."""
        out, _ = self.abctl("--json=short", *argv, expect=expect)
        assert out.count("\n") == 1, f"not one line: {out}"
        return json.loads(out)

    def image(self, size=3 << 20, name="image.send"):
        """A file of random bytes; the fake service does not look at them."""
        path = self.path / name
        path.write_bytes(os.urandom(size))
        return path


class Terminal:
    """abctl on a terminal of its own, of @width columns."""

    def __init__(self, world, *argv, width=80, env=None):
        self.output = b""
        self.status = None
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            # the parent sets the size; wait until it has
            while struct.unpack("HHHH", fcntl.ioctl(0, termios.TIOCGWINSZ, b"\0" * 8))[1] == 0:
                time.sleep(0.001)
            program = str(world.build / "client/abctl")
            os.execve(program, [program, *map(str, argv)], env or world.env)
        fcntl.ioctl(self.fd, termios.TIOCSWINSZ, struct.pack("HHHH", 24, width, 0, 0))

    def read(self, seconds=0.05):
        """Takes what is there; False at the end."""
        while True:
            ready, _, _ = select.select([self.fd], [], [], seconds)
            if not ready:
                return True
            try:
                data = os.read(self.fd, 65536)
            except OSError:
                data = b""
            if not data:
                return False
            self.output += data

    def until(self, text, seconds=20):
        """Reads until @text has been printed."""
        end = time.monotonic() + seconds
        while text.encode() not in self.output:
            if not self.read() and text.encode() not in self.output:
                raise AssertionError(f"ended without {text!r}: {self.output!r}")
            assert time.monotonic() < end, f"no {text!r}: {self.output!r}"

    def press_ctrl_c(self):
        """As a person does."""
        os.write(self.fd, b"\x03")

    def finish(self, expect=0, seconds=30):
        """Reads to the end; returns all text. Looks at the exit code."""
        end = time.monotonic() + seconds
        while self.read():
            assert time.monotonic() < end, f"does not end: {self.output!r}"
        _, status = os.waitpid(self.pid, 0)
        os.close(self.fd)
        self.status = os.waitstatus_to_exitcode(status)
        text = self.output.decode()
        assert self.status == expect, f"exit code {self.status}, not {expect}: {text!r}"
        return text

    def screen(self):
        """The lines that stay, as a terminal would show them: carriage returns overwrite, \\e[K erases."""
        lines = [""]
        at = 0
        for part in re.split(r"(\r|\n|\x1b\[K)", self.output.decode()):
            if part == "\n":
                lines.append("")
                at = 0
            elif part == "\r":
                at = 0
            elif part == "\x1b[K":
                lines[-1] = lines[-1][:at]
            else:
                text = ESCAPE.sub("", part)
                lines[-1] = lines[-1][:at] + text + lines[-1][at + len(text):]
                at += len(text)
        return lines


def main(cases):
    """Runs every case_* of a module (pass globals()); argv: the build folder, then names of cases to run."""
    build, wanted = sys.argv[1], sys.argv[2:]
    tap = Tap()
    for name, case in list(cases.items()):
        if not name.startswith("case_") or (wanted and name not in wanted):
            continue
        problems = []
        try:
            with World(build) as world:
                case(world)
        except Exception:  # pylint: disable=broad-except
            problems = [traceback.format_exc()]
        tap.case(name[5:].replace("_", " "), problems)
    return tap.done()


__all__ = ["Terminal", "World", "main", "signal", "wait_for"]
