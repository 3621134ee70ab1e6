# SPDX-License-Identifier: LGPL-2.1-or-later
"""The system of a guest: a Debian 12 from its packages, cached, with this build put into it."""

import fcntl
import hashlib
import os
import re
import shutil
import subprocess

from machinery import kernel
from machinery.disk import run

PACKAGES = """
    systemd systemd-sysv libpam-systemd dbus udev kmod btrfs-progs zstd cpio busybox-static
    linux-image-cloud-amd64 initramfs-tools dracut-core
    libjson-c5 libeconf0 libbtrfsutil1 libblkid1 libmount1 libsmartcols1 libzstd1 liblzma5 zlib1g
    libssl3 libcurl4 libseccomp2 libcap2 libisal2 grub-common polkitd systemd-boot
""".split()
# What a guest may have besides, by the name of the option: packages.
WITH = {"multipath": ["multipath-tools", "multipath-tools-boot"], "kernel-from-slot": []}
LEFT_OUT = ("doc", "man", "locale", "info", "bug", "lintian", "i18n")
# What takes time at boot and means nothing to a guest without network, clock and people.
MASKED = """
    apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer e2scrub_all.timer fstrim.timer
    e2scrub_reap.service console-getty.service getty-static.service getty@.service
    serial-getty@.service systemd-timesyncd.service systemd-pstore.service
    systemd-update-utmp.service systemd-update-utmp-runlevel.service systemd-hwdb-update.service
    systemd-networkd.service systemd-resolved.service networking.service keyboard-setup.service
    console-setup.service apparmor.service systemd-binfmt.service systemd-machine-id-commit.service
    dev-hugepages.mount dev-mqueue.mount sys-kernel-debug.mount sys-kernel-tracing.mount
    proc-sys-fs-binfmt_misc.automount cron.service modprobe@configfs.service modprobe@dm_mod.service
    modprobe@drm.service modprobe@fuse.service modprobe@loop.service sys-fs-fuse-connections.mount
    sys-kernel-config.mount systemd-sysusers.service systemd-firstboot.service
    systemd-random-seed.service systemd-network-generator.service systemd-tmpfiles-clean.timer
    systemd-logind.service systemd-user-sessions.service systemd-journal-flush.service
    systemd-journal-catalog-update.service systemd-update-done.service ldconfig.service
    systemd-modules-load.service systemd-boot-system-token.service systemd-repart.service
""".split()
MODULES = "btrfs\nvirtio_pci\nvirtio_blk\n"
SCSI = "virtio_scsi\nsd_mod\n"
# A disk with two paths is a map from its first boot on, without an entry in /etc/multipath/wwids.
MULTIPATH = "defaults {\n\tfind_multipaths greedy\n\tuser_friendly_names no\n}\n"
FILES = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "files")


class NoTree(Exception):
    """The system could not be made from its packages; the text says why."""


def cache_dir():
    """Where the Debian is kept between runs."""
    base = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    return os.path.join(base, "abupdate-vm")


def debian(options=()):
    """The path of a tar file with the Debian and what @options of WITH bring; made where it is not there yet."""
    packages = PACKAGES + [package for name in options for package in WITH[name]]
    command = ["mmdebstrap", "--quiet", "--variant=apt", f"--include={','.join(packages)}",
               '--aptopt=Acquire::Languages "none"',
               "--essential-hook=mkdir -p $1/etc/initramfs-tools/conf.d"
               " && echo MODULES=list >$1/etc/initramfs-tools/conf.d/guest",
               *(f"--dpkgopt=path-exclude=/usr/share/{name}/*" for name in LEFT_OUT),
               "bookworm"]
    name = hashlib.sha256(repr(command).encode()).hexdigest()[:16]
    path = f"{cache_dir()}/debian-{name}.tar"
    if os.path.exists(path):
        return path
    os.makedirs(cache_dir(), exist_ok=True)
    with open(f"{cache_dir()}/lock", "w", encoding="utf-8") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not os.path.exists(path):
            if not shutil.which("mmdebstrap"):
                raise NoTree("mmdebstrap is not installed")
            part = f"{cache_dir()}/part.tar"
            done = subprocess.run([*command, part], stdout=subprocess.DEVNULL,
                                  stderr=subprocess.PIPE, text=True, check=False)
            if done.returncode != 0:
                said = [line for line in done.stderr.splitlines() if line.strip()][-3:]
                raise NoTree("no Debian packages (is there a network?): " + " / ".join(said))
            os.rename(part, path)
    return path


