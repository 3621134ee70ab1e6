# SPDX-License-Identifier: LGPL-2.1-or-later
"""Start, idle, a second daemon, options, journal, memory."""
import json
import os
import pathlib
import re
import signal
import socket
import subprocess
import time

from harness import (DENIED, MANAGER, NAME, NOBODY, PATH, SLOT, TOP, Bus, ended, eq, get, listen, manager, post,
                     quit_daemon, slot, update, world)
from wire import BusError


def test_idle_exit(build):
    with Bus(build, start=False) as b:
        b.start_daemon("--idle-timeout=1")
        start = time.monotonic()
        eq(b.daemon.wait(10), 0)
        assert 0.5 < time.monotonic() - start < 3


def test_no_idle_exit_while_called(build):
    with Bus(build, start=False) as b:
        b.start_daemon("--idle-timeout=1")
        p = b.peer()
        for _ in range(10):
            time.sleep(0.3)
            manager(p, "ListSlots")
        eq(b.daemon.poll(), None)
        eq(b.daemon.wait(10), 0)


def test_no_idle_exit_while_a_job_runs(build):
    with Bus(build, start=False) as b:
        b.script(update=[["ready"], ["sleep", 2.5], ["world"], ["result", 0, "", "ok"]])
        b.start_daemon("--idle-timeout=1")
        p = b.peer()
        listen(p)
        number = p.wait(update(p))[0]
        eq(ended(p, number)[2], 0)
        eq(b.daemon.wait(10), 0)


def test_no_idle_exit_with_a_transaction(build):
    with Bus(build, start=False) as b:
        b.write_world(world(transaction="t1"))
        b.start_daemon("--idle-timeout=0")
        time.sleep(1)
        eq(b.daemon.poll(), None)
        b.write_world(world())
        manager(b.peer(), "Check")
        eq(b.daemon.wait(10), 0)


def test_idle_exit_loses_no_call(build):
    """Called all the time by several, with activation behind it: every call is answered."""
    with Bus(build, start=False, activation=["--idle-timeout=0"]) as b:
        peers = [b.peer() for _ in range(4)]
        end, calls = time.monotonic() + 5, 0
        while time.monotonic() < end:
            serials = [(p, post(p, "ListSlots")) for p in peers]
            for p, serial in serials:
                eq(len(p.wait(serial)[0]), 2)
                calls += 1
            time.sleep((calls % 7) * 0.003)
        starts = len(b.orders("recover"))
        assert starts > 2, starts
        return f"{calls} calls answered by {starts} daemons"


def test_second_daemon_leaves(build):
    with Bus(build) as b:
        first = b.daemon
        second = b.start_daemon(wait=None)
        eq(second.wait(10), 1)
        eq(first.poll(), None)
        assert "another daemon" in (b.dir / "log").read_text()
        eq(len(b.orders("recover")), 1)


def test_without_a_bus(build):
    with Bus(build, start=False) as b:
        daemon = b.start_daemon(wait=None, env={**b.env, "DBUS_SYSTEM_BUS_ADDRESS": "unix:path=/nowhere"})
        eq(daemon.wait(10), 1)
        assert "connect to the system bus: No such file" in (b.dir / "log").read_text()
        eq(b.orders(), [])


def test_without_the_right_to_the_name(build):
    with Bus(build, start=False, policy=False) as b:
        eq(b.start_daemon(wait=None).wait(10), 1)
        assert "own the name org.abupdate1" in (b.dir / "log").read_text()
        eq(b.orders(), [])


def test_options(build):
    def run(*args):
        p = subprocess.run([f"{build}/daemon/abupdated", *args], capture_output=True, text=True, check=False)
        return p.returncode, p.stdout, p.stderr

    code, out, _ = run("--help")
    assert code == 0 and "--idle-timeout=SEC" in out and all(len(l) <= 80 for l in out.splitlines())
    code, out, _ = run("--version")
    assert code == 0 and re.fullmatch(r"abupdated \d+\.\d+\.\d+\n", out)
    for wrong in (["--nonsense"], ["extra"], ["--idle-timeout=soon"], ["--idle-timeout=-1"], ["--idle-timeout="],
                  ["--idle-timeout=99999999999"], ["--root"]):
        code, out, err = run(*wrong)
        eq((wrong, code, out, bool(err)), (wrong, 2, "", True))


