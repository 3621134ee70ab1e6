#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""test-jobs.py BUILD - the verbs that change something: what reaches the daemon, and what comes of it."""

import json
import os
import signal
import subprocess
import sys

from harness import Terminal, main, wait_for

# every kind of base/err.h, and the exit code that abctl(1) promises
KINDS = {
    "Failed": 1, "InvalidArgument": 2, "NotSupported": 1, "BadConfig": 1, "NotBtrfs": 1,
    "WrongLayout": 1, "ReadOnlyFileSystem": 1, "BadInput": 1, "BadStream": 1, "Truncated": 1,
    "Stalled": 1, "UnsafePath": 1, "ForbiddenContent": 6, "LimitExceeded": 1, "ParentMissing": 1,
    "UnknownSubvolume": 1, "NotSigned": 6, "VerifyFailed": 1, "AlreadyInstalled": 3, "Refused": 6,
    "NoSpace": 1, "QuotaExceeded": 1, "Busy": 5, "Conflict": 1, "UnknownSlot": 1, "UnknownJob": 1,
    "SlotInUse": 1, "SlotPinned": 1, "NoFallback": 1, "NothingToDo": 3, "TransactionOpen": 5,
    "NoTransaction": 1, "Cancelled": 1, "NotCancellable": 1, "WorkerDied": 1, "NoMemory": 1,
}


def case_update_passes_what_was_asked(world):
    world.fake("--step=0")
    image = world.image(100000)
    out, _ = world.abctl("update", image)
    assert "Slot 4 (version 4.0) was written and boots next." in out
    assert world.sink.read_bytes() == image.read_bytes()
    assert world.calls() == ["Update image.send", "  size=100000", "end done"]
    world.fake("--step=0")
    world.abctl("update", "--no-arm", "--as=4.1", "--accept=4.1", "--reinstall", image)
    assert world.calls()[1:6] == ["  arm=no", "  version=4.1", "  accept=4.1", "  reinstall=yes",
                                  "  size=100000"]


def case_update_from_stdin(world):
    world.fake("--step=0")
    image = world.image(100000)
    with subprocess.Popen(["cat", image], stdout=subprocess.PIPE) as cat:
        world.abctl("update", "-", stdin=cat.stdout)
    assert world.sink.read_bytes() == image.read_bytes()
    assert world.calls()[:2] == ["Update -", "end done"]
    with image.open("rb") as file:
        os.lseek(file.fileno(), 1000, os.SEEK_SET)
        world.abctl("update", "-", stdin=file)
    assert world.sink.read_bytes() == image.read_bytes()[1000:]
    assert "  size=99000" in world.calls()
    text = Terminal(world, "update", "-").finish(expect=1)
    assert "that is a terminal" in text


def case_update_from_a_named_pipe(world):
    world.fake("--step=0")
    image, fifo = world.image(100000), world.path / "fifo"
    os.mkfifo(fifo)
    with subprocess.Popen(["cp", image, fifo]):
        world.abctl("update", fifo)
    assert world.sink.read_bytes() == image.read_bytes()


def case_update_looks_before_it_calls(world):
    world.fake("--step=0")
    (world.path / "empty").touch()
    world.image(10, "there.send.zst")
    for path, text in ((world.path, "is a directory"), ("/dev/zero", "is a device"),
                       (world.path / "empty", "is empty"), (world.path / "no", "There is no file"),
                       (world.path / "there.send", "did you mean"),
                       (world.path / "there.send.zst/x", "Not a directory")):
        _, err = world.abctl("update", path, expect=1)
        assert text in err, err
    secret = world.image(10, "secret")
    secret.chmod(0)
    world.path.chmod(0o755)
    if os.geteuid() == 0:
        done = subprocess.run([world.build / "client/abctl", "update", secret], text=True,
                              env=world.env, user=65534, capture_output=True, check=False)
        assert done.returncode == 1 and "Permission denied" in done.stderr, done.stderr
    assert world.calls() == []


def case_dry_run(world):
    world.fake("--step=0")
    out, _ = world.abctl("update", "--dry-run", world.image(4096))
    assert "receive image.send" in out and "4.0 KiB" in out and "Nothing was changed." in out
    assert world.calls()[0] == "Plan image.send" and len(world.calls()) == 2
    steps = world.json("update", "--dry-run", world.path / "image.send")
    assert steps[1] == {"phase": "write", "text": "receive image.send", "bytes": 4096}


