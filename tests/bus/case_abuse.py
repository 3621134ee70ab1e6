# SPDX-License-Identifier: LGPL-2.1-or-later
"""Callers who mean harm, or do not know what they do."""
import os
import struct
import threading
import time

from harness import (DENIED, ERR, JOB, MANAGER, NAME, NOBODY, PATH, PROPERTIES, SLOT, Bus, ended, eq, fails, get, image,
                     listen, manager, options, post, update)
from wire import CALL, BusError, Gone, Peer, Variant, pad, put

INVALID_ARGS = "org.freedesktop.DBus.Error.InvalidArgs"
UNKNOWN_OBJECT = "org.freedesktop.DBus.Error.UnknownObject"
UNKNOWN_METHOD = "org.freedesktop.DBus.Error.UnknownMethod"
METHODS = ["Update", "Plan", "Inspect", "Begin", "Commit", "Abort", "Rollback", "Mark", "Prune", "Merge", "Export",
           "Restore", "Discard", "Pin", "Check", "ListSlots", "ListJobs", "GetHistory"]


def settled(b, p):
    """The daemon has answered everything and lives; its descriptors."""
    manager(p, "ListJobs")
    b.until(lambda: manager(p, "ListJobs")[0] == [])
    return b.fds()


def test_wrong_signatures(build):
    with Bus(build) as b:
        p = b.peer()
        for name in METHODS:
            for signature, args in (("", []), ("i", [1]), ("ssss", ["a"] * 4), ("a{sv}a{sv}", [{}, {}]), ("h", [0]),
                                    ("a(ay)", [[([1, 2],)]])):
                if name in ("Check", "ListSlots", "ListJobs") and not signature or (name, signature) == ("Inspect", "h"):
                    continue
                fails(INVALID_ARGS, manager, p, name, signature, args)
        eq([o["type"] for o, _ in b.orders()], ["recover"])


def test_unknown_things(build):
    with Bus(build) as b:
        p = b.peer()
        fails(UNKNOWN_METHOD, manager, p, "Explode")
        fails("org.freedesktop.DBus.Error.UnknownProperty", get, p, "Nothing")
        for path in ("/", "/org", f"{PATH}/slot", f"{PATH}/job", f"{PATH}/slot/_39", f"{PATH}/slot/9", f"{PATH}/slot/__",
                     f"{PATH}/slot/_2e_2e", f"{PATH}/slot/_31/x", f"{PATH}/job/0", f"{PATH}/job/18446744073709551616",
                     f"{PATH}/job/x", "/org/abupdate1x"):
            for interface in (MANAGER, SLOT, JOB):
                try:
                    p.call(NAME, path, interface, "Cancel")
                    raise AssertionError(path)
                except BusError as e:
                    # the parents of objects are objects, without anything of ours
                    assert e.name in (UNKNOWN_OBJECT, UNKNOWN_METHOD), e


def test_options(build):
    """Unknown, of another type, twice: refused by name."""
    with Bus(build) as b:
        p = b.peer()
        cases = (([("colour", Variant("s", "red"))], "colour"), ([("arm", Variant("s", "yes"))], "arm"),
                 ([("arm", Variant("u", 1))], "arm"), ([("version", Variant("b", True))], "version"),
                 ([("size", Variant("i", -1))], "size"), ([("arm", Variant("v", Variant("b", True)))], "arm"),
                 ([("arm", Variant("b", True)), ("arm", Variant("b", False))], "twice"),
                 ([("", Variant("b", True))], '""'), ([("\x1b[31m", Variant("b", True))], "\\x1b"),
                 ([("x" * 100000, Variant("b", True))], "..."), ([("version", Variant("s", "a\nb"))], "version"),
                 ([("version", Variant("s", "x" * 256))], "version"), ([("arm", Variant("as", ["x"]))], "arm"))
        fd = image()
        for items, want in cases:
            text = fails("InvalidArgument", manager, p, "Update", "hsa{sv}", [0, "n", items], fds=[fd])
            assert want in text and "\x1b" not in text and len(text) < 400, text
        os.close(fd)
        for member in ("Rollback", "Commit"):
            fails("InvalidArgument", manager, p, member, "sa{sv}", ["1", options(force=True)])
        fails("InvalidArgument", manager, p, "Prune", "a{sv}", [options(arm=True)])
        fails("InvalidArgument", manager, p, "Begin", "a{sv}", [options(detach=True)])
        eq([o["type"] for o, _ in b.orders()], ["recover"])


