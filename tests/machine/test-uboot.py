#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Boot=uboot: U-Boot itself, on an emulated board, reads, chooses and counts what the service writes."""

import itertools
import os
import re
import sys

from machinery import harness, ubootloader

ORDERS = ("", "1", "2", "1 2", "2 1", "3 2 1", "2 1 3")
LEFTS = (None, "0", "1", "3", "a", "x")


def _read(path):
    with open(path, "rb") as file:
        return file.read()


def _put(path, data):
    with open(path, "wb") as file:
        file.write(data)


def _held(it):
    """The variables of the copy of the environment that holds."""
    data = _read(it.uboot_environment)
    return max(filter(None, (ubootloader.read_copy(data, n) for n in (0, 1))))[1]


def _choice(it, **environ):
    """What U-Boot takes with that environment alone."""
    path = f"{it.folder}/environment-of-test"
    _put(path, ubootloader.environment(environ) + ubootloader.environment({}, 0))
    return ubootloader.choose(f"{it.folder}/disk.img", path)


def test_script_of_uboot(case):
    """An update is tried, counted down by U-Boot and left; another is blessed; a rollback leads back."""
    case.uboot()
    it = case.machine(loader="uboot")
    case.expect(it, booted="1", next="1", state="steady")
    case.update(it, "2.0", change="echo two >etc/motd")
    case.equal((_held(it)["BOOT_ORDER"], _held(it)["BOOT_2_LEFT"]), ("2 1", "3"))
    case.tries_run_out(it, "2", "2.0")
    case.to(it, "3.0", change="echo three >etc/motd")
    case.check("BOOT_3_LEFT" not in _held(it), _held(it))
    it.shutdown()
    choice = ubootloader.peek(f"{it.folder}/disk.img", it.uboot_environment)
    case.equal((choice.slot, choice.kernel[:14]), ("3", b"kernel of 3.0\n"), choice.said)
    case.check("subvol=@abupdate/slots/3/root" in choice.options, choice.options)
    it.boot()
    case.abctl(it, "rollback")
    it.reboot()
    case.expect(it, booted="1", version="1.0")


def test_devices(case):
    """The same with versions that are devices."""
    case.uboot()
    it = case.pair(loader="uboot")
    case.update(it, "2.0", change="echo two >etc/motd")
    it.reboot()
    case.expect(it, booted="b", version="2.0", state="trial")
    case.abctl(it, "mark", "good")
    it.reboot()
    case.expect(it, booted="b", version="2.0", state="steady")


def test_what_does_not_start(case):
    """A trial that does not start ends in its next try, a good slot in the next slot."""
    case.uboot()
    it = case.machine(loader="uboot", boot=False)
    good = {"BOOT_1_FILES": "/abupdate/slot-1/linux", "BOOT_1_ARGS": "one"}
    choice = _choice(it, BOOT_ORDER="2 1", BOOT_2_FILES="/nothing", **good)
    case.equal(choice.slot, "1")
    case.check("slot 2 does not start" in choice.said, choice.said)
    path = f"{it.folder}/environment-of-test"
    choice = _choice(it, BOOT_ORDER="2 1", BOOT_2_LEFT="2", BOOT_2_FILES="/nothing", **good)
    case.equal((choice.slot, choice.resets), ("1", 2))
    case.equal(max(ubootloader.read_copy(_read(path), n) for n in (0, 1))[1]["BOOT_2_LEFT"], "0")
    # a command of U-Boot takes 16 words, the kernel any number; and it counts in hexadecimal
    options = " ".join(f"word{n}" for n in range(60))
    choice = _choice(it, BOOT_ORDER="2 1", BOOT_2_LEFT="10", BOOT_2_ARGS=options,
                     BOOT_2_FILES="/abupdate/slot-1/linux /abupdate/slot-1/linux", **good)
    case.equal((choice.slot, choice.options), ("2", options))
    case.check("<initrd>0x44000000:e</initrd>" in choice.said, choice.said)


def test_environment_is_lost(case):
    """One torn copy does no harm; without both U-Boot says so, and nothing is armed."""
    case.uboot()
    it = case.machine(loader="uboot")
    case.update(it, "2.0", change="echo two >etc/motd")
    data = _read(it.uboot_environment)
    newer = max((0, 1), key=lambda n: ubootloader.read_copy(data, n)[0])
    half = ubootloader.COPY // 2
    place = newer * ubootloader.COPY
    torn = data[:place] + data[place:place + 64] + os.urandom(half) + data[place + 64 + half:]
    _put(it.uboot_environment, torn)
    case.equal(it.next_slot(), "1")
    image = case.image(it, "3.0")
    _put(it.uboot_environment, os.urandom(len(data)))
    said = ubootloader.emulate(f"{it.folder}/disk.img", it.uboot_environment, "SCRIPT FAILED")
    case.check("abupdate: BOOT_ORDER is empty" in said and "<slot>" not in said, said)
    refused = case.refused(it, "update", image, error=harness.ANY_ERROR)
    case.check("environment of U-Boot" in refused.err, refused)
    _put(it.uboot_environment, data)
    case.equal(it.next_slot(), "2")


