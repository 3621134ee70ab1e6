# SPDX-License-Identifier: LGPL-2.1-or-later
"""System trees to put on a machine: the host's own packages, a Debian, a tiny one, any folder."""

import os
import random
import re
import shutil
import socket
import stat
import struct
import subprocess

from . import ubootloader

# Small packages that together make a tree like a real one: programs, libraries, locales, links.
HOST_PACKAGES = (
    "base-files base-passwd bash coreutils dash debianutils findutils grep gzip libacl1 libattr1 "
    "libc6 libpcre2-8-0 libselinux1 libtinfo6 login mount passwd perl-base sed tar util-linux"
).split()

TOP_DIRS = ("dev", "etc", "home", "proc", "root", "run", "sys", "tmp", "usr", "var")
TOP_LINKS = {"bin": "usr/bin", "sbin": "usr/sbin", "lib": "usr/lib", "lib64": "usr/lib64"}

CONFIGURATION = """\
# A test machine. Images are not verified here: never do this on a machine that matters.
[Update]
Backend={backend}
Boot={boot}
Verification=none
Compatible=test-machine

[Snapshot]
ReadOnly={read_only}
Keep=3
{subvolumes}{seed}
[Boot]
Tries=3
"""

SEED = """
[Seed]
Slots=a=PARTLABEL=os-a b=PARTLABEL=os-b
"""


def _write(path, text, mode=0o644):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "wb") as file:
        file.write(text.encode() if isinstance(text, str) else text)
    os.chmod(path, mode)


def set_version(tree, version):
    """Make the tree say in its os-release that it is @version, and bring a kernel of its own."""
    path = os.path.join(tree, "usr/lib/os-release")
    with open(path, encoding="utf-8") as file:
        lines = [line for line in file if not re.match(r"(VERSION|VERSION_ID|IMAGE_VERSION)=", line)]
    lines += [f'VERSION="{version}"\n', f"VERSION_ID={version}\n", f"IMAGE_VERSION={version}\n"]
    _write(path, "".join(lines))
    modules = os.path.join(tree, "usr/lib/modules")
    shutil.rmtree(modules, ignore_errors=True)
    _write(f"{modules}/6.1.0-{version}/vmlinuz", f"kernel of {version}\n")


def configure(tree, read_only=False, subvolumes="", backend="snapshot", boot="default-subvolume"):
    """Write the configuration of the daemon and an fstab that does not fight the boot switch."""
    line = f"Subvolumes={subvolumes}\n" if subvolumes else ""
    _write(f"{tree}/etc/abupdate/abupdated.conf", CONFIGURATION.format(
        read_only="yes" if read_only else "no", subvolumes=line, backend=backend, boot=boot,
        seed=SEED if backend == "seed" else ""))
    if boot != "default-subvolume":
        os.makedirs(f"{tree}/efi", exist_ok=True)
    if boot == "uboot":
        _write(f"{tree}/etc/fw_env.config", ubootloader.CONFIGURATION)
    _write(f"{tree}/etc/fstab", "# / is the subvolume that the boot loader chose\n")


def every_kind(tree):
    """One file of every kind and attribute that a send stream can carry."""
    top = f"{tree}/usr/lib/testmachine"
    os.makedirs(f"{top}/empty", exist_ok=True)
    os.chmod(f"{top}/empty", 0o2755)
    _write(f"{top}/setuid", "#!/bin/sh\n", 0o4755)
    _write(f"{top}/capable", "#!/bin/sh\n", 0o755)
    os.setxattr(f"{top}/capable", "security.capability",
                struct.pack("<5I", 0x02000001, 1 << 13, 0, 0, 0))
    _write(f"{top}/attributes", "x" * 5000, 0o600)
    os.setxattr(f"{top}/attributes", "user.empty", b"")
    os.setxattr(f"{top}/attributes", "user.long", bytes(range(256)) * 8)
    os.chown(f"{top}/attributes", 1234, 54321)
    os.utime(f"{top}/attributes", ns=(1_000_000_001, 1_234_567_890_123_456_789))
    _write(f"{top}/link-a", "two names\n")
    if not os.path.lexists(f"{top}/empty/link-b"):
        os.link(f"{top}/link-a", f"{top}/empty/link-b")
    for name, target in (("dangling", "/nowhere/at/all"), ("up", "../../../etc"), ("self", "self")):
        if not os.path.lexists(f"{top}/{name}"):
            os.symlink(target, f"{top}/{name}")
    if not os.path.lexists(f"{top}/fifo"):
        os.mkfifo(f"{top}/fifo", 0o640)
        os.mknod(f"{top}/null", 0o666 | stat.S_IFCHR, os.makedev(1, 3))
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(f"{top}/socket")
        listener.close()
    with open(f"{top}/sparse", "wb") as file:
        file.truncate(1 << 20)
        file.seek(512 << 10)
        file.write(b"middle")
    _write(f"{top}/empty/nothing", "")
    _write(os.fsencode(top).decode() + "/" + "n" * 255, "a long name\n")
    with open(os.fsencode(top) + b"/not-utf8-\xff\xfe \n", "wb") as file:
        file.write(b"an odd name\n")