def case_wrong_use_of_update(world):
    world.fake()
    for argv in (["--dry-run", "--reboot", "x"], ["--no-arm", "--reboot", "x"],
                 ["--detach", "--reboot", "x"], ["--detach", "http://localhost/x"],
                 ["--retries=x", "x"], ["--retries=101", "x"], ["--progress=loud", "x"], [],
                 ["a", "b"], ["--accept"], ["--accept=1", "--nonsense", "x"]):
        out, err = world.abctl("update", *argv, expect=2)
        assert out == "" and len(err.splitlines()) == 1, (argv, out, err)
    assert world.calls() == []


def case_every_error_of_a_call(world):
    for kind, code in KINDS.items():
        world.fake(f"--fail=Update={kind}=the reason is {kind}")
        image = world.image(10)
        _, err = world.abctl("update", image, expect=code)
        assert f"the reason is {kind}" in err, err
        o = world.json("update", image, expect=code)
        assert o["error"] == kind and o["exit-code"] == code and o["message"], o


def case_every_error_of_a_job(world):
    for kind, code in KINDS.items():
        world.fake("--step=0", f"--job-error={kind}=the reason is {kind}")
        out, err = world.abctl("prune", expect=code)
        assert f"the reason is {kind}" in err and "Done" not in out, (out, err)


def case_errors_say_what_to_do(world):
    for error, text in (("Busy=x", "abctl jobs"), ("Refused=x", "--accept"),
                        ("AlreadyInstalled=x", "--reinstall"), ("NoSpace=x", "abctl prune"),
                        ("org.freedesktop.DBus.Error.AccessDenied=no", "run it as root"),
                        ("org.freedesktop.DBus.Error.InteractiveAuthorizationRequired=x",
                         "needs a password"),
                        ("org.freedesktop.DBus.Error.UnknownMethod=x", "older than this abctl"),
                        ("org.freedesktop.DBus.Error.NoReply=x", "journalctl -u abupdated"),
                        ("org.freedesktop.DBus.Error.Spawn.ChildExited=x", "does not start"),
                        ("com.example.Strange=odd", "odd (com.example.Strange)")):
        world.fake(f"--fail=Prune={error}")
        code = {"Busy": 5, "Refused": 6, "AlreadyInstalled": 3}.get(error.split("=")[0], 1)
        code = 6 if "Access" in error or "Authorization" in error else code
        _, err = world.abctl("prune", expect=code)
        assert text in err, err
    world.fake("--fail=Prune=NoSpace=run 'abctl discard 3' first")
    assert world.abctl("prune", expect=1)[1] == "abctl: run 'abctl discard 3' first\n"


def case_errors_of_reading(world):
    for method, verb in (("ListSlots", "status"), ("ListJobs", "jobs"), ("GetHistory", "history"),
                         ("Check", "check")):
        world.fake(f"--fail={method}=BadConfig=abupdated.conf:3: no such key")
        assert "abupdated.conf:3" in world.abctl(verb, expect=1)[1]


def case_no_daemon_and_no_bus(world):
    for verb in (["status"], ["update", world.image(10)], ["monitor"], ["prune"]):
        _, err = world.abctl(*verb, expect=1)
        assert "abupdated is not running" in err, err
        env = dict(world.env, DBUS_SYSTEM_BUS_ADDRESS=f"unix:path={world.path}/none")
        _, err = world.abctl(*verb, expect=1, env=env)
        assert "There is no system bus" in err, err
    assert world.json("status", expect=1)["error"] == "NoDaemon"


def case_daemon_dies_during_a_job(world):
    world.fake("--die")
    _, err = world.abctl("update", world.image(10), expect=1)
    assert "went away while job 7 was running" in err, err


