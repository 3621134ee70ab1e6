# SPDX-License-Identifier: LGPL-2.1-or-later
"""Two trees are the same when every name, type, mode, owner, time, link, xattr and byte is."""

import hashlib
import os
import stat


def _content(path, info):
    if stat.S_ISREG(info.st_mode):
        digest = hashlib.sha256()
        with open(path, "rb", buffering=0) as file:
            while chunk := file.read(1 << 20):
                digest.update(chunk)
        return digest.hexdigest()
    if stat.S_ISLNK(info.st_mode):
        return os.readlink(path)
    if stat.S_ISCHR(info.st_mode) or stat.S_ISBLK(info.st_mode):
        return f"{os.major(info.st_rdev)}:{os.minor(info.st_rdev)}"
    return ""


def _xattrs(path):
    names = sorted(os.listxattr(path, follow_symlinks=False))
    return [(name, os.getxattr(path, name, follow_symlinks=False).hex()) for name in names]


def entries(top, skip=()):
    """Yield (name below @top, facts) in a fixed order. @skip: names below @top left out whole.

    Hard links are told by the first name of their inode. Inside another subvolume the walk goes
    on: a mount point or a nested subvolume is content like any other.
    """
    first = {}
    todo = [b""]
    top = os.fsencode(top)
    skip = {os.fsencode(s).strip(b"/") for s in skip}
    while todo:
        name = todo.pop()
        path = os.path.join(top, name) if name else top
        info = os.lstat(path)
        facts = [stat.filemode(info.st_mode), info.st_uid, info.st_gid, info.st_mtime_ns]
        if stat.S_ISDIR(info.st_mode):
            children = sorted(os.listdir(path), reverse=True)
            joined = [os.path.join(name, c) if name else c for c in children]
            todo += [c for c in joined if c not in skip]
        elif info.st_nlink > 1:
            key = (info.st_dev, info.st_ino)
            facts.append(b"=" + first.setdefault(key, name))
        if stat.S_ISREG(info.st_mode):
            facts.append(info.st_size)
        facts += [_content(path, info), _xattrs(path)]
        yield name, facts


def tree_digest(top, skip=()):
    """One hex digest for everything below @top and @top itself."""
    digest = hashlib.sha256()
    for name, facts in entries(top, skip):
        digest.update(repr((name, facts)).encode())
    return digest.hexdigest()


def differences(one, two, skip=(), limit=20):
    """The first names in which two trees differ, as lines for people; [] where they are equal."""
    a, b = dict(entries(one, skip)), dict(entries(two, skip))
    lines = []
    for name in sorted(a.keys() | b.keys()):
        if a.get(name) != b.get(name):
            lines.append(f"{os.fsdecode(name) or '.'}: {a.get(name)} != {b.get(name)}")
            if len(lines) == limit:
                break
    return lines
