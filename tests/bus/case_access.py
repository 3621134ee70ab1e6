# SPDX-License-Identifier: LGPL-2.1-or-later
"""Who may do what: without polkit, with the real one, with ones that are slow, broken or gone."""
import json
import os
import time
import xml.etree.ElementTree as ET

from harness import (DENIED, ERR, JOB, MANAGER, NAME, NOBODY, PATH, POLKITD, PROPERTIES, SLOT, TOP, Bus, ended, eq,
                     fails, get, get_all, image, listen, manager, options, post, update)
from wire import ALLOW_INTERACTIVE, BusError

POLKIT = "org.freedesktop.PolicyKit1"
READERS = {"Check", "Inspect", "ListSlots", "ListJobs", "GetHistory"}
RUNS = [["ready"], ["forever"]]


def example(signature):
    """Arguments that a call of that signature takes."""
    values = {"h": 0, "s": "1", "a{sv}": {}, "b": True, "u": 0}
    return [values[t] for t in signature]


def methods(peer, path):
    """[(interface, method, types of its arguments)] of ours, as the object itself says."""
    text = peer.call(NAME, path, "org.freedesktop.DBus.Introspectable", "Introspect")[0]
    return [(i.get("name"), m.get("name"), [a.get("type") for a in m.findall("arg") if a.get("direction") == "in"])
            for i in ET.fromstring(text).findall("interface") if i.get("name").startswith(NAME)
            for m in i.findall("method")]


def test_nobody_may_change_nothing(build):
    with Bus(build) as b:
        b.script(update=RUNS)
        root, nobody = b.peer(), b.peer(NOBODY)
        seen = set()
        fd = os.open("/dev/null", os.O_RDWR)
        for interface, name, types in methods(nobody, PATH):
            seen.add(name)
            if name in READERS:
                continue
            args = example(types)
            if name == "Mark":
                args[1] = "good"
            fails(DENIED, nobody.call, NAME, PATH, interface, name, "".join(types), args,
                  fds=[fd] if "h" in types else [])
        os.close(fd)
        assert {"Update", "Rollback", "Mark", "Prune", "Merge", "Discard", "Pin", "Begin", "Commit", "Abort", "Plan"} <= seen
        path = root.wait(update(root))[1]
        for interface, name, types in methods(nobody, path):
            seen.add(name)
            fails(DENIED, nobody.call, NAME, path, interface, name, "".join(types), example(types))
        assert "Cancel" in seen
        for path, interface, name in ((PATH, MANAGER, "State"), (f"{PATH}/slot/_31", SLOT, "Pinned")):
            fails("org.freedesktop.DBus.Error.PropertyReadOnly", nobody.call, NAME, path, PROPERTIES, "Set", "ssv",
                  [interface, name, options(x="y")["x"]])
        eq(sorted({o[0]["type"] for o in b.orders()}), ["recover", "update"])


def test_nobody_may_read(build):
    with Bus(build) as b:
        p = b.peer(NOBODY)
        eq(get(p, "Version"), "1.0")
        eq(get_all(p, f"{PATH}/slot/_31", SLOT)["Id"], "1")
        eq(len(manager(p, "ListSlots")[0]), 2)
        manager(p, "Check")
        manager(p, "GetHistory", "u", [1])
        p.call(NAME, PATH, "org.freedesktop.DBus.ObjectManager", "GetManagedObjects")
        p.call(NAME, PATH, "org.freedesktop.DBus.Peer", "Ping")


def test_nobody_may_not_be_the_daemon(build):
    with Bus(build, start=False) as b:
        fails(DENIED, b.peer(NOBODY).driver, "RequestName", "su", [NAME, 0])


def test_bus_policy_lets_our_interfaces_through_alone(build):
    with Bus(build) as b:
        fails(DENIED, b.peer(NOBODY).call, NAME, PATH, "org.example.Other", "Hello")


class Fake:
    """A polkit that the test plays itself."""

    def __init__(self, b):
        self.peer = b.peer()
        self.peer.driver("RequestName", "su", [POLKIT, 0])

    def question(self, timeout=10.0):
        return self.peer.signal("CheckAuthorization", timeout=timeout)

    def answer(self, q, yes=True, challenge=False):
        self.peer.answer(q, "(bba{ss})", [(yes, challenge, {})])

    def silent(self):
        """Nothing was asked."""
        self.peer.drain(0.2)
        return [m for m in self.peer.signals if m.member == "CheckAuthorization"] == []


