#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Updates that break off in the middle and go on where they were."""

import contextlib
import json
import os
import subprocess
import sys

from machinery import harness
from machinery.signed import trusting

sys.path.append(os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "client"))

from webserver import Server  # pylint: disable=wrong-import-position  # noqa: E402

MIB = 1 << 20
FIRST = 36 * MIB  # handed in before the checkpoint
GROW = "for i in $(seq 25); do head -c 2000000 /dev/urandom >usr/big$i; done"


def kept(it):
    """What lies beside the quarantines."""
    return it.on_disk(lambda top: sorted(os.listdir(f"{top}/@abupdate/kept"))
                      if os.path.isdir(f"{top}/@abupdate/kept") else [])


@contextlib.contextmanager
def checkpointed(case, it, image, *args, end="exec sleep 1000"):
    """An update of @image that has passed a checkpoint and now waits for the rest, or for @end."""
    feed = f"head -c {FIRST} {image}; sleep 5.5; tail -c +{FIRST + 1} {image} | head -c {8 * MIB}; {end}"
    command = ["abctl", "--json=short", "update", *args, f"--manifest={image}.manifest", "-"]
    with contextlib.ExitStack() as stack:
        feeder = stack.enter_context(it.popen("sh", "-c", feed, stdout=subprocess.PIPE))
        stack.callback(feeder.kill)
        update = stack.enter_context(it.popen(*command, stdin=feeder.stdout, stdout=subprocess.PIPE,
                                              stderr=subprocess.PIPE, text=True))
        stack.callback(update.kill)
        feeder.stdout.close()
        case.wait("a checkpoint", lambda: "record" in kept(it))
        yield update


def kill_worker(case, it):
    """Its daemon tells, and the next worker cleans up."""
    it.run("kill", "-KILL", *case.pids(it)[1])
    case.wait("the job to end", lambda: not case.pids(it)[1])


def goes_on(case, it, image, *args, damage=True, **options):
    """`abctl update` of @image is done although its beginning is damaged by now: nobody reads that any more."""
    if damage:
        with open(image, "r+b") as file:
            file.write(b"\0" * (24 * MIB))
    result = case.abctl(it, "update", *(args or [image]), **options)
    case.equal(kept(it), [])
    return result


def test_worker_dies(case):
    """A worker is killed behind a checkpoint: check tells, the next update goes on there, and the slot is as signed."""
    it, maker = trusting(case)
    image = maker.image("2.0", change=GROW)
    before = case.facts(it)
    with checkpointed(case, it, image):
        kill_worker(case, it)
    case.check("cut off" in case.abctl(it, "check", code=harness.ANY).out)
    case.unchanged(it, before)
    goes_on(case, it, image)
    it.reboot()
    case.abctl(it, "mark", "good")
    case.expect(it, version="2.0")
    case.sound(it)


def test_power_cut(case):
    """The power goes behind a checkpoint; what was not flushed is lost. An incremental image, packed."""
    it, maker = trusting(case, write_log=True)
    case.abctl(it, "update", maker.image("2.0", change=GROW))
    it.reboot()
    case.abctl(it, "mark", "good")
    image = maker.image("2.1", "--compress=zstd:1", base="2.0", change=GROW)
    with checkpointed(case, it, image):
        it.power_cut()
    it.boot()
    case.expect(it, version="2.0", state="steady")
    case.check("record" in kept(it), kept(it))
    goes_on(case, it, image)
    it.reboot()
    case.expect(it, version="2.1")
    case.sound(it)


def test_transfer_breaks(case):
    """The pipe ends early, twice: each time a checkpoint further. Cancelling keeps it, too."""
    it, maker = trusting(case)
    image = maker.image("2.0", change=GROW)
    with checkpointed(case, it, image, end="exit") as update:
        out = update.communicate(timeout=30)[0]
    case.equal(json.loads(out)["error"], "Truncated")
    with checkpointed(case, it, image) as update:
        # what was kept is there before the job is
        job = case.wait("the job", lambda: case.jobs(it))[0]["id"]
        case.abctl(it, "cancel", str(job))
        update.communicate(timeout=30)
    with open(image, "rb") as file:
        goes_on(case, it, image, f"--manifest={image}.manifest", "-", stdin=file)
    case.sound(it, ["2.0"])


def test_url(case):
    """abctl loads from the server only what the machine does not have; a server without ranges does as well."""
    it, maker = trusting(case)
    image = maker.image("2.0", change=GROW)
    with open(image, "rb") as file, Server(file.read()) as server:
        with open(image + ".manifest", "rb") as manifest:
            server.manifest = manifest.read()
        for ranges in (True, False):
            with checkpointed(case, it, image, "--no-arm", "--reinstall"):
                kill_worker(case, it)
            server.ranges, server.requests = ranges, []
            result = goes_on(case, it, image, "--no-arm", "--reinstall", server.url(), damage=False)
            case.check("going on there" in result.err, result)
            asked = server.requests[-1][1]
            case.check(int(asked.removeprefix("bytes=").removesuffix("-")) >= 24 * MIB, server.requests)
    case.sound(it, ["1.0"], changed=["etc/abupdate"])


def test_switched_off(case):
    """ResumeUpdates=no keeps nothing."""
    it, maker = trusting(case)
    image = maker.image("2.0", change=GROW)
    it.run("sed", "-i", "/Verification=/a ResumeUpdates=no", f"{it.root}/etc/abupdate/abupdated.conf")
    feed = f"head -c {FIRST} {image}; sleep 5.5; tail -c +{FIRST + 1} {image} | head -c {8 * MIB}"
    with it.popen("sh", "-c", feed, stdout=subprocess.PIPE) as feeder:
        case.refused(it, "update", f"--manifest={image}.manifest", "-", stdin=feeder.stdout, error="Truncated")
    case.equal(kept(it), [])
    case.abctl(it, "update", image)


def test_given_up(case):
    """A damaged record, another image and prune give up what is kept; what somebody changed in it is never a slot."""
    it, maker = trusting(case)
    image, other = maker.image("2.0", change=GROW), maker.image("3.0")

    def cut():
        with checkpointed(case, it, image):
            kill_worker(case, it)

    def change(top):
        part = next(f"{top}/@abupdate/kept/{n}" for n in os.listdir(f"{top}/@abupdate/kept") if n.startswith("00"))
        subprocess.run(["btrfs", "property", "set", "-f", part, "ro", "false"], check=True)
        with open(f"{part}/etc/os-release", "a", encoding="utf-8") as file:
            file.write("EVIL=yes\n")
        subprocess.run(["btrfs", "property", "set", part, "ro", "true"], check=True)

    cut()
    before = case.facts(it)
    it.on_disk(change)
    case.refused(it, "update", image, error="VerifyFailed")
    case.equal(kept(it), [])
    case.unchanged(it, before)
    cut()
    it.on_disk(lambda top: os.truncate(f"{top}/@abupdate/kept/record", 100))
    case.abctl(it, "update", "--no-arm", other)
    case.equal(kept(it), [])
    cut()
    case.abctl(it, "prune")
    case.equal(kept(it), [])
    case.abctl(it, "update", "--no-arm", image)
    case.sound(it, ["1.0"], changed=["etc/abupdate"])


if __name__ == "__main__":
    sys.exit(harness.main(globals()))
