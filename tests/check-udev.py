#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""check-udev.py RULES - the udev rule for sprouts, by a reader of rules that knows the few keys it has.

Strict: what it does not know is an error. Programs are run as udev runs them, with the properties as
environment. What udev itself makes of it: udevadm test /sys/class/block/DEVICE.
"""

import fnmatch
import os
import re
import shlex
import stat
import subprocess
import sys
import tempfile

from tap import Tap

TOKEN = re.compile(r'(?P<key>[A-Z]+)(\{(?P<attr>[^}]*)\})?(?P<op>==|!=|=)"(?P<value>[^"]*)"(,\s*|$)')
MATCHES = {"SUBSYSTEM", "ACTION", "ENV", "TEST", "PROGRAM"}
SPROUT = "11111111-2222-3333-4444-555555555555"


def read_rules(path):
    """[[token, ...], ...] of every line."""
    rules = []
    with open(path, encoding="utf-8") as file:
        for line in filter(lambda text: text.strip() and text[0] != "#", file):
            line, tokens, at = line.strip(), [], 0
            while at < len(line):
                match = TOKEN.match(line, at)
                if not match:
                    raise ValueError(f"not a rule from here: {line[at:]}")
                tokens.append(match.groupdict())
                at = match.end()
            rules.append(tokens)
    return rules


def expand(text, env):
    """What udev puts in for $ and %."""
    def one(match):
        if match[0] in ("$$", "%%"):
            return match[0][0]
        if match["name"]:
            return env.get(match["name"], "")
        raise ValueError(f"what is {match[0]}?")
    return re.sub(r"\$\$|%%|\$env\{(?P<name>\w+)\}|[$%].?", one, text)


class Device:
    """One event for a device with the properties @env; files are looked for below @top."""

    def __init__(self, env, cmdline, top, **facts):
        self.env, self.top = dict(env), top
        self.facts = {"SUBSYSTEM": "block", "ACTION": "add", **facts}
        self.cmdline = dict(word.partition("=")[::2] for word in cmdline.split())

    def matches(self, token):
        """Is it so?"""
        key, value = token["key"], token["value"]
        if key == "TEST":
            found = os.path.exists(self.top + expand(value, self.env))
        elif key == "PROGRAM":
            words = shlex.split(expand(value, self.env))
            found = subprocess.run(words, env={"PATH": os.defpath, **self.env}, check=False,
                                   stderr=subprocess.DEVNULL).returncode == 0
        else:
            have = self.env.get(token["attr"], "") if key == "ENV" else self.facts[key]
            found = any(fnmatch.fnmatchcase(have, one) for one in value.split("|"))
        return found == (token["op"] == "==")

    def rule(self, tokens):
        """The label to go to, or None."""
        label = None
        for token in tokens:
            key, attr, value = token["key"], token["attr"], token["value"]
            if token["op"] != "=":
                if key not in MATCHES:
                    raise ValueError(f"{key} cannot be compared")
                if not self.matches(token):
                    return None
            elif (key, attr) == ("IMPORT", "cmdline"):
                if value in self.cmdline:
                    self.env[value] = self.cmdline[value]
            elif key == "ENV":
                self.env[attr] = expand(value, self.env)
            elif key == "GOTO":
                label = value
            elif key != "LABEL":
                raise ValueError(f"what is {key}?")
        return label

    def run(self, rules):
        """All rules in turn; what systemd is told at the end."""
        waiting = None
        for tokens in rules:
            if waiting and not any(t["key"] == "LABEL" and t["value"] == waiting for t in tokens):
                continue
            waiting = self.rule(tokens)
        if waiting:
            raise ValueError(f"there is no label {waiting}")
        return self.env.get("SYSTEMD_READY")


def main():
    """One case for each kind of device."""
    rules, tap = read_rules(sys.argv[1]), Tap()
    hidden = {"ID_FS_TYPE": "btrfs", "ID_FS_UUID": SPROUT, "ID_BTRFS_READY": "0", "SYSTEMD_READY": "0"}
    with tempfile.TemporaryDirectory(prefix="abupdate-udev-") as top:
        os.makedirs(f"{top}/sys/fs/btrfs/mounted")
        seed = next((f"/dev/{n}" for n in sorted(os.listdir("/dev"))
                     if stat.S_ISBLK(os.stat(f"/dev/{n}", follow_symlinks=False).st_mode)), None)
        if not seed:
            tap.skip("udev", "there is no block device")
            return tap.done()
        root = f"root=UUID={SPROUT} rootflags=subvol=s/root,device={seed},noatime ro"
        cases = (
            ("the root, its seed is there", hidden, root, {}, "1"),
            ("the root, its seed is not", hidden, root.replace(seed, "/dev/none"), {}, "0"),
            ("the root, where no seed is named", hidden, f"root=UUID={SPROUT}", {}, "0"),
            ("another sprout", {**hidden, "ID_FS_UUID": "other"}, root, {}, "0"),
            ("a sprout that is mounted", {**hidden, "ID_FS_UUID": "mounted"}, "quiet", {}, "1"),
            ("no command line", hidden, "", {}, "0"),
            ("a device that is ready", {"ID_FS_TYPE": "btrfs", "ID_BTRFS_READY": "1"}, root, {}, None),
            ("a device that goes", hidden, root, {"ACTION": "remove"}, "0"),
            ("another file system", {**hidden, "ID_FS_TYPE": "ext4"}, root, {}, "0"),
            ("no block device", hidden, root, {"SUBSYSTEM": "net"}, "0"),
        )
        for name, env, cmdline, facts, wanted in cases:
            got = Device(env, cmdline, top, **facts).run(rules)
            tap.case(f"udev: {name}", [] if got == wanted else [f"SYSTEMD_READY is {got}, not {wanted}"])
    return tap.done()


if __name__ == "__main__":
    sys.exit(main())
