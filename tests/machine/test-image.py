#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""What a maker does by himself: `abctl image` without a daemon, without rights, and as the machine will judge it."""

import itertools
import os
import shutil
import subprocess
import sys

from machinery import harness
from machinery.machine import find_programs
from machinery.signed import Maker, trusting


def _open_to_all(case, it):
    """Let nobody reach what the case has made."""
    for path in (case.tmp, it.folder):
        os.chmod(path, 0o755)


def _flip(path, at):
    with open(path, "r+b") as file:
        file.seek(at)
        byte = file.read(1)[0]
        file.seek(at)
        file.write(bytes([byte ^ 4]))


def test_verify(case):
    """`abctl image verify` as nobody, without a daemon: what was signed is told from what was not."""
    it, maker = trusting(case, boot={"daemon": "none"})
    path = maker.image("2.0", "--compress=zstd")
    other = Maker(case, it, "other")
    _open_to_all(case, it)

    def verify(*args, **options):
        return it.run("abctl", "image", "--json=short", "verify", *args, user="nobody", **options)

    def refused(*args, error, code=6):
        result = verify(*args)
        case.equal((result.code, result.data.get("error")), (code, error), result)

    mine, theirs = f"--key={maker.key}.pub", f"--key={other.key}.pub"
    case.equal(it.run("id", "-u", user="nobody").out, "65534\n")
    for args in ((mine, path), (theirs, mine, path), (f"--root={it.root}", path)):
        case.equal(verify(*args).code, 0, args)
    refused(theirs, path, error="UnknownKey")
    size = os.stat(path).st_size
    for at in (0, size // 2, size - 1):
        _flip(path, at)
        refused(mine, path, error="BadImage")
        _flip(path, at)
    _flip(path + ".manifest", 10)
    refused(mine, path, error="BadSignature")
    _flip(path + ".manifest", 10)
    elsewhere = f"{case.tmp}/elsewhere"
    shutil.move(path + ".manifest", elsewhere)
    with open(path, "rb") as image:
        case.equal(verify(mine, f"--manifest={elsewhere}", "-", stdin=image).code, 0)
    with open(path, "rb") as image:
        result = verify(mine, "-", stdin=image)
        case.check(result.code == 2 and "--manifest=" in result.err, result)
    os.truncate(path, size - 1)
    refused(mine, f"--manifest={elsewhere}", path, error="Truncated", code=1)


def test_verify_as_the_machine(case):
    """What the machine refuses `abctl image verify` refuses: the limits of the manifest, Threshold=, the clock."""
    it, maker = trusting(case)
    path = maker.image("2.0")
    root = f"--root={it.root}"

    def both(error, *args):
        result = it.run("abctl", "image", "--json=short", "verify", *args, path)
        case.equal(result.data.get("error"), error, result)
        case.refused(it, "update", path, error=error, code=harness.ANY)

    before = case.facts(it)
    maker.again(path, "MaxFileSize", "MaxFileSize=10")
    both("LimitExceeded", f"--key={maker.key}.pub")
    path = maker.image("2.1")
    it.run("sed", "-i", "s/Verification=signature/&\\nThreshold=2/",
           f"{it.root}/etc/abupdate/abupdated.conf")
    both("NotSigned", root)
    both("NotSigned", "--threshold=2", f"--key={maker.key}.pub")
    maker.run("verify", f"--key={maker.key}.pub", path)
    case.unchanged(it, before)
    second = Maker(case, it, "second")
    second.run("sign", f"--key={second.key}", path + ".manifest")
    it.run("cp", f"{second.key}.pub", f"{it.root}/etc/abupdate/keys.d/second.pem")
    case.equal(it.run("abctl", "image", "verify", root, path).code, 0)
    case.abctl(it, "update", path)


def test_keygen_leaves_nothing(case):
    """A key that cannot be made leaves no file, and what was there as it was."""
    key = f"{case.tmp}/some.key"
    abctl = find_programs(case.build)["abctl"]

    def keygen():
        return subprocess.run([abctl, "image", "keygen", key], check=False, stderr=subprocess.PIPE,
                              stdout=subprocess.DEVNULL, text=True)

    for old in (f"{key}.pub", key):
        with open(old, "w", encoding="utf-8") as file:
            file.write("mine")
        result = keygen()
        case.check(result.returncode == 1 and f"{old}: File exists" in result.stderr, result)
        case.equal(os.listdir(case.tmp), [os.path.basename(old)])
        with open(old, encoding="utf-8") as file:
            case.equal(file.read(), "mine")
        os.unlink(old)
    case.equal(keygen().returncode, 0)
    case.equal(sorted(os.listdir(case.tmp)), ["some.key", "some.key.pub"])


def test_create_is_cut_off(case):
    """`abctl image create` killed at any change of a name leaves the old image, the new one, or one that is not signed."""
    it, maker = trusting(case, boot={"daemon": "none"})
    path, old = f"{case.tmp}/image.send", f"{case.tmp}/old.send"
    shutil.move(maker.image("2.0"), old)
    shutil.move(f"{case.tmp}/m1-2.0-None.send.manifest", old + ".manifest")
    create = [maker.abctl, "image", "create", "--compatible=test-machine", f"--key={maker.key}",
              "--allow=devices,setuid,xattrs"]
    seen = set()
    for call, when in itertools.product(("unlink", "rename", "fsync"), range(1, 9)):
        for end in ("", ".manifest"):
            shutil.copy(old + end, path + end)
        wrap = ["strace", "-f", "-qqq", "-o/dev/null", f"-etrace={call}",
                f"-einject={call}:signal=KILL:when={when}"]
        try:
            it.image("2.1", path, create=wrap + create)
        except RuntimeError:
            pass
        result = it.run("abctl", "image", "--json=short", "verify", f"--key={maker.key}.pub", path)
        if result.code == 0:
            info = it.run("abctl", "image", "--json=short", "info", path).data
            seen.add(info["version"])
        else:
            case.check(not os.path.exists(path + ".manifest"), f"{call} {when}", result)
            case.equal(result.data["error"], "NotSigned", result)
            seen.add(None)
    case.equal(seen, {"2.0", "2.1", None})


if __name__ == "__main__":
    sys.exit(harness.main(globals()))
