# SPDX-License-Identifier: LGPL-2.1-or-later
"""What tests do to the devices of a machine whose versions are devices."""

import errno
import fcntl
import mmap
import os
import struct

from . import disk, kernel
from .machine import MachineError

BTRFS_IOC_DEV_INFO = 0xD000941E


def on_device(it, name, *command):
    """Run @command with the path of a device of the machine behind it, while the power is off."""
    with kernel.Loop(f"{it.folder}/disk.img", part=disk.regions(it.spec)[name]) as loop:
        return disk.run(*command, loop.device)


def device(it, name):
    """The path of a device while the power is on."""
    return os.readlink(f"/proc/{it.running['init']}/root{it.root}/dev/disk/by-partlabel/os-{name}")


def configured(it, change):
    """Another configuration, as sed makes it, for a system that cannot be written to."""
    conf = f"{it.root}/etc/abupdate/abupdated.conf"
    it.run("sh", "-ec", f"sed '{change}' {conf} >/run/conf; mount --bind /run/conf {conf}")


def reboot_configured(it):
    """A reboot, without the configuration that was put over that of the system."""
    it.run("umount", f"{it.root}/etc/abupdate/abupdated.conf")
    it.reboot()


def fill(it, name, mib):
    """Put @mib MiB beside the slots of a sealed device, in data/file, while the power is off.

    By dd: what cat and cp write would be shared with what they read.
    """
    place = f"{it.folder}/filled"
    os.makedirs(place, exist_ok=True)
    on_device(it, name, "unshare", "--mount", "sh", "-ec", f"""
        btrfstune -f -S 0 $0; mount -o subvolid=5 $0 {place}; cd {place}
        test -e data || btrfs -q subvolume create data
        head -c 16M /dev/urandom >block
        for n in $(seq {mib // 16}); do dd if=block bs=16M status=none; done >data/file
        rm block; cd /; umount {place}; btrfstune -S 1 $0""")


def bytes_on(it, number):
    """What the running file system has on its device @number, by chunks, at this moment."""
    info = bytearray(struct.pack("<Q4088x", number))
    fd = os.open(f"/proc/{it.running['init']}/root{it.root}", os.O_RDONLY)
    try:
        fcntl.ioctl(fd, BTRFS_IOC_DEV_INFO, info)
    except OSError as error:
        if error.errno != errno.ENODEV:
            raise
        return 0
    finally:
        os.close(fd)
    return struct.unpack_from("<Q", info, 24)[0]


def spoil(it, name, content):
    """Change the bytes @content wherever they lie on a device, past every checksum."""
    offset, length = disk.regions(it.spec)[name]
    found = 0
    with open(f"{it.folder}/disk.img", "r+b") as file:
        view = mmap.mmap(file.fileno(), offset + length)
        at = view.find(content, offset)
        while at >= 0:
            view[at:at + len(content)] = bytes(b ^ 255 for b in content)
            found += 1
            at = view.find(content, at + 1)
        view.close()
    return found


def superblocks(it, name):
    """Both copies of the superblock on a device."""
    offset = disk.regions(it.spec)[name][0]
    with open(f"{it.folder}/disk.img", "rb") as file:
        return [os.pread(file.fileno(), 4096, offset + at) for at in (64 << 10, 64 << 20)]


def stays_off(case, it, **options):
    """A boot that fails."""
    try:
        it.boot(**options)
    except MachineError:
        pass
    case.check(not it.running, "it has booted")


def killed_at(number, call="fdatasync"):
    """The command that kills a worker when it makes @call the @number-th time, before it; fdatasync
    writes a record of its journal."""
    return ["strace", "-f", "-qq", "-o", "/dev/null", "-e", f"trace={call}",
            "-e", f"inject={call}:signal=KILL:when={number}"]
