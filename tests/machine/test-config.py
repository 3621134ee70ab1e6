#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Configuration and layout: errors with file and line, and what defeats the boot switch."""

import sys

from machinery import harness

CONF = "etc/abupdate/abupdated.conf"


def _append(it, text):
    it.run("sh", "-c", f"printf '%b' '{text}' >>{it.root}/{CONF}")


def test_signature_is_the_default(case):
    """Without Verification=none no image is installed, and the error says why."""
    it = case.machine()
    it.run("sed", "-i", "/^Verification=/d", f"{it.root}/{CONF}")
    before = case.facts(it)
    case.refused(it, "update", case.image(it, "2.0"), error="NotSigned", code=6)
    case.unchanged(it, before)
    it.reboot()
    case.expect(it, verification="signature")


def test_verification_none_shows(case):
    """Verification=none is to be seen in the status."""
    it = case.machine()
    case.expect(it, verification="none")
    text = case.abctl(it, "status").out
    case.check("none" in text and "Verification" in text, text)


def test_bad_value(case):
    """A bad value: file, line and what is allowed; nothing is changed."""
    it = case.machine()
    before = case.facts(it)
    image = case.image(it, "2.0")
    folder = f"{it.root}/{CONF}.d"
    for section, line in (("Boot", "Tries=many"), ("Boot", "Tries=0"), ("Snapshot", "Keep=0"),
                          ("Update", "Backend=floppy"), ("Snapshot", "ReadOnly=perhaps"),
                          ("Snapshot", "Subvolumes=a:b"), ("Snapshot", "Carry=../etc"),
                          ("Update", "Verification=maybe"), ("Snapshot", "MinFree=-1")):
        it.run("sh", "-c", f"mkdir -p {folder}; printf '# a remark\n[{section}]\n{line}\n' "
               f">{folder}/bad.conf")
        result = case.refused(it, "update", image, error="BadConfig")
        case.check("bad.conf:3" in result.err and line in result.err, result)
        case.check("allowed" in result.err, result)
        case.unchanged(it, before)
    it.run("rm", f"{folder}/bad.conf")
    case.abctl(it, "update", image)


def test_other_encodings(case):
    """A key in Latin-1 is told of like any other, and hides nothing of the machine."""
    it = case.machine()
    _append(it, "\\n[Update]\\nK\\0344se=1\\n")
    result = it.abctl("--json=short", "check")
    case.check("xe4se" in result.out, result)
    case.expect(it, booted="1", version="1.0")
    case.update(it, "2.0")
    case.expect(it, next="2")


def test_key_twice(case):
    """A key that stands twice in one file is told of, with the file."""
    it = case.machine()
    _append(it, "\\n[Boot]\\nTries=many\\n")
    result = it.abctl("--json=short", "check")
    case.check("Tries" in result.out and "abupdated.conf" in result.out, result)


def test_garbage(case):
    """A configuration that is no configuration names file and line."""
    it = case.machine()
    _append(it, "\\nthis is nonsense\\n[broken\\n")
    result = case.refused(it, "update", case.image(it, "2.0"), error="BadConfig")
    case.check("abupdated.conf" in result.err, result)


def test_unknown_key(case):
    """An unknown key is a warning with file and line, and no more."""
    it = case.machine()
    _append(it, "\\n[Boot]\\nTriez=3\\n")
    case.update(it, "2.0")
    text = case.abctl(it, "check", code=harness.ANY).out
    case.check("Triez" in text or any("Triez" in p for p in case.status(it)["problems"]), text)


def test_drop_in(case):
    """A drop-in beats the main file, a later one an earlier one."""
    it = case.machine()
    it.run("sh", "-c", f"mkdir {it.root}/{CONF}.d; "
           f"printf '[Snapshot]\\nKeep=1\\n' >{it.root}/{CONF}.d/10-a.conf; "
           f"printf '[Snapshot]\\nKeep=2\\n' >{it.root}/{CONF}.d/20-b.conf")
    change = ("mkdir -p etc/abupdate/abupdated.conf.d; "
              "printf '[Snapshot]\\nKeep=1\\n' >etc/abupdate/abupdated.conf.d/10-a.conf; "
              "printf '[Snapshot]\\nKeep=2\\n' >etc/abupdate/abupdated.conf.d/20-b.conf")
    for number in range(2, 7):
        case.to(it, f"{number}.0", base=f"{number - 1}.0", change=change)
    case.equal(sorted(s["id"] for s in case.status(it)["slots"]), ["4", "5", "6"])


def test_fstab_beats_the_switch(case):
    """An fstab that mounts / with subvol= is refused, and the way out is named."""
    it = case.machine()
    it.run("sh", "-c", f"echo 'LABEL=machine / btrfs subvol=@abupdate/slots/1/root 0 0' "
           f">{it.root}/etc/fstab")
    before = case.facts(it)
    result = case.refused(it, "update", case.image(it, "2.0"), error="WrongLayout")
    case.check("fstab" in result.err and "subvol=" in result.err, result)
    case.unchanged(it, before)
    case.check("fstab" in case.abctl(it, "check", code=harness.ANY).out)


def test_fstab_of_the_image(case):
    """An image whose own fstab would defeat the switch is refused before it is armed."""
    it = case.machine()
    image = case.image(it, "2.0",
                       change="echo 'LABEL=m / btrfs subvolid=256 0 0' >etc/fstab")
    before = case.facts(it)
    case.refused(it, "update", image, error="WrongLayout")
    case.unchanged(it, before)


def test_kernel_command_line(case):
    """rootflags=subvol= on the kernel command line is refused, and the way out is named."""
    it = case.machine(boot={
        "cmdline": "root=LABEL=machine rw rootflags=subvol=@abupdate/slots/1/root"})
    before = case.facts(it)
    result = case.refused(it, "update", case.image(it, "2.0"), error="WrongLayout")
    case.check("rootflags" in result.err, result)
    case.unchanged(it, before)
    case.check(case.status(it)["problems"], "the status shows no problem")


def test_booted_elsewhere(case):
    """Somebody changes the default subvolume between two jobs: the next job sees it."""
    it = case.machine()
    case.to(it, "2.0")
    it.run("sh", "-c", f"btrfs subvolume set-default $(btrfs subvolume list {it.root} | "
           f"grep 'slots/1/root$' | cut -d' ' -f2) {it.root}")
    case.update(it, "3.0")
    case.sound(it, ["3.0"])


def test_check_is_clean(case):
    """On a machine in order `abctl check` finds nothing worse than advice."""
    it = case.machine()
    case.update(it, "2.0")
    result = case.abctl(it, "--json=short", "check")
    findings = result.data
    findings = findings.get("findings", findings) if isinstance(findings, dict) else findings
    bad = [f for f in findings if f.get("severity") == "error"]
    case.equal(bad, [])


if __name__ == "__main__":
    sys.exit(harness.main(globals()))
