# SPDX-License-Identifier: LGPL-2.1-or-later
"""The two disks of a machine: its own, as an installer leaves it, and that of its maker.

The maker's disk keeps every version as read-only subvolumes /<version>/<name>; images are
`btrfs send` of these. Slot 1 of the machine was received from the maker's 1.0, so incremental
images find their base. A pair is built once per kind of machine and copied from a cache then.
"""

import hashlib
import json
import os
import shutil
import subprocess
import tempfile
import time

from . import grubloader, kernel, loader, ostree, ubootloader

FIRST_VERSION = "1.0"
DEFAULT_SIZE = 3 << 30
MAKER_SIZE = 6 << 30
BOOT_SIZE = 64 << 20


def run(*argv, **kwargs):
    """A command whose failure is an exception with what it said."""
    done = subprocess.run(argv, **{"stdout": subprocess.PIPE, **kwargs}, stderr=subprocess.PIPE,
                          check=False)
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(map(str, argv))}: {done.stderr.decode().strip()}")
    return done.stdout


def cache_dir():
    """Where trees and disks that take long to build are kept."""
    base = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    return os.path.join(base, "abupdate-machine")


def regions(spec):
    """The parts of a machine's disk: {label: (offset, length)}; one whole device has no label."""
    if spec.get("boot", "default-subvolume") == "default-subvolume":
        return {}
    found, at = {}, ubootloader.START if spec["boot"] == "uboot" else 0
    names = list(dict.fromkeys(["a", "b", *spec["sizes"]])) if spec["backend"] == "seed" else ["disk"]
    for name, size in [("boot", BOOT_SIZE), *((name, spec["sizes"].get(name, spec["size"])) for name in names)]:
        found[name] = (at, size)
        at += size
    return found


def mounted(image, where, options=None):
    """Mount the top of the file system in @image at @where, in a private namespace only.

    Returns the loop device: keep it until the mount has ended.
    """
    loop = kernel.Loop(image)
    os.makedirs(where, exist_ok=True)
    kernel.mount(loop.device, where, "btrfs", 0, options or "subvolid=5")
    return loop


def split_subvolumes(text):
    """"root:/ home:/home" as [("root", "/"), ("home", "/home")]; the root comes first always."""
    pairs = [tuple(word.split(":", 1)) for word in (text or "").split()]
    return [("root", "/")] + [(n, p) for n, p in pairs if n != "root"]


def holder_of(place, places):
    """Which subvolume holds the folder where another is put, and the folder's path in it."""
    name, top = max(((n, p) for n, p in places if p != place and
                     (p == "/" or place.startswith(f"{p}/"))), key=lambda pair: len(pair[1]))
    return name, place[len(top):].strip("/")


def _mkfs(path, size, label):
    with open(path, "wb") as file:
        file.truncate(size)
    run("mkfs.btrfs", "-q", "-f", "-L", label, path)


def send(sources, output, parents=(), protocol=1):
    """`btrfs send` of every subvolume in turn into the open file @output."""
    for number, source in enumerate(sources):
        base = ["-p", parents[number]] if parents else []
        run("btrfs", "-q", "send", f"--proto={protocol}", *base, source, stdout=output)


def _build_maker(path, spec, work):
    """The maker's disk with version 1.0. Runs in a private namespace."""
    _mkfs(path, MAKER_SIZE, "maker")
    loop = mounted(path, f"{work}/maker")
    version = f"{work}/maker/{FIRST_VERSION}"
    os.mkdir(version)
    places = split_subvolumes(spec["subvolumes"])
    for name, _ in places:
        run("btrfs", "-q", "subvolume", "create", f"{work}/maker/new-{name}")
    tree = f"{work}/maker/new-root"
    ostree.build(spec["os"], tree, cache_dir())
    ostree.configure(tree, spec["read_only"], spec["subvolumes"], spec.get("backend", "snapshot"),
                     spec.get("boot", "default-subvolume"))
    ostree.set_version(tree, FIRST_VERSION)
    for name, place in places[1:]:
        holder, path = holder_of(place, places)
        os.makedirs(f"{work}/maker/new-{holder}/{path}", exist_ok=True)
        with open(f"{work}/maker/new-{name}/content", "w", encoding="utf-8") as file:
            file.write(f"{name} of {FIRST_VERSION}\n")
    for name, _ in places:
        run("btrfs", "-q", "subvolume", "snapshot", "-r", f"{work}/maker/new-{name}",
            f"{version}/{name}")
        run("btrfs", "-q", "subvolume", "delete", f"{work}/maker/new-{name}")
    kernel.syncfs(f"{work}/maker")
    return loop