def test_texts(build):
    with Bus(build) as b:
        p = b.peer()
        bad = ["\x1b[2J", "a\nb", "a\0b"[:1] + "\x7f", "\t", "\x01", "x" * 256, "\x85", "\x9b31m"]
        for text in bad:
            fails("InvalidArgument", p.wait, update(p, text))
            fails("InvalidArgument", manager, p, "Mark", "sss", ["1", "good", text])
        for name in ("../1", "a/b", ".x", "..", "-" * 65, "a b", "ä", "\n"):
            fails("InvalidArgument", manager, p, "Discard", "s", [name])
            fails("InvalidArgument", manager, p, "Rollback", "sa{sv}", [name, {}])
        fails("InvalidArgument", manager, p, "Discard", "s", [""])
        fails("InvalidArgument", manager, p, "Mark", "sss", ["1", "ugly", ""])
        eq([o["type"] for o, _ in b.orders()], ["recover"])
        listen(p)
        for text in ("x" * 255, "größer – 中文", " ", "a\"b\\c"):
            number = p.wait(update(p, text))[0]
            ended(p, number)
            eq(b.orders("update")[-1][0]["name"], text)


def deep(levels):
    """The body of Update with an option that is a variant in a variant in a ... of bool."""
    body = bytearray()
    put(body, "h", 0)
    put(body, "s", "n")
    pad(body, 4)
    at = len(body)
    body += b"\0\0\0\0"
    pad(body, 8)
    start = len(body)
    put(body, "s", "arm")
    for _ in range(levels):
        body += b"\1v\0"
    body += b"\1b\0"
    pad(body, 4)
    body += struct.pack("<I", 1)
    body[at:at + 4] = struct.pack("<I", len(body) - start)
    return body


def test_deep_variants(build):
    """As deep as the bus lets through, and deeper: then the bus throws the caller out."""
    with Bus(build) as b:
        fd = image()
        for levels in (1, 10, 30, 55, 60, 61, 62, 63, 64, 65, 100):
            p = b.peer()
            try:
                p.call(NAME, PATH, MANAGER, "Update", "hsa{sv}", [None] * 3, body=deep(levels), fds=[fd])
                raise AssertionError(levels)
            except BusError as e:
                assert e.name in (ERR + "InvalidArgument", INVALID_ARGS), e
            except (Gone, ConnectionError):
                assert levels > 55, levels
            p.close()
        os.close(fd)
        manager(b.peer(), "ListSlots")


def test_big_messages(build):
    """Nothing of them stays in memory."""
    with Bus(build) as b:
        p = b.peer(NOBODY)
        settled(b, p)
        before = b.rss()
        for size in (1 << 20, 8 << 20, 31 << 20)[:1 if b.sanitized() else 3]:
            text = "x" * size
            fails("InvalidArgument", manager, p, "Discard", "s", [text], timeout=30)
            fails("InvalidArgument", manager, p, "Prune", "a{sv}", [{text: Variant("b", True)}], timeout=30)
            fails("InvalidArgument", manager, p, "Prune", "a{sv}", [{"x": Variant("s", text)}], timeout=30)
        manager(p, "ListJobs")
        b.rss_at_most(before + 2048)
        return f"RSS {before} KiB before, {b.rss()} KiB after"


def test_descriptors(build):
    """Of the wrong kind, too many, none: answered, and none is kept."""
    with Bus(build) as b:
        p = b.peer()
        listen(p)
        number = p.wait(update(p))[0]
        ended(p, number)
        before = settled(b, p)

        for flags, path in ((os.O_PATH, "/etc/passwd"), (os.O_WRONLY, "/dev/null"), (os.O_PATH, "/")):
            fd = os.open(path, flags)
            fails("BadInput", manager, p, "Update", "hsa{sv}", [0, "n", {}], fds=[fd])
            os.close(fd)

        fds = [image() for _ in range(16)]
        for n in (2, 16):
            number = manager(p, "Update", "hsa{sv}", [n - 1, "n", {}], fds=fds[:n])[0]
            ended(p, number)
        eq(b.orders("update")[-1][1]["fds"], [0, 1, 2, 3, 4])
        for index in (1, 7, 0xffffffff):
            try:
                manager(p, "Update", "hsa{sv}", [index, "n", {}], fds=fds[:1])
                raise AssertionError(index)
            except BusError:
                pass
        fails(INVALID_ARGS, manager, p, "Discard", "h", [0], fds=fds[:3])
        fails(INVALID_ARGS, manager, p, "ListSlots", "h", [0], fds=fds[:16])
        try:
            manager(p, "Update", "hsa{sv}", [0, "n", {}])
            raise AssertionError("no descriptor")
        except BusError:
            pass
        for fd in fds:
            os.close(fd)
        b.until(lambda: b.fds() == before, what=f"{b.fds()} to be {before}")


