# SPDX-License-Identifier: LGPL-2.1-or-later
"""A guest of its own for one case, and questions to ask it."""

import json
import time

from .qemu import Dead, Guest

# What systemd-boot says of this boot; LoaderBootCountPath where it counted. Fails where it should say something, and does not.
TOLD_BY_SD_BOOT = ("test ! -d /efi/loader/entries ||"
                   " ls /sys/firmware/efi/efivars | grep -o 'LoaderInfo\\|LoaderBootCountPath'")


class Failed(AssertionError):
    """The guest is not as it must be."""


class Case:
    """Knows what a guest with abupdate in it is asked; the flows of both slot backends build on it."""

    def __init__(self, cut, work, **options):
        self.cut, self.work = cut, work
        self.guest = Guest(cut, work, **options)
        self.seed = "a" in self.guest.disks

    def equal(self, got, wanted, what=""):
        """Fail unless @got is @wanted."""
        if got != wanted:
            raise Failed(f"got    {got!r}\nwanted {wanted!r}\n{what}")

    def do(self, script, code=0, limit=240):
        """Run a script inside; fail unless it ends with @code; returns what it said."""
        got, said = self.guest.run(script, limit)
        self.equal(got, code, f"{script}: {said}")
        return said

    def status(self):
        """What abctl says of the machine."""
        return json.loads(self.do("abctl --json=short status"))

    def slot(self, version):
        """The slot with @version; None where there is none."""
        return next((s for s in self.status()["slots"] if s["version"] == version), None)

    def running(self):
        """The version that runs."""
        return self.do(". /etc/os-release; echo $VERSION_ID").strip()

    def _running_or_gone(self):
        """The version that runs; None where the guest left before it could answer."""
        try:
            return self.running()
        except Dead:
            return None

    def up(self, version, boots=1):
        """Wait until @version runs with its boot complete, over at most so many boots."""
        before = self.guest.boots
        while True:
            self.guest.wait_up(max(before + boots - self.guest.boots, 1))
            running = self._running_or_gone()
            if running == version:
                break
            if self.guest.boots >= before + boots:
                raise Failed(f"{running or 'nothing'} runs after {boots} boots, not {version}: " + (
                    f"{self.status()}\n{self.journal()}" if running else self.guest.tail()))
            try:
                self.guest.wait_down(240)
            except Dead as error:
                raise Failed(f"{error}\n{self.journal()}") from error
        self._boot_complete()
        return self.guest.boots - before

    def _boot_complete(self):
        """Wait until systemd has started all that it starts by itself; the blessing must be a part of that."""
        self.do("systemctl is-system-running --wait || true")
        units = "boot-complete.target abupdate-boot-success.service"
        active = self.do(f"systemctl is-active {units} || true").split()
        self.equal(active, ["active", "active"], f"{units}\n{self.journal()}")

    def journal(self):
        """What the units of this boot said."""
        return self.guest.run("journalctl -b --no-pager -o cat -n 40 -u 'abupdate*'")[1]

    @staticmethod
    def job(*words):
        """The script of an order to abctl that tells its phases to the console."""
        return (f"set -o pipefail; abctl {' '.join(words)} --progress=json 2>&1 | tee /dev/ttyS0")

    def order(self, version, *options):
        """The script that installs the image of @version."""
        return self.job("update", *options, f"/run/images/{version}.send")

    def update(self, version, *options):
        """Install the image of @version."""
        self.do(self.order(version, *options), limit=900)

    def merge(self):
        """Make the running slot stand on its own device."""
        self.do(self.job("merge"), limit=900)

    def wait_for(self, words, limit=300):
        """Wait until the console says @words after where it is now."""
        start, end = len(self.guest.tail(1 << 30)), time.monotonic() + limit
        while words not in self.guest.tail(1 << 30)[start:]:
            if time.monotonic() > end:
                raise Failed(f"no {words!r} on the console\n{self.guest.tail()}")
            time.sleep(0.02)

    def reboot(self):
        """Leave the running system; wait_up() or up() comes next."""
        self.guest.send("systemctl reboot")
        self.guest.wait_down(240)

    def blessed(self, version):
        """@version runs and was marked good by the unit."""
        status = self.status()
        self.equal(status["state"], "steady", f"{status}\n{self.journal()}")
        slots = [s for s in status["slots"] if s["version"] == version]
        self.equal([s["state"] for s in slots], ["good"])
        if "LoaderBootCountPath" in self.do(TOLD_BY_SD_BOOT):
            self._both_agree(slots[0]["id"])

    def _both_agree(self, slot):
        """systemd-boot counted this boot: systemd too takes it for good, and the entry of @slot has no counter."""
        said = self.do("systemctl is-active systemd-bless-boot.service; /usr/lib/systemd/systemd-bless-boot status;"
                       f" ls /efi/loader/entries | grep '^abupdate-{slot}[.+]'")
        self.equal(said.split(), ["active", "good", f"abupdate-{slot}.conf"],
                   self.do("journalctl -b --no-pager -u systemd-bless-boot"))

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
