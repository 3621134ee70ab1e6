# SPDX-License-Identifier: LGPL-2.1-or-later
"""The disk of a guest, as an installer leaves it, and the images that its maker offers."""

import json
import os
import subprocess
import time

from machinery import kernel
from machinery.disk import run

from . import tree, uefi

SIZE = 3 << 30
CONFIGURATION = """\
[Update]
Backend={backend}
Boot={boot}
Compatible=guest

[Boot]
Tries=2
"""
SEED = """
[Seed]
Slots=a=/dev/disk/by-id/virtio-a b=/dev/disk/by-id/{b}
MergeAfter=never
"""
CHECK = "etc/abupdate/check.d/10-sick"
SAY = "mkdir -p etc/abupdate/check.d && printf '#!/bin/sh\\n%s\\n' '{}' >" + CHECK + \
    " && chmod +x " + CHECK
TIMEOUT = "mkdir -p etc/abupdate/abupdated.conf.d &&" + \
    " printf '[Health]\\nTimeout={}\\n' >etc/abupdate/abupdated.conf.d/health.conf"
# A whole initrd in which nothing drives the disk: an archive behind its own puts an empty module over that of virtio_blk.
LOST = """chroot . sh -ec '
    initrd=/boot/$(ls boot | grep ^initrd.img-)
    driver=usr/lib/modules/${initrd#*img-}/kernel/drivers/block/virtio_blk.ko
    test -s $driver; mkdir -p /tmp/lost/${driver%/*}; : >/tmp/lost/$driver; truncate -s %4 $initrd
    cd /tmp/lost; echo $driver | cpio --quiet -o -H newc >>$initrd; rm -r /tmp/lost'
"""
# The boot partition does not come, as where its driver is lacking; without one, another file system.
NO_MOUNT = """sed -i 's/LABEL=ESP/LABEL=gone/; s/timeout=60s/timeout=10s/' etc/fstab
    grep -q LABEL= etc/fstab || echo 'LABEL=gone /srv ext4 x-systemd.device-timeout=10s 0 0' >>etc/fstab
"""
# What a maker may get right and wrong: a version, and the command that makes it from 1.0, in its tree.
VERSIONS = {
    "2.0": "true",
    "2.1": "head -c 48M /dev/urandom >usr/share/bulk && sha256sum usr/share/bulk |"
           " sed s,usr,/usr, >usr/share/bulk.sha256",
    "2.2": "echo next >etc/motd",
    "3.0": SAY.format("exit 7"),
    # where the initrd is a systemd, it starts the other one without asking for /sbin/init
    "3.1": "ln -sf /bin/false usr/lib/systemd/systemd",
    "3.3": LOST,
    "3.2": SAY.format("sleep 1000") + " && " + TIMEOUT.format(5),
    "3.4": NO_MOUNT + TIMEOUT.format(60),
}
BASES = {"2.2": "2.0"}      # what an image builds on, where that is not 1.0


def prefix_of(build):
    """The prefix that @build was made for."""
    said = run("meson", "introspect", "--buildoptions", build)
    return next(o["value"] for o in json.loads(said) if o["name"] == "prefix")


def _image(top, base, version, change, output, abctl, key):
    """A signed image of @version, incremental on the subvolume @base; it is @top/@version then."""
    new = f"{top}/{version}"
    run("btrfs", "-q", "subvolume", "snapshot", base, new)
    tree.set_version(new, version)
    subprocess.run(change, shell=True, cwd=new, check=True)
    run("btrfs", "-q", "property", "set", new, "ro", "true")
    kernel.syncfs(top)
    run(abctl, "-q", "image", "create", f"--from={new}", f"--parent={base}",
        f"--version={version}", "--compatible=guest", "--allow=devices,setuid,xattrs",
        f"--key={key}", f"--output={output}")


def _images(top, first, versions, folder, abctl, key):
    """Images of all @versions, built on @first or on one another, in @folder."""
    for version, change in versions.items():
        base = f"{top}/{BASES[version]}" if BASES.get(version) in versions else first
        _image(top, base, version, change, f"{folder}/{version}.send", abctl, key)
    for version in versions:
        run("btrfs", "-q", "subvolume", "delete", f"{top}/{version}")


