#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""A large tree of real files, in full and incremental, compared file by file by rsync(1).

ABUPDATE_ENTRIES=50000 asks for a tree of so many entries; without it the tree is one that CI can afford.
"""

import os
import subprocess
import sys

from machinery import disk, harness, kernel

ENTRIES = int(os.environ.get("ABUPDATE_ENTRIES", "8000"))
SMALL = ("/usr/share/doc", "/usr/share/perl", "/usr/bin", "/usr/include")
LARGE = ("/usr/share", "/usr/bin", "/usr/include", "/usr/lib/python3", "/usr/lib/x86_64-linux-gnu")

FULL = """
cp -a usr/share/doc usr/share/doc-copy; mv usr/share/perl usr/share/perl-moved
for f in usr/bin/z*; do [ -f $f ] && echo changed >>$f; done
ln usr/bin/bash usr/bin/bash-hard; ln -s nowhere usr/bin/dangling; mkfifo usr/bin/fifo
setfattr -n user.test -v text usr/bin/bash; setcap cap_net_raw+ep usr/bin/env
chmod 4755 usr/bin/stat; chown 1000:1001 usr/share/doc-copy; truncate -s 10M usr/share/sparse
"""
INCREMENTAL = """
rm -r usr/share/doc-copy; mv usr/share/perl-moved usr/share/perl
for f in usr/bin/[a-d]*; do [ -f $f ] && [ ! -L $f ] && echo changed >>$f; done
cp --reflink=always usr/bin/bash usr/bin/bash-clone; chown 7:7 usr/bin/bash; rm usr/bin/bash-hard
mkdir usr/new; cp -a usr/bin/p* usr/new/; touch -d 2001-02-03 usr/share; ln -sfn elsewhere usr/bin/dangling
"""


def make_tree(top):
    """A tree of at least ENTRIES entries from this host's own files."""
    for folder in ("etc", "dev", "proc", "sys", "run", "tmp", "home", "root", "var"):
        os.makedirs(f"{top}/{folder}")
    for round_number in range(20):
        for source in LARGE if ENTRIES > 20000 else SMALL:
            if not os.path.isdir(source):
                continue
            target = f"{top}{source}" if round_number == 0 else f"{top}/opt/{round_number}{source}"
            os.makedirs(os.path.dirname(target), exist_ok=True)
            subprocess.run(["cp", "-a", "--reflink=auto", source, target], check=True)
            number = int(subprocess.run(f"find {top} | wc -l", shell=True, check=True, stdout=subprocess.PIPE).stdout)
            if number > ENTRIES * 1.1 and os.path.isdir(f"{top}/usr/bin"):
                os.makedirs(f"{top}/usr/lib", exist_ok=True)
                with open(f"{top}/usr/lib/os-release", "w", encoding="utf-8") as file:
                    file.write("ID=test\nVERSION_ID=1.0\n")
                os.symlink("../usr/lib/os-release", f"{top}/etc/os-release")
                return
    raise harness.Skip("this host has too few files")


def compare(it, version, slot):
    """What rsync finds different between the maker's tree and the slot's, and how many entries there are."""
    def look(top):
        maker = f"{it.folder}/compare"
        with disk.mounted(f"{it.folder}/maker.img", maker):
            lines = []
            # the root is a snapshot of the image: its content need not be read again
            for part, options in (("image/root", "-aHAXnci"), ("root", "-aHAXni")):
                lines += subprocess.run(
                    ["rsync", options, "--delete", "--devices", "--specials", f"{maker}/{version}/root/",
                     f"{top}/@abupdate/slots/{slot}/{part}/"],
                    check=True, stdout=subprocess.PIPE, text=True).stdout.splitlines()
            count = subprocess.run(f"find {top}/@abupdate/slots/{slot}/root | wc -l", shell=True, check=True,
                                   stdout=subprocess.PIPE, text=True).stdout
            kernel.umount(maker)
        return lines, int(count)
    return it.on_disk(look)


def test_real_tree(case):
    """Thousands of real files: full and incremental updates equal what was sent."""
    tree = f"{case.tmp}/tree"
    make_tree(tree)
    it = case.machine(os_tree=tree, size=10 << 30)
    notes = []
    for version, slot, options in (("2.0", 2, {"change": FULL}),
                                   ("3.0", 3, {"change": INCREMENTAL, "base": "2.0"})):
        image = f"{case.tmp}/{version}.send"
        it.image(version, image, **options)
        case.abctl(it, "update", image, timeout=600)
        lines, count = compare(it, version, slot)
        case.check(not lines, *lines[:20])
        if slot == 2:
            case.check(count > ENTRIES, f"only {count} entries")
        notes.append(f"{version}: {count} entries, image {os.stat(image).st_size >> 10} KiB")
        it.reboot()
        case.abctl(it, "mark", "good")
    return "; ".join(notes)


if __name__ == "__main__":
    sys.exit(harness.main(globals()))
