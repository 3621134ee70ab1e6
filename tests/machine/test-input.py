#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Bad images: each is refused with its name, and the machine is as before."""

import contextlib
import os
import random
import subprocess
import sys

from machinery import harness

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "stream"))
from streamwriter import StreamWriter

BROKEN = ("Truncated", "BadStream", "UnsafePath", "ForbiddenContent", "LimitExceeded",
          "VerifyFailed", "ParentMissing", "UnknownSubvolume", "BadInput")


def _refused(case, it, image, error, code=1, args=(), **options):
    before = case.facts(it)
    result = case.refused(it, "update", *args, image, error=error, code=code, **options)
    case.unchanged(it, before)
    case.expect(it, state="steady", booted="1", next="1")
    return result


def _file(case, content, name="bad.send"):
    path = f"{case.tmp}/{name}"
    with open(path, "wb") as file:
        file.write(content)
    return path


def _content(case, it, **options):
    with open(case.image(it, "2.0", **options), "rb") as file:
        return file.read()


def test_truncated(case):
    """A stream that ends too early, at fifteen places."""
    it = case.machine()
    content = _content(case, it)
    rng = random.Random(2)
    places = [1, 12, 13, 17, 20, 26, len(content) - 1, len(content) - 10]
    places += [rng.randrange(30, len(content)) for _ in range(7)]
    for place in places:
        _refused(case, it, _file(case, content[:place]), ("Truncated", "BadStream"))
    case.sound(it, ["1.0"])
    return f"{len(places)} places"


def test_flipped_bits(case):
    """A stream with one wrong bit, at thirty places."""
    it = case.machine()
    content = _content(case, it)
    rng = random.Random(3)
    for _ in range(30):
        bad = bytearray(content)
        bad[rng.randrange(len(bad))] ^= 1 << rng.randrange(8)
        _refused(case, it, _file(case, bad), BROKEN)
    case.sound(it, ["1.0"])


def test_flipped_bits_squeezed(case):
    """A squeezed stream with one wrong bit, at ten places."""
    it = case.machine()
    content = _content(case, it, compress=True)
    rng = random.Random(4)
    for _ in range(10):
        bad = bytearray(content)
        bad[rng.randrange(4, len(bad))] ^= 1 << rng.randrange(8)
        _refused(case, it, _file(case, bad), BROKEN)
    case.sound(it, ["1.0"])


def test_no_stream(case):
    """Text, zeros, noise, an archive: not a stream."""
    it = case.machine()
    tar = subprocess.run(["tar", "-c", "-C", "/etc", "hostname"], stdout=subprocess.PIPE,
                         check=True).stdout
    for content in (b"hello world\n" * 100, bytes(100000), random.Random(5).randbytes(100000), tar,
                    b"btrfs-stream\0" + b"\xff" * 4 + bytes(1000)):
        _refused(case, it, _file(case, content), ("BadStream", "BadInput", "Truncated"))


def test_bytes_behind_the_end(case):
    """What follows the end of the last stream is no stream and spoils the image."""
    it = case.machine()
    _refused(case, it, _file(case, _content(case, it) + b"more"), ("BadStream", "Truncated"))


def test_empty(case):
    """An empty file."""
    it = case.machine()
    _refused(case, it, _file(case, b""), ("Truncated", "BadStream", "BadInput"))


def test_directory(case):
    """A directory."""
    it = case.machine()
    _refused(case, it, case.tmp, "BadInput")


def test_absent(case):
    """A file that is not there, and one that may not be read."""
    it = case.machine()
    result = case.refused(it, "update", f"{case.tmp}/nothing.send",
                          error=("BadInput", "Failed", "InvalidArgument"), code=harness.ANY)
    case.check("nothing.send" in result.err, result)


def test_devices(case):
    """/dev/null, /dev/zero, the machine's own block device."""
    it = case.machine()
    for path in ("/dev/null", "/dev/zero", it.running["device"]):
        _refused(case, it, path, ("BadInput", "BadStream", "Truncated"), timeout=60)