def case_verbs_and_their_calls(world):
    world.fake("--step=0", "--transaction=9")
    for argv, calls in ((["rollback"], ["Rollback", "  ''"]),
                        (["rollback", "2"], ["Rollback", "  '2'"]),
                        (["mark", "good"], ["Mark", "  ''", "  'good'", "  ''"]),
                        (["mark", "bad", "2", "--reason=it smokes"],
                         ["Mark", "  '2'", "  'bad'", "  'it smokes'"]),
                        (["prune"], ["Prune"]), (["discard", "1"], ["Discard", "  '1'"]),
                        (["pin", "1"], ["Pin", "  '1'", "  yes"]),
                        (["unpin", "1"], ["Pin", "  '1'", "  no"]),
                        (["commit"], ["Commit", "  '9'"]), (["commit", "4"], ["Commit", "  '4'"]),
                        (["abort"], ["Abort", "  '9'"])):
        before = len(world.calls())
        world.abctl(*argv)
        assert world.calls()[before:] == [*calls, "end done"], (argv, world.calls()[before:])
    before = len(world.calls())
    world.abctl("discard", "1", "2")
    assert [c for c in world.calls()[before:] if c[0] == "D"] == ["Discard", "Discard"]
    world.abctl("mark", "maybe", expect=2)
    world.abctl("discard", expect=2)


def case_transactions(world):
    world.fake()
    assert "Transaction 4 is open on slot 4" in world.abctl("begin")[0]
    assert world.json("begin", "--in-place") == {"transaction": "4", "slot": "4"}
    assert world.calls() == ["Begin", "Begin", "  in-place=yes"]
    for verb in ("commit", "abort"):
        _, err = world.abctl(verb, expect=1)
        assert "No transaction is open" in err and "abctl begin" in err


def case_run(world):
    world.fake("--step=0")
    run = ["run", "--in-place", "--"]
    out, _ = world.abctl(*run, "sh", "-c", "echo from inside; exit 0")
    assert "from inside" in out
    assert world.calls() == ["Begin", "  in-place=yes", "Commit", "  '4'", "end done"]
    for script, said in (("exit 7", "sh ended with status 7"),
                         ("kill -9 $$", "sh was killed by signal 9")):
        before = len(world.calls())
        _, err = world.abctl(*run, "sh", "-c", script, expect=1)
        assert said in err, err
        assert world.calls()[before:] == ["Begin", "  in-place=yes", "Abort", "  '4'", "end done"]
    before = len(world.calls())
    for nothing in ("no-such-program", "/no/such/program", "/etc/passwd"):
        assert "Nothing was changed" in world.abctl(*run, nothing, expect=2)[1]
    world.abctl(*run, expect=2)
    assert len(world.calls()) == before
    # it is as if we were not there: no signal is blocked or ignored, but for the two of glibc
    out, _ = world.abctl(*run, "grep", "-E", "Sig(Blk|Ign)", "/proc/self/status")
    masks = [int(line.split()[1], 16) for line in out.splitlines() if line[:3] == "Sig"]
    assert len(masks) == 2 and not any(mask & ~(3 << 31) for mask in masks), out


def case_run_and_ctrl_c(world):
    world.fake("--step=0")
    t = Terminal(world, "run", "--in-place", "--", "sh", "-c",
                 "trap 'echo caught; exit 3' INT; echo waiting; while sleep 0.1; do :; done")
    t.until("waiting")
    t.press_ctrl_c()
    text = t.finish(expect=1)
    assert "caught" in text and "sh ended with status 3" in text, text
    assert world.calls()[-3:] == ["Abort", "  '4'", "end done"]


def case_reboot(world):
    tools = world.path / "tools"
    tools.mkdir()
    (tools / "systemctl").write_text(f"#!/bin/sh\necho \"$@\" >>{world.path}/rebooted\n"
                                     f"test ! -e {world.path}/broken\n")
    (tools / "systemctl").chmod(0o755)
    env = dict(world.env, PATH=f"{tools}:{world.env['PATH']}")
    rebooted = world.path / "rebooted"
    image = world.image(10)
    world.fake("--step=0")
    world.abctl("update", "--reboot", image, env=env)
    assert not rebooted.exists(), "there was no need to"
    world.fake("--step=0", "--job-error=NoSpace=x")
    world.abctl("update", "--reboot", image, env=env, expect=1)
    assert not rebooted.exists(), "after a failure"
    world.fake("--step=0", "--reboot-after")
    assert "Reboot to start it." in world.abctl("update", image)[0]
    world.abctl("update", "--exit-code", image, expect=4)
    assert world.json("update", image)["reboot-required"] is True
    out, _ = world.abctl("update", "--reboot", image, env=env)
    assert "Reboot to" not in out and rebooted.read_text() == "reboot\n"
    (world.path / "broken").touch()
    assert "reboot by hand" in world.abctl("rollback", "--reboot", env=env, expect=1)[1]


