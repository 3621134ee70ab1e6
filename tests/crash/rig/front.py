# SPDX-License-Identifier: LGPL-2.1-or-later
"""A bus, a daemon on a disk that power.Power has booted, and abctl to talk to it."""

import json
import os
import signal
import subprocess
import time

from machinery import bus, kernel
from machinery.machine import SOURCE

PATIENCE = 20.0         # seconds for anything that takes a moment


class Bus:
    """A private system bus for this process. Without activation: daemons are started by hand."""

    def __init__(self, folder, log):
        kernel.mount("tmpfs", "/run", "tmpfs", kernel.MS_NOSUID, "mode=755")
        os.makedirs("/run/systemd/system")
        os.environ["DBUS_SYSTEM_BUS_ADDRESS"] = bus.ADDRESS
        bus.configure(f"{folder}/bus", f"{SOURCE}/dbus/org.abupdate1.conf", "/bin/false")
        self.process = bus.start(f"{folder}/bus", log)


class Front:
    """One daemon. @wrap: a command in front of it; @worker: the program of its workers."""

    def __init__(self, stages, root, wrap=(), worker=None):
        self.stages = stages
        self.wrapped = bool(wrap)
        argv = [*wrap, stages.programs["abupdated"], f"--root={root}"]
        if worker:
            argv.append(f"--worker-program={worker}")
        self.process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=stages.log,
                                        stderr=stages.log)

    def ready(self):
        """Wait until it answers; False where it ends before."""
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end:
            if self.process.poll() is not None:
                return False
            if self.call("status")[0] == 0:
                return True
            time.sleep(0.01)
        raise RuntimeError("the daemon does not answer")

    def start(self, *words):
        """Start abctl."""
        return subprocess.Popen([self.stages.programs["abctl"], "--json=short", *words],
                                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                stderr=self.stages.log, text=True)

    def call(self, *words):
        """Run abctl: (exit code, the name of the error or "")."""
        return self.wait(self.start(*words))

    @staticmethod
    def wait(client):
        """The end of abctl: (exit code, the name of the error or "")."""
        try:
            out, _ = client.communicate(timeout=PATIENCE)
        except subprocess.TimeoutExpired:
            client.kill()
            client.communicate()
            return "timeout", ""
        last = [line for line in out.splitlines() if line.startswith("{")][-1:]
        return client.returncode, json.loads(last[0]).get("error", "") if last else ""

    def kill(self):
        """SIGKILL to the daemon itself, and wait."""
        for pid in children(self.process.pid) if self.wrapped else [self.process.pid]:
            os.kill(pid, signal.SIGKILL)
        self.process.wait()

    def stop(self):
        """SIGTERM; a line if it does not end in order."""
        self.process.terminate()
        try:
            code = self.process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self.kill()
            return ["the daemon does not stop"]
        return [f"the daemon stopped with {code}"] if code else []


def children(parent=None):
    """{process id: command} of the processes whose parent is @parent, or else this one."""
    parent = parent or os.getpid()
    found = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                with open(f"/proc/{name}/stat", encoding="utf-8", errors="replace") as file:
                    head, _, tail = file.read().rpartition(")")
            except OSError:
                continue
            if int(tail.split()[1]) == parent:
                found[int(name)] = head.split("(", 1)[1]
    return found


def wait_for_orphans(known):
    """Wait until only the processes @known are left; lines about those that do not end."""
    end = time.monotonic() + PATIENCE
    while True:
        left = {pid: name for pid, name in children().items() if pid not in known}
        if not left:
            return []
        for pid in left:
            try:
                os.kill(pid, signal.SIGCONT)    # a worker that stands at a record goes on
                os.waitpid(pid, os.WNOHANG)
            except (ChildProcessError, ProcessLookupError):
                pass
        if time.monotonic() > end:
            return [f"process {name} is still there" for name in left.values()]
        time.sleep(0.005)