def entries(sock, wait=0.3):
    """What was sent to the journal: a list of dicts."""
    out = []
    sock.settimeout(wait)
    try:
        while True:
            lines = sock.recv(1 << 16).decode().splitlines()
            out.append(dict(line.split("=", 1) for line in lines if "=" in line))
    except TimeoutError:
        return out


def test_journal(build):
    """Events have their ids and fields; nobody writes escape sequences through a name."""
    os.makedirs("/run/systemd/journal", exist_ok=True)
    path = "/run/systemd/journal/socket"
    if os.path.exists(path):
        os.unlink(path)
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    sock.bind(path)
    header = (TOP / "daemon" / "event.h").read_text()
    ids = {v: k for k, v in re.findall(r'#define EVENT_(\w+)\s+"(\w+)"', header)}

    with Bus(build) as b:
        p = b.peer()
        listen(p)

        def told():
            return [(ids[e["MESSAGE_ID"]], e.get("ABUPDATE_SLOT"), e.get("ABUPDATE_VERSION")) for e in entries(sock)
                    if "MESSAGE_ID" in e and int(e["PRIORITY"]) < 7]

        eq([k for k, _, _ in told()], ["DAEMON_STARTED"])
        b.write_world(world([slot(1), slot(2, state="staged")], next="2", state="staged"))
        ended(p, p.wait(update(p))[0])
        eq(told(), [("JOB_STARTED", None, None), ("SLOT_STAGED", "2", "2.0"), ("SLOT_ARMED", "2", "2.0"),
                    ("JOB_FINISHED", None, None)])
        b.write_world(world([slot(1), slot(2)], next="2", booted="2"))
        ended(p, manager(p, "Mark", "sss", ["", "good", ""])[0])
        eq(told()[1], ("SLOT_BLESSED", "2", "2.0"))
        b.write_world(world([slot(1), slot(2, state="bad")], next="1", booted="1", state="fallback"))
        ended(p, manager(p, "Rollback", "sa{sv}", ["", {}])[0])
        eq([k for k, _, _ in told()],
           ["JOB_STARTED", "FALLBACK", "SLOT_CONDEMNED", "SLOT_ARMED", "JOB_FINISHED", "ROLLBACK"])

        b.script(update=[["ready"], ["result", -5, "BadStream", "bad \x1b[31m name\nMESSAGE=forged"]],
                 prune=[["ready"], ["kill", signal.SIGKILL]])
        number = p.wait(update(p))[0]
        ended(p, number)
        failed = entries(sock)[-1]
        eq((ids[failed["MESSAGE_ID"]], failed["ABUPDATE_ERROR"], failed["ABUPDATE_JOB"], failed["ABUPDATE_TYPE"],
            failed["ABUPDATE_UID"]), ("JOB_FAILED", "BadStream", str(number), "update", "0"))
        assert "\x1b" not in failed["MESSAGE"] and "\\x1b" in failed["MESSAGE"] and "forged" in failed["MESSAGE"]
        ended(p, manager(p, "Prune", "a{sv}", [{}])[0])
        assert "WORKER_DIED" in [k for k, _, _ in told()]
    sock.close()
    os.unlink(path)


def test_catalog(build):
    """Every event has its entry, no entry is of something else, and journalctl takes the file."""
    del build
    header = (TOP / "daemon" / "event.h").read_text()
    text = (TOP / "systemd" / "abupdate.catalog").read_text()
    ids = sorted(re.findall(r'"([0-9a-f]{32})"', header))
    eq(sorted(re.findall(r"^-- ([0-9a-f]{32})$", text, re.M)), ids)
    eq(len(set(ids)), 11)
    root = pathlib.Path("/run/catalog")
    for part in ("usr/lib/systemd/catalog", "var/lib/systemd/catalog"):
        (root / part).mkdir(parents=True)
    (root / "usr/lib/systemd/catalog/abupdate.catalog").write_text(text)
    subprocess.run(["journalctl", f"--root={root}", "--update-catalog"], check=True, capture_output=True)
    out = subprocess.run(["journalctl", f"--root={root}", "--list-catalog"], check=True, capture_output=True, text=True)
    eq(len([l for l in out.stdout.splitlines() if " abupdate: " in l]), 11)


