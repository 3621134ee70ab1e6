#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""check-manifest.py [--key=PUB.pem] [--image=FILE] [--tree=NAME=DIR] MANIFEST

Reads a manifest as docs/image-format.md has it and compares it with an image and with trees on disk. Written from that
page alone: it shares nothing with the program. Signatures are left to openssl(1). Exit code 0: all is right; 1: a line
says what is not."""

import argparse
import base64
import hashlib
import os
import re
import stat
import struct
import subprocess
import sys
import tempfile

CHUNK = 1 << 20
NUMBER = re.compile(r"0|[1-9][0-9]*")
NAME = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,63}")
UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
DIGEST = re.compile(r"[0-9a-f]{64}")
KEY = re.compile(r"[A-Za-z][A-Za-z0-9.-]{0,63}")


class Wrong(Exception):
    """What is not as the page says."""


def number(text):
    """0 to 2^63-1."""
    return bool(NUMBER.fullmatch(text)) and int(text) < 1 << 63


def time(text):
    """Seconds, up to the year 9999."""
    return number(text) and 1 <= int(text) <= 253402300799


def path(text):
    """Absolute and in normal form."""
    parts = text[1:].split("/")
    return text == "/" or (text[:1] == "/" and not re.search("[ \t]", text)
                           and all(0 < len(p.encode()) <= 255 and p not in (".", "..") for p in parts))


def allow(text):
    """Words in their order."""
    known = ["devices", "setuid", "xattrs"]
    words = text.split(" ")
    return words == [w for w in known if w in words]


def uuid(text):
    """Not all zero."""
    return bool(UUID.fullmatch(text)) and text.strip("0-") != ""


FIELDS = {
    "Allow": (allow, False), "BuildTime": (time, True), "ChunkSize": ("1048576".__eq__, True), "Compatible": (len, True),
    "Compression": (lambda t: t in ("none", "zstd", "xz", "gzip"), True), "Critical": (len, False), "Epoch": (number, True),
    "Format": ("1".__eq__, True), "MaxFileSize": (number, True), "MinDaemon": (NAME.fullmatch, False),
    "PayloadSize": (number, True), "StreamSize": (number, True), "StreamVersion": (number, True), "ValidUntil": (time, False),
    "Version": (NAME.fullmatch, True), "VersionText": (len, False),
}
SUBVOLUME = {
    "Bytes": (number, True), "Digest": (DIGEST.fullmatch, True), "Inodes": (number, True), "Name": (NAME.fullmatch, True),
    "Parent": (uuid, False), "Path": (path, True), "UUID": (uuid, True),
}


def read_fields(text):
    """The first part as a dictionary."""
    fields, before = {}, ""
    if len(text) > 64 << 10:
        raise Wrong("the fields take more than 64 KiB")
    for line in text.decode("utf-8").split("\n")[:-1]:
        key, sep, value = line.partition("=")
        if not sep or not KEY.fullmatch(key) or not value or len(value.encode()) > 4096:
            raise Wrong(f"not a field: {line!r}")
        if re.search("[\x00-\x1f\x7f-\x9f]", value):
            raise Wrong(f"control characters: {line!r}")
        if key <= before:
            raise Wrong(f"not sorted: {key}")
        fields[key], before = value, key
    return fields


def check_table(fields, table, prefix=""):
    """Presence and values of one table of the page."""
    for key, (fits, needed) in table.items():
        value = fields.get(prefix + key)
        if value is None and needed:
            raise Wrong(f"{prefix}{key}= is missing")
        if value is not None and not fits(value):
            raise Wrong(f"{prefix}{key}={value} is not a value it can have")


def subvolumes(fields):
    """Number of subvolumes; checks that they fit each other."""
    n = 0
    while n < 64 and f"Subvolume.{n:02}.Name" in fields:
        check_table(fields, SUBVOLUME, f"Subvolume.{n:02}.")
        n += 1
    for key in fields:
        number = re.fullmatch(r"Subvolume\.([0-9][0-9])\..*", key)
        if number and int(number[1]) >= n:
            raise Wrong(f"{key} is behind a gap")
    for key in ("Name", "Path", "UUID"):
        values = [fields[f"Subvolume.{i:02}.{key}"] for i in range(n)]
        if len(set(values)) != n:
            raise Wrong(f"two subvolumes have the same {key}")
    if [fields[f"Subvolume.{i:02}.Path"] for i in range(n)].count("/") != 1:
        raise Wrong("none or several are at /")
    for key in ("Bytes", "Inodes"):
        if sum(int(fields[f"Subvolume.{i:02}.{key}"]) for i in range(n)) >= 1 << 63:
            raise Wrong(f"too many {key}")
    return n


def check_fields(fields, n_chunks):
    """All that the page says of fields."""
    check_table(fields, FIELDS)
    n = subvolumes(fields)
    known = set(FIELDS) | {f"Subvolume.{i:02}.{k}" for i in range(n) for k in SUBVOLUME}
    for key in fields["Critical"].split(" ") if "Critical" in fields else []:
        if key not in fields or key not in known:
            raise Wrong(f"critical and not known: {key}")
    size, plain = int(fields["PayloadSize"]), int(fields["StreamSize"])
    if size == 0 or plain == 0 or int(fields["StreamVersion"]) == 0:
        raise Wrong("nothing is in the image")
    if fields["Compression"] == "none" and size != plain:
        raise Wrong("PayloadSize and StreamSize differ")
    if (size + CHUNK - 1) // CHUNK != n_chunks:
        raise Wrong("not as many chunks as PayloadSize needs")


def check_signature(line, body, key):
    """One line; True where it is by the given key."""
    method, signer, data, total = line.split(" ")
    raw = base64.b64decode(data, validate=True)
    if not re.fullmatch(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,15}", method) or not DIGEST.fullmatch(signer):
        raise Wrong(f"not a signature: {line}")
    if base64.b64encode(raw).decode() != data or not raw or len(raw) > 32 << 10:
        raise Wrong("not the base64 of anything")
    if hashlib.sha256(line.rsplit(" ", 1)[0].encode()).hexdigest()[:16] != total:
        raise Wrong("a damaged signature")
    if not key or method != "ed25519":
        return False
    der = subprocess.run(["openssl", "pkey", "-pubin", "-in", key, "-outform", "DER"], check=True, capture_output=True).stdout
    if hashlib.sha256(der).hexdigest() != signer:
        return False
    with tempfile.TemporaryDirectory() as tmp:
        for name, content in (("body", body), ("signature", raw)):
            with open(f"{tmp}/{name}", "wb") as f:
                f.write(content)
        done = subprocess.run(["openssl", "pkeyutl", "-verify", "-pubin", "-inkey", key, "-rawin", "-in", f"{tmp}/body",
                               "-sigfile", f"{tmp}/signature"], capture_output=True, check=False)
    if done.returncode != 0 or len(raw) != 64:
        raise Wrong("the signature is not valid")
    return True


def read_manifest(raw, key):
    """(fields, chunks) of a manifest that is as the page says."""
    if len(raw) > 1 << 20 or not raw.endswith(b"\n"):
        raise Wrong("too large, or the last line has no end")
    parts = raw.split(b"\n\n")
    if len(parts) not in (2, 3):
        raise Wrong(f"{len(parts)} parts")
    head = parts[0] + b"\n"
    chunks = (parts[1] if len(parts) == 3 else parts[1][:-1]).decode("ascii").split("\n")
    if not all(DIGEST.fullmatch(c) for c in chunks):
        raise Wrong("the chunks are not digests")
    fields = read_fields(head)
    check_fields(fields, len(chunks))
    body = raw if len(parts) == 2 else parts[0] + b"\n\n" + parts[1] + b"\n"
    lines = parts[2][:-1].decode("ascii").split("\n") if len(parts) == 3 else []
    if lines != sorted(set(lines)) or len(lines) > 16:
        raise Wrong("the signatures are not sorted")
    if not any([check_signature(line, body, key) for line in lines]) and key:
        raise Wrong("not signed with that key")
    return fields, chunks


def check_image(name, fields, chunks):
    """Size and chunks of the image."""
    size = 0
    with open(name, "rb") as f:
        for i, expected in enumerate(chunks):
            data = f.read(CHUNK)
            size += len(data)
            if hashlib.sha256(data).hexdigest() != expected:
                raise Wrong(f"chunk {i + 1} differs")
        if f.read(1) or size != int(fields["PayloadSize"]):
            raise Wrong("the image has another size")


def content(name):
    """SHA-256 of a file."""
    total = hashlib.sha256()
    with open(name, "rb") as f:
        while data := f.read(CHUNK):
            total.update(data)
    return total.digest()


def record(name, shown, count, links):
    """One record of the tree digest."""
    st = os.lstat(name)
    first = count
    if st.st_nlink > 1 and not stat.S_ISDIR(st.st_mode):
        first = links.setdefault(st.st_ino, count)
    out = struct.pack("<I", len(shown)) + shown + struct.pack("<Q", first)
    if first != count:
        return out
    device = stat.S_ISCHR(st.st_mode) or stat.S_ISBLK(st.st_mode)
    sized = stat.S_ISREG(st.st_mode) or stat.S_ISLNK(st.st_mode)
    seconds, nanos = divmod(st.st_mtime_ns, 10**9)
    out += struct.pack("<IIIqIIIQ", st.st_mode, st.st_uid, st.st_gid, seconds, nanos, os.major(st.st_rdev) if device else 0,
                       os.minor(st.st_rdev) if device else 0, st.st_size if sized else 0)
    names = sorted(n.encode() for n in os.listxattr(name, follow_symlinks=False))
    out += struct.pack("<I", len(names))
    for xattr in names:
        value = os.getxattr(name, xattr, follow_symlinks=False)
        out += struct.pack("<I", len(xattr)) + xattr + struct.pack("<I", len(value)) + value
    if stat.S_ISREG(st.st_mode):
        out += content(name)
    elif stat.S_ISLNK(st.st_mode):
        out += hashlib.sha256(os.readlink(name)).digest()
    return out


def tree_digest(top):
    """The tree digest of a directory."""
    top = os.fsencode(top)
    device, count, links = os.lstat(top).st_dev, 1, {}
    total = hashlib.sha256(record(top, b"", 0, links))
    stack = [b""]
    while stack:
        below, directory = [], stack.pop()
        for name in sorted(os.listdir(os.path.join(top, directory))):
            shown = directory + b"/" + name if directory else name
            full = os.path.join(top, shown)
            st = os.lstat(full)
            if st.st_dev != device or st.st_ino == 2 or (st.st_ino == 256 and stat.S_ISDIR(st.st_mode)):
                continue
            total.update(record(full, shown, count, links))
            count += 1
            if stat.S_ISDIR(st.st_mode):
                below.append(shown)
        stack += reversed(below)
    return total.hexdigest()


def check_tree(spec, fields):
    """NAME=DIR against the digest of that subvolume."""
    name, _, where = spec.partition("=")
    for i in range(64):
        if fields.get(f"Subvolume.{i:02}.Name") == name:
            found, wanted = tree_digest(where), fields[f"Subvolume.{i:02}.Digest"]
            if found != wanted:
                raise Wrong(f"tree {where} has digest {found}, not {wanted}")
            return
    raise Wrong(f"no subvolume {name}")


def main():
    """Checks what it is given."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--key")
    parser.add_argument("--image")
    parser.add_argument("--tree", action="append", default=[])
    parser.add_argument("manifest")
    args = parser.parse_args()
    try:
        with open(args.manifest, "rb") as f:
            fields, chunks = read_manifest(f.read((1 << 20) + 1), args.key)
        if args.image:
            check_image(args.image, fields, chunks)
        for spec in args.tree:
            check_tree(spec, fields)
    except (Wrong, ValueError) as e:
        print(f"check-manifest: {args.manifest}: {e}", file=sys.stderr)
        return 1
    print(f"{args.manifest}: right, {len(chunks)} chunks, version {fields['Version']}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
