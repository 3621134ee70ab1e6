#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""No space: refused before anything is written, or undone; and after freeing it works."""

import re
import subprocess
import sys

from machinery import harness

SMALL = 640 << 20


def _fill(it, name, megabytes):
    """A file of the machine's own that takes space; synced. More than there is just fills it."""
    it.run("sh", "-c", f"head -c {megabytes}M /dev/urandom >{it.root}/home/{name}; "
           f"sync -f {it.root}")


def test_image_too_big(case):
    """An image bigger than the free space: refused with the bytes that are short, nothing begun."""
    it = case.machine(size=SMALL)
    image = case.image(it, "2.0", change="head -c 700M /dev/urandom >usr/big")
    before = case.facts(it)
    result = case.refused(it, "update", image, error="NoSpace")
    case.check(re.search(r"\d", result.err), "how much is short goes unsaid", result)
    case.unchanged(it, before)
    case.sound(it, ["1.0"])


def test_full_in_the_middle(case):
    """A pipe of unknown size that fills the disk: undone, space back, works after freeing."""
    it = case.machine(size=SMALL)
    _fill(it, "ballast", 330)
    image = case.image(it, "2.0", change="head -c 350M /dev/urandom >usr/big")
    with open(image, "rb") as file:

        with subprocess.Popen(["cat"], stdin=file, stdout=subprocess.PIPE) as cat:
            case.refused(it, "update", "-", error="NoSpace", stdin=cat.stdout, timeout=120)
            cat.stdout.close()
            cat.kill()
    case.expect(it, booted="1", next="1")
    case.sound(it, ["1.0"], changed=["home"])
    it.run("sh", "-c", f"rm {it.root}/home/ballast; sync -f {it.root}")
    case.update(it, "3.0", start="1.0", change="head -c 100M /dev/urandom >usr/big")
    case.sound(it, ["3.0"])


def test_full_disk(case):
    """On a disk that is full to the brim looking, rolling back and deleting work; updating does not."""
    it = case.machine(size=SMALL)
    case.to(it, "2.0", change="head -c 250M /dev/urandom >usr/big")
    _fill(it, "ballast", 2000)
    case.abctl(it, "status")
    case.refused(it, "update", case.image(it, "3.0"), error="NoSpace")
    case.abctl(it, "rollback")
    case.expect(it, next="1")
    it.reboot()
    case.expect(it, booted="1")
    case.abctl(it, "discard", "2")
    case.update(it, "4.0", start="1.0")
    case.expect(it, state="staged")


FILL_METADATA = """
import os, sys
os.chdir(sys.argv[1])
def many(name, size, count):
    made = 0
    try:
        for number in range(count):
            with open(f"{name}{number}", "wb", buffering=0) as file:
                file.write(os.urandom(size))
            made += 1
            if made % 200 == 0:
                fd = os.open(".", os.O_RDONLY)
                os.fsync(fd)
                os.close(fd)
    except OSError:
        pass
    return made
data = many("data", 1 << 20, 4000)
for number in range(0, data, 2):        # some of every block group stays: none is given back
    os.unlink(f"data{number}")
small = many("small", 1500, 400000)
for number in range(min(small, 4000)):
    os.unlink(f"small{number}")
print(data, small)
"""


def test_full_metadata(case):
    """Metadata that runs full in the middle of an update: undone, the old system boots."""
    it = case.machine(size=SMALL)
    # Data takes all chunks first, so that metadata cannot grow; then files that live in metadata.
    done = it.run(sys.executable, "-c", FILL_METADATA, f"{it.root}/home", timeout=300)
    case.equal(done.code, 0, done)
    image = case.image(it, "2.0", change="mkdir usr/many && cd usr/many && "
                       f"{sys.executable} -c 'import os\nfor i in range(15000): "
                       "open(str(i), \"wb\").write(os.urandom(1500))'")
    with open(image, "rb") as file, subprocess.Popen(
            ["cat"], stdin=file, stdout=subprocess.PIPE) as cat:
        case.refused(it, "update", "-", error="NoSpace", stdin=cat.stdout, timeout=300)
        cat.stdout.close()
        cat.kill()
    case.expect(it, booted="1", next="1")
    case.sound(it, ["1.0"], changed=["home"])
    it.reboot()
    case.expect(it, booted="1")
    return f"data and small files before: {done.out.strip()}"


def test_discarded_space_comes_back(case):
    """Versions that together are bigger than the disk follow each other: retention frees in time."""
    it = case.machine(size=1 << 30)
    it.run("sed", "-i", "s/^Keep=.*/Keep=1/", f"{it.root}/etc/abupdate/abupdated.conf")
    for number in range(2, 7):
        case.to(it, f"{number}.0", change="sed -i s/^Keep=.*/Keep=1/ "
                "etc/abupdate/abupdated.conf; head -c 150M /dev/urandom >usr/big")
    case.sound(it, ["6.0"])


if __name__ == "__main__":
    sys.exit(harness.main(globals()))