def test_question(build):
    """Polkit is told who, what and with which arguments, before anything has begun; the worker gets the same."""
    with Bus(build) as b:
        polkit, p = Fake(b), b.peer(NOBODY)
        serial = update(p, "image.send", options(version="3.0", arm=False, detach=True))
        q = polkit.question()
        subject, action, details, flags, _ = q.body
        eq((subject, action, flags), (("system-bus-name", {"name": p.name}), f"{NAME}.update", 0))
        eq(details, {"class": "update", "type": "update", "name": "image.send", "version": "3.0", "arm": "false"})
        eq(b.orders("update"), [])
        polkit.answer(q)
        number = p.wait(serial)[0]
        order = b.orders("update")[0][0]
        eq(order, {"type": "update", "job": number, "name": "image.send", "version": "3.0", "arm": False})


def test_actions(build):
    """Each class of calls has its own action."""
    with Bus(build) as b:
        polkit, p = Fake(b), b.peer(NOBODY)
        for member, signature, args, action in (
                ("Rollback", "sa{sv}", ["2", {}], "rollback"), ("Mark", "sss", ["2", "bad", "why"], "mark"),
                ("Pin", "sb", ["2", True], "mark"), ("Prune", "a{sv}", [{}], "prune"), ("Discard", "s", ["2"], "prune"),
                ("Merge", "a{sv}", [{}], "merge"), ("Export", "hsa{sv}", [0, "2", {}], "device"),
                ("Restore", "hsa{sv}", [0, "2", {}], "device"),
                ("Begin", "a{sv}", [{}], "update"), ("Commit", "sa{sv}", ["t", {}], "update"),
                ("Abort", "s", ["t"], "update")):
            fd = os.open("/dev/null", os.O_RDWR)
            serial = post(p, member, signature, args, **({"fds": [fd]} if "h" in signature else {}))
            os.close(fd)
            q = polkit.question()
            eq(q.body[1], f"{NAME}.{action}")
            if "2" in args:
                eq(q.body[2]["slot"], "2")
            polkit.answer(q, False)
            fails(DENIED, p.wait, serial)


def test_root_is_not_asked(build):
    with Bus(build) as b:
        polkit, p = Fake(b), b.peer()
        manager(p, "Prune", "a{sv}", [{}])
        assert polkit.silent()


def test_interaction_is_passed_on(build):
    with Bus(build) as b:
        polkit, p = Fake(b), b.peer(NOBODY)
        serial = update(p, flags=ALLOW_INTERACTIVE)
        q = polkit.question()
        eq(q.body[3], 1)
        polkit.answer(q, False, True)
        fails(DENIED, p.wait, serial)


def test_everything_but_yes_is_no(build):
    with Bus(build) as b:
        polkit, p = Fake(b), b.peer(NOBODY)
        answers = (("(bba{ss})", [(False, False, {})], None), ("(bba{ss})", [(False, True, {})], None),
                   ("b", [True], None), ("", [], None), ("s", ["yes"], None), ("(bb)", [(True, True)], None),
                   ("s", ["no"], f"{POLKIT}.Error.Failed"), ("s", ["no"], "org.freedesktop.DBus.Error.AccessDenied"))
        for signature, args, error in answers:
            serial = update(p)
            polkit.peer.answer(polkit.question(), signature, args, error)
            fails(DENIED, p.wait, serial)
        eq(b.orders("update"), [])


def test_second_answer_is_ignored(build):
    with Bus(build) as b:
        b.script(update=RUNS)
        polkit, p = Fake(b), b.peer(NOBODY)
        for first in (False, True):
            serial = update(p)
            q = polkit.question()
            polkit.answer(q, first)
            polkit.answer(q, True)
            polkit.answer(q, False)
            if first:
                p.wait(serial)
            else:
                fails(DENIED, p.wait, serial)
        time.sleep(0.2)
        eq(len(b.orders("update")), 1)
        eq(len(manager(p, "ListJobs")[0]), 1)


def test_polkit_that_crashes(build):
    with Bus(build) as b:
        polkit, p = Fake(b), b.peer(NOBODY)
        serial = update(p)
        polkit.question()
        polkit.peer.close()
        fails(DENIED, p.wait, serial)
        fails(DENIED, p.wait, update(p))