def write(path, text, mode=0o644):
    """A small file, with the folders on the way."""
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)
    os.chmod(path, mode)


def set_version(tree, version):
    """Make the os-release of @tree say that it is @version."""
    path = f"{tree}/usr/lib/os-release"
    with open(path, encoding="utf-8") as file:
        lines = [line for line in file if not re.match(r"(VERSION|VERSION_ID|IMAGE_VERSION)=", line)]
    write(path, "".join(lines) + f'VERSION="{version}"\nVERSION_ID={version}\n'
          f"IMAGE_VERSION={version}\n")


def _units(tree):
    system = f"{tree}/etc/systemd/system"
    for name in MASKED:
        if not os.path.lexists(f"{system}/{name}"):
            os.symlink("/dev/null", f"{system}/{name}")
    shutil.copytree(FILES, tree, dirs_exist_ok=True, symlinks=True)
    run("systemctl", f"--root={tree}", "--quiet", "enable", "guest-agent.service")
    run("systemctl", f"--root={tree}", "--quiet", "preset-all")


def fill(tree, build, key, options=()):
    """Unpack the Debian with @options into the empty folder @tree and install @build: version 1.0."""
    run("tar", "-x", "--xattrs", "--xattrs-include=*", "--numeric-owner", "-p", "-C", tree,
        "-f", debian(options))
    run("meson", "install", "-C", build, "--no-rebuild", "--quiet",
        env=dict(os.environ, DESTDIR=os.path.abspath(tree)))
    write(f"{tree}/etc/fstab", "# / is the subvolume that the boot loader chose\n")
    write(f"{tree}/etc/hostname", "guest\n")
    write(f"{tree}/etc/systemd/journald.conf.d/guest.conf", "[Journal]\nStorage=volatile\n")
    write(f"{tree}/etc/machine-id", "")
    write(f"{tree}/etc/initramfs-tools/modules", MODULES + (SCSI if "multipath" in options else ""))
    if "multipath" in options:
        write(f"{tree}/etc/multipath.conf", MULTIPATH)
    shutil.copy(f"{key}.pub", f"{tree}/etc/abupdate/keys.d/guest.pem")
    run("chroot", tree, "passwd", "-d", "root")
    _units(tree)
    set_version(tree, "1.0")


def initrds(tree, output, kinds):
    """Copy the kernel of @tree to the folder @output, and make the initrds @kinds with it; the
    first of them is that of the tree too.

    Runs in a private mount namespace, where it mounts what the tools want to see.
    """
    version = sorted(os.listdir(f"{tree}/usr/lib/modules"))[-1]
    shutil.copy(f"{tree}/boot/vmlinuz-{version}", f"{output}/vmlinuz")
    kernel.mount("proc", f"{tree}/proc", "proc")
    kernel.mount("/dev", f"{tree}/dev", None, kernel.MS_BIND)
    inside = "/run/initrd.img"
    os.makedirs(f"{tree}/run", exist_ok=True)
    for kind in kinds:
        if kind == "initramfs-tools":
            run("chroot", tree, "mkinitramfs", "-o", inside, version)
        else:
            run("chroot", tree, "dracut", "--force", "--quiet", "--no-hostonly", "--zstd",
                "--add-drivers", MODULES.replace("\n", " "), "--omit",
                "plymouth i18n network resume crypt dm lvm mdraid nfs terminfo multipath iscsi nbd",
                inside, version)
        shutil.move(f"{tree}{inside}", f"{output}/initrd-{kind}")
    shutil.copy(f"{output}/initrd-{kinds[0]}", f"{tree}/boot/initrd.img-{version}")
    kernel.umount(f"{tree}/dev")
    kernel.umount(f"{tree}/proc")
