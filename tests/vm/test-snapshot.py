#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Snapshot slots: real loaders, kernels, initrds and systemd, under QEMU.

$ABUPDATE_BUILD is the build tree. Arguments choose cases by name; --cuts=N: so many power cuts.
"""

import json
import os
import random
import shutil
import signal
import sys
import tempfile
import threading
import time
import traceback

from guest import disk, tree, uefi
from guest.qemu import QEMU, Dead, Guest

from machinery.harness import scratch_parent
from tap import Tap

CUTS = 20


class Failed(AssertionError):
    """The guest is not as it must be."""


class Case:
    """A guest of its own for one case, and questions to ask it."""

    def __init__(self, cut, work, **options):
        self.cut, self.work = cut, work
        self.guest = Guest(cut, work, **options)

    def equal(self, got, wanted, what=""):
        """Fail unless @got is @wanted."""
        if got != wanted:
            raise Failed(f"got    {got!r}\nwanted {wanted!r}\n{what}")

    def do(self, script, code=0):
        """Run a script inside; fail unless it ends with @code; returns what it said."""
        got, said = self.guest.run(script)
        self.equal(got, code, f"{script}: {said}")
        return said

    def status(self):
        """What abctl says of the machine."""
        return json.loads(self.do("abctl --json=short status"))

    def running(self):
        """The version that runs."""
        return self.do(". /etc/os-release; echo $VERSION_ID").strip()

    def up(self, version, boots=1):
        """Wait until @version runs with its boot complete, over at most so many boots."""
        before = self.guest.boots
        while True:
            self.guest.wait_up(max(before + boots - self.guest.boots, 1))
            if self.running() == version:
                break
            if self.guest.boots >= before + boots:
                raise Failed(f"{self.running()} runs after {boots} boots, not {version}: "
                             f"{self.status()}\n{self.journal()}")
            try:
                self.guest.wait_down(120)
            except Dead as error:
                raise Failed(f"{error}\n{self.journal()}") from error
        self.do("systemctl start multi-user.target boot-complete.target"
                " abupdate-boot-success.service")
        return self.guest.boots - before

    def journal(self):
        """What the units of this boot said."""
        return self.guest.run("journalctl -b --no-pager -o cat -n 40 -u 'abupdate*'")[1]

    def update(self, version, *options):
        """Install the image of @version and restart."""
        self.do(f"abctl update {' '.join(options)} /run/images/{version}.send")

    def reboot(self):
        """Leave the running system; wait_up() or up() comes next."""
        self.guest.send("systemctl reboot")
        self.guest.wait_down(120)

    def gone_back(self, version, *words):
        """1.0 runs, @version is bad and refused, and the status says why in these words."""
        status = self.status()
        self.equal(status["version"], "1.0", status)
        slot = next(s for s in status["slots"] if s["version"] == version)
        self.equal(slot["state"], "bad", status)
        for word in words:
            if word not in slot["reason"] + status["reason"]:
                raise Failed(f"{word!r} is not in the reason: {status}")
        said = self.do(f"abctl --json=short update /run/images/{version}.send || true")
        self.equal(json.loads(said.splitlines()[-1])["error"], "Refused", said)


def there_and_back(case):
    """Update, reboot, blessed by the unit; rollback by command, before and after the reboot."""
    case.up("1.0")
    case.update("2.0")
    case.do("abctl rollback")
    case.equal(case.status()["reboot-required"], False)
    case.update("2.0", "--accept=2.0")
    case.reboot()
    case.up("2.0")
    status = case.status()
    case.equal(status["state"], "steady", f"{status}\n{case.journal()}")
    case.equal([s["state"] for s in status["slots"] if s["version"] == "2.0"], ["good"])
    if case.guest.machine != "uefi":
        case.do("dmesg | grep 'abupdate-initrd: slot 3 is on trial, 1 tries left'")
    case.do("abctl rollback")
    case.reboot()
    case.up("1.0")
    case.gone_back("2.0", "rolled back")


def sick(case):
    """A version whose check fails: its tries are used up, the old one runs, the reason is told."""
    case.up("1.0")
    case.update("3.0")
    case.reboot()
    boots = case.up("1.0", boots=3)
    case.equal(boots, 3)
    case.gone_back("3.0", "check.d/10-sick failed with status 7")


def panic(case):
    """A version whose first process dies: the kernel panics, and the initrd goes back."""
    case.up("1.0")
    case.update("3.1")
    case.reboot()
    case.equal(case.up("1.0", boots=3), 3)
    case.gone_back("3.1", "used up its tries")


def lost(case):
    """A version whose initrd does not find the root: the loader goes back."""
    case.up("1.0")
    case.update("3.3")
    case.reboot()
    case.equal(case.up("1.0", boots=3), 3)
    case.gone_back("3.3", "used up its tries")


def late(case):
    """A boot that is not complete in time is given up at once."""
    case.up("1.0")
    case.update("3.2")
    case.reboot()
    case.equal(case.up("1.0", boots=2), 2)
    case.gone_back("3.2", "not complete after 5 s")


def power_cuts(case, count=CUTS, seed=1):
    """The power goes at any moment of update, first boot and blessing: old or new, in order."""
    rng = random.Random(seed)
    case.up("1.0")
    case.do("abctl status >/dev/null")
    done, taken, busy = threading.Event(), [], threading.Lock()

    def watch():
        while not done.is_set() and len(taken) < 200:
            time.sleep(rng.uniform(0.1, 1.0))
            with busy:
                if case.guest.process.poll() is None:
                    path = f"{case.work}/cut-{len(taken)}.qcow2"
                    case.guest.snapshot(path)
                    taken.append(path)

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        case.update("2.1")
        case.reboot()
        case.up("2.1")
    finally:
        done.set()
        watcher.join()
    case.guest.kill()
    seen = {}
    for path in rng.sample(taken, min(count, len(taken))):
        shutil.copy(path, case.guest.disk)
        after = Case(case.cut, case.work, cmdline="init=/usr/lib/guest/init")
        after.guest.wait_up(3)
        version = after.running()
        status = json.loads(after.do("abctl --offline --json=short status"))
        after.equal(status["version"], version, status)
        after.equal(version in ("1.0", "2.1"), True, version)
        after.equal([s["state"] for s in status["slots"] if s["version"] == "1.0"], ["good"], status)
        after.do("sha256sum --quiet -c /usr/share/bulk.sha256" if version == "2.1" else "true")
        after.guest.kill()
        seen[version] = seen.get(version, 0) + 1
    return ", ".join(f"{n} times {v}" for v, n in sorted(seen.items())) + f" of {len(taken)} moments"


# What is shown, the initrd, the boot backend: all but the first are booted by firmware and loader.
CASES = {
    "update": (there_and_back, "initramfs-tools", "default-subvolume"),
    "sick": (sick, "initramfs-tools", "default-subvolume"),
    "panic": (panic, "initramfs-tools", "default-subvolume"),
    "late": (late, "initramfs-tools", "default-subvolume"),
    "power-cuts": (power_cuts, "initramfs-tools", "default-subvolume"),
    "dracut-update": (there_and_back, "dracut", "default-subvolume"),
    "dracut-panic": (panic, "dracut", "default-subvolume"),
    "grub-update": (there_and_back, "initramfs-tools", "grub"),
    "grub-sick": (sick, "initramfs-tools", "grub"),
    "grub-panic": (panic, "initramfs-tools", "grub"),
    "grub-lost": (lost, "initramfs-tools", "grub"),
    "sd-boot-update": (there_and_back, "initramfs-tools", "bls"),
    "sd-boot-sick": (sick, "initramfs-tools", "bls"),
    "sd-boot-panic": (panic, "initramfs-tools", "bls"),
    "sd-boot-lost": (lost, "initramfs-tools", "bls"),
}


def one(name, cut, work, **options):
    """Run one case; returns (problems, note)."""
    function, initrd, boot = CASES[name]
    case = Case(cut, work, initrd=initrd,
                machine="microvm" if boot == "default-subvolume" else "uefi")
    try:
        return [], function(case, **options) or f"{case.guest.boots} boots"
    except Failed as error:
        where = [f"{f.filename}:{f.lineno}: {f.line}" for f in
                 traceback.extract_tb(error.__traceback__) if f.name == function.__name__]
        return [*where, str(error)], ""
    except Exception:
        return [traceback.format_exc()], ""
    finally:
        case.guest.kill()


def main():
    """Cut a guest, run the cases on it."""
    words = [w for w in sys.argv[1:] if not w.startswith("--")]
    cuts = next((int(w[7:]) for w in sys.argv[1:] if w.startswith("--cuts=")), CUTS)
    keep = next((w[6:] for w in sys.argv[1:] if w.startswith("--dir=")), None)
    names = [n for n in CASES if not words or n in words]
    tap = Tap()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    if not shutil.which(QEMU):
        for name in names:
            tap.skip(name, f"{QEMU} is not installed")
        return tap.done()
    with tempfile.TemporaryDirectory(prefix="abupdate-vm-", dir=scratch_parent()) as top:
        for name in names:
            boot = CASES[name][2]
            cut = f"{keep or top}/cut-{boot}"
            lacks = uefi.missing() if boot != "default-subvolume" else []
            if lacks:
                tap.skip(name, f"not installed: {' '.join(lacks)}")
                continue
            try:
                if not os.path.exists(f"{cut}/images.img"):
                    disk.cut(os.environ["ABUPDATE_BUILD"], cut,
                             sorted({i for _, i, b in CASES.values() if b == boot},
                                    key="initramfs-tools".__ne__), boot=boot)
            except tree.NoTree as error:
                tap.skip(name, str(error))
                continue
            started = time.monotonic()
            options = {"count": cuts} if name == "power-cuts" else {}
            problems, note = one(name, cut, f"{top}/{name}", **options)
            shutil.rmtree(f"{top}/{name}", ignore_errors=True)
            tap.case(f"{name}: {CASES[name][0].__doc__.splitlines()[0].rstrip('.')}", problems,
                     f"{time.monotonic() - started:.0f} s, {note}" if note else "")
    return tap.done()


if __name__ == "__main__":
    sys.exit(main())
