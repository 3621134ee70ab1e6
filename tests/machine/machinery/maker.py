# SPDX-License-Identifier: LGPL-2.1-or-later
"""The machine's maker: keeps versions, makes update images. Works while the machine is on or off."""

import os
import subprocess

from . import disk, kernel, ostree
from .digest import tree_digest


def versions(folder):
    """The versions that the maker has, oldest first."""
    def look():
        with disk.mounted(f"{folder}/maker.img", f"{folder}/maker"):
            names = os.listdir(f"{folder}/maker")
            ids = {name: os.stat(f"{folder}/maker/{name}").st_ino for name in names}
            kernel.umount(f"{folder}/maker")
        return sorted(names, key=ids.get)
    return kernel.in_private_namespace(look)


def digests(folder, version, subvolumes=""):
    """The digest of every subvolume of @version, by name."""
    def look():
        top = f"{folder}/maker"
        with disk.mounted(f"{folder}/maker.img", top):
            found = {name: tree_digest(f"{top}/{version}/{name}")
                     for name, _ in disk.split_subvolumes(subvolumes)}
            kernel.umount(top)
        return found
    return kernel.in_private_namespace(look)


def _make_version(top, version, start, change, places):
    """A new version from @start: new os-release, new kernel, and whatever @change does."""
    os.mkdir(f"{top}/{version}")
    for name, _ in places:
        old, new = f"{top}/{start}/{name}", f"{top}/{version}/{name}.new"
        if os.path.isdir(old):
            disk.run("btrfs", "-q", "subvolume", "snapshot", old, new)
        else:
            disk.run("btrfs", "-q", "subvolume", "create", new)
    tree = f"{top}/{version}/root.new"
    ostree.set_version(tree, version)
    for name, place in places[1:]:
        holder, path = disk.holder_of(place, places)
        os.makedirs(f"{top}/{version}/{holder}.new/{path}", exist_ok=True)
        with open(f"{top}/{version}/{name}.new/content", "w", encoding="utf-8") as file:
            file.write(f"{name} of {version}\n")
    if change:
        environ = dict(os.environ, TREE=tree, VERSION=version)
        subprocess.run(change, shell=True, cwd=tree, env=environ, check=True)
    for name, _ in places:
        new = f"{top}/{version}/{name}.new"
        disk.run("btrfs", "-q", "subvolume", "snapshot", "-r", new, f"{top}/{version}/{name}")
        disk.run("btrfs", "-q", "subvolume", "delete", new)
    kernel.syncfs(top)


def make_image(folder, version, output, *, base=None, start=None, change=None, subvolumes="",
               compress=False, protocol=1, keep=None, create=None):
    """Write the update image of @version to @output; makes the version where there is none yet.

    @base: incremental over this version. @start: the version that a new one grows from (the
    newest). @change: a shell command, run in the new root. @keep: only these streams, in this
    order (for images that lack their root or bring a stranger). @create: the beginning of an
    `abctl image create` that makes image and manifest. Returns the digest of every subvolume in
    the image, by name.
    """
    def work():
        top = f"{folder}/maker"
        loop = disk.mounted(f"{folder}/maker.img", top)
        names = sorted(os.listdir(top), key=lambda name: os.stat(f"{top}/{name}").st_ino)
        places = disk.split_subvolumes(subvolumes)
        if version not in names:
            _make_version(top, version, start or names[-1], change, places)
        order = keep or [name for name, _ in places]
        if create:
            parents = [f"--parent={top}/{base}/{name}" for name in order] if base else []
            froms = [f"--from={top}/{version}/{name}:{dict(places)[name]}" for name in order]
            disk.run(*create, f"--output={output}", f"--version={version}", *froms, *parents)
        else:
            _send(top, version, order, output, base, compress, protocol)
        found = {name: tree_digest(f"{top}/{version}/{name}") for name in order}
        kernel.umount(top)
        loop.close()
        return found
    return kernel.in_private_namespace(work)


def _send(top, version, order, output, base, compress, protocol):
    """The streams of one version, as btrfs send makes them."""
    with open(output, "wb") as file:
        target, squeeze = file, None
        if compress:
            squeeze = subprocess.Popen(["zstd", "-q", "-3"], stdin=subprocess.PIPE, stdout=file)
            target = squeeze.stdin
        disk.send([f"{top}/{version}/{name}" for name in order], target,
                  [f"{top}/{base}/{name}" for name in order] if base else (), protocol)
        if squeeze:
            squeeze.stdin.close()
            if squeeze.wait() != 0:
                raise RuntimeError("zstd failed")
