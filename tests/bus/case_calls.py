# SPDX-License-Identifier: LGPL-2.1-or-later
"""Every call and property, as they should go."""
import os
import re
import time
import xml.etree.ElementTree as ET

from harness import (ERR, JOB, MANAGER, NAME, PATH, SLOT, TOP, Bus, ended, eq, fails, get, get_all, image, listen,
                     manager, options, post, slot, update, world)
from wire import Variant


def test_properties(build):
    with Bus(build) as b:
        p = get_all(b.peer())
        version = p.pop("DaemonVersion")
        assert re.fullmatch(r"\d+\.\d+\.\d+", version), version
        eq(p, {"Backend": "snapshot", "BootBackend": "default-subvolume", "Verification": "none",
               "Capabilities": ["incremental"], "State": "steady", "Reason": "it is the default", "Version": "1.0",
               "Booted": f"{PATH}/slot/_31", "Next": f"{PATH}/slot/_31", "Good": f"{PATH}/slot/_31",
               "RebootRequired": False, "Transaction": "", "Problems": [], "Refused": [("0.9", "condemned")]})


def test_slot_object(build):
    with Bus(build) as b:
        b.write_world(world([slot(3, devices=["/dev/a", "/dev/b"], pinned=True, state="trial",
                                  **{"tries-left": 2, "tries": 3, "device-kind": "sprout", "device-size": 5000,
                                     "depends-on": "2", "to-merge": 400})]))
        p = b.peer()
        manager(p, "Check")
        eq(get_all(p, f"{PATH}/slot/_33", SLOT),
           {"Id": "3", "State": "trial", "Version": "3.0", "Reason": "", "Pinned": True, "Created": 1700000000000003,
            "Size": 3000, "Exclusive": 3, "ReadOnly": False, "Devices": ["/dev/a", "/dev/b"],
            "DeviceKind": "sprout", "DeviceSize": 5000, "DependsOn": "2", "ToMerge": 400,
            "KernelVersion": "6.1.0", "TriesLeft": 2, "Tries": 3})
        fails("org.freedesktop.DBus.Error.UnknownObject", get_all, p, f"{PATH}/slot/_31", SLOT)


def test_no_slot_is_slash(build):
    with Bus(build, start=False) as b:
        b.write_world(world([], booted="", next="", good=""))
        b.start_daemon()
        eq(get(b.peer(), "Booted"), "/")


def test_managed_objects(build):
    with Bus(build) as b:
        objects = b.peer().call(NAME, PATH, "org.freedesktop.DBus.ObjectManager", "GetManagedObjects")[0]
        eq(sorted(objects), [f"{PATH}/slot/_31", f"{PATH}/slot/_32"])
        eq(objects[f"{PATH}/slot/_32"][SLOT]["Version"], "2.0")


def test_list_slots(build):
    with Bus(build, start=False) as b:
        b.write_world(world([slot(10), slot(9, pinned=True, reason="why")]))
        b.start_daemon()
        eq(manager(b.peer(), "ListSlots")[0],
           [("9", "good", "9.0", "why", 1700000000000009, True, f"{PATH}/slot/_39"),
            ("10", "good", "10.0", "", 1700000000000010, False, f"{PATH}/slot/_310")])


def test_history(build):
    with Bus(build) as b:
        p = b.peer()
        eq([e["job"] for e in manager(p, "GetHistory", "u", [0])[0]], [3, 2, 1])
        eq(manager(p, "GetHistory", "u", [1])[0],
           [{"time": 13, "job": 3, "type": "update", "slot": "1", "version": "1.0", "status": 0, "error": "",
             "message": "message 3"}])
        eq(len(manager(p, "GetHistory", "u", [0xffffffff])[0]), 3)


def test_job_numbers_go_on(build):
    """A number that is in the history is not used again."""
    with Bus(build) as b:
        eq(manager(b.peer(), "Prune", "a{sv}", [{}])[0], 4)


