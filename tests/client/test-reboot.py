#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""test-reboot.py BUILD - abupdate-reboot.service: when it reboots. abctl is real, systemctl is not."""

import os
import re
import shlex
import subprocess

from harness import main, wait_for


def lines(world, key):
    """The command lines of the unit, with abctl of the build and what systemd makes of "$$"."""
    text = (world.build / "systemd/abupdate-reboot.service").read_text()
    text = re.sub(r"[\w/]*/abctl", str(world.build / "client/abctl"), text).replace("$$", "$")
    assert "\nSuccessExitStatus=" not in text, "it would hold for the conditions, too"
    return [shlex.split(line.split("=", 1)[1].removeprefix("-")) for line in text.splitlines()
            if line.startswith(f"{key}=")]


def reboots(world):
    """Run the unit as systemd would: what systemctl was asked to do, None where it was not."""
    asked = world.path / "asked"
    program = world.path / "bin/systemctl"
    program.parent.mkdir(exist_ok=True)
    program.write_text(f"#!/bin/sh\necho \"$@\" >{asked}\n")
    program.chmod(0o755)
    env = dict(world.env, PATH=f"{program.parent}:{os.environ['PATH']}")
    asked.unlink(missing_ok=True)
    for command in lines(world, "ExecCondition"):
        code = subprocess.run(command, env=env, check=False, timeout=60).returncode
        assert 0 <= code < 255, f"{command}: {code} is a failure of the unit"
        if code != 0:
            return None
    for command in lines(world, "ExecStart"):
        subprocess.run(command, env=env, check=True, timeout=60)
    return asked.read_text().strip()


def case_nothing_to_do(world):
    world.fake()
    assert reboots(world) is None


def case_a_reboot_is_required(world):
    world.fake("--reboot-required")
    assert reboots(world) == "--check-inhibitors=yes reboot"


def case_no_service(world):
    assert reboots(world) is None


def case_a_job_runs(world):
    world.fake("--reboot-required", "--step=5000")
    job = world.start([world.build / "client/abctl", "-q", "prune"])
    wait_for("a job", lambda: world.json("jobs"))
    assert reboots(world) is None
    world.abctl("cancel")
    assert job.wait(20) == 1
    assert reboots(world)


if __name__ == "__main__":
    raise SystemExit(main(globals()))
