#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""What a maker does by himself: `abctl image` without a daemon, without rights, and as the machine will judge it."""

import hashlib
import itertools
import os
import shutil
import subprocess
import sys
import time

from machinery import harness
from machinery.machine import find_programs
from machinery.signed import Maker, flip, trusting


def _open_to_all(case, it):
    """Let nobody reach what the case has made."""
    for path in (case.tmp, it.folder):
        os.chmod(path, 0o755)


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
        flip(path, at)
        refused(mine, path, error="BadImage")
        flip(path, at)
    flip(path + ".manifest", 10)
    refused(mine, path, error="BadSignature")
    flip(path + ".manifest", 10)
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
    path = maker.image("2.1", "--valid-until=2035-01-01")
    it.run("touch", "-d", "2036-01-01", f"{it.root}/usr/lib/clock-epoch")
    both("Expired", root)
    it.run("rm", f"{it.root}/usr/lib/clock-epoch")
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


def _failing(call, when, *command):
    """@command whose @when'th @call meets a full or broken disk."""
    error = "EIO" if call == "fsync" else "ENOSPC"
    return subprocess.run(["strace", "-f", "-qqq", "-o/dev/null", f"-etrace={call}",
                           f"-einject={call}:error={error}:when={when}", *command],
                          check=False, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)


def test_disk_fails_a_maker(case):
    """A disk that is full or breaks while a key or a signature is written: told, and nothing is left or changed."""
    abctl = find_programs(case.build)["abctl"]
    key, manifest = f"{case.tmp}/some.key", f"{case.tmp}/manifest"
    for call, when in (("write", 1), ("write", 2), ("fsync", 1), ("fsync", 2), ("fsync", 3)):
        result = _failing(call, when, abctl, "image", "keygen", key)
        case.equal(result.returncode, 1, (call, when, result))
        case.equal(os.listdir(case.tmp), [], (call, when))
    subprocess.run([abctl, "image", "keygen", key], check=True, stdout=subprocess.DEVNULL)
    it, maker = trusting(case, boot={"daemon": "none"})
    shutil.move(maker.image("2.0", key="none") + ".manifest", manifest)
    with open(manifest, encoding="utf-8") as file:
        before = file.read()
    files = sorted(os.listdir(case.tmp))
    for call, when in (("write", 1), ("fsync", 1), ("rename", 1), ("fsync", 2)):
        result = _failing(call, when, abctl, "image", "sign", f"--key={key}", manifest)
        case.equal(result.returncode, 1, (call, when, result))
        case.equal(sorted(os.listdir(case.tmp)), files, (call, when))
        with open(manifest, encoding="utf-8") as file:
            case.check(file.read() == before or (call, when) == ("fsync", 2))


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


