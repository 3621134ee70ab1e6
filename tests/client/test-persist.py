#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""test-persist.py BUILD - abctl update --persist: what is cut off is gone on with, what is done or refused is not."""

import os
import pathlib
import sys

from harness import main, wait_for
from webserver import Server

DATA = os.urandom(3_000_000)


def persistent(world):
    """A state directory of this world, and the file in it."""
    world.env["STATE_DIRECTORY"] = str(world.path / "state")
    return world.path / "state/persistent-update"


def updates(world):
    """The calls of Update, each with its options."""
    calls, mine = [], False
    for line in world.calls():
        if not line.startswith(" "):
            mine = line.startswith("Update ")
        if mine:
            calls.append(line.strip())
    return calls


def case_done_at_once(world):
    note = persistent(world)
    world.fake("--step=0")
    world.abctl("update", "--persist", world.image(4096))
    assert updates(world) == ["Update image.send", "size=4096"] and not note.exists()
    world.abctl("update", "--continue", expect=3)


def case_killed_and_gone_on_with(world):
    note = persistent(world)
    world.fake("--rate=1M")
    with Server(DATA * 10) as server:
        child = world.start([world.build / "client/abctl", "-q", "update", "--persist", "--no-arm", "--allow-downgrade",
                             "--as=2.0", "--accept=1.9", server.url()])
        wait_for("the download", lambda: len(updates(world)) > 1)
        child.kill()
        child.wait()
        assert server.url() in note.read_text() and note.stat().st_mode & 0o777 == 0o600
        before = updates(world)
        assert "arm=no" in before and "allow-downgrade=yes" in before and "version=2.0" in before, before
        world.fake("--step=0")
        world.abctl("update", "--continue")
        assert updates(world) == before, updates(world)
    assert not note.exists()


def case_a_server_that_fails(world):
    note = persistent(world)
    world.fake("--step=0")
    with Server(DATA) as server:
        server.breaks = [1_000_000]
        _, err = world.abctl("update", "--persist", "--retries=0", server.url(), expect=1)
        assert "--continue" in err and "--forget" in err and note.exists(), err
        world.abctl("update", "--continue")
    assert not note.exists() and world.sink.read_bytes() == DATA


def case_no_service(world):
    note = persistent(world)
    world.abctl("update", "--persist", world.image(10), expect=1)
    assert note.exists()
    world.fake("--step=0")
    world.abctl("update", "--continue", cwd="/")
    assert updates(world) == ["Update image.send", "size=10"] and not note.exists()


def case_a_path_holds_elsewhere(world):
    note = persistent(world)
    world.fake("--fail=Update=Busy=a job runs")
    world.image(10)
    (world.path / "other.manifest").write_text("x")
    world.abctl("update", "--persist", "--manifest=other.manifest", "image.send", cwd=world.path, expect=5)
    words = dict(line.split("=", 1) for line in note.read_text().splitlines())
    for key, name in (("Image", "image.send"), ("Manifest", "other.manifest")):
        assert pathlib.Path(words[key]).resolve() == (world.path / name).resolve(), words
    world.fake("--step=0")
    world.abctl("update", "--continue", cwd="/")
    assert not note.exists()


def case_refused(world):
    note = persistent(world)
    for kind, code in (("NotSigned", 6), ("AlreadyInstalled", 3), ("InvalidArgument", 2)):
        world.fake(f"--fail=Update={kind}=no")
        world.abctl("update", "--persist", world.image(10), expect=code)
        assert not note.exists(), kind


def case_another_takes_its_place(world):
    note = persistent(world)
    world.fake("--fail=Update=Busy=a job runs")
    world.image(10)
    (world.path / "next.send").write_bytes(b"x" * 20)
    world.abctl("update", "--persist", "--reinstall", world.path / "image.send", expect=5)
    world.abctl("update", "--persist", world.path / "next.send", expect=5)
    assert "next.send" in note.read_text() and "Reinstall" not in note.read_text()
    world.abctl("update", "--forget")
    assert not note.exists()
    world.abctl("update", "--forget")


def case_a_note_that_cannot_be_read(world):
    note = persistent(world)
    note.parent.mkdir()
    world.fake("--step=0")
    for text in ("Image\n", "Image=/a\nImage=/b\n", "Reboot=yes\n", "Image=/a\nReboot=maybe\n", "\0" * 100):
        note.write_text(text)
        _, err = world.abctl("update", "--continue", expect=1)
        assert "persistent-update cannot be read" in err and "--forget" in err, err
    note.unlink()
    note.symlink_to("/etc/passwd")
    world.abctl("update", "--continue", expect=1)
    assert updates(world) == []


def case_wrong_use(world):
    note = persistent(world)
    world.fake("--step=0")
    image = world.image(10)
    for argv in (["--persist"], ["--continue", image], ["--forget", image], ["--persist", "--continue", image],
                 ["--persist", "--dry-run", image], ["--persist", "--detach", image], ["--persist", "-"],
                 ["--persist", "--offline", image], ["--continue", "--offline"], ["--persist", "--host=x", image],
                 ["--offline"]):
        world.abctl("update", *argv, expect=2)
        assert not note.exists(), argv
    _, err = world.abctl("update", "--persist", world.path / "nothing.send", expect=1)
    assert "nothing.send" in err and not note.exists()
    assert updates(world) == []


if __name__ == "__main__":
    sys.exit(main(globals()))
