#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""test-looks.py BUILD - the verbs that only look: status, list, jobs, history, check, monitor."""

import json
import signal
import subprocess
import sys

from harness import Terminal, main, wait_for


def case_status_in_a_pipe(world):
    world.fake()
    out, err = world.abctl("status")
    assert err == ""
    for text in ("steady", "slot 3, version 3.0, good", "it is the default slot", "the same",
                 "snapshot, booted by default-subvolume", "signature", "version 0.9: rolled back"):
        assert text in out, f"{text!r} is not in {out}"
    rows = [line.split()[0] for line in out.splitlines() if line[:1].isdigit()]
    assert rows == ["3", "2", "1"], rows


def case_without_a_verb_it_is_status(world):
    world.fake()
    assert world.abctl()[0] == world.abctl("status")[0]


def case_status_json_is_complete(world):
    world.fake("--reboot-required", "--problem=the fan is loud", "--transaction=4")
    o = world.json("status")
    assert o["booted"] == o["next"] == o["good"] == "3" and o["reboot-required"] is True
    assert o["problems"] == ["the fan is loud"] and o["transaction"] == "4"
    assert o["refused"] == [{"version": "0.9", "reason": "rolled back"}]
    assert o["jobs"] == [] and o["capabilities"] == ["incremental"]
    assert [s["id"] for s in o["slots"]] == ["3", "2", "1"]
    slot = o["slots"][0]
    assert slot["booted"] and slot["kernel-version"] == "6.18.2" and slot["size"] > 1 << 30
    assert slot["tries-left"] == -1 and slot["read-only"] is True
    pretty, _ = world.abctl("status", "--json=pretty")
    assert json.loads(pretty) == o and pretty.count("\n") > 20


def case_status_says_what_is_wrong(world):
    world.fake("--verification=none", "--problem=fstab says subvol=@", "--state=fallback",
               "--reboot-required", "--transaction=7")
    out, _ = world.abctl("status")
    for text in ("fallback", "none: whoever can hand in an image", "fstab says subvol=@",
                 "abctl check", "Reboot: required", "7 is open"):
        assert text in out, f"{text!r} is not in {out}"


def case_status_exit_code_4(world):
    world.fake("--reboot-required")
    world.abctl("status")
    world.abctl("status", "--exit-code", expect=4)
    world.fake()
    world.abctl("status", "--exit-code")


DEVICES = """\
● steady: the booted slot has proven itself and boots next
       Booted: slot b, version 2.0, good
               it is the default slot
    Next boot: the same
    Last good: the booted slot
      Backend: seed, booted by bls
 Verification: signature
      Devices: a /dev/sda2, 8.0 GiB, sealed: version 1.0
               b /dev/sda3, 9.0 GiB, sprout of a: version 2.0
               b still reads 1.5 GiB from a; 'abctl merge' ends that
      Refused: version 0.9: rolled back

SLOT VERSION STATE MARKS            CREATED
a    1.0     good                   2026-09-21 14:13:20
b    2.0     good  booted next good 2026-09-22 14:13:20
"""


def case_status_of_two_devices(world):
    world.fake("--seed=good")
    out, _ = world.abctl("status")
    assert out == DEVICES, out
    a, b = world.json("status")["slots"]
    assert (a["device-kind"], a["depends-on"], a["to-merge"]) == ("sealed", "", 0), a
    assert (b["device-kind"], b["depends-on"], b["to-merge"]) == ("sprout", "a", 3 << 29), b
    world.fake("--seed=trial", "--state=trial")
    out, _ = world.abctl("status")
    assert "b reads 1.5 GiB from a, until it has proven itself and is merged\n" in out, out


def case_status_of_many_slots_is_short(world):
    world.fake("--slots=1000")
    out, _ = world.abctl("status")
    assert len(out.splitlines()) < 30 and "and 989 older" in out or "and 990 older" in out, out
    assert "998" in out and "pinned" in out
    assert len(world.json("list")) == 1000


def case_status_without_slots(world):
    world.fake("--slots=0")
    out, _ = world.abctl("status")
    assert "No slots." in out and "nothing to go back to" in out
    assert world.json("list") == []


def case_status_shows_the_job(world):
    world.fake("--step=5000")
    job = world.start([world.build / "client/abctl", "-q", "prune"])
    wait_for("a job", lambda: world.json("jobs"))
    assert "7 change: check" in world.abctl("status")[0]
    out, _ = world.abctl("jobs")
    assert out.splitlines()[0].split()[0] == "JOB" and "change" in out
    o = world.json("jobs")[0]
    assert o["id"] == 7 and o["phase"] == "check" and o["cancellable"] is True
    assert "asked to stop" in world.abctl("cancel")[0]
    assert job.wait(10) == 1
    assert "No job is running" in world.abctl("jobs")[0]
    world.abctl("cancel", expect=3)
    assert "no job 99" in world.abctl("cancel", "99", expect=1)[1]
    world.abctl("cancel", "seven", expect=2)


def case_names_cannot_write_escape_sequences(world):
    world.fake("--evil", "--problem=\033]0;owned\007")
    for verb in ("status", "list"):
        out, _ = world.abctl(verb)
        assert "\\x1b[31mred\\x0a" in out, out
    text = Terminal(world, "status").finish()
    assert "\x1b[31mred" not in text and "\x1b]0" not in text