def test_power_cuts(case):
    """After each write of the environment, and in the middle of each, U-Boot takes the old or the new."""
    case.uboot()
    folder = f"{case.tmp}/bin"
    os.mkdir(folder)
    os.mkdir(f"{case.tmp}/seen")
    with open(f"{folder}/fw_setenv", "w", encoding="ascii") as file:
        file.write("#!/bin/sh\nPATH=${PATH#*:}; n=$(ls SEEN | wc -l)\n"
                   "case $PATH in BIN*) PATH=${PATH#*:} ;; esac\n"
                   "/usr/bin/fw_setenv \"$@\" || exit\n"
                   "cp /run/uboot-environment SEEN/$((100 + n))\n"
                   .replace("SEEN", f"{case.tmp}/seen").replace("BIN", folder))
    os.chmod(f"{folder}/fw_setenv", 0o755)
    os.environ["PATH"] = f"{folder}:{os.environ['PATH']}"
    it = case.machine(loader="uboot")
    states = [_read(it.uboot_environment)]
    case.update(it, "2.0", change="echo two >etc/motd")
    states += [_read(f"{case.tmp}/seen/{name}") for name in sorted(os.listdir(f"{case.tmp}/seen"))]
    case.equal(states[-1], _read(it.uboot_environment))
    case.check(len(states) == 5, len(states))
    it.shutdown()
    counted = f"{case.tmp}/counted"
    _put(counted, states[-1])
    ubootloader.choose(f"{it.folder}/disk.img", counted)
    states.append(_read(counted))
    boots = []
    for number, (before, after) in enumerate(zip(states, states[1:])):
        changed = [n for n, (a, b) in enumerate(zip(before, after)) if a != b]
        cut = changed[len(changed) // 2]
        for state in (after[:cut] + before[cut:], after):
            _put(counted, state)
            boots.append((number, ubootloader.choose(f"{it.folder}/disk.img", counted).slot))
    case.equal([slot for _, slot in boots],
               ["1"] * 2 * 3 + ["1", "2"] + ["2"] * 2)
    return f"{len(boots)} cuts"


def _environments(orders=ORDERS, counts=LEFTS):
    """Every order with every count of its slots."""
    for order in orders:
        slots = sorted(order.split())
        for lefts in itertools.product(counts, repeat=len(slots)):
            yield {"BOOT_ORDER": order, **{f"BOOT_{slot}_LEFT": left
                                           for slot, left in zip(slots, lefts) if left}}


def _model(environ):
    """(the slots that are started one after another, where none of them starts; the counts)."""
    order, started = environ["BOOT_ORDER"].split(), []
    lefts = {slot: environ.get(f"BOOT_{slot}_LEFT") for slot in "123"}
    for slot in order:
        number = lefts[slot] and int(lefts[slot].replace("x", "0"), 16)
        if number:
            lefts[slot] = f"{number - 1:x}"
        if number or number is None:
            started.append(slot)
        if number:
            break
    else:
        started += order[-1:]
    return started, " ".join(left or "" for left in lefts.values())


def _table(it, environments, save="true"):
    """The same of U-Boot itself, for all of them in one boot: a reset is said there, and not done."""
    with open(ubootloader.SCRIPT, encoding="ascii") as file:
        script = file.read().replace(" reset\n", " run report\n")
    lines = ["load virtio 0:1 4a000000 abupdate.scr", f"setenv abupdate_save {save}",
             "setenv abupdate_boot 'echo \"<slot>${slot}</slot>\"'",
             "setenv report 'echo \"<end>${BOOT_1_LEFT} ${BOOT_2_LEFT} ${BOOT_3_LEFT}</end>\"'"]
    for environ in environments:
        lines += ["setenv BOOT_1_LEFT; setenv BOOT_2_LEFT; setenv BOOT_3_LEFT"]
        lines += [f"setenv {name} '{value}'" for name, value in environ.items()]
        lines += ["echo '<case>'; source 4a000000; run report"]

    def install(folder):
        ubootloader.compiled(script, f"{folder}/abupdate.scr")
        ubootloader.compiled("\n".join([*lines, "poweroff", ""]), f"{folder}/boot.scr")
    it.in_boot(install)
    said = ubootloader.emulate(f"{it.folder}/disk.img", it.uboot_environment, "poweroff ...")
    for part in said.split("<case>\n")[1:]:
        part, lefts = re.match(r"(.*?)<end>(.*?)</end>", part, re.S).groups()
        yield re.findall(r"^<slot>(.*)</slot>$", part, re.M), lefts


def test_table(case):
    """U-Boot and a model of the script do the same with every small environment."""
    case.uboot()
    it = case.machine(loader="uboot", boot=False)
    environments = list(_environments())
    found = list(_table(it, environments))
    case.equal(len(found), len(environments))
    for environ, got in zip(environments, found):
        case.equal(got, _model(environ), environ)
    # what cannot be counted is not tried
    unsaved, = _table(it, [{"BOOT_ORDER": "2 1 3", "BOOT_2_LEFT": "3"}], save="false")
    case.equal(unsaved[0], ["1", "3", "3"])
    return f"{len(found)} environments"


def test_what_the_service_says(case):
    """What it says boots next is what U-Boot takes, whatever a hand has done to the environment."""
    case.uboot()
    it = case.machine(loader="uboot")
    case.to(it, "2.0", change="echo two >etc/motd")
    held, said = [], []
    for environ in _environments(("", "1", "2", "1 2", "2 1"), (None, "0", "2")):
        _put(it.uboot_environment, ubootloader.environment(environ) + ubootloader.environment({}, 0))
        said.append((environ, case.worker(it, {"type": "check"})["world"]["next"]))
        held.append({"BOOT_ORDER": "", **{name: value for name, value in _held(it).items()
                                          if not name.endswith(("_ARGS", "_FILES"))}})
    it.shutdown()
    for (environ, next_slot), after, (took, _) in zip(said, held, _table(it, held)):
        case.equal((took or [""])[0], next_slot, environ, after)
    return f"{len(held)} environments"


if __name__ == "__main__":
    sys.exit(harness.main(globals()))