def test_update(build):
    with Bus(build) as b:
        b.script(update=[["ready"], ["slot", "7"], ["progress", "write", 250, 1000], ["sleep", 0.5], ["world"],
                         ["image"]])
        p = b.peer()
        listen(p)
        number, path = p.wait(update(p, opts=options(arm=False, version="2.0", accept="1.9", reinstall=True, size=1000)))
        eq(path, f"{PATH}/job/{number}")
        p.signal("JobNew", lambda m: m.body == [number, path])
        b.until(lambda: get(p, "Phase", path, JOB) == "write")
        eq(get(p, "State"), "updating")
        eq(manager(p, "ListJobs")[0], [(number, "update", "write", 0.25, path)])
        job = get_all(p, path, JOB)
        eq(job, {"Id": number, "Type": "update", "Slot": "7", "Phase": "write", "Progress": 0.25, "BytesDone": 250,
                 "BytesTotal": 1000, "EstimatedCompletion": 0, "PointOfNoReturn": False, "Cancellable": True,
                 "Paused": False})
        eq(ended(p, number), [number, path, 0, "", "read 1000 bytes"])
        fails("org.freedesktop.DBus.Error.UnknownObject", get_all, p, path, JOB)
        eq(get(p, "State"), "steady")
        eq(manager(p, "ListJobs")[0], [])
        order, facts = b.orders("update")[0]
        eq(order, {"type": "update", "job": number, "name": "image.send", "arm": False, "version": "2.0",
                   "accept": "1.9", "reinstall": True, "size": 1000})
        eq(facts["fds"], [0, 1, 2, 3, 4])
        eq(facts["args"], ["--worker", f"--root={b.root}"])
        eq(facts["pid"], facts["pgid"])
        assert "DBUS_SYSTEM_BUS_ADDRESS" not in facts["environment"]


def test_orders_of_short_calls(build):
    """Each call gives its worker exactly what worker-api.h says."""
    calls = [("Rollback", "sa{sv}", ["", {}], {"type": "rollback", "slot": ""}),
             ("Rollback", "sa{sv}", ["2", {}], {"type": "rollback", "slot": "2"}),
             ("Mark", "sss", ["1", "bad", "because"],
              {"type": "mark", "slot": "1", "verdict": "bad", "reason": "because"}),
             ("Prune", "a{sv}", [{}], {"type": "prune"}),
             ("Merge", "a{sv}", [{}], {"type": "merge"}),
             ("Merge", "a{sv}", [options(scheduled=True)], {"type": "merge", "scheduled": True}),
             ("Discard", "s", ["2"], {"type": "discard", "slot": "2"}),
             ("Pin", "sb", ["2", True], {"type": "pin", "slot": "2", "pinned": True}),
             ("Commit", "sa{sv}", ["t1", {}], {"type": "commit", "transaction": "t1"}),
             ("Abort", "s", ["t1"], {"type": "abort", "transaction": "t1"})]
    with Bus(build) as b:
        p = b.peer()
        listen(p)
        for member, signature, args, want in calls:
            number, path = manager(p, member, signature, args)
            eq(path, f"{PATH}/job/{number}")
            eq(ended(p, number)[2:4], [0, ""])
            order, facts = b.orders()[-1]
            eq(order, {**want, "job": number})
            eq(facts["fds"], [0, 1, 2, 3])


def test_export_and_restore(build):
    """The file as descriptor 4, open the right way; what takes the digest as 5."""
    with Bus(build) as b:
        ends = [["ready"], ["world"], ["result", 0, "", "ok"]]
        b.script(export=ends, restore=ends)
        p = b.peer()
        listen(p)
        source, target = os.open("/dev/null", os.O_RDONLY), os.open("/dev/null", os.O_WRONLY)
        for member, opts, wanted, fds in (
                ("Export", {}, {"type": "export", "slot": "1"}, [0, 1, 2, 3, 4]),
                ("Export", options(compress=True), {"type": "export", "slot": "1", "compress": True}, [0, 1, 2, 3, 4]),
                ("Export", {"digest": Variant("h", 0)}, {"type": "export", "slot": "1", "digest": True},
                 [0, 1, 2, 3, 4, 5]),
                ("Restore", options(sha256="0" * 64, accept="2.0"),
                 {"type": "restore", "slot": "1", "sha256": "0" * 64, "accept": "2.0"}, [0, 1, 2, 3, 4])):
            right, wrong = (target, source) if member == "Export" else (source, target)
            number = manager(p, member, "hsa{sv}", [0, "1", opts], fds=[right])[0]
            eq(ended(p, number)[2:4], [0, ""])
            order, facts = b.orders(wanted["type"])[-1]
            eq(order, {**wanted, "job": number})
            eq(facts["fds"], fds)
            fails("BadInput", manager, p, member, "hsa{sv}", [0, "1", opts], fds=[wrong])
        fails("BadInput", manager, p, "Export", "hsa{sv}", [0, "1", {"digest": Variant("h", 1)}], fds=[target, source])
        fails("InvalidArgument", manager, p, "Restore", "hsa{sv}", [0, "", {}], fds=[source])
        fails("InvalidArgument", manager, p, "Export", "hsa{sv}", [0, "1", options(sha256="x")], fds=[target])
        os.close(source)
        os.close(target)


