# SPDX-License-Identifier: LGPL-2.1-or-later
"""A disk that firmware boots: an EFI partition with systemd-boot or GRUB, and the kernel on it."""

import glob
import os
import shutil
import subprocess
import tempfile

from machinery import grubloader, loader
from machinery.disk import run

CODE = "/usr/share/OVMF/OVMF_CODE_4M.fd"
VARIABLES = "/usr/share/OVMF/OVMF_VARS_4M.fd"
SD_BOOT = "/usr/lib/systemd/boot/efi/systemd-bootx64.efi"
GRUB = "/usr/lib/grub/x86_64-efi"
NEEDED = (CODE, VARIABLES, SD_BOOT, f"{GRUB}/linux.mod")
EFI_START, EFI_SIZE = 1 << 20, 320 << 20
# What docs/backends.md asks for: a boot that fails ends with a reboot.
REBOOTS = "panic=10 rd.shell=0 rd.emergency=reboot rd.timeout=120"
OPTIONS = (f"console=ttyS0 net.ifnames=0 {REBOOTS} random.trust_cpu=on audit=0 mitigations=off "
           "cryptomgr.notests no_timer_check raid=noautodetect systemd.show_status=no "
           "systemd.log_level=notice systemd.machine_id=6775657374677565737467756573740a")
MODULES = ("normal configfile linux fat btrfs part_gpt loadenv search search_fs_uuid test echo serial "
           "terminal halt reboot sleep minicmd").split()
GRUB_CFG = """\
serial --unit=0 --speed=115200
terminal_input serial
terminal_output serial
set timeout=0
set default=0
"""


def missing():
    """What the host lacks for these guests, or nothing."""
    return [path for path in NEEDED if not os.path.exists(path)] + \
        [name for name in ("sfdisk", "mkfs.vfat", "mcopy", "grub-mkimage") if not shutil.which(name)]


def partition(disk, size):
    """A new disk with an EFI partition; (offset, length) of the other one, where @size is not 0."""
    start = EFI_START + EFI_SIZE
    with open(disk, "wb") as file:
        file.truncate(start + size + (1 << 20))
    table = f"label: gpt\nstart={EFI_START // 512}, size={EFI_SIZE // 512}, type=U\n"
    if size:
        table += f"start={start // 512}, size={size // 512}, type=L\n"
    subprocess.run(["sfdisk", "--quiet", "--no-reread", "--no-tell-kernel", disk],
                   input=table.encode(), check=True)
    return start, size


def prepare_tree(tree):
    """The system mounts the partition."""
    os.makedirs(f"{tree}/efi", exist_ok=True)
    with open(f"{tree}/etc/fstab", "a", encoding="utf-8") as file:
        file.write("LABEL=ESP /efi vfat umask=0077,x-systemd.device-timeout=60s 0 0\n")


def install_loader(boot, folder, disk, device, initrd, slot):
    """Fill the EFI partition of @disk: the loader, its words for @slot on @device, its kernel and initrd."""
    with tempfile.TemporaryDirectory(prefix="esp-", dir=folder) as where:
        esp, top = f"{where}/esp.img", f"{where}/top"
        os.makedirs(f"{top}/EFI/BOOT")
        files = f"{top}/abupdate/slot-{slot}"
        os.makedirs(files)
        shutil.copy(f"{folder}/vmlinuz", f"{files}/linux")
        shutil.copy(f"{folder}/initrd-{initrd}", f"{files}/initrd")
        with open(esp, "wb") as file:
            file.truncate(EFI_SIZE)
        run("mkfs.vfat", "-F", "32", "-n", "ESP", esp)
        state = "rw" if slot == "1" else "ro abupdate.seal"
        options = (f"root=UUID={loader.fsid(device)} rootflags=subvol=@abupdate/slots/{slot}/root "
                   f"{state} {OPTIONS}")
        if boot == "grub":
            _grub(top, options, slot, grubloader.uuid_of(esp))
        else:
            _systemd_boot(top, options, slot)
        run("mcopy", "-s", "-i", esp, *glob.glob(f"{top}/*"), "::")
        run("dd", f"if={esp}", f"of={disk}", "bs=1M", f"seek={EFI_START >> 20}", "conv=notrunc,sparse")


def _grub(top, options, slot, uuid):
    grubloader.first_files(top, slot, options, initrd=True)
    os.makedirs(f"{top}/grub")
    with open(f"{top}/grub/grub.cfg", "w", encoding="ascii") as file:
        file.write(GRUB_CFG + grubloader.script(uuid))
    run("grub-mkimage", "-O", "x86_64-efi", "-p", "/grub", "-o", f"{top}/EFI/BOOT/BOOTX64.EFI",
        *MODULES)


def _systemd_boot(top, options, slot):
    shutil.copy(SD_BOOT, f"{top}/EFI/BOOT/BOOTX64.EFI")
    os.makedirs(f"{top}/loader/entries")
    with open(f"{top}/loader/loader.conf", "w", encoding="ascii") as file:
        file.write("timeout 0\n")
    with open(f"{top}/loader/entries/abupdate-{slot}.conf", "w", encoding="ascii") as file:
        file.write("title Version 1.0\nversion 1.0\nsort-key abupdate-99999998\n"
                   f"linux /abupdate/slot-{slot}/linux\ninitrd /abupdate/slot-{slot}/initrd\n"
                   f"options {options}\n")
