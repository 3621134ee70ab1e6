# SPDX-License-Identifier: LGPL-2.1-or-later
"""U-Boot itself as the loader of a machine: Debian's build for a QEMU board finds boot.scr on the
machine's boot partition, as on any board with distro boot, and runs the script of the product in it;
what it would start is taken as the choice.

That build keeps its environment in a flash, without a second copy, and QEMU 7.2 does not take what
it writes there. So the board of the tests has its environment on a disk, in two copies as
CONFIG_SYS_REDUNDAND_ENVIRONMENT makes them, and reads and saves it in the words of BOARD."""

import os
import re
import select
import shutil
import struct
import subprocess
import tempfile
import time
import zlib

HERE = os.path.dirname(os.path.abspath(__file__))
SCRIPT = os.path.join(HERE, "..", "..", "..", "uboot", "boot.cmd")
FIRMWARE = "/usr/lib/u-boot/qemu_arm64/u-boot.bin"
EMULATOR = "qemu-system-aarch64"
LIMIT = 120
COPY = 0x4000           # of the environment, as in CONFIGURATION and BOARD
CONFIGURATION = "/run/uboot-environment 0x0 0x4000\n/run/uboot-environment 0x4000 0x4000\n"
START = 1 << 20         # of the first partition
# The number that counts on stands between CRC and text: without it a copy is what `env import` takes.
_TAKE = "cp.b {at} 49000000 4; cp.b {text} 49000004 3ffb; env import -c 49000000 3fff && held={copy}"
_PUT = """\
        setenv abupdate_save "env export -c -s 3fff 49000000 && cp.b 49000000 {at} 4 && \
cp.b 49000004 {text} 3ffb && mw.b {number} ${{count}} && virtio dev 1 && virtio write {at} {block} 20"
"""
_PLACES = ({"copy": 0, "at": "48000000", "number": "48000004", "text": "48000005", "block": "0"},
           {"copy": 1, "at": "48004000", "number": "48004004", "text": "48004005", "block": "20"})
_TAKE_0, _TAKE_1 = (_TAKE.format(**place) for place in _PLACES)
_PUT_0, _PUT_1 = (_PUT.format(**place) for place in _PLACES)
_NEXT = "setexpr count ${count} + 1; if itest ${count} -eq 100; then setenv count 0; fi"
BOARD = f"""\
virtio dev 1
virtio read 48000000 0 40
setexpr.b zero *48000004
setexpr.b one *48004004
setenv count ${{zero}}
{_NEXT}
held=
if itest ${{one}} -eq ${{count}}; then
        {_TAKE_1}
        if test -z "${{held}}"; then {_TAKE_0}; fi
else
        {_TAKE_0}
        if test -z "${{held}}"; then {_TAKE_1}; fi
fi
setexpr.b count *48000004
if test "${{held}}" = 1; then
        setexpr.b count *48004004
fi
{_NEXT}
if test "${{held}}" = 1; then
{_PUT_0}else
{_PUT_1}fi
setenv zero; setenv one; setenv count
setenv devtype virtio; setenv devnum 0; setenv distro_bootpart 1
"""
# An emulated board starts no kernel of a test: what it would start is said instead.
SAY = ('echo "<slot>${slot}</slot>"; printenv bootargs; md.b ${kernel_addr_r} 20; '
       'echo "<initrd>${abupdate_initrd}</initrd>"; poweroff')


class Choice:
    """What U-Boot starts: slot, command line, the first bytes of its kernel; what it said."""

    def __init__(self, said, resets):
        self.said, self.resets = said, resets
        self.slot = re.search(r"^<slot>(.*)</slot>$", said, re.M)[1]
        self.options = re.search(r"^bootargs=(.*)$", said, re.M)[1]
        rows = re.findall(r"^[0-9a-f]{8}: ((?:[0-9a-f]{2} )+)", said, re.M)
        self.kernel = bytes.fromhex("".join(rows))


def run(*argv, **kwargs):
    """A command whose failure is an exception with what it said."""
    done = subprocess.run(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False, **kwargs)
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(map(str, argv))}: {done.stdout.decode().strip()}")
    return done.stdout