def test_slow_polkit(build):
    """One waits, a second is busy, root and readers are not; in the end it is a no, and the question is withdrawn."""
    with Bus(build) as b:
        polkit, p, other, root = Fake(b), b.peer(NOBODY), b.peer(1), b.peer()
        start = time.monotonic()
        serial = update(p, "first")
        q = polkit.question()
        fails("Busy", other.wait, update(other, "second"))
        fails("Busy", p.wait, update(p, "third"))
        eq(len(manager(other, "ListSlots")[0]), 2)
        listen(root)
        eq(ended(root, manager(root, "Prune", "a{sv}", [{}])[0])[2], 0)
        fails(DENIED, p.wait, serial, 40)
        assert 24 < time.monotonic() - start < 28
        eq(polkit.peer.signal("CancelCheckAuthorization").body, [q.body[4]])
        polkit.answer(q)
        polkit.peer.drain(0.3)
        eq(b.orders("update"), [])


def test_second_call_does_not_change_the_first(build):
    with Bus(build) as b:
        polkit, p, other = Fake(b), b.peer(NOBODY), b.peer(NOBODY)
        first = update(p, "first", options(version="1.5"))
        q = polkit.question()
        fails("Busy", other.wait, update(other, "second", options(version="6.6")))
        polkit.answer(q)
        p.wait(first)
        eq([(o["name"], o["version"]) for o, _ in b.orders("update")], [("first", "1.5")])


def test_caller_who_leaves_is_forgotten(build):
    """No job, the question withdrawn, the next one is asked."""
    with Bus(build) as b:
        polkit, p, other = Fake(b), b.peer(NOBODY), b.peer(NOBODY)
        update(p, opts=options(detach=True))
        q = polkit.question()
        p.close()
        eq(polkit.peer.signal("CancelCheckAuthorization").body, [q.body[4]])
        polkit.answer(q)
        serial = update(other)
        polkit.answer(polkit.question(), False)
        fails(DENIED, other.wait, serial)
        eq(b.orders("update"), [])


def test_sigterm_answers_those_who_wait(build):
    with Bus(build) as b:
        b.script(recover=[["ready"], ["forever"]], prune=[["ready"], ["kill", 9]])
        polkit, p, root = Fake(b), b.peer(NOBODY), b.peer()
        serial = update(p)
        q = polkit.question()
        manager(root, "Prune", "a{sv}", [{}])
        b.until(lambda: len(b.orders("recover")) == 2) # and now somebody waits for that as well
        check = post(p, "Check")
        manager(p, "ListJobs")
        b.daemon.terminate()
        fails("Busy", p.wait, serial)
        fails("Busy", p.wait, check)
        eq(polkit.peer.signal("CancelCheckAuthorization").body, [q.body[4]])
        eq(b.daemon.wait(5), 0)
        eq(b.orders("update"), [])


def test_cancel(build):
    """His own job without a question, another's with one."""
    with Bus(build) as b:
        b.script(update=RUNS)
        polkit, p, same, other, root = Fake(b), b.peer(NOBODY), b.peer(NOBODY), b.peer(1), b.peer()
        listen(root)
        serial = update(p)
        polkit.answer(polkit.question())
        number, path = p.wait(serial)

        serial = other.post(NAME, path, JOB, "Cancel")
        q = polkit.question()
        eq((q.body[0][1]["name"], q.body[1]), (other.name, f"{NAME}.cancel"))
        eq(q.body[2], {"class": "cancel", "job": str(number), "type": "update"})
        polkit.answer(q, False)
        fails(DENIED, other.wait, serial)

        same.call(NAME, path, JOB, "Cancel")
        eq(ended(root, number)[3], ERR + "Cancelled")
        assert polkit.silent()

        number, path = root.wait(update(root))
        serial = other.post(NAME, path, JOB, "Cancel")
        polkit.answer(polkit.question())
        other.wait(serial)
        eq(ended(root, number)[3], ERR + "Cancelled")


