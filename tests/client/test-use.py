#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""test-use.py BUILD - help, wrong use, and that help, man page and completion speak of the same verbs and options."""

import pathlib
import re
import subprocess
import sys

from harness import main

TOP = pathlib.Path(__file__).resolve().parent.parent.parent
VERBS = re.compile(r"^  (\w+) +(?:\S.*?)?  +\S", re.M)
OPTIONS = re.compile(r"^  (?:-(\w),?)? *(?:--([\w-]+))?(?:=\S+)? {2,}\S", re.M)


def verbs(world):
    """The verbs that the help lists."""
    found = listed(world.abctl("--help")[0].split("status.\n")[1])
    assert len(found) == 23 and len(set(found)) == 23, found
    return found


def listed(text):
    """The verbs that a text of help lists."""
    rows = text.split("\nOptions:")[0].splitlines()
    return [row.split()[0] for row in rows if row.startswith("  ")]


def commands(world):
    """Everything that has options of its own: lists of one verb or, below image, two."""
    images = listed(world.abctl("image", "--help")[0])
    assert set(images) == {"keygen", "create", "sign", "info", "verify"}
    return [[v] for v in verbs(world) if v != "image"] + [["image", v] for v in images]


def options(world, *verb):
    """The options that the help of a verb lists, long ones where there is a long one."""
    text = world.abctl(*verb, "--help")[0]
    lines = [line for line in text.splitlines() if re.match(r"  (-\w|    --)", line)]
    return {re.search(r"--[\w-]+", line)[0] if "--" in line else line.split()[0]
            for line in lines}


def case_help_of_everything(world):
    for command in commands(world):
        *above, verb = command
        out, err = world.abctl(*command, "--help")
        assert out.startswith(f"Usage: abctl {' '.join(command)}") and err == "", out
        assert max(map(len, out.splitlines())) <= 100, out
        assert options(world, *above) <= options(world, *command)
        assert world.abctl(*above, "help", verb)[0] == out == world.abctl(*above, "--help", verb)[0]
    assert world.abctl("help", "image")[0] == world.abctl("image", "--help")[0]
    assert world.abctl("image", expect=2)[0] == world.abctl("image", "--help")[0]
    assert world.abctl("help")[0] == world.abctl("-h")[0]


def case_version(world):
    assert re.fullmatch(r"abctl \d+\.\d+\.\d+\n", world.abctl("--version")[0])


def case_unknown_verbs(world):
    for word, near in (("updat", "update"), ("stauts", "status"), ("hist", "history"),
                       ("roll", "rollback"), ("lst", "list"), ("dicard", "discard")):
        out, err = world.abctl(word, expect=2)
        assert out == "" and f"did you mean '{near}'?" in err, err
    _, err = world.abctl("xyzzy", expect=2)
    assert "did you mean" not in err and "abctl --help" in err
    assert "\\x1b" in world.abctl("\033[31m", expect=2)[1]


def case_unknown_options(world):
    for argv, text in ((["--jsn=short"], "did you mean --json?"), (["-Z"], "Unknown option -Z"),
                       (["status", "--exitcode"], "did you mean --exit-code?"),
                       (["--json"], "needs a value"), (["--quiet=yes"], "takes no value"),
                       (["update", "--dry-run=1", "x"], "takes no value"),
                       (["-H"], "needs a value"), (["status", "--dry-run"], "Unknown option"),
                       (["--json=xml", "list"], "allowed are short, pretty and off"),
                       (["list", "a"], "does not know what to do with 'a'"),
                       (["update"], "needs IMAGE|-|URL"), (["rollback", "1", "2"], "'2'")):
        out, err = world.abctl(*argv, expect=2)
        assert out == "" and text in err and len(err.splitlines()) == 1, (argv, err)


def case_options_may_stand_anywhere(world):
    world.fake()
    one = world.json("list")
    for argv in (["list", "--json=short"], ["--json=short", "list", "--no-pager"]):
        assert world.abctl(*argv)[0].count("\n") == 1
    assert world.abctl("-j", "list")[0].count("\n") == 1 and len(one) == 3
    assert "SLOT" in world.abctl("-j", "list", "--json=off")[0]


def case_dashes_end_the_options(world):
    world.fake("--step=0")
    name = world.path / "--dry-run"
    name.write_bytes(b"x")
    world.abctl("update", "--", "--dry-run", cwd=world.path)
    assert world.calls()[0] == "Update --dry-run"


def case_man_page_names_everything(world):
    page = (TOP / "docs/abctl.1.scd").read_text(encoding="utf-8").replace("\\", "")
    known = set()
    for command in commands(world):
        words = r"\* \*".join(command)
        assert re.search(rf"^\*{words}\*", page, re.M), f"{command} is not in the man page"
        for option in options(world, *command):
            assert f"*{option}*" in page or f"*{option}=" in page, f"{command} {option}"
        known |= options(world, *command)
    for option in set(re.findall(r"^\*(--[\w-]+)", page, re.M)):
        assert option in known, f"{option} does not exist"


def complete(world, *words):
    """What bash offers for the last of the words."""
    script = f"""
        COMP_WORDS=(abctl {' '.join(f"'{w}'" for w in words)})
        COMP_CWORD={len(words)}
        source {TOP}/client/completion/bash/abctl
        _abctl
        printf '%s\\n' "${{COMPREPLY[@]}}"
    """
    env = dict(world.env, PATH=f"{world.build}/client:{world.env['PATH']}")
    done = subprocess.run(["bash", "-c", script], env=env, text=True, check=False,
                          capture_output=True, cwd=world.path)
    assert done.returncode == 0 and done.stderr == "", done
    return {word.strip() for word in done.stdout.split("\n") if word.strip()}


def case_completion_knows_everything(world):
    world.fake("--step=3000")
    assert complete(world, "") >= set(verbs(world))
    assert complete(world, "ro") == {"rollback"}
    assert complete(world, "--js") == {"--json="}
    for command in commands(world):
        offered = {o.rstrip("=") for o in complete(world, *command, "-")}
        there = options(world, *command)
        assert offered == there, (command, offered ^ there)
    assert complete(world, "discard", "") == {"1", "2", "3"}
    assert complete(world, "mark", "") == {"good", "bad"}
    assert complete(world, "mark", "bad", "") == {"1", "2", "3"}
    assert complete(world, "update", "--progress", "=", "") == {"auto", "bar", "lines", "json",
                                                                "none"}
    world.image(1)
    assert "image.send" in complete(world, "update", "im")
    world.abctl("update", "--detach", world.image(10))
    assert complete(world, "cancel", "") == {"7"}


if __name__ == "__main__":
    sys.exit(main(globals()))
