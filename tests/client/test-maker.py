#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""test-maker.py BUILD - keys and signatures as a maker uses them: only a manifest is signed, and no other file changes."""

import os
import sys

from harness import main

MANIFEST = """BuildTime=1700000000
ChunkSize=1048576
Compatible=test-board
Compression=none
Epoch=0
Format=1
MaxFileSize=1
PayloadSize=1
StreamSize=1
StreamVersion=1
Subvolume.00.Bytes=0
Subvolume.00.Digest=""" + "0" * 64 + """
Subvolume.00.Inodes=0
Subvolume.00.Name=root
Subvolume.00.Path=/
Subvolume.00.UUID=01234567-89ab-cdef-0123-456789abcdef
Version=1.0

""" + "0" * 64 + "\n"


def keygen(world, *args, name="key"):
    """A key; the fingerprint of it."""
    path = world.path / name
    return path, world.abctl("image", "keygen", *args, path)[0].split()[-1]


def case_sign(world):
    """A manifest gets one signature more each time, one for each key; through a link, too, which stays one."""
    keys = [keygen(world, name=f"key{i}") for i in range(2)]
    manifest, link = world.path / "m", world.path / "link"
    manifest.write_text(MANIFEST)
    link.symlink_to("m")
    world.abctl("image", "sign", f"--key={keys[0][0]}", link)
    assert link.is_symlink()
    world.abctl("image", "sign", f"--key={keys[1][0]}", f"--key={keys[0][0]}", manifest)
    text = manifest.read_text()
    assert text.startswith(MANIFEST + "\n"), text
    signers = [line.split()[1] for line in text.split("\n\n")[2].splitlines()]
    assert sorted(signers) == sorted(k[1] for k in keys), text
    assert not list(world.path.glob("*.new"))


def case_sign_what_is_none(world):
    """What is no manifest is not signed and stays as it was; nor is what would have no place to go to."""
    key = keygen(world)[0]
    file = world.path / "file"
    for text in ("Readme\n\nA text.\n", MANIFEST[:-1] + "\0\n", MANIFEST + "\0more\n", MANIFEST.replace("Epoch=0", "Epoch=x"),
                 MANIFEST.replace("Format=1", "Format=2"), MANIFEST + "\nnot a signature\n", MANIFEST[5:]):
        file.write_text(text)
        err = world.abctl("image", "sign", f"--key={key}", file, expect=1 if "Format=2" in text else 6)[1]
        assert f"Cannot sign {file}" in err, err
        assert file.read_text() == text
    before = sorted(os.listdir(world.path))
    for name in ("-", "http://localhost/m"):
        err = world.abctl("image", "sign", f"--key={key}", name, expect=2, cwd=world.path)[1]
        assert "file here" in err, err
    assert sorted(os.listdir(world.path)) == before


def case_info_of_what_is_none(world):
    """What has no manifest is told by its name."""
    image, manifest = world.path / "a.send", world.path / "a.send.manifest"
    image.write_bytes(b"btrfs-stream\0" + b"\n" * 100)
    err = world.abctl("image", "info", image, expect=6)[1]
    assert f"{image} is no manifest, and there is no {manifest}" in err, err
    manifest.write_text(MANIFEST.replace("Epoch=0", "Epoch=x"))
    err = world.abctl("image", "info", image, expect=6)[1]
    assert f"{manifest}: " in err and "Epoch=x" in err, err
    manifest.write_text(MANIFEST)
    assert "Trusted:     no: the manifest is not signed" in world.abctl("image", "info", image)[0]


def case_no_passphrase(world):
    """An empty passphrase would leave a key that only looks protected."""
    word = world.path / "word"
    for text in ("", "\n", "\nsecond line\n"):
        word.write_text(text)
        err = world.abctl("image", "keygen", f"--passphrase-file={word}", world.path / "key", expect=1)[1]
        assert "first line is empty" in err, err
        assert not (world.path / "key").exists()
    word.write_text("open sesame\n")
    key = keygen(world, f"--passphrase-file={word}")[0]
    assert "ENCRYPTED" in key.read_text() and key.stat().st_mode & 0o777 == 0o600


def case_create_knows_before(world):
    """What cannot become a manifest, or cannot be signed, is told before anything is sent: it may take hours."""
    key = keygen(world)[0]

    def refused(*args, part, expect=2, epoch="1700000000"):
        err = world.abctl("image", "create", f"--from={world.path}", "--version=1", "--compatible=test",
                          "--output=/no/such/place", *args, expect=expect, env=dict(world.env, SOURCE_DATE_EPOCH=epoch))[1]
        assert part in err, err

    refused(part="/no/such/place", expect=1)
    for until in ("1970-01-01", "@0", "@253402300800", "1969-12-31", "soon"):
        refused(f"--valid-until={until}", part="alid-until" if until in ("1970-01-01", "@0", "soon") else "ValidUntil=")
    refused("--epoch=9223372036854775808", part="Epoch=")
    refused("--version-text=a\x1bb", part="VersionText=")
    refused("--compatible=", part="Compatible=")
    refused("--min-daemon=.1", part="MinDaemon=")
    refused(f"--from={world.path}:/usr", f"--from={world.path}:/usr", part="the same name, path")
    refused(f"--from={world.path}:/a/../b", part="Path=")
    refused(epoch="0", part="BuildTime=")
    refused(f"--key={key}.pub", part="no private key", expect=1)
    refused("--key=/no/such/key", part="/no/such/key", expect=1)


if __name__ == "__main__":
    sys.exit(main(globals()))