def test_zeros_by_pipe(case):
    """/dev/zero through a pipe ends at the first bytes."""
    it = case.machine()
    with open("/dev/zero", "rb") as zero, subprocess.Popen(
            ["cat"], stdin=zero, stdout=subprocess.PIPE) as cat:
        _refused(case, it, "-", "BadStream", stdin=cat.stdout, timeout=60)
        cat.stdout.close()
        cat.terminate()


def test_stalled_pipe(case):
    """A pipe that gives nothing for StallTimeout= seconds, at the head and in the middle."""
    it = case.machine()
    it.run("sed", "-i", "s,^\\[Update\\],[Update]\\nStallTimeout=1,",
           f"{it.root}/etc/abupdate/abupdated.conf")
    content = _content(case, it)
    for part in (0, 5, 300000):
        with subprocess.Popen(["sh", "-c", "cat; exec sleep 100"], stdout=subprocess.PIPE,
                              stdin=open(_file(case, content[:part]), "rb")) as feeder:
            _refused(case, it, "-", "Stalled", stdin=feeder.stdout, timeout=30)
            feeder.kill()
    case.sound(it, ["1.0"], changed=["etc/abupdate"])


@contextlib.contextmanager
def _silent(it, path, what):
    """A server of FUSE that answers no @what, killed at the end."""
    with it.popen(sys.executable, "-m", "machinery.silent", path, str(1 << 20), what, cwd=HERE,
                  stdout=subprocess.PIPE, text=True) as server:
        try:
            yield server
        finally:
            it.run("pkill", "-f", "machinery.silent")


def test_file_that_never_answers(case):
    """25: an image or a manifest of a FUSE server that never answers: Stalled, and the next image is taken meanwhile."""
    it = case.machine()
    it.run("sed", "-i", "s,^\\[Update\\],[Update]\\nStallTimeout=1,",
           f"{it.root}/etc/abupdate/abupdated.conf")
    for what, version in (("read", "2.0"), ("statfs", "3.0")):
        path = _file(case, b"", f"{what}.send")
        with _silent(it, path, what) as server:
            case.equal(server.stdout.readline(), "ready\n")
            case.equal(it.run("stat", "-c%s", path).out, "1048576\n")    # known from now on
            if version == "2.0":
                case.refused(it, "update", path, error="Stalled", timeout=30)
            else:
                answer = it.run(sys.executable, f"{HERE}/machinery/ask.py", path)
                case.equal(answer.data, {"refused": "Stalled"})
            case.equal(server.stdout.readline(), "asked\n")
            case.update(it, version)
    case.sound(it, ["3.0"], changed=["etc/abupdate"])


def test_slow_pipe(case):
    """A pipe that is slow but never stalls is no error."""
    it = case.machine()
    it.run("sed", "-i", "s,^\\[Update\\],[Update]\\nStallTimeout=2,",
           f"{it.root}/etc/abupdate/abupdated.conf")
    image = case.image(it, "2.0")
    drip = ("import sys,time\nf=open(sys.argv[1],'rb')\n"
            "while b:=f.read(200000):\n sys.stdout.buffer.write(b);sys.stdout.flush();"
            "time.sleep(0.5)")
    with subprocess.Popen([sys.executable, "-c", drip, image], stdout=subprocess.PIPE) as feeder:
        case.abctl(it, "update", "-", stdin=feeder.stdout)
    case.sound(it, ["2.0"])


def test_base_missing(case):
    """An incremental image whose base is not here: its UUID is named, and what is here."""
    it, other = case.machine(), case.machine(boot=False)
    case.image(other, "1.5")
    image = case.image(other, "2.0", base="1.5")
    result = _refused(case, it, image, "ParentMissing")
    case.check("slot 1" in result.err, "what is here goes unsaid", result)
    digits = [w for w in result.err.replace(",", " ").split() if w.count("-") == 4]
    case.check(digits, "the missing base goes unnamed", result)


def test_base_was_discarded(case):
    """The same after the base was deleted on this machine."""
    it = case.machine()
    case.to(it, "2.0")
    case.abctl(it, "discard", "1")
    before = case.facts(it)
    case.refused(it, "update", case.image(it, "3.0", base="1.0", start="1.0"),
                 error="ParentMissing")
    case.unchanged(it, before)