def _build_parts(path, spec):
    """A disk of several parts; returns the loop device for the first system."""
    parts = regions(spec)
    with open(path, "wb") as file:
        file.truncate(max(sum(part) for part in parts.values()))
    if spec["boot"] == "uboot":
        ubootloader.partition_table(path, parts["boot"][1])
    with kernel.Loop(path, part=parts["boot"]) as boot:
        run("mkfs.ext4", "-q", "-F", boot.device)
    loop = kernel.Loop(path, part=parts["a" if spec["backend"] == "seed" else "disk"])
    run("mkfs.btrfs", "-q", "-f", "-L", "machine", loop.device)
    return loop


def _build_machine(path, spec, work):
    """The machine's disk, as an installer would leave it. Runs after _build_maker()."""
    if regions(spec):
        loop = _build_parts(path, spec)
        os.makedirs(f"{work}/disk")
        kernel.mount(loop.device, f"{work}/disk", "btrfs", 0, "subvolid=5")
    else:
        _mkfs(path, spec["size"], "machine")
        loop = mounted(path, f"{work}/disk")
    name = "a" if spec.get("backend") == "seed" else "1"
    slot = f"{work}/disk/@abupdate/slots/{name}"
    os.makedirs(f"{slot}/image")
    for name in ("staging", "state"):
        os.mkdir(f"{work}/disk/@abupdate/{name}")
    places = split_subvolumes(spec["subvolumes"])
    with tempfile.TemporaryFile(dir=work) as stream:
        send([f"{work}/maker/{FIRST_VERSION}/{name}" for name, _ in places], stream)
        stream.seek(0)
        run("btrfs", "-q", "receive", f"{slot}/image", stdin=stream)
        size = os.fstat(stream.fileno()).st_size
    # first all of it, then read-only from the inside out: a place must be writable to be filled
    run("btrfs", "-q", "subvolume", "snapshot", f"{slot}/image/root", f"{slot}/root")
    for name, place in places[1:]:
        os.rmdir(f"{slot}/root{place}")
        run("btrfs", "-q", "subvolume", "snapshot", f"{slot}/image/{name}", f"{slot}/root{place}")
    for _, place in reversed(places) if spec["read_only"] else ():
        run("btrfs", "property", "set", f"{slot}/root{place}", "ro", "true")
    with open(f"{slot}/slot.conf", "w", encoding="utf-8") as file:
        file.write(f"State=good\nVersion={FIRST_VERSION}\nCreated={int(time.time() * 1e6)}\n"
                   f"Blessed=1\nSize={size}\n"
                   f"Subvolumes={' '.join(f'{n}:{p}' for n, p in places)}\n")
    run("btrfs", "subvolume", "set-default", f"{slot}/root")
    kernel.syncfs(f"{work}/disk")
    return loop