def test_bytes_that_are_no_message(build):
    """The bus keeps them from us; we live."""
    with Bus(build) as b:
        for junk in (b"x" * 64, b"l\1\0\1" + b"\xff" * 60, b"\0" * 64):
            p = b.peer()
            try:
                p.push(junk)
                p.drain(0.3)
            except (Gone, ConnectionError):
                pass
            p.close()
        p = b.peer()
        p.push(p.pack(CALL, {1: ("o", PATH), 2: ("s", MANAGER), 3: ("s", "Prune"), 6: ("s", NAME)}, "a{sv}", [{}],
                      body=bytearray(b"\xff" * 8)))
        try:
            p.drain(0.3)
        except (Gone, ConnectionError):
            pass
        manager(b.peer(), "ListSlots")


def test_many_connections(build):
    """As many as the bus gives one user, all calling at once; another user is served."""
    with Bus(build) as b:
        peers = []
        try:
            while len(peers) < 300:
                peers.append(b.peer(NOBODY))
        except (BusError, AssertionError, OSError, Gone):
            pass
        assert len(peers) >= 200, len(peers)
        serials = [(p, post(p, "ListSlots"), post(p, "Prune", "a{sv}", [{}])) for p in peers]
        root = b.peer()
        start = time.monotonic()
        eq(len(manager(root, "ListSlots")[0]), 2)
        waited = time.monotonic() - start
        for p, reads, changes in serials:
            eq(len(p.wait(reads, 30)[0]), 2)
            try:
                p.wait(changes, 30)
                raise AssertionError("allowed")
            except BusError as e:
                assert e.name in (DENIED, ERR + "Busy"), e
        return f"{len(peers)} connections, root waited {waited * 1000:.0f} ms, RSS {b.rss()} KiB"


def flood(build, count, member, signature="", args=()):
    """@count calls of one who never reads an answer, by a bus that waits for none; root calls meanwhile."""
    with Bus(build) as b:
        root = b.peer()
        manager(root, "ListSlots")
        before = b.rss()
        bad = Peer(b.address, NOBODY)
        done = threading.Event()

        def pour():
            try:
                one = bad.pack(CALL, {1: ("o", PATH), 2: ("s", MANAGER), 3: ("s", member), 6: ("s", NAME)}, signature,
                               args)
                for _ in range(count):
                    bad.serial += 1
                    bad.push(one[:8] + struct.pack("<I", bad.serial) + one[12:])
            except OSError:
                pass # thrown out by the bus: fine as well
            done.set()

        thread = threading.Thread(target=pour, daemon=True)
        thread.start()
        worst, highest, calls = 0.0, before, 0
        while not done.is_set() or calls < 20:
            start = time.monotonic()
            eq(len(manager(root, "ListSlots", timeout=60)[0]), 2)
            worst, highest, calls = max(worst, time.monotonic() - start), max(highest, b.rss()), calls + 1
        bad.close()
        thread.join()
        listen(root)
        eq(ended(root, manager(root, "Prune", "a{sv}", [{}], timeout=60)[0])[2], 0)
        manager(root, "ListSlots", timeout=60)
        assert highest < before + 8192 or b.sanitized(), (before, highest)
        return f"{bad.serial} calls sent, root waited {worst * 1000:.0f} ms at most in {calls} calls, " \
               f"RSS {before} KiB before, {highest} KiB at most"


def test_flood_of_reads(build):
    return flood(build, 100000, "ListSlots")


def test_flood_of_changes(build):
    return flood(build, 100000, "Prune", "a{sv}", [{}])


def test_flood_of_checks(build):
    return flood(build, 20000, "Check")


def test_listener_that_never_reads(build):
    """Signals pile up in the bus, not in us."""
    with Bus(build) as b:
        deaf, p = b.peer(NOBODY), b.peer()
        listen(deaf)
        listen(p)
        b.script(update=[["ready"], ["many", 2000, 0.0005], ["world"], ["result", 0, "", "ok"]])
        for _ in range(3):
            number = p.wait(update(p))[0]
            eq(ended(p, number, 30)[2], 0)
        b.rss_at_most(16384)


def test_properties_cannot_be_set(build):
    with Bus(build) as b:
        for name in ("State", "Version", "DaemonVersion", "Refused"):
            fails("org.freedesktop.DBus.Error.PropertyReadOnly", b.peer().call, NAME, PATH, PROPERTIES, "Set", "ssv",
                  [MANAGER, name, Variant("s", "x")])