def test_unit(build):
    unit = pathlib.Path(build, "systemd", "abupdated.service").read_text()
    assert "BusName=org.abupdate1" in unit and "@" not in re.sub(r"^SystemCallFilter=.*$", "", unit, flags=re.M)
    activation = pathlib.Path(build, "dbus", f"{NAME}.service").read_text()
    program = re.search(r"^ExecStart=(.*)$", unit, re.M)[1]
    assert f"Exec={program}\n" in activation and "SystemdService=abupdated.service" in activation
    out = subprocess.run(["systemd-analyze", "security", "--offline=yes", f"{build}/systemd/abupdated.service"],
                         capture_output=True, text=True, check=False)
    level = re.search(r"exposure level for abupdated.service: ([\d.]+)", out.stdout)
    if not level:
        return "skip systemd-analyze cannot judge units offline here"
    assert float(level[1]) <= 2.5, level[1]
    return f"exposure {level[1]}"


def test_thousand_slots(build):
    """Figures, and that everything is there."""
    with Bus(build, start=False) as b:
        b.write_world(world(1000, booted="1000"))
        b.start_daemon()
        p = b.peer(NOBODY)
        figures = []
        for what, call in (("ListSlots", lambda: len(manager(p, "ListSlots")[0])),
                           ("GetManagedObjects",
                            lambda: len(p.call(NAME, PATH, "org.freedesktop.DBus.ObjectManager",
                                               "GetManagedObjects")[0]))):
            best = 1e9
            for _ in range(5):
                start = time.monotonic()
                eq(call(), 1000)
                best = min(best, time.monotonic() - start)
            figures.append(f"{what} {best * 1000:.1f} ms with a slow client")
        eq(get(p, "Id", f"{PATH}/slot/_3500", SLOT), "500")
        slots = [slot(i, pinned=i == 77) for i in range(1, 1001)]
        b.write_world(world(slots, booted="1000"))
        listen(p)
        manager(p, "Check")
        p.drain(0.3)
        eq([m.path for m in p.signals if m.member == "PropertiesChanged" and m.body[0] == SLOT],
           [f"{PATH}/slot/_377"])
        b.rss_at_most(8192)
        return ", ".join(figures) + f", RSS {b.rss()} KiB"


def test_idle_memory_and_wakeups(build):
    with Bus(build, start=False) as b:
        b.start_daemon("--idle-timeout=60")
        time.sleep(0.5)

        def switches():
            text = pathlib.Path(f"/proc/{b.daemon.pid}/status").read_text()
            return sum(map(int, re.findall(r"voluntary_ctxt_switches:\s*(\d+)", text)))

        before = switches()
        time.sleep(3)
        eq(switches(), before)
        smaps = pathlib.Path(f"/proc/{b.daemon.pid}/smaps_rollup").read_text()
        pss = int(re.search(r"^Pss:\s*(\d+)", smaps, re.M)[1])
        b.rss_at_most(8192)
        return f"idle: RSS {b.rss()} KiB, PSS {pss} KiB, no wake-up in 3 s"


def test_first_look_that_takes_long_is_no_hurdle_for_sigterm(build):
    with Bus(build, start=False) as b:
        b.script(recover=[["forever"]])
        b.start_daemon(wait="name")
        b.until(lambda: b.orders("recover"))
        eq(quit_daemon(b), 0)


def test_restart_of_the_bus(build):
    """The daemon leaves; a new one on a new bus works."""
    with Bus(build) as b:
        b.bus.send_signal(signal.SIGTERM)
        b.bus.wait()
        eq(b.daemon.wait(5), 0)
        (b.dir / "bus").unlink(missing_ok=True)
        b.start_bus()
        b.start_daemon()
        eq(len(manager(b.peer(), "ListSlots")[0]), 2)


def test_orders_fit(build):
    """json as the worker reads it: no surprise in characters."""
    with Bus(build) as b:
        p = b.peer()
        listen(p)
        name = "\"\\/ü\u2028" + "😀" * 20
        ended(p, p.wait(update(p, name))[0])
        eq(json.loads(json.dumps(b.orders("update")[0][0]["name"])), name)


def test_nobody_cannot_start_workers_by_asking(build):
    with Bus(build) as b:
        p = b.peer(NOBODY)
        for _ in range(50):
            try:
                p.wait(update(p))
            except BusError as e:
                eq(e.name, DENIED)
        eq(b.orders("update"), [])
        eq(get(p, "State", PATH, MANAGER), "steady")
