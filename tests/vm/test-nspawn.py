#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Real systemd, bus and polkit without a kernel of their own: the service under its unit, and who may ask it for what."""

import json
import os
import sys
import tempfile

from guest import container, disk, tree
from machinery.harness import scratch_parent
from tap import Tap

# The kernel that runs is the host's, and for long: a version that brings modules for its own is refused, and the time for a
# boot to complete is over when it begins.
VERSIONS = {"2.0": "rm -rf usr/lib/modules/* && mkdir -p etc/abupdate/abupdated.conf.d"
                   " && printf '[Health]\\nTimeout=0\\n' >etc/abupdate/abupdated.conf.d/health.conf"}
NOBODY = "setpriv --reuid=65534 --clear-groups"


def ask(guest, script):
    """What a script says; fails where it fails."""
    code, said, seconds = guest.run(script)
    if code != 0:
        raise AssertionError(f"{script} ends with {code}:\n{said}")
    return said, seconds


def polkit(guest):
    """Anybody may look, and nobody else than root may change anything."""
    said, seconds = ask(guest, f"{NOBODY} abctl --json=short status >/run/status && cat /run/status; "
                        f"{NOBODY} abctl --json=short update /opt/2.0.send; echo; systemctl is-active polkit")
    lines = said.splitlines()
    assert json.loads(lines[0])["version"] == "1.0", said
    assert any('"error":"AccessDenied"' in line for line in lines), said
    assert lines[-1] == "active", said
    return f"began after {seconds:.1f} s"


def update(guest):
    """The service under its hardened unit installs a version; it runs after the next start, and its unit marks it good."""
    ask(guest, "abctl update /opt/2.0.send")
    said, _ = ask(guest, "systemctl is-system-running --wait; abctl --json=short status")
    status = json.loads(said.splitlines()[-1])
    assert (status["version"], status["state"]) == ("2.0", "steady"), said
    failed, _ = ask(guest, "systemctl list-units --failed --no-legend --plain")
    assert not failed, failed
    return ""


def main():
    """Both on one system."""
    tap = Tap()
    with tempfile.TemporaryDirectory(prefix="abupdate-vm-", dir=scratch_parent()) as top:
        try:
            container.must_be_here()
            disk.cut(os.environ["ABUPDATE_BUILD"], f"{top}/cut", versions=VERSIONS)
        except (container.NoContainer, tree.NoTree) as error:
            tap.skip("nspawn", str(error))
            return tap.done()
        guest = container.Container(f"{top}/cut", f"{top}/work")
        for case in (polkit, update):
            problems, note = [], ""
            try:
                note = case(guest)
            except (AssertionError, container.NoContainer) as error:
                problems = str(error).splitlines()
            tap.case(f"nspawn, {case.__name__}: {case.__doc__.rstrip('.')}", problems, note)
    return tap.done()


if __name__ == "__main__":
    sys.exit(main())