def _skeleton(tree):
    for name in TOP_DIRS:
        os.makedirs(f"{tree}/{name}", exist_ok=True)
    os.chmod(f"{tree}/tmp", 0o1777)
    for name, target in TOP_LINKS.items():
        if not os.path.lexists(f"{tree}/{name}"):
            os.symlink(target, f"{tree}/{name}")


def _os_release(tree):
    path = f"{tree}/usr/lib/os-release"
    if not os.path.exists(path):
        _write(path, 'NAME="Test OS"\nID=testos\nPRETTY_NAME="Test OS"\n')
    os.makedirs(f"{tree}/etc", exist_ok=True)
    if not os.path.lexists(f"{tree}/etc/os-release"):
        os.symlink("../usr/lib/os-release", f"{tree}/etc/os-release")


def _host(tree):
    """What dpkg lists of HOST_PACKAGES, with owners, modes, times, links, xattrs as they are."""
    listing = subprocess.run(["dpkg-query", "-L", *HOST_PACKAGES], stdout=subprocess.PIPE,
                             stderr=subprocess.DEVNULL, check=False, text=True).stdout
    names = {"/etc/passwd", "/etc/group"}
    for name in listing.splitlines():
        if name.startswith("/") and name != "/.":
            real = os.path.join(os.path.realpath(os.path.dirname(name)), os.path.basename(name))
            if os.path.lexists(real):
                names.add(real)
    if len(names) < 500:
        raise RuntimeError("this host has no dpkg packages to cut a tree from: use --os=DIR")
    options = ["--xattrs", "--xattrs-include=*", "--acls", "--numeric-owner"]
    files = "\0".join(sorted(name.lstrip("/") for name in names))
    with subprocess.Popen(
            ["tar", "-c", "--warning=no-file-changed", *options, "-C", "/", "--no-recursion", "--null", "--files-from=-"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE) as pack:
        with subprocess.Popen(["tar", "-x", *options, "-p", "-C", tree],
                              stdin=pack.stdout) as unpack:
            pack.stdout.close()
            pack.stdin.write(files.encode())
            pack.stdin.close()
            if unpack.wait() != 0 or pack.wait() > 1:       # 1: /sys and the like changed
                raise RuntimeError("cutting a tree from the host's packages failed")


def _tiny(tree):
    """Some forty files: for sweeps that build and check a machine hundreds of times."""
    rng = random.Random(1)
    for number in range(40):
        _write(f"{tree}/usr/share/tiny/{number % 5}/file{number}",
               rng.randbytes(rng.randrange(100, 60000)))
    _write(f"{tree}/usr/bin/hello", "#!/bin/sh\necho hello\n", 0o755)


def _debian(tree, cache):
    """A real Debian, made once and kept as a tar file in @cache."""
    tar = f"{cache}/debian-bookworm.tar"
    if not os.path.exists(tar):
        os.makedirs(cache, exist_ok=True)
        part = f"{cache}/part-{os.getpid()}.tar"
        subprocess.run(["mmdebstrap", "--quiet", "--variant=essential",
                        "--include=systemd,kmod", "bookworm", part], check=True)
        os.rename(part, tar)
    subprocess.run(["tar", "-x", "--xattrs", "--xattrs-include=*", "--numeric-owner", "-p",
                    "-C", tree, "-f", tar], check=True)


def build(kind, tree, cache):
    """Fill the empty folder @tree with the system @kind: host, debian, tiny or a folder."""
    if kind == "host":
        _host(tree)
    elif kind == "debian":
        _debian(tree, cache)
    elif kind == "tiny":
        _tiny(tree)
    elif os.path.isdir(kind):
        subprocess.run(["cp", "-a", "--reflink=auto", f"{kind}/.", tree], check=True)
    else:
        raise ValueError(f"--os={kind}: host, debian, tiny, or a folder")
    _skeleton(tree)
    _os_release(tree)
    if not os.path.isdir(kind):
        every_kind(tree)