def _first_entry(image, spec, where):
    """Give the disk's file system an id of its own, and write the boot entry of what is on it; a
    device that is a version by itself is sealed then. Runs in a private namespace."""
    parts = regions(spec)
    seed = spec["backend"] == "seed"
    slot = "a" if seed else "1"
    root = f"subvol=@abupdate/slots/{slot}/root"
    with kernel.Loop(image, part=parts["a" if seed else "disk"]) as loop:
        run("btrfstune", "-f", "-u", loop.device)
        uuid = loader.fsid(loop.device)
        if seed:
            run("btrfstune", "-f", "-S", "1", loop.device)
    with kernel.Loop(image, part=parts["boot"]) as boot:
        os.makedirs(where, exist_ok=True)
        kernel.mount(boot.device, where, "ext4")
        os.makedirs(f"{where}/abupdate/slot-{slot}")
        with open(f"{where}/abupdate/slot-{slot}/linux", "w", encoding="utf-8") as file:
            file.write(f"kernel of {FIRST_VERSION}\n")
        options = (f"root=UUID={uuid} rootflags={root} "
                   f"{'ro abupdate.seal' if seed else 'rw'} quiet")
        if spec["boot"] == "grub":
            grubloader.first_files(where, slot, options)
        elif spec["boot"] == "uboot":
            ubootloader.first_files(where, slot, options, ubootloader.environment_of(image))
        else:
            os.makedirs(f"{where}/loader/entries")
            with open(f"{where}/loader/entries/abupdate-{slot}.conf", "w",
                      encoding="utf-8") as file:
                file.write(f"title Version {FIRST_VERSION}\nversion {FIRST_VERSION}\n"
                           f"sort-key abupdate-99999998\nlinux /abupdate/slot-{slot}/linux\n"
                           f"options {options}\n")
        kernel.syncfs(where)
        kernel.umount(where)


def _build_pair(folder, spec):
    os.makedirs(f"{folder}/work")
    loops = [_build_maker(f"{folder}/maker.img", spec, f"{folder}/work"),
             _build_machine(f"{folder}/disk.img", spec, f"{folder}/work")]
    for name in ("disk", "maker"):
        kernel.umount(f"{folder}/work/{name}")
        os.rmdir(f"{folder}/work/{name}")
    for loop in loops:
        loop.close()
    os.rmdir(f"{folder}/work")


def _recipe():
    """Changes with everything that decides how a pair looks, so a stale cache is never used."""
    digest = hashlib.sha256()
    for module in (ostree.__file__, loader.__file__, grubloader.__file__, ubootloader.__file__,
                   __file__):
        with open(module, "rb") as file:
            digest.update(file.read())
    return digest.hexdigest()


def _clean_cache():
    """Drop pairs that nobody has copied for a week."""
    for name in os.listdir(cache_dir()):
        path = os.path.join(cache_dir(), name)
        if name.startswith(("pair-", "building-")):
            try:
                if os.stat(path).st_mtime < time.time() - 7 * 86400:
                    shutil.rmtree(path, ignore_errors=True)
            except FileNotFoundError:
                pass


def make_pair(folder, spec):
    """Put disk.img and maker.img for a machine of kind @spec into @folder.

    @spec: os, size, read_only, subvolumes ("name:/path ..."), backend, boot. Every disk gets a file system id of
    its own: machines live side by side on one kernel.
    """
    if os.path.isdir(spec["os"]):
        kernel.in_private_namespace(_build_pair, f"{folder}/pair", spec)
        source = f"{folder}/pair"
    else:
        key = hashlib.sha256((json.dumps(spec, sort_keys=True) + _recipe()).encode()).hexdigest()
        source = os.path.join(cache_dir(), f"pair-{spec['os']}-{key[:16]}")
        if not os.path.isdir(source):
            os.makedirs(cache_dir(), exist_ok=True)
            with tempfile.TemporaryDirectory(dir=cache_dir(), prefix="building-") as work:
                kernel.in_private_namespace(_build_pair, f"{work}/pair", spec)
                try:
                    os.rename(f"{work}/pair", source)
                except OSError:         # another machine of the same kind was faster
                    if not os.path.isdir(source):
                        raise
            _clean_cache()
        os.utime(source)
    for name in ("disk.img", "maker.img"):
        kernel.sparse_copy(f"{source}/{name}", f"{folder}/{name}")
        if name == "disk.img" and regions(spec):
            kernel.in_private_namespace(_first_entry, f"{folder}/{name}", spec, f"{folder}/efi")
        else:
            run("btrfstune", "-f", "-u", f"{folder}/{name}")
    if source == f"{folder}/pair":
        run("rm", "-r", source)
