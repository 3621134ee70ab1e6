#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Signed images from their maker to the machine: what is installed, and what a user sees refused."""

import os
import shutil
import subprocess
import sys
import time
import uuid

from machinery import harness
from machinery.signed import ASK, Maker, flip, trusting
from machinery.token import PIN, Token, provider

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "stream"))
from streamwriter import UUID_A, StreamWriter


def test_full_and_incremental(case):
    """A signed image and an incremental one after it are installed, booted, proven."""
    it, maker = trusting(case)
    case.abctl(it, "update", maker.image("2.0", "--compress=zstd", "--epoch=4"))
    it.reboot()
    case.abctl(it, "mark", "good")
    case.expect(it, version="2.0", verification="signature")
    case.abctl(it, "update", maker.image("2.1", "--epoch=4", base="2.0"))
    it.reboot()
    case.abctl(it, "mark", "good")
    case.expect(it, version="2.1")
    case.sound(it)


def test_key_on_a_token(case):
    """The maker's key is on a token: what it signs is installed; a PIN is never shown."""
    if not provider():
        raise harness.Skip("no provider for PKCS#11 ($PKCS11_PROVIDER), or no softhsm2")
    it, maker = trusting(case)
    token = Token(f"{case.tmp}/token", maker.key)
    path = maker.image("2.0")
    name = path + ".manifest"
    with open(name, encoding="utf-8") as file:
        unsigned = file.read().rpartition("\n\n")[0] + "\n"

    def sign(*args, environment=token.environment):
        with open(name, "w", encoding="utf-8") as file:
            file.write(unsigned)
        return subprocess.run([maker.abctl, "image", "sign", *args, name], check=False, text=True,
                              env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    wrong = sign(f"--key={token.uri.replace('release', 'other')}?pin-value={PIN}")
    case.check(wrong.returncode == 1 and "no such key on a token" in wrong.stderr, wrong)
    none = sign(f"--key={token.uri}?pin-value={PIN}", environment=None)
    case.check(none.returncode == 1 and "openssl.cnf" in none.stderr, none)
    case.check(PIN not in wrong.stderr + none.stderr, "the PIN was shown")
    case.refused(it, "update", path, error="NotSigned", code=6)
    case.equal(sign(f"--key={token.uri}", f"--passphrase-file={token.pin}").returncode, 0)
    case.abctl(it, "update", path)
    it.reboot()
    case.expect(it, version="2.0", verification="signature")


def test_no_compressed_extents(case):
    """What is compressed on the maker's disk is sent unpacked."""
    _, maker = trusting(case)
    path = maker.image("2.0", change="touch usr/big; btrfs property set usr/big compression zstd; "
                       "yes | head -c 300000 >usr/big; sync -f usr/big")
    said = subprocess.run(["btrfs", "receive", "--dump", "-f", path], check=True,
                          stdout=subprocess.PIPE, text=True).stdout
    sent = [line.split()[0] for line in said.splitlines() if line.split()[1].endswith("/usr/big")]
    case.equal(("write" in sent, "encoded_write" in sent), (True, False), said)


def test_info(case):
    """`abctl image info` of an image and of its manifest is one text, and says whom this machine trusts."""
    it, maker = trusting(case)
    path = maker.image("2.0", "--epoch=3")

    def info(name, *args):
        return it.run("abctl", "image", "info", *args, name).out

    case.equal(info(path), info(path + ".manifest"))
    case.check("Epoch:       3\n" in info(path) and "Trusted:     no" in info(path), info(path))
    case.check("Trusted:     yes\n" in info(path, f"--key={maker.key}.pub"), info(path))


def test_inspect(case):
    """Inspect tells anybody what a manifest says and why it would be refused, and reads none that nobody trusted signed."""
    it, maker = trusting(case)

    def inspect(path):
        return it.run(sys.executable, ASK, path).data

    before = case.facts(it)
    path = maker.image("2.0", "--epoch=4", "--version-text=two") + ".manifest"
    got = inspect(path)
    case.equal([got[k] for k in ("version", "version-text", "epoch", "places", "bases", "error")],
               ["2.0", "two", 4, ["/"], [], ""])
    got = inspect(maker.image("3.0", compatible="toaster") + ".manifest")
    case.equal((got["compatible"], got["error"]), ("toaster", "NotCompatible"))
    got = inspect(maker.image("3.1", base="2.0") + ".manifest")
    case.equal((len(got["bases"]), got["error"]), (1, "ParentMissing"))
    flip(path, 100)
    case.check(inspect(path)["refused"] in ("BadSignature", "BadManifest"))
    other = Maker(case, it, "other")
    stranger = maker.image("3.2", key=other.key) + ".manifest"
    case.equal(inspect(stranger), {"refused": "UnknownKey"})
    it.run("sed", "-i", "s/Verification=signature/Verification=none/",
           f"{it.root}/etc/abupdate/abupdated.conf")
    case.equal(inspect(maker.image("3.3", key="none") + ".manifest"), {"refused": "NotSigned"})
    fifo = f"{case.tmp}/fifo"
    os.mkfifo(fifo)
    begun = time.monotonic()
    held = os.open(fifo, os.O_RDWR)
    case.equal(inspect(fifo), {"refused": "Stalled"})
    os.close(held)
    case.check(time.monotonic() - begun < 10)
    case.unchanged(it, before)


def test_places_come_from_the_manifest(case):
    """Two subvolumes go where the manifest says; the configuration does not know them."""
    it, maker = trusting(case, subvolumes="usr:/usr/share/extra")
    it.run("sed", "-i", "/Subvolumes=/d", f"{it.root}/etc/abupdate/abupdated.conf")
    case.abctl(it, "update", maker.image("2.0"))
    it.reboot()
    case.equal(it.run("cat", f"{it.root}/usr/share/extra/content").out, "usr of 2.0\n")
    case.sound(it)


def test_unsigned_is_refused(case):
    """A1: no manifest, or one without signature; no option helps."""
    it, maker = trusting(case)
    before = case.facts(it)
    plain = case.image(it, "2.0")
    case.refused(it, "update", plain, error="NotSigned", code=6)
    unsigned = maker.image("2.0", key="none", keep=["root"])
    case.refused(it, "update", "--reinstall", "--accept=2.0", unsigned, error="NotSigned", code=6)
    case.unchanged(it, before)


def test_strangers_and_no_keys(case):
    """A5, A6: a key that is not installed; no key at all, which status and check tell."""
    it, maker = trusting(case)
    other = Maker(case, it, "other")
    path = maker.image("2.0", key=other.key)
    before = case.facts(it)
    case.refused(it, "update", path, error="UnknownKey", code=6)
    it.run("rm", f"{it.root}/etc/abupdate/keys.d/maker.pem")
    case.refused(it, "update", path, error="NoKeys", code=6)
    found = it.abctl("check")
    case.check("no key is installed" in found.out, found)
    it.run("sh", "-c", f"echo garbage >{it.root}/etc/abupdate/keys.d/maker.pem")
    case.refused(it, "update", path, error="BadConfig")
    case.unchanged(it, before)


def test_revoked_key(case):
    """A7: a key on the list of the revoked."""
    it, maker = trusting(case)
    path = maker.image("2.0")
    with open(path + ".manifest", encoding="utf-8") as file:
        signer = file.read().split("\n\n")[2].split(" ")[1]
    it.run("sh", "-c", f"echo {signer} >{it.root}/etc/abupdate/keys.d/revoked")
    before = case.facts(it)
    case.refused(it, "update", path, error="RevokedKey", code=6)
    case.unchanged(it, before)


def test_damaged(case):
    """A9, B20 to B22: one bit of image or manifest; bytes too few or too many. Nothing stays."""
    it, maker = trusting(case)
    path = maker.image("2.0")
    before = case.facts(it)
    size = os.stat(path).st_size
    for at in (0, size // 2, size - 1):
        flip(path, at)
        case.refused(it, "update", path, error="BadImage", code=6)
        flip(path, at)
    for at in (0, 200, os.stat(path + ".manifest").st_size - 40):
        flip(path + ".manifest", at)
        case.refused(it, "update", path, error=("BadSignature", "UnknownKey", "BadManifest"), code=6)
        flip(path + ".manifest", at)
    shutil.copy(path, path + ".whole")
    os.truncate(path, size - 1)
    case.refused(it, "update", path, error="Truncated")
    shutil.copy(path + ".whole", path)
    with open(path, "ab") as file:
        file.write(b"x")
    case.refused(it, "update", path, error="BadImage", code=6)
    case.unchanged(it, before)
    shutil.copy(path + ".whole", path)
    case.abctl(it, "update", path)


def test_policy(case):
    """A13 to A16: another kind of machine, an older version, an earlier epoch, too late, too new a daemon."""
    it, maker = trusting(case)
    case.abctl(it, "update", maker.image("2.0", "--epoch=3"))
    it.reboot()
    case.abctl(it, "mark", "good")
    before = case.facts(it)
    case.refused(it, "update", maker.image("3.0", "--epoch=3", compatible="toaster"),
                 error="NotCompatible", code=6)
    old = maker.image("1.5", "--epoch=3")
    case.refused(it, "update", old, error="Downgrade", code=6)
    late = maker.image("3.1", "--epoch=3", "--valid-until=2020-01-01")
    case.refused(it, "update", late, error="Expired", code=6)
    early = maker.image("3.2", "--epoch=2")
    case.refused(it, "update", "--allow-downgrade", early, error="Downgrade", code=6)
    case.refused(it, "update", maker.image("3.3", "--epoch=3", "--min-daemon=99"),
                 error="NotSupported")
    case.refused(it, "update", "--as=9.9", old, "--allow-downgrade", error="InvalidArgument", code=2)
    case.unchanged(it, before)
    case.abctl(it, "update", "--allow-downgrade", old)


def test_clock_is_unset(case):
    """A16: a clock that stands before the system was made does not bring an old image back to life."""
    it, maker = trusting(case)
    image = maker.image("2.0", "--valid-until=2035-01-01")
    case.abctl(it, "update", "--dry-run", image)
    it.run("touch", "-d", "2036-01-01", f"{it.root}/usr/lib/clock-epoch")
    case.refused(it, "update", image, error="Expired", code=6)


def test_epoch_survives(case):
    """The epoch that was reached stays when its slot is gone, and when one copy is damaged; Epoch= is a floor of its own."""
    it, maker = trusting(case)
    case.abctl(it, "update", maker.image("2.0", "--epoch=3"))
    early = maker.image("3.0", "--epoch=2")
    # not proven yet: not reached
    case.abctl(it, "update", "--dry-run", early, "--accept=3.0")
    it.reboot()
    case.abctl(it, "mark", "good")
    case.refused(it, "update", early, error="Downgrade", code=6)
    case.abctl(it, "rollback")
    it.reboot()
    case.abctl(it, "discard", "2")

    def damage(how):
        it.on_disk(lambda top: subprocess.run(how, cwd=f"{top}/@abupdate/state", shell=True,
                                              check=True))

    case.refused(it, "update", early, error="Downgrade", code=6)
    for torn in ("a", "b"):
        damage(f"cp epoch.{torn} whole; echo >epoch.{torn}")
        case.refused(it, "update", early, error="Downgrade", code=6)
        damage(f"mv whole epoch.{torn}")
    damage("rm epoch.a epoch.b")
    case.abctl(it, "update", "--dry-run", early)
    it.run("sed", "-i", "s/Verification=signature/&\\nEpoch=3/",
           f"{it.root}/etc/abupdate/abupdated.conf")
    case.refused(it, "update", early, error="Downgrade", code=6)


def test_missing_base(case):
    """34: an incremental image on a machine that never had its base."""
    it, maker = trusting(case)
    case.image(it, "2.0")
    path = maker.image("2.1", base="2.0")
    before = case.facts(it)
    case.refused(it, "update", path, error="ParentMissing")
    case.unchanged(it, before)


def test_another_parent(case):
    """34: the stream builds on another base than its manifest names: ParentMissing, whichever subvolume it is."""
    it, maker = trusting(case, subvolumes="usr:/usr/share/extra")
    case.abctl(it, "update", maker.image("2.0"))
    path = maker.image("2.1", base="2.0")
    before = case.facts(it)
    with open(path + ".manifest", encoding="utf-8") as file:
        fields = dict(line.split("=", 1) for line in file.read().split("\n\n")[0].split("\n"))
    parents = [f"Subvolume.0{i}.Parent" for i in range(2)]
    for key, other in zip(parents, reversed(parents)):
        for wrong in ("01234567-89ab-cdef-0123-456789abcdef", fields[other]):
            maker.again(path, key, f"{key}={wrong}")
            case.refused(it, "update", path, error="ParentMissing")
            result = it.run("abctl", "image", "--json=short", "verify", f"--root={it.root}", path)
            case.equal(result.data["error"], "ParentMissing", result)
            case.unchanged(it, before)
        maker.again(path, key, f"{key}={fields[key]}")
    case.abctl(it, "update", path)
    case.sound(it)


def test_a_source_that_was_not_named(case):
    """35: a signed image takes data from a subvolume that is here and that its manifest does not name: not from there."""
    it, maker = trusting(case)
    like = maker.image("2.0")
    case.abctl(it, "update", like)
    with open(like + ".manifest", encoding="utf-8") as file:
        here = next(line.strip().split("=")[1] for line in file
                    if line.startswith("Subvolume.00.UUID="))
    stream = StreamWriter().subvol("root").mkfile("f")
    stream.clone("f", 0, 4096, "usr/lib/os-release", uuid=uuid.UUID(here).bytes).end()
    path = f"{case.tmp}/taking.send"
    with open(path, "wb") as file:
        file.write(stream.bytes())
    maker.vouch(path, like, Version="2.1", Subvolume_00_UUID=str(uuid.UUID(bytes=UUID_A)),
                Subvolume_00_Inodes=1, Subvolume_00_Bytes=0)
    before = case.facts(it)
    result = case.refused(it, "update", path, error="ParentMissing")
    case.check("manifest does not name" in result.err, result)
    case.unchanged(it, before)
    result = it.run("abctl", "image", "--json=short", "verify", f"--root={it.root}", path)
    case.equal(result.data["error"], "ParentMissing", result)


def test_another_tree(case):
    """45: the stream is signed and right, its tree is not what was signed: never a slot."""
    it, maker = trusting(case)
    path = maker.image("2.0")
    maker.again(path, "Subvolume.00.Digest", "Subvolume.00.Digest=" + "ab" * 32)
    before = case.facts(it)
    case.refused(it, "update", path, error="VerifyFailed")
    for field, wrong in (("Inodes", "100000"), ("Bytes", "100000000"), ("Name", "other"),
                         ("UUID", "01234567-89ab-cdef-0123-456789abcdef")):
        path = maker.image("2.0")
        maker.again(path, f"Subvolume.00.{field}", f"Subvolume.00.{field}={wrong}")
        result = case.refused(it, "update", path, error="BadStream")
        case.check("announces" in result.err, result)
    case.unchanged(it, before)


def test_fewer_and_more_subvolumes(case):
    """33: an image brings one subvolume less, or one more, than its manifest announces."""
    it, maker = trusting(case)
    like = maker.image("2.0")
    before = case.facts(it)
    second = {"Name": "usr", "Path": "/usr", "UUID": str(uuid.UUID(bytes=UUID_A)), "Bytes": 0, "Inodes": 0,
              "Digest": "0" * 64}
    for times, fields, error in ((1, {f"Subvolume_01_{k}": v for k, v in second.items()}, "Truncated"),
                                 (2, {}, "LimitExceeded")):
        path = f"{case.tmp}/{times}.send"
        with open(like, "rb") as one, open(path, "wb") as file:
            file.write(one.read() * times)
        maker.vouch(path, like, **fields)
        case.refused(it, "update", path, error=error, code=harness.ANY)
        result = it.run("abctl", "image", "--json=short", "verify", f"--root={it.root}", path)
        case.equal(result.data["error"], error, result)
    case.unchanged(it, before)


def test_what_the_image_holds(case):
    """41: device nodes and setuid files only where the signed manifest allows them."""
    it, maker = trusting(case)
    path = maker.image("2.0")
    maker.again(path, "Allow=", "Allow=devices xattrs")
    before = case.facts(it)
    case.refused(it, "update", path, error="ForbiddenContent", code=6)
    case.unchanged(it, before)


def test_verification_none_shows(case):
    """Verification=none is told by status and check; a manifest is used all the same, signed or not."""
    it = case.machine()
    maker = Maker(case, it)
    case.expect(it, verification="none")
    case.check("Verification=none" in it.abctl("check").out)
    path = maker.image("2.0", key="none")
    flip(path, 100)
    case.refused(it, "update", path, error="BadImage", code=6)
    flip(path, 100)
    case.abctl(it, "update", path)
    case.sound(it)


def test_pipe_and_manifest_option(case):
    """An image through a pipe takes its manifest from --manifest=."""
    it, maker = trusting(case)
    path = maker.image("2.0")
    with open(path, "rb") as image:
        case.abctl(it, "update", "-", stdin=image, code=6)
    with open(path, "rb") as image:
        case.abctl(it, "update", f"--manifest={path}.manifest", "-", stdin=image)


if __name__ == "__main__":
    sys.exit(harness.main(globals()))