def test_plan(build):
    with Bus(build) as b:
        steps = [{"phase": "write", "text": "receive", "bytes": 12}, {"phase": "arm", "text": "switch", "bytes": 0}]
        b.script(plan=[["ready"], ["world"], ["result", 0, "", "ok", {"steps": steps}]])
        fd = image()
        eq(manager(b.peer(), "Plan", "hsa{sv}", [0, "n", {}], fds=[fd])[0],
           [("write", "receive", 12), ("arm", "switch", 0)])
        os.close(fd)


INSPECTED = {"version": "2.0", "version-text": "", "compatible": "c", "min-daemon": "", "compression": "zstd",
             "epoch": 3, "build-time": 1, "valid-until": 0, "size": 7, "bytes": 8, "inodes": 9, "kept": 0,
             "places": ["/", "/usr"], "bases": [], "error": "Downgrade", "message": "older"}


def test_inspect(build):
    """Free for everybody; the worker gets the manifest as descriptor 5 and no image."""
    with Bus(build) as b:
        b.script(inspect=[["ready"], ["world"], ["result", 0, "", "ok", {"image": INSPECTED}]])
        p = b.peer(65534)
        fd = image()
        eq(manager(p, "Inspect", "h", [0], fds=[fd])[0], INSPECTED)
        order, facts = b.orders("inspect")[0]
        eq(order["manifest"], True)
        eq(facts["fds"], [0, 1, 2, 3, 5])
        b.script(inspect=[["result", -129, "UnknownKey", "a stranger"]])
        eq(fails("UnknownKey", manager, p, "Inspect", "h", [0], fds=[fd]), "a stranger")
        os.close(fd)


def test_inspect_gives_way(build):
    """A call that changes something does not wait for anybody's manifest, and none comes in its way."""
    with Bus(build) as b:
        b.script(inspect=[["forever"]], prune=[["ready"], ["sleep", 0.5], ["world"], ["result", 0, "", "ok"]])
        p, q = b.peer(65534), b.peer()
        fd = image()
        serial = post(p, "Inspect", "h", [0], fds=[fd])
        b.until(lambda: b.orders("inspect"))
        fails("Busy", manager, b.peer(65534), "Inspect", "h", [0], fds=[fd])
        begun = time.monotonic()
        manager(q, "Prune", "a{sv}", [{}])
        fails("Busy", p.wait, serial)
        assert time.monotonic() - begun < 5
        fails("Busy", manager, p, "Inspect", "h", [0], fds=[fd])
        os.close(fd)


def test_check(build):
    with Bus(build) as b:
        finding = {"severity": "warning", "subject": "slot 1", "problem": "p", "advice": "a"}
        b.script(check=[["ready"], ["sleep", 0.3], ["world"], ["result", 0, "", "ok", {"findings": [finding]}]])
        peers = [b.peer(65534 if i else 0) for i in range(5)]
        serials = [post(p, "Check") for p in peers]
        for p, s in zip(peers, serials):
            eq(p.wait(s)[0], [("warning", "slot 1", "p", "a")])
        eq(len(b.orders("check")), 1)


def test_check_fails(build):
    with Bus(build) as b:
        b.script(check=[["result", -5, "NotBtrfs", "it is ext4"]])
        eq(fails("NotBtrfs", manager, b.peer(), "Check"), "it is ext4")


def test_begin(build):
    with Bus(build) as b:
        b.script(begin=[["ready"], ["world"], ["result", 0, "", "ok", {"transaction": "t9", "slot": "2"}]])
        eq(manager(b.peer(), "Begin", "a{sv}", [options(in_place=True)]), ["t9", f"{PATH}/slot/_32"])
        eq(b.orders("begin")[0][0]["in-place"], True)


def test_early_failure_is_the_error_of_the_call(build):
    with Bus(build) as b:
        b.script(update=[["world"], ["result", -28, "NoSpace", "17 bytes are short"]])
        p = b.peer()
        listen(p)
        eq(fails("NoSpace", p.wait, update(p)), "17 bytes are short")
        p.drain(0.3)
        eq([m for m in p.signals if m.member in ("JobNew", "JobRemoved")], [])


def test_late_failure_is_in_job_removed(build):
    with Bus(build) as b:
        b.script(update=[["ready"], ["sleep", 0.1], ["world"], ["result", -28, "NoSpace", "full"]])
        p = b.peer()
        listen(p)
        number, path = p.wait(update(p))
        eq(ended(p, number), [number, path, -28, ERR + "NoSpace", "full"])