def test_cancel_hits_no_later_job(build):
    """The job was allowed to be cancelled when it had ended already: the next one goes on."""
    with Bus(build) as b:
        b.script(update=RUNS)
        polkit, other, root = Fake(b), b.peer(1), b.peer()
        listen(root)
        number, path = root.wait(update(root))
        serial = other.post(NAME, path, JOB, "Cancel")
        q = polkit.question()
        root.call(NAME, path, JOB, "Cancel")
        ended(root, number)
        number = root.wait(update(root))[0]
        polkit.answer(q)
        fails("UnknownJob", other.wait, serial)
        time.sleep(0.2)
        eq([j[0] for j in manager(root, "ListJobs")[0]], [number])


def real(build, rules, calls):
    """@calls(peer of nobody, bus) under the real polkit with @rules."""
    if not any(map(os.path.exists, POLKITD)):
        return "skip no polkitd here"
    with Bus(build) as b:
        b.start_polkit(*rules)
        return calls(b.peer(NOBODY), b)


def rollback(p, slot="2", **kw):
    return manager(p, "Rollback", "sa{sv}", [slot, {}], **kw)


def test_real_polkit_by_default_asks(build):
    def calls(p, _):
        for flags in (0, ALLOW_INTERACTIVE):
            text = fails(DENIED, rollback, p, flags=flags)
            assert "authentication is needed" in text, text
    return real(build, [], calls)


def test_real_polkit_allows(build):
    rule = f"""polkit.addRule(function(action, subject) {{
        if (action.id == "{NAME}.rollback" && subject.user == "nobody") return polkit.Result.YES; }});"""

    def calls(p, b):
        listen(p)
        ended(p, rollback(p)[0])
        fails(DENIED, manager, p, "Prune", "a{sv}", [{}])
        eq([o["type"] for o, _ in b.orders()], ["recover", "rollback"])
    return real(build, [rule], calls)


def test_real_polkit_denies(build):
    def calls(p, _):
        eq(fails(DENIED, rollback, p), "Access denied: polkit does not allow it")
    return real(build, ["polkit.addRule(function(action, subject) { return polkit.Result.NO; });"], calls)


def test_real_polkit_sees_the_arguments(build):
    rule = """polkit.addRule(function(action, subject) {
        return action.lookup("class") == "rollback" && action.lookup("slot") == "2" && action.lookup("type") == "rollback"
            ? polkit.Result.YES : polkit.Result.NO; });"""

    def calls(p, _):
        listen(p)
        ended(p, rollback(p, "2")[0])
        fails(DENIED, rollback, p, "1")
    return real(build, [rule], calls)


def test_real_polkit_downgrade_is_more(build):
    """A14: who may update may not go back; asking for it is an action of its own, wherever the option stands."""
    rule = f"""polkit.addRule(function(action, subject) {{
        if (action.id == "{NAME}.update") return polkit.Result.YES; }});"""

    def calls(p, b):
        listen(p)
        back = options(allow_downgrade=True)
        fails(DENIED, p.wait, update(p, "image.send", back))
        fails(DENIED, p.wait, update(p, "image.send", options(allow_downgrade=True, arm=False)))
        eq(b.orders("update"), [])
        ended(p, p.wait(update(p, "image.send", options(allow_downgrade=False)))[0])
        eq(len(b.orders("update")), 1)
    return real(build, [rule], calls)


def test_real_polkit_killed(build):
    def calls(p, b):
        b.processes[-1].kill()
        b.processes[-1].wait()
        fails(DENIED, rollback, p)
    return real(build, ["polkit.addRule(function(action, subject) { return polkit.Result.YES; });"], calls)


def test_actions_are_declared(build):
    """Every action of api.h is in the policy file and the other way round."""
    del build
    header = (TOP / "dbus" / "api.h").read_text()
    policy = ET.parse(TOP / "dbus" / f"{NAME}.policy")
    declared = sorted(a.get("id") for a in policy.getroot().findall("action"))
    named = sorted(json.loads(l.split()[-1]) for l in header.splitlines() if l.startswith("#define API_ACTION_"))
    eq(declared, named)


def test_call_without_reply_is_still_a_call(build):
    with Bus(build) as b:
        p = b.peer(NOBODY)
        post(p, "Prune", "a{sv}", [{}], flags=1)
        p.drain(0.3)
        eq((b.orders("prune"), p.replies), ([], {}))
        root = b.peer()
        post(root, "Prune", "a{sv}", [{}], flags=1)
        b.until(lambda: b.orders("prune"))
        try:
            manager(root, "ListJobs")
        except BusError as e:
            raise AssertionError("the daemon is gone") from e
