#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""test-offline.py BUILD - abctl --offline against a worker that is told how to behave."""

import json
import os
import pathlib
import shutil
import sys

from harness import Terminal, main, wait_for
from webserver import Server

HERE = pathlib.Path(__file__).resolve().parent


def set_up(world, how="done"):
    """A build tree with abctl in it and the worker that answers; there is no bus."""
    tree = world.path / "tree"
    if not tree.exists():
        (tree / "client").mkdir(parents=True)
        (tree / "daemon").mkdir()
        for name in ("abctl", "abctl-fetch"):
            shutil.copy(world.build / "client" / name, tree / "client" / name)
        (tree / "daemon/abupdated").write_text(
            f"#!/bin/sh\nexec {sys.executable} {HERE}/fake-worker.py \"$@\"\n")
        (tree / "daemon/abupdated").chmod(0o755)
    world.path.chmod(0o755)
    world.build = tree
    world.env.update(FAKE_WORKER=how, FAKE_WORKER_LOG=str(world.log),
                     DBUS_SYSTEM_BUS_ADDRESS="unix:path=/none")
    world.log.unlink(missing_ok=True)


def orders(world):
    """What the workers were asked for so far: (arguments, order)."""
    return [json.loads(line) for line in world.calls()]


def case_looking(world):
    set_up(world)
    out, _ = world.abctl("--offline", "status")
    assert "slot 2, version 2.0, good" in out and "signature" in out
    assert orders(world) == [[["--worker", "--root=/"], {"type": "check", "job": 0}]]
    o = world.json("--root=/some/where", "status")
    assert o["jobs"] == [] and "history" not in o and o["slots"][0]["booted"] is True
    assert orders(world)[1][0] == ["--worker", "--root=/some/where"]
    assert [s["id"] for s in world.json("--offline", "list")] == ["2", "1"]
    assert [e["job"] for e in world.json("--offline", "history", "-n2")] == [3, 2]
    assert world.json("--offline", "check", expect=1)[0]["advice"] == "a"


def case_changing(world):
    set_up(world)
    for argv, order in ((["rollback"], {"type": "rollback", "slot": ""}),
                        (["rollback", "1"], {"type": "rollback", "slot": "1"}),
                        (["mark", "bad", "1", "--reason=r"],
                         {"type": "mark", "verdict": "bad", "slot": "1", "reason": "r"}),
                        (["mark", "good"],
                         {"type": "mark", "verdict": "good", "slot": "", "reason": ""}),
                        (["prune"], {"type": "prune"}), (["discard", "1"],
                                                         {"type": "discard", "slot": "1"}),
                        (["pin", "1"], {"type": "pin", "slot": "1", "pinned": True}),
                        (["unpin", "1"], {"type": "pin", "slot": "1", "pinned": False}),
                        (["begin", "--in-place"], {"type": "begin", "in-place": True}),
                        (["commit", "3"], {"type": "commit", "transaction": "3"}),
                        (["abort", "3"], {"type": "abort", "transaction": "3"})):
        out, _ = world.abctl("--offline", *argv)
        assert orders(world)[-1][1] == {**order, "job": 0}, orders(world)[-1]
        assert "is done." in out or "Transaction 3 is open on slot 3" in out, out
    assert "No transaction is open" in world.abctl("--offline", "commit", expect=1)[1]


def case_update(world):
    set_up(world)
    image = world.image(200000)
    received = pathlib.Path(f"{world.log}.image")
    world.abctl("--offline", "update", image, "--no-arm", "--as=9", "--accept=9", "--reinstall")
    assert received.read_bytes() == image.read_bytes()
    assert orders(world)[-1][1] == {"type": "update", "job": 0, "name": "image.send", "arm": False,
                                    "reinstall": True, "size": 200000, "version": "9",
                                    "accept": "9"}
    with image.open("rb") as file:
        world.abctl("--offline", "update", "-", stdin=file)
    assert received.read_bytes() == image.read_bytes()
    with Server(image.read_bytes()) as server:
        server.breaks = [100000]
        world.abctl("--offline", "update", server.url())
        assert received.read_bytes() == image.read_bytes()
        server.ranges, server.breaks = False, [100000]
        received.unlink()
        _, err = world.abctl("--offline", "update", server.url(), expect=1)
        assert "knows no ranges" in err, err
        # the worker may have been stopped before it read anything
        assert not received.exists() or received.stat().st_size <= 100000
    assert world.json("--offline", "update", "--dry-run", image)[0]["bytes"] == 200000


def case_errors(world):
    set_up(world, "error=NoSpace=5 bytes are short")
    _, err = world.abctl("--offline", "prune", expect=1)
    assert "5 bytes are short" in err and "abctl prune" in err
    assert world.json("--offline", "prune", expect=1)["error"] == "NoSpace"
    set_up(world, "error=Refused=no")
    world.abctl("--offline", "prune", expect=6)
    set_up(world, "die")
    assert world.json("--offline", "prune", expect=1)["error"] == "WorkerDied"
    set_up(world, "silent")
    world.abctl("--offline", "prune")
    assert "does not say what the machine is like" in world.abctl("--offline", "status",
                                                                  expect=1)[1]
    (world.build / "daemon/abupdated").unlink()
    assert "does not start" in world.abctl("--offline", "prune", expect=1)[1]


def case_wrong_use(world):
    set_up(world)
    for verb in ("jobs", "monitor", "cancel"):
        assert "--offline is to do without it" in world.abctl("--offline", verb, expect=1)[1]
    world.abctl("--offline", "--host=there", "status", expect=2)
    world.abctl("--offline", "update", "--detach", "x", expect=2)
    world.abctl("--root", expect=2)
    assert orders(world) == []


def case_a_daemon_that_is_up_is_the_one_to_ask(world):
    world.fake()
    address = world.env["DBUS_SYSTEM_BUS_ADDRESS"]
    set_up(world)
    world.env["DBUS_SYSTEM_BUS_ADDRESS"] = address
    _, err = world.abctl("--offline", "prune", expect=5)
    assert "abupdated is running" in err and orders(world) == []
    world.abctl(f"--root={world.path}", "prune")


def kill_workers(world):
    """Ends what the test has left running on purpose."""
    for path in pathlib.Path("/proc").glob("[0-9]*/environ"):
        try:
            if f"FAKE_WORKER_LOG={world.log}".encode() in path.read_bytes():
                os.kill(int(path.parent.name), 9)
        except OSError:
            pass


def case_ctrl_c(world):
    set_up(world, "slow")
    t = Terminal(world, "--offline", "prune", env=dict(world.env, NO_COLOR="1"))
    t.until("write")
    t.press_ctrl_c()
    t.finish(expect=1)
    lines = [line for line in t.screen() if line]
    assert lines[-1] == "abctl: stopped" and any("Cancelling." in line for line in lines), lines
    set_up(world, "stubborn")
    t = Terminal(world, "--offline", "prune")
    t.until("write")
    t.press_ctrl_c()
    t.until("Cancelling")
    t.press_ctrl_c()
    t.until("Left while the job was stopping")
    wait_for("the end of abctl", lambda: ") Z " in pathlib.Path(f"/proc/{t.pid}/stat").read_text())
    kill_workers(world)
    t.finish(expect=1)


if __name__ == "__main__":
    sys.exit(main(globals()))
