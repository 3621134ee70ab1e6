#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""test-terminal.py BUILD - progress on a terminal and in a pipe, and Ctrl-C."""

import json
import re
import sys
import time

from harness import Terminal, main, wait_for

BAR = re.compile(r"write +[━╸─]+ +(\d+) %")


def case_bar(world):
    world.fake("--rate=10M", "--step=150")
    t = Terminal(world, "update", world.image(20 << 20), width=110)
    text = t.finish()
    drawn = [int(p) for p in BAR.findall(text)]
    assert drawn == sorted(drawn) and len(set(drawn)) > 5, drawn
    assert len(drawn) <= 25, f"{len(drawn)} drawings in two seconds"
    assert re.search(r"\d MiB of 20.0 MiB +\d+\.\d MiB/s +0:0\d left", text), text
    lines = [line for line in t.screen() if line]
    assert [line.split()[1] for line in lines[:5]] == ["check", "prepare", "write", "verify", "arm"]
    assert all(line.startswith("✓") for line in lines[:5]) and "20.0 MiB in 0:0" in lines[2], lines
    assert lines[5:] == ["Slot 4 (version 4.0) was written and boots next."], lines


def case_bar_fits_every_width(world):
    world.fake("--rate=20M", "--step=0")
    image = world.image(10 << 20)
    for width in (20, 40, 60, 80, 132):
        t = Terminal(world, "update", image, width=width, env=dict(world.env, NO_COLOR="1"))
        text = t.finish()
        for part in re.split(r"[\r\n]", text.replace("\x1b[K", "")):
            if part.startswith("write"):
                assert len(part) < width, (width, part)


def case_bar_of_a_pipe_has_no_percent(world):
    world.fake("--rate=10M", "--step=0")
    fifo = world.path / "fifo"
    world.start(["sh", "-c", f"mkfifo {fifo}; cat {world.image(10 << 20)} >{fifo}"])
    wait_for("the pipe", fifo.exists)
    t = Terminal(world, "update", fifo, width=110)
    text = t.finish()
    assert re.search(r"write .* \d\.\d MiB +\d+\.\d MiB/s +0:0\d", text), text
    assert "%" not in text


def case_bar_in_ascii(world):
    world.fake("--rate=10M", "--step=0")
    env = dict(world.env, LC_ALL="C", NO_COLOR="1")
    t = Terminal(world, "update", world.image(10 << 20), env=env)
    text = t.finish()
    assert text.isascii() and re.search(r"write +#+>\.+ +\d+ %", text), text
    assert "+ write" in t.screen()[2], t.screen()


def case_failure_closes_the_bar(world):
    world.fake("--step=100", "--job-error=VerifyFailed=the digest differs")
    t = Terminal(world, "update", world.image(10), env=dict(world.env, NO_COLOR="1"))
    t.finish(expect=1)
    lines = [line for line in t.screen() if line]
    assert lines[-1] == "abctl: the digest differs" and lines[-2] == "✗ arm", lines


def case_dumb_terminals_get_lines(world):
    world.fake("--step=0")
    text = Terminal(world, "update", world.image(10), env=dict(world.env, TERM="dumb")).finish()
    assert "\x1b" not in text and "write\r\n" in text


def case_lines_in_a_pipe(world):
    world.fake("--rate=20M", "--step=100")
    out, err = world.abctl("update", world.image(20 << 20))
    lines = out.splitlines()
    assert err == "" and lines[:3] == ["check", "prepare", "write"], out
    tenths = [int(re.match(r"write: (\d+) % \(.* of 20.0 MiB\)", line)[1])
              for line in lines if line.startswith("write:")]
    assert 8 <= len(tenths) <= 10 and tenths == sorted(tenths), tenths
    assert [b // 10 - a // 10 for a, b in zip(tenths, tenths[1:])] == [1] * (len(tenths) - 1)


def case_json_lines(world):
    world.fake("--rate=20M", "--step=0")
    out, _ = world.abctl("update", "--progress=json", world.image(20 << 20))
    events = [json.loads(line) for line in out.splitlines()]
    steps = [e for e in events if e["event"] == "progress" and e["phase"] == "write"]
    assert 5 <= len(steps) <= 15, len(steps)
    assert all(e["job"] == 7 and e["bytes-total"] == 20 << 20 for e in steps[1:])
    assert [e["bytes-done"] for e in steps] == sorted(e["bytes-done"] for e in steps)
    assert any(abs(e["rate"] - (20 << 20)) < 10 << 20 for e in steps), steps
    assert 0 <= steps[-1]["progress"] <= 1


def case_progress_none(world):
    world.fake("--step=0")
    out, _ = world.abctl("update", "--progress=none", world.image(10))
    assert out == "Slot 4 (version 4.0) was written and boots next.\n"


def case_ctrl_c_cancels(world):
    world.fake("--rate=1M")
    t = Terminal(world, "update", world.image(50 << 20), env=dict(world.env, NO_COLOR="1"))
    t.until("write  ")
    t.press_ctrl_c()
    text = t.finish(expect=1)
    assert "Cancelling job 7. Press Ctrl-C again" in text, text
    assert world.calls()[-2:] == ["Cancel", "end Cancelled"], world.calls()
    assert t.screen()[-2] == ("abctl: Job 7 was cancelled. Slot 3 is booted; the next boot "
                              "takes slot 3"), t.screen()


def case_ctrl_c_twice_leaves(world):
    world.fake("--rate=1M", "--slow-cancel")
    t = Terminal(world, "update", world.image(50 << 20), width=200)
    t.until("write  ")
    t.press_ctrl_c()
    t.until("Cancelling")
    begin = time.monotonic()
    t.press_ctrl_c()
    text = t.finish(expect=1)
    assert time.monotonic() - begin < 5
    assert "Left job 7 while it was stopping: 'abctl jobs' shows" in text, text


def case_ctrl_c_too_late(world):
    world.fake("--rate=20M", "--no-cancel")
    t = Terminal(world, "update", world.image(20 << 20), width=200)
    t.until("write  ")
    t.press_ctrl_c()
    text = t.finish()
    assert "The job goes on: The boot switch has been made." in text, text
    assert "The job was done before it could be stopped." in text, text
    assert "boots next" in t.screen()[-2]


def case_ctrl_c_before_the_job_begins(world):
    world.fake("--silent")
    t = Terminal(world, "prune")
    wait_for("the bar", lambda: t.read(0.2) and b"start" in t.output)
    t.press_ctrl_c()
    text = t.finish(expect=1)
    assert "Stopped before the job began. Nothing was changed" in text, text


def case_the_bus_goes_away(world):
    world.fake("--rate=1M")
    t = Terminal(world, "update", world.image(50 << 20), width=200)
    t.until("write  ")
    world.children[0].kill()
    assert "The bus went away: 'abctl status'" in t.finish(expect=1)


if __name__ == "__main__":
    sys.exit(main(globals()))