def case_history(world):
    world.fake()
    out, _ = world.abctl("history")
    assert "NoSpace" in out and "12.0 MiB are short" in out and "rollback" in out
    assert "2026-09-21 14:13:20" in out.splitlines()[1], out
    o = world.json("history", "-n", "5")
    assert o[0]["error"] == "NoSpace" and o[0]["status"] == -28 and o[1]["slot"] == "3"
    assert world.calls()[-1] == "GetHistory 5"
    t = Terminal(world, "history", "--no-pager", width=86)
    t.finish()
    lines = t.screen()
    assert [line[54:] for line in lines[1:3]] == ["12.0 MiB are short, of the 40.0",
                                                  "MiB that the image needs"], lines
    for wrong in ("0", "x", "-1", "99999999999"):
        world.abctl("history", f"--lines={wrong}", expect=2)


def case_check(world):
    world.fake()
    assert world.abctl("check")[0] == "Everything is in order.\n"
    assert world.json("check") == []
    nothing = "There was nothing that could be put right now.\n"
    assert world.abctl("check", "--repair")[0] == f"{nothing}Everything is in order.\n"
    assert world.json("check", "--repair") == []
    world.abctl("status", "--repair", expect=2)
    world.fake("--findings=warning")
    assert "Remove subvol= from line 3." in world.abctl("check")[0]
    world.fake("--findings=error")
    assert "error: /etc/fstab: line 3 mounts" in world.abctl("check", expect=1)[0]
    o = world.json("check", expect=1)
    assert o[0] == {"severity": "error", "subject": "/etc/fstab",
                    "problem": "line 3 mounts / with subvol=",
                    "advice": "Remove subvol= from line 3."}


def case_monitor(world):
    world.fake()
    out = world.path / "events"
    with out.open("w") as file:
        child = world.start([world.build / "client/abctl", "--json=short", "monitor"], stdout=file)
    wait_for("the first event", out.read_text)
    world.abctl("prune")
    wait_for("the end of the job", lambda: "job-removed" in out.read_text())
    child.send_signal(signal.SIGINT)
    assert child.wait(10) == 0
    events = [json.loads(line) for line in out.read_text().splitlines()]
    names = [e["event"] for e in events]
    assert names[0] == "machine" and "job-new" in names and "job" in names, names
    assert events[0]["changed"]["booted"] == "3"
    end = events[names.index("job-removed")]
    assert end["job"] == 7 and end["status"] == 0 and "boots next" in end["message"]


def case_monitor_for_people(world):
    world.fake("--job-error=NoSpace=5 bytes are short")
    out = world.path / "events"
    with out.open("w") as file:
        child = world.start([world.build / "client/abctl", "monitor"], stdout=file)
    wait_for("the first event", out.read_text)
    world.abctl("prune", expect=1)
    wait_for("the end", lambda: "failed" in out.read_text())
    world.service.kill()
    wait_for("the end of the service", lambda: "abupdated has stopped" in out.read_text())
    child.send_signal(signal.SIGTERM)
    assert child.wait(10) == 0
    text = out.read_text()
    for line in ("job 7: change begins", "job 7: arm",
                 "job 7: failed (org.abupdate1.Error.NoSpace): 5 bytes are short"):
        assert line in text, f"{line!r} is not in {text}"


def case_colours_on_a_terminal_only(world):
    world.fake()
    assert "\x1b[32m" in Terminal(world, "status").finish()
    for more in ({"NO_COLOR": "1"}, {"TERM": "dumb"}):
        assert "\x1b" not in Terminal(world, "status", env=dict(world.env, **more)).finish()


def case_tables_fit_the_terminal(world):
    world.fake("--slots=12")
    for width in (40, 80, 200):
        t = Terminal(world, "list", width=width, env=dict(world.env, NO_COLOR="1"))
        t.finish()
        assert max(len(line) for line in t.screen()) <= width, t.screen()


def case_pager(world):
    world.fake("--slots=60")
    env = dict(world.env, ABUPDATE_PAGER="sed s/^/PAGED:/")
    assert "PAGED:SLOT" in Terminal(world, "list", env=env).finish()
    assert "PAGED" not in Terminal(world, "list", "--no-pager", env=env).finish()
    assert "PAGED" not in world.abctl("list", env=env)[0]
    env["ABUPDATE_PAGER"] = ""
    assert "SLOT" in Terminal(world, "list", env=env).finish()
    env["ABUPDATE_PAGER"] = "true"
    Terminal(world, "list", env=env).finish()


def case_ascii_where_there_is_no_utf8(world):
    world.fake()
    text = Terminal(world, "status", env=dict(world.env, LC_ALL="C")).finish()
    assert text.isascii() and "* steady" in text.replace("\x1b[32m", ""), text


def case_broken_output(world):
    world.fake("--slots=1000")
    with subprocess.Popen([world.build / "client/abctl", "list"], env=world.env,
                          stdout=subprocess.PIPE) as child:
        child.stdout.readline()
        child.stdout.close()
        assert child.wait(10) in (0, -signal.SIGPIPE)


if __name__ == "__main__":
    sys.exit(main(globals()))
