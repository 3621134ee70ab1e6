# SPDX-License-Identifier: LGPL-2.1-or-later
"""The command line of the machine."""

import argparse
import json
import os
import subprocess
import sys

from . import disk, machine

EPILOG = """\
A session with it:
  machine --dir=/tmp/m --build=build new
  machine --dir=/tmp/m boot
  machine --dir=/tmp/m image --version=2.0 --change='echo two >etc/motd' -o /tmp/2.send
  machine --dir=/tmp/m exec abctl update /tmp/2.send
  machine --dir=/tmp/m reboot
  machine --dir=/tmp/m exec abctl mark good
  machine --dir=/tmp/m destroy
Inside the machine $MACHINE_ROOT is its root; programs of the build tree are on $PATH; the bus is
the machine's own. Trees and disks that take long to make are kept in $XDG_CACHE_HOME.
"""


def parse_size(text):
    """Bytes, with a suffix K, M, G, T."""
    factor = {"K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}.get(text[-1:].upper(), 1)
    return int(text[:-1] if factor > 1 else text) * factor


def _boot_options(parser):
    parser.add_argument("--cmdline", default=machine.CMDLINE, help="the kernel command line")
    parser.add_argument("--daemon", choices=("activated", "direct", "none"), default="activated",
                        help="who starts abupdated: the bus (default), the machine, nobody")
    parser.add_argument("--wrap", default="", help="a command in front of the daemon's")
    parser.add_argument("--polkit", action="store_true", help="start the real polkitd as well")
    parser.add_argument("--no-initrd", action="store_false", dest="initrd",
                        help="leave abupdate-initrd out")


def _parser():
    parser = argparse.ArgumentParser(
        prog="machine", description="A whole A/B machine in a folder, on loop devices.",
        epilog=EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dir", required=True, help="the folder of the machine")
    parser.add_argument("--build", help="the build tree with the programs")
    parser.add_argument("--owner", type=int, help="end with this process (default: stay)")
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")

    new = verbs.add_parser("new", help="install version 1.0 on a new disk")
    new.add_argument("--backend", choices=("snapshot", "seed"), default="snapshot")
    new.add_argument("--boot", choices=("default-subvolume", "bls", "grub", "uboot"),
                     default="default-subvolume", help="seed needs another than that")
    new.add_argument("--os", default="host", help="host (default), debian, tiny, or a folder")
    new.add_argument("--size", type=parse_size, default=disk.DEFAULT_SIZE, help="of the disk (3G)")
    new.add_argument("--subvolumes", default="", metavar="NAME:/PATH",
                     help="further subvolumes of the system, separated by spaces")
    new.add_argument("--write-log", action="store_true",
                     help="log every write below the file system; a cut loses what was not flushed")
    new.add_argument("--read-only", action="store_true", help="ReadOnly=yes")

    _boot_options(verbs.add_parser("boot", help="power on: loader, root, bus, daemon"))
    _boot_options(verbs.add_parser("reboot", help="shut down and boot"))
    verbs.add_parser("shutdown", help="end everything in order and unmount")
    cut = verbs.add_parser("power-cut", help="end everything at once; the disk keeps what it had")
    cut.add_argument("--entry", type=int, help="with a write log: cut after this entry")
    verbs.add_parser("destroy", help="leave nothing behind")
    verbs.add_parser("info", help="what there is, as JSON")

    run = verbs.add_parser("exec", help="run a command inside the machine")
    run.add_argument("--user", help="as this user")
    run.add_argument("command", nargs=argparse.REMAINDER, metavar="CMD")

    image = verbs.add_parser("image", help="make an update image")
    image.add_argument("--version", required=True)
    image.add_argument("-o", "--output", required=True, metavar="FILE")
    image.add_argument("--base", metavar="VERSION", help="incremental over this version")
    image.add_argument("--start", metavar="VERSION", help="grow from this one, not the newest")
    image.add_argument("--change", metavar="CMD", help="run in the new root; also $TREE, $VERSION")
    image.add_argument("--subvolumes", metavar="NAME:/PATH", help="as in `new` (the default)")
    image.add_argument("--compress", action="store_true", help="squeeze with zstd")
    image.add_argument("--sign", metavar="KEY", help="by `abctl image create`, with this private key")
    image.add_argument("--protocol", type=int, default=1, help="of the send stream: 1 or 2")
    return parser


def _image(it, args):
    options = {"base": args.base, "start": args.start, "change": args.change,
               "compress": args.compress, "protocol": args.protocol}
    if args.sign:
        options["create"] = [it.programs()["abctl"], "-q", "image", "create", f"--key={args.sign}",
                             "--compatible=test-machine", "--allow=devices,setuid,xattrs"]
        options["create"] += ["--compress=zstd"] if args.compress else []
    if args.subvolumes is not None:
        options["subvolumes"] = args.subvolumes
    it.image(args.version, args.output, **options)


def _exec(it, args):
    command = args.command[1:] if args.command[:1] == ["--"] else args.command
    argv = it.command(command or [os.environ.get("SHELL", "/bin/sh")], args.user,
                      None if args.user else os.getcwd())
    return subprocess.run(argv, env=it.environment(), check=False).returncode


def main():
    """Run one verb; returns the exit code."""
    args = _parser().parse_args()
    it = machine.Machine(args.dir, args.build, args.owner)
    boot = {name: getattr(args, name) for name in ("cmdline", "daemon", "wrap", "polkit", "initrd")
            if hasattr(args, name)}
    verbs = {
        "new": lambda: it.new(args.os, args.size, args.write_log, args.read_only, args.subvolumes,
                              args.backend, args.boot),
        "boot": lambda: it.boot(**boot),
        "reboot": lambda: it.reboot(**boot),
        "shutdown": it.shutdown,
        "power-cut": lambda: it.power_cut(args.entry),
        "destroy": it.destroy,
        "info": lambda: print(json.dumps(it.info(), indent=1)),
        "exec": lambda: _exec(it, args),
        "image": lambda: _image(it, args),
    }
    try:
        result = verbs[args.verb]()
    except (machine.MachineError, OSError, RuntimeError, ValueError,
            subprocess.CalledProcessError) as error:
        print(f"machine: {error}", file=sys.stderr)
        return 1
    return result if isinstance(result, int) else 0