def compiled(text, path):
    """Make what `source` takes of @text."""
    with tempfile.NamedTemporaryFile("w", suffix=".cmd") as file:
        file.write(text)
        file.flush()
        run("mkimage", "-T", "script", "-C", "none", "-d", file.name, path)


def boot_script(extra=""):
    """What the installer of this board makes boot.scr of."""
    with open(SCRIPT, encoding="ascii") as file:
        return f"{BOARD}setenv abupdate_boot '{SAY}'\n{extra}{file.read()}"


def environment(variables, count=1):
    """One copy with these variables."""
    text = b"".join(f"{name}={value}\0".encode() for name, value in variables.items()) + b"\0"
    text = text.ljust(COPY - 5, b"\0")
    return struct.pack("<IB", zlib.crc32(text), count) + text


def read_copy(data, number):
    """(its count, {variable: value}) of a copy in the bytes of the environment; None if torn."""
    copy = data[number * COPY:(number + 1) * COPY]
    crc, count = struct.unpack("<IB", copy[:5])
    if zlib.crc32(copy[5:]) != crc:
        return None
    words = copy[5:copy.index(b"\0\0", 5)].decode().split("\0")
    return count, dict(word.split("=", 1) for word in words if word)


def partition_table(disk, length):
    """Write the table of a disk whose first partition has @length bytes behind START."""
    with open(disk, "r+b") as file:
        file.seek(446)
        file.write(struct.pack("<B3sB3sII", 0x80, b"\0\2\0", 0x83, b"\xff" * 3, START // 512,
                               length // 512))
        file.seek(510)
        file.write(b"\x55\xaa")


def environment_of(disk):
    """The environment of the board with that disk."""
    return os.path.join(os.path.dirname(disk), "uboot-environment")


def first_files(where, slot, options, environ):
    """What an installer leaves: the script on the boot partition @where, the file @environ."""
    compiled(boot_script(), f"{where}/boot.scr")
    held = environment({"BOOT_ORDER": slot, f"BOOT_{slot}_ARGS": options,
                        f"BOOT_{slot}_FILES": f"/abupdate/slot-{slot}/linux"})
    with open(environ, "wb") as file:
        file.write(held + environment({}, 0))


def emulate(disk, environ, until, limit=LIMIT):
    """What the board says until it stops, resets, or has said @until. It does not write to @disk."""
    command = [EMULATOR, "-M", "virt", "-cpu", "cortex-a57", "-m", "256", "-nographic",
               "-nodefaults", "-net", "none", "-serial", "stdio", "-no-reboot",
               "-icount", "shift=8,sleep=off", "-bios", FIRMWARE]
    for number, (path, mode) in enumerate(((disk, "on"), (environ, "off"))):
        command += ["-blockdev", f"driver=raw,node-name=d{number},read-only={mode},"
                    f"file.driver=file,file.locking=off,file.filename={path}",
                    "-device", f"virtio-blk-pci,drive=d{number}"]
    said = b""
    end = time.monotonic() + limit
    with subprocess.Popen(command, stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as process:
        try:
            while until.encode() not in said:
                if select.select([process.stdout], [], [], 1)[0]:
                    more = os.read(process.stdout.fileno(), 1 << 16)
                    if not more:
                        break
                    said += more
                if time.monotonic() > end:
                    raise RuntimeError(f"U-Boot takes too long: {said[-2000:].decode()}")
        finally:
            process.kill()
    return said.decode(errors="replace").replace("\r", "")


def choose(disk, environ):
    """Let U-Boot boot: it counts in the file @environ."""
    for resets in range(20):
        said = emulate(disk, environ, "SCRIPT FAILED")
        if "</slot>" in said:
            return Choice(said, resets)
        if "resetting ..." not in said:
            break
    raise RuntimeError(f"U-Boot boots nothing: {said[-2000:]}")


def peek(disk, environ):
    """What U-Boot would boot were the power to come on now."""
    with tempfile.TemporaryDirectory(prefix="uboot-") as folder:
        shutil.copy(environ, f"{folder}/environment")
        return choose(disk, f"{folder}/environment")