def _new_disks(folder, backend, boot):
    """Empty disks; returns (the loop device for the first system, what the firmware boots from)."""
    first = f"{folder}/{'a' if backend == 'seed' else 'disk'}.img"
    part = (0, 0)
    if backend == "snapshot" and boot != "default-subvolume":
        part = uefi.partition(first, SIZE)
    else:
        _empty(first)
    if backend != "seed":
        return kernel.Loop(first, part=part), first
    _empty(f"{folder}/b.img")
    uefi.partition(f"{folder}/boot.img", 0)
    return kernel.Loop(first), f"{folder}/boot.img"


def _empty(path):
    with open(path, "wb") as file:
        file.truncate(SIZE)


def _configuration(backend, boot, options):
    text = CONFIGURATION.format(backend=backend, boot=boot)
    if "kernel-from-slot" in options:
        text += "KernelFrom=slot\n"
    if backend != "seed":
        return text
    return text + SEED.format(b="dm-uuid-mpath-0QEMU_QEMU_HARDDISK_b" if "multipath" in options else "virtio-b")


def _cut(build, folder, kinds, versions, backend, boot, options):
    top, images = f"{folder}/top", f"{folder}/images"
    key, abctl = f"{folder}/guest.key", f"{build}/client/abctl"
    os.makedirs(images, exist_ok=True)
    if not os.path.exists(key):
        run(abctl, "image", "keygen", key)
    loop, firmware = _new_disks(folder, backend, boot)
    run("mkfs.btrfs", "-q", "-f", "-L", "guest", "-m", "single", loop.device)
    os.makedirs(top, exist_ok=True)
    kernel.mount(loop.device, top, "btrfs", 0, "subvolid=5")
    name = "a" if backend == "seed" else "1"
    slot = f"{top}/@abupdate/slots/{name}"
    for folder_name in (f"slots/{name}/image", "staging", "state"):
        os.makedirs(f"{top}/@abupdate/{folder_name}", mode=0o700)
    first = f"{slot}/image/1.0"
    run("btrfs", "-q", "subvolume", "create", first)
    os.makedirs(f"{first}/etc/abupdate/keys.d")
    tree.write(f"{first}/etc/abupdate/abupdated.conf",
               _configuration(backend, boot, options))
    tree.fill(first, build, key, options)
    tree.initrds(first, folder, kinds)
    if boot != "default-subvolume":
        uefi.prepare_tree(first)
    run("btrfs", "-q", "property", "set", first, "ro", "true")
    run("btrfs", "-q", "subvolume", "snapshot", first, f"{slot}/root")
    tree.write(f"{slot}/slot.conf", f"State=good\nVersion=1.0\nCreated={int(time.time())}000000\n"
               "Blessed=1\nSubvolumes=1.0:/\n")
    if boot == "default-subvolume":
        run("btrfs", "subvolume", "set-default", f"{slot}/root")
    else:
        uefi.install_loader(boot, folder, firmware, loop.device, kinds[0], name)
    kernel.syncfs(top)
    _images(top, first, versions, images, abctl, key)
    run("btrfs", "subvolume", "sync", top)
    kernel.umount(top)
    if backend == "seed":
        run("btrfstune", "-S", "1", loop.device)
    loop.close()
    if "multipath" in options:
        tree.write(f"{folder}/two-paths", "b\n")
    run("mke2fs", "-q", "-t", "ext4", "-L", "images", "-d", images, f"{folder}/images.img", "256M")


def cut(build, folder, kinds=("initramfs-tools",), versions=None, backend="snapshot",
        boot="default-subvolume", options=()):
    """Make the disks, images.img, vmlinuz and initrd-<kind> in @folder from the tree @build. The disks:
    disk.img, or with @backend seed boot.img and the devices a.img and b.img. @boot: bls and grub have
    a partition with their loader for UEFI. @options: words of tree.WITH; with multipath b has two paths.

    NoTree: there is no Debian to make it from.
    """
    if prefix_of(build) != "/usr":
        raise RuntimeError(f"a guest needs programs in /usr: meson configure {build} --prefix=/usr")
    os.makedirs(folder, exist_ok=True)
    tree.debian(options)
    kernel.in_private_namespace(_cut, os.path.abspath(build), os.path.abspath(folder), kinds,
                                VERSIONS if versions is None else versions, backend, boot,
                                options)