def test_order_of_messages(build):
    """JobNew, reply, news of the machine, JobRemoved; nothing of the job comes after that."""
    with Bus(build) as b:
        p = b.peer()
        listen(p)
        b.write_world(world(3, state="staged", next="3"))
        serial = post(p, "Prune", "a{sv}", [{}])
        seen = []
        while "JobRemoved" not in seen:
            m = p.receive()
            seen.append("reply" if m.reply_to == serial else m.member)
        eq(seen, ["InterfacesAdded", "JobNew", "reply", "InterfacesAdded", "PropertiesChanged", "PropertiesChanged",
                  "InterfacesRemoved", "JobRemoved"])
        p.drain(0.3)
        eq([m for m in p.signals if m.path.startswith(PATH)], [])


def test_world_changes(build):
    """Only what differs is told."""
    with Bus(build) as b:
        p = b.peer()
        listen(p)
        b.write_world(world([slot(2, state="bad"), slot(3)], state="fallback", next="2", refused=[],
                            **{"reboot-required": True}))
        manager(p, "Check")
        p.drain(0.3)
        changed = {m.path: m.body[1] for m in p.signals if m.member == "PropertiesChanged" and m.body[0] == SLOT}
        eq(changed, {f"{PATH}/slot/_32": {"State": "bad"}})
        told = {}
        for m in p.signals:
            if m.member == "PropertiesChanged" and m.body[0] == MANAGER:
                told.update(m.body[1])
        eq(told, {"State": "fallback", "Next": f"{PATH}/slot/_32", "RebootRequired": True, "Refused": []})
        slots = [m for m in p.signals if "/slot/" in str(m.body[0])]
        eq([m.body[0] for m in slots if m.member == "InterfacesAdded"], [f"{PATH}/slot/_33"])
        eq([m.body[0] for m in slots if m.member == "InterfacesRemoved"], [f"{PATH}/slot/_31"])


def test_first_call_after_start_sees_the_machine(build):
    """Calls that arrive before the first look wait for it."""
    with Bus(build, start=False) as b:
        b.script(recover=[["sleep", 0.7], ["world"], ["result", 0, "", "ok"]])
        b.start_daemon(wait="name")
        p = b.peer()
        eq(len(manager(p, "ListSlots")[0]), 2)
        eq(len(b.orders("recover")), 1)


def test_machine_that_cannot_be_recovered(build):
    with Bus(build, start=False) as b:
        b.script(recover=[["result", -22, "BadConfig", "abupdated.conf:3: no"]], mark=[["ready"], ["result", 0, "", "y"]])
        b.start_daemon()
        p = b.peer()
        eq(fails("BadConfig", manager, p, "ListSlots"), "abupdated.conf:3: no")
        eq(fails("BadConfig", manager, p, "GetHistory", "u", [0]), "abupdated.conf:3: no")
        eq(get(p, "Problems"), ["abupdated.conf:3: no"])
        listen(p)
        number = manager(p, "Mark", "sss", ["", "good", ""])[0]
        eq(ended(p, number)[2], 0)
        eq(get(p, "Problems"), [])


def test_recovery_that_hangs_lets_calls_in(build):
    with Bus(build, start=False) as b:
        b.script(recover=[["deaf"], ["forever"]])
        b.start_daemon(wait="name")
        text = fails("Busy", manager, b.peer(), "ListSlots", timeout=30)
        assert "looked at" in text, text


def strip(node):
    """The interfaces of introspection XML as plain data: comments, order of annotations and our own node left out."""
    out = {}
    for i in node.findall("interface"):
        if not i.get("name").startswith(NAME):
            continue
        out[i.get("name")] = sorted(
            (m.tag, sorted(m.attrib.items()),
             [(c.tag, sorted(c.attrib.items())) for c in m])
            for m in i)
    return out


def test_introspection_is_the_published_contract(build):
    with Bus(build) as b:
        b.script(update=[["ready"], ["forever"]])
        p = b.peer()
        path = p.wait(update(p))[1]
        said = {}
        for where in (PATH, f"{PATH}/slot/_31", path):
            text = p.call(NAME, where, "org.freedesktop.DBus.Introspectable", "Introspect")[0]
            said.update(strip(ET.fromstring(text)))
        published = strip(ET.parse(TOP / "dbus" / f"{NAME}.xml").getroot())
        eq(sorted(published), [JOB, MANAGER, SLOT])
        for name, members in published.items():
            for want, got in zip(members, said[name]):
                eq(got, want)
            eq(len(said[name]), len(members))