def test_unknown_subvolume(case):
    """A subvolume without a place in the configuration."""
    it = case.machine()
    image = case.image(it, "2.0", subvolumes="stranger:/stranger")
    result = _refused(case, it, image, "UnknownSubvolume")
    case.check("stranger" in result.err and "Subvolumes=" in result.err, result)


def test_place_is_taken(case):
    """A subvolume whose place in the root is a folder with something in it."""
    it = case.machine(subvolumes="home:/home")
    image = case.image(it, "2.0", change="mkdir -p home; echo x >home/in-the-way")
    _refused(case, it, image, harness.ANY_ERROR)
    case.sound(it, ["1.0"])


def test_subvolume_missing(case):
    """An image that lacks a subvolume of the slot's own list still makes a whole slot or none."""
    it = case.machine(subvolumes="home:/home")
    image = case.image(it, "2.0", keep=["root"])
    result = it.abctl("update", image)
    case.check(result.code in (0, 1, 6), result)
    case.sound(it, ["2.0"] if result.code == 0 else ["1.0"])


def test_two_roots(case):
    """The same subvolume twice in one image."""
    it = case.machine()
    content = _content(case, it)
    _refused(case, it, _file(case, content + content), BROKEN)


def test_no_version(case):
    """An image whose tree tells no version needs --as."""
    it = case.machine()
    image = case.image(it, "2.0", change="sed -i '/VERSION/d' usr/lib/os-release")
    result = it.abctl("--json=short", "update", image)
    if result.code != 0:
        case.check(result.out.strip(), result)
    case.abctl(it, "update", "--reinstall", "--as=7.0", image)
    case.equal(case.slot(it, case.status(it)["next"])["version"], "7.0")


def test_hostile_names(case):
    """Names with escape sequences reach no terminal."""
    it = case.machine()
    path = f"{case.tmp}/\x1b[31mred\x07.send"
    os.rename(_file(case, b"no stream at all" * 10), path)
    result = it.abctl("update", path)
    case.check(result.code in (1, 2), result)
    case.check("\x1b" not in result.out + result.err, result)
    case.check("\x1b" not in it.abctl("history").out)


def test_long_names(case):
    """A path that has no end is told of in part, and hides nothing of the machine, now and later."""
    it = case.machine()
    stream = StreamWriter().subvol("root")
    for number in range(30000):    # past what is looked at before the job has begun
        stream.mkfile(f"f{number}")
    stream.mkfile("/".join(["\x01" * 200] * 10) + "/..").end()
    result = _refused(case, it, _file(case, stream.bytes()), "UnsafePath")
    case.check("..." in result.out and len(result.out) < 10000, result)
    it.reboot()
    case.expect(it, booted="1", version="1.0")
    case.check("UnsafePath" in it.abctl("history").out)


def test_wrong_use(case):
    """Wrong use is exit code 2, says what is wrong, and does not print the whole help."""
    it = case.machine()
    for args in (["nonsense"], ["update"], ["update", "a", "b"], ["--nonsense"], ["mark"],
                 ["mark", "perhaps"], ["update", "--reboot", "--no-arm", "x"],
                 ["discard"], ["status", "too", "much"]):
        result = case.abctl(it, *args, code=2)
        case.check(0 < len(result.err.splitlines()) <= 3, result)
        case.equal(result.out, "", result)


def test_not_btrfs(case):
    """A root that is not Btrfs."""
    it = case.machine(boot={"daemon": "none"})
    it.run("sh", "-c", "mkdir -p /run/other && cp -a $MACHINE_ROOT/etc $MACHINE_ROOT/usr "
           "/run/other/ && mkdir -p /run/other/proc && cp -r $MACHINE_ROOT/proc /run/other/")
    outcome = case.worker(it, {"type": "update"}, case.image(it, "2.0"), root="/run/other")
    case.equal(outcome["result"]["kind"], "NotBtrfs", outcome)


if __name__ == "__main__":
    sys.exit(harness.main(globals()))