def _openssl(*args):
    subprocess.run(["openssl", *args], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


class Authority:
    """A root, an authority below it, and whoever signs code, with a key that has a passphrase."""

    def __init__(self, folder, days=30):
        os.mkdir(folder)
        self.folder = folder
        self.passphrase = f"{folder}/passphrase"
        with open(self.passphrase, "w", encoding="utf-8") as file:
            file.write("open sesame\n")
        issuer = []
        for name, usage in (("root", "CA:TRUE"), ("middle", "CA:TRUE"), ("leaf", "CA:FALSE")):
            key, cert = f"{folder}/{name}.key", f"{folder}/{name}.pem"
            keep = ["-aes256", "-pass", f"file:{self.passphrase}"] if name == "leaf" else []
            _openssl("genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256",
                     "-out", key, *keep)
            usage = ["-addext", f"basicConstraints=critical,{usage}"]
            usage += ["-addext", "extendedKeyUsage=codeSigning", "-addext",
                      "keyUsage=digitalSignature"] if name == "leaf" else ["-addext", "keyUsage=keyCertSign"]
            _openssl("req", "-x509", "-new", "-key", key, "-passin", f"file:{self.passphrase}",
                     "-subj", f"/CN={name}", "-days", str(days), "-out", cert, *usage, *issuer)
            issuer = ["-CA", cert, "-CAkey", key]
        self.options = [f"--key={folder}/leaf.key", f"--cert={folder}/leaf.pem",
                        f"--chain={folder}/middle.pem", f"--passphrase-file={self.passphrase}"]

    def fingerprint(self, name):
        """Of the key of a certificate, as manifests and `revoked` call it."""
        der = f"{self.folder}/{name}.der"
        _openssl("x509", "-in", f"{self.folder}/{name}.pem", "-pubkey", "-noout", "-out", der + ".pem")
        _openssl("pkey", "-pubin", "-in", der + ".pem", "-outform", "DER", "-out", der)
        with open(der, "rb") as file:
            return hashlib.sha256(file.read()).hexdigest()


def test_certificates(case):
    """An image signed with a certificate: installed, until its anchor is revoked or the certificate's time is over."""
    it, maker = trusting(case, keys=False)
    authority = Authority(f"{case.tmp}/ca")
    path = maker.image("2.0", key="none")
    keys = f"{it.root}/etc/abupdate/keys.d"
    it.run("mkdir", "-p", keys)
    it.run("cp", f"{authority.folder}/root.pem", f"{keys}/root.pem")
    before = case.facts(it)

    def both(error, code=6):
        result = it.run("abctl", "image", "--json=short", "verify", f"--root={it.root}", path)
        case.equal(result.data["error"], error, result)
        case.refused(it, "update", path, error=error, code=code)

    case.refused(it, "update", path, error="NotSigned", code=6)
    with open(authority.passphrase + ".no", "w", encoding="utf-8") as file:
        file.write("open barley\n")
    wrong = [maker.abctl, "image", "sign", *authority.options, path + ".manifest"]
    wrong[-2] += ".no"
    result = subprocess.run(wrong, check=False, stderr=subprocess.PIPE, text=True)
    case.check(result.returncode == 1 and "wrong passphrase" in result.stderr, result)
    both("NotSigned")
    maker.run("sign", *authority.options, path + ".manifest")
    for name in ("root", "middle", "leaf"):
        it.run("sh", "-c", f"echo {authority.fingerprint(name)} >{keys}/revoked")
        both("RevokedKey")
    it.run("rm", f"{keys}/revoked")
    it.run("touch", "-d", "+60 days", f"{it.root}/usr/lib/clock-epoch")
    both("BadSignature")
    it.run("rm", f"{it.root}/usr/lib/clock-epoch")
    it.run("mv", f"{keys}/root.pem", f"{keys}/root")
    both("NoKeys")
    it.run("mv", f"{keys}/root", f"{keys}/root.pem")
    case.unchanged(it, before)
    case.abctl(it, "update", path)
    it.reboot()
    case.expect(it, version="2.0", verification="signature")


def test_two_must_sign(case):
    """Threshold=2: one signature is not enough, twice the same neither; keys with passphrases sign with them only."""
    it, maker = trusting(case)
    it.run("sed", "-i", "s/Verification=signature/&\\nThreshold=2/",
           f"{it.root}/etc/abupdate/abupdated.conf")
    path = maker.image("2.0")
    second, word = f"{case.tmp}/second.key", f"{case.tmp}/word"
    with open(word, "w", encoding="utf-8") as file:
        file.write("open sesame\n")
    maker.run("keygen", f"--passphrase-file={word}", second)
    with open(second, encoding="utf-8") as file:
        case.check("ENCRYPTED" in file.readline())
    it.run("cp", f"{second}.pub", f"{it.root}/etc/abupdate/keys.d/second.pem")
    before = case.facts(it)
    case.refused(it, "update", path, error="NotSigned", code=6)
    maker.run("sign", f"--key={maker.key}", path + ".manifest")
    case.refused(it, "update", path, error="NotSigned", code=6)
    with open(f"{word}.no", "w", encoding="utf-8") as file:
        file.write("open barley\n")
    sign = [maker.abctl, "image", "sign", f"--key={second}", path + ".manifest"]
    for more in ([f"--passphrase-file={word}.no"], []):
        result = subprocess.run([*sign, *more], check=False, stderr=subprocess.PIPE, text=True,
                                stdin=subprocess.DEVNULL, start_new_session=True)
        case.check(result.returncode == 1 and "passphrase" in result.stderr, result)
    case.unchanged(it, before)
    maker.run("sign", f"--key={second}", f"--passphrase-file={word}", path + ".manifest")
    case.abctl(it, "update", path)


def test_reproducible(case):
    """The same subvolumes and SOURCE_DATE_EPOCH give the same image and manifest, byte for byte; a CMS adds its own time."""
    it, maker = trusting(case, boot={"daemon": "none"}, subvolumes="usr:/usr/share/extra")
    authority = Authority(f"{case.tmp}/ca")
    last = {}

    def create(version, when, *options, base=None):
        path = f"{case.tmp}/{len(last)}.send"
        it.image(version, path, base=base, create=[
            "env", f"SOURCE_DATE_EPOCH={when}", maker.abctl, "-q", "image", "create",
            "--compatible=test-machine", "--allow=devices,setuid,xattrs", *options])
        last[path] = True
        with open(path, "rb") as image, open(path + ".manifest", "rb") as manifest:
            return image.read(), manifest.read()

    key = f"--key={maker.key}"
    for options in (("2.0", 1700000000, key), ("2.0", 1700000000, key, "--compress=zstd:3")):
        case.check(create(*options) == create(*options), options)
    case.check(create("2.1", 1, key, base="2.0") == create("2.1", 1, key, base="2.0"), "incremental")
    image, manifest = create("2.0", 1700000000, key)
    later, other = create("2.0", 1700000001, key)
    differ = [a for a, b in zip(manifest.split(b"\n"), other.split(b"\n")) if a != b]
    case.equal((image == later, len(differ), differ[0]), (True, 2, b"BuildTime=1700000000"), differ)
    first = create("2.0", 1, *authority.options)
    time.sleep(1.1)
    second = create("2.0", 1, *authority.options)
    texts = [manifest.rpartition(b"\n\n") for _, manifest in (first, second)]
    case.equal((first[0] == second[0], texts[0][0] == texts[1][0], texts[0][2] == texts[1][2]),
               (True, True, False))


if __name__ == "__main__":
    sys.exit(harness.main(globals()))