def case_detach(world):
    world.fake("--step=1500")
    out, _ = world.abctl("update", "--detach", world.image(10))
    assert "Job 7 runs on its own" in out
    assert world.calls()[1] == "  detach=yes"
    assert world.json("jobs")[0]["id"] == 7
    _, err = world.abctl("prune", expect=5)
    assert "Job 7" in err and "abctl cancel" in err
    wait_for("the end of the job", lambda: "end done" in world.calls())


def case_quiet(world):
    world.fake("--step=0")
    assert world.abctl("-q", "update", world.image(10)) == ("", "")
    world.fake("--step=0", "--job-error=NoSpace=x")
    out, err = world.abctl("-q", "update", world.path / "image.send", expect=1)
    assert out == "" and err == "abctl: x\n"


def case_json_of_a_job(world):
    world.fake("--step=0")
    assert world.json("update", world.image(10)) == {
        "job": 7, "result": "done", "message": "Slot 4 (version 4.0) was written and boots next",
        "reboot-required": False}
    lines = world.abctl("update", "--progress=json", world.path / "image.send")[0].splitlines()
    events = [json.loads(line) for line in lines]
    assert events[0] == {"event": "start", "job": 8} and events[-1]["event"] == "result"
    assert [e["phase"] for e in events if e["event"] == "phase"] == ["check", "prepare", "write",
                                                                     "verify", "arm"]
    world.fake("--step=0", "--job-error=NoSpace=x")
    lines = world.abctl("prune", "--progress=json", expect=1)[0].splitlines()
    assert json.loads(lines[-1])["error"] == "NoSpace"


def case_term_signal_cancels_like_ctrl_c(world):
    world.fake("--step=5000")
    child = world.start([world.build / "client/abctl", "prune"], stdout=subprocess.DEVNULL,
                        stderr=subprocess.PIPE, text=True)
    wait_for("a job", lambda: world.json("jobs"))
    child.send_signal(signal.SIGTERM)
    _, err = child.communicate(timeout=10)
    assert child.returncode == 1 and "Cancelling job 7" in err, err
    assert "Slot 3 is booted; the next boot takes slot 3" in err, err
    assert world.calls()[-2:] == ["Cancel", "end Cancelled"]


def case_reader_of_the_output_leaves(world):
    world.fake("--step=100")
    with subprocess.Popen([world.build / "client/abctl", "prune", "--progress=lines"],
                          env=world.env, stdout=subprocess.PIPE) as child:
        child.stdout.readline()
        child.stdout.close()
        child.wait(20)
    assert world.calls()[-1] == "end done", "the job was left alone"


def case_another_machine(world):
    tools = world.path / "tools"
    tools.mkdir()
    (tools / "ssh").write_text(f"#!/bin/sh\necho \"$@\" >>{world.path}/ssh\n"
                               f"test ! -e {world.path}/broken || exit 255\n"
                               f"exec systemd-stdio-bridge -p unix:path={world.path}/bus\n")
    (tools / "ssh").chmod(0o755)
    env = dict(world.env, PATH=f"{tools}:{world.env['PATH']}", DBUS_SYSTEM_BUS_ADDRESS="unix:path=/")
    world.fake("--step=0")
    assert "slot 3, version 3.0" in world.abctl("-H", "ann@there", "status", env=env)[0]
    assert "ann@there" in (world.path / "ssh").read_text()
    world.abctl("rollback", "--host=there", env=env)
    assert world.calls() == ["Rollback", "  ''", "end done"]
    _, err = world.abctl("-H", "there", "update", world.image(10), env=env, expect=1)
    assert "run 'ssh there abctl update - <" in err, err
    (world.path / "broken").touch()
    _, err = world.abctl("-H", "there", "status", env=env, expect=1)
    assert "Cannot reach the bus of there" in err, err


def case_as_nobody(world):
    if os.geteuid() != 0:
        return
    world.path.chmod(0o755)
    world.fake("--fail=Prune=org.freedesktop.DBus.Error.AccessDenied=x")
    done = subprocess.run([world.build / "client/abctl", "prune"], env=world.env, user=65534,
                          text=True, capture_output=True, check=False, stdin=subprocess.DEVNULL)
    assert done.returncode == 6 and "run it as root" in done.stderr, done


if __name__ == "__main__":
    sys.exit(main(globals()))
