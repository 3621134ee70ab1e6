#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Jobs: cancelling in every phase, two clients, clients that vanish, rights, transactions."""

import json
import os
import re
import signal
import subprocess
import sys
import time
import xml.etree.ElementTree as ElementTree

from machinery import harness, machine

RECORD_DELAY = 1_500_000


def test_cancel_while_writing(case):
    """Cancelling in the middle of the stream ends with the old machine, by either way."""
    it = case.machine()
    for how in (lambda: case.abctl(it, "cancel"), None):
        with case.halfway(it) as update:
            if how:
                how()
            else:
                it.run("pkill", "-INT", "-x", "abctl")
            out, err = update.communicate(timeout=30)
        case.equal(update.returncode, 1, out, err)
        case.check("Cancelled" in out, out, err)
        case.check(err.strip(), "the user is not told what state the machine is in")
        case.expect(it, state="steady", next="1")
        case.sound(it, ["1.0"])
    case.abctl(it, "update", case.half)
    case.sound(it, ["2.0"])


def test_cancel_in_each_phase(case):
    """Cancelling at each record of the journal: the old machine, or all of the new one."""
    it = case.machine(boot=False)
    image = case.image(it, "2.0")
    seen = {}
    for record in range(1, 20):
        it.boot(wrap="strace -f -qq -o /dev/null -e trace=fdatasync "
                f"-e inject=fdatasync:delay_enter={RECORD_DELAY}:when={record}")
        with it.popen("abctl", "--json=short", "update", image, stdout=subprocess.PIPE,
                      stderr=subprocess.PIPE, text=True) as update:
            started = time.monotonic()
            while not case.jobs(it) and update.poll() is None:
                time.sleep(0.01)
            time.sleep(0.4)
            phase = case.phase(it)
            cancel = it.abctl("--json=short", "cancel")
            out, err = update.communicate(timeout=60)
        if update.returncode == 0:
            case.check(cancel.code != 0, "cancelled, and yet it went well", cancel, out)
            case.sound(it, ["2.0"])
            seen[record] = f"{phase or 'end'}: too late"
        else:
            case.check("Cancelled" in out, out, err)
            case.expect(it, state="steady", next="1")
            case.sound(it, ["1.0"])
            seen[record] = phase
        late = update.returncode == 0 and time.monotonic() - started < 1.0
        if update.returncode == 0:
            case.abctl(it, "rollback")
            case.abctl(it, "discard", "2", code=harness.ANY)
            case.abctl(it, "mark", "good", "2", code=harness.ANY)
        it.shutdown()
        if late or update.returncode == 0:
            break
    case.check(any(phase == "write" for phase in seen.values()), seen)
    case.check(len(seen) >= 3, seen)
    return ", ".join(f"{n} {phase}" for n, phase in seen.items())


def test_cancel_nothing(case):
    """Where no job runs there is nothing to cancel."""
    it = case.machine()
    case.refused(it, "cancel", error=("UnknownJob", "NothingToDo"), code=harness.ANY)
    case.refused(it, "cancel", "4711", error="UnknownJob", code=harness.ANY)


def test_two_clients(case):
    """While a job runs every other change is busy (5); looking at things is not."""
    it = case.machine()
    with case.halfway(it):
        for verb in (["update", case.half], ["rollback"], ["mark", "good"], ["prune"],
                     ["discard", "1"], ["pin", "1"], ["begin", "--in-place"]):
            case.refused(it, *verb, error="Busy", code=5)
        case.expect(it, state="updating", booted="1")
        started = time.monotonic()
        for verb in ("status", "list", "history", "jobs"):
            case.abctl(it, verb)
        case.check(time.monotonic() - started < 5, "looking takes long while a job runs")
        case.abctl(it, "cancel")
        case.wait("the end of the job", lambda: not case.jobs(it))
    case.sound(it, ["1.0"])


def test_client_vanishes(case):
    """A client that is killed takes its job with it; the machine is as before."""
    it = case.machine()
    with case.halfway(it):
        it.run("pkill", "-KILL", "-x", "abctl")
        case.wait("the worker to end", lambda: not case.pids(it)[1], seconds=30)
    case.expect(it, state="steady", next="1")
    case.sound(it, ["1.0"])


def test_detached_client(case):
    """A job that was asked to go on alone outlives its client."""
    it = case.machine()
    image = case.image(it, "2.0", change="head -c 30000000 /dev/urandom >usr/big")
    case.abctl(it, "update", "--detach", image)
    case.wait("the end of the job", lambda: not case.jobs(it), seconds=60)
    case.expect(it, state="staged", next="2")
    case.sound(it, ["2.0"])


METHODS_XML = os.path.join(machine.SOURCE, "dbus/org.abupdate1.xml")


def _calls():
    """busctl arguments for every method of the Manager, from the contract itself."""
    for interface in ElementTree.parse(METHODS_XML).iter("interface"):
        if not interface.get("name").endswith(".Manager"):
            continue
        for method in interface.iter("method"):
            given = [a for a in method.iter("arg") if a.get("direction") == "in"]
            values = {"s": "1", "b": "true", "u": "1", "a{sv}": "0", "h": "0"}
            yield (method.get("name"), "".join(a.get("type") for a in given),
                   ["good" if a.get("name") == "verdict" else values[a.get("type")]
                    for a in given])


def _as_nobody(case, it):
    """Call every method as nobody; returns the names of those that were allowed."""
    allowed = []
    for name, signature, values in _calls():
        if "h" in signature:
            result = it.run("abctl", "--no-ask-password", "--json=short",
                            "update", *(["--dry-run"] if name == "Plan" else []), case.half,
                            user="nobody")
            denied = "AccessDenied" in result.err + result.out or result.code == 6 or \
                "denied" in result.err.lower() or "root" in result.err.lower()
            case.check(denied or result.code == 0, result)
        else:
            result = it.run("busctl", "--system", "call", "org.abupdate1", "/org/abupdate1",
                            "org.abupdate1.Manager", name, *([signature] if signature else []),
                            *values, user="nobody")
            denied = re.search("[Aa]ccess ?[Dd]enied|[Aa]uthori[sz]|permit", result.err)
        if not denied:
            allowed.append(name)
    return allowed


LOOKING = {"Check", "ListSlots", "ListJobs", "GetHistory"}


def test_nobody_may_look_only(case):
    """Without polkit every changing method is denied to uid nobody, every looking one is not."""
    it = case.machine()
    case.half = case.image(it, "2.0")
    os.chmod(case.tmp, 0o755)
    before = case.facts(it)
    allowed = set(_as_nobody(case, it))
    case.check(allowed <= LOOKING | {"Plan"}, f"nobody may {sorted(allowed - LOOKING)}")
    case.check({"ListSlots", "ListJobs"} <= allowed, f"nobody may only {sorted(allowed)}")
    case.equal(it.run("abctl", "status", user="nobody").code, 0)
    case.unchanged(it, before)


def test_nobody_with_polkit(case):
    """The same with the real polkitd, which asks for an administrator where none is."""
    if not os.path.isdir("/usr/share/polkit-1/actions"):
        raise harness.Skip("no polkit on this host")
    it = case.machine(boot={"polkit": True})
    case.half = case.image(it, "2.0")
    os.chmod(case.tmp, 0o755)
    before = case.facts(it)
    allowed = set(_as_nobody(case, it))
    case.check(allowed <= LOOKING | {"Plan"}, f"nobody may {sorted(allowed - LOOKING)}")
    case.unchanged(it, before)


def test_polkit_rule(case):
    """A polkit rule that allows nobody to update makes it so, and nothing else."""
    if not os.path.isdir("/usr/share/polkit-1/rules.d"):
        raise harness.Skip("this polkit has no rules")
    it = case.machine(boot=False)
    os.makedirs(f"{it.folder}/bus/polkit/rules.d")
    with open(f"{it.folder}/bus/polkit/rules.d/10-test.rules", "w", encoding="utf-8") as file:
        file.write('polkit.addRule(function(action, subject) {\n'
                   '  if (action.id == "org.abupdate1.update" && subject.user == "nobody")\n'
                   '    return polkit.Result.YES;\n});\n')
    for path in (case.tmp, it.folder, f"{it.folder}/bus"):
        os.chmod(path, 0o755)
    it.boot(polkit=True)
    image = case.image(it, "2.0")
    os.chmod(image, 0o644)
    case.abctl(it, "--no-ask-password", "update", image, user="nobody")
    case.sound(it, ["2.0"])
    result = it.abctl("--no-ask-password", "rollback", user="nobody")
    case.check(result.code != 0, result)
    case.expect(it, next="2")


def test_transaction(case):
    """begin --in-place, change the running system, commit: the next boot has it, blessed or not."""
    it = case.machine()
    name = case.abctl(it, "--json=short", "begin", "--in-place").data["transaction"]
    case.equal(case.status(it)["transaction"], name)
    it.run("sh", "-c", f"echo mine >{it.root}/etc/mine; rm {it.root}/usr/bin/hello")
    case.refused(it, "update", case.image(it, "2.0"), error="TransactionOpen", code=5)
    case.abctl(it, "commit")
    case.equal(case.status(it)["transaction"], "")
    it.reboot()
    case.equal(it.run("cat", f"{it.root}/etc/mine").out, "mine\n")
    case.abctl(it, "mark", "good", code=harness.ANY)


def test_transaction_around_a_command(case):
    """run --in-place -- COMMAND: committed where it ends well, aborted where it does not."""
    it = case.machine()
    change = f"echo mine >{it.root}/etc/mine"
    case.abctl(it, "run", "--in-place", "--", "sh", "-c", f"{change}; exit 4", code=1)
    it.reboot()
    case.check(it.run("cat", f"{it.root}/etc/mine").code != 0)
    case.abctl(it, "run", "--in-place", "--", "sh", "-c", change)
    it.reboot()
    case.equal(it.run("cat", f"{it.root}/etc/mine").out, "mine\n")


def test_transactions_have_names(case):
    """A system that was changed again and again never has the name of another one."""
    it = case.machine()
    names = ["1.0"]
    for number in range(3):
        case.abctl(it, "run", "--in-place", "--", "touch", f"{it.root}/{number}")
        it.reboot()
        case.abctl(it, "mark", "good")
        names.append(case.status(it)["version"])
    case.equal(len(set(names)), 4, names)
    case.check(all(name.startswith("1.0+t") and name.count("+") == 1 for name in names[1:]), names)


def test_transaction_aborted(case):
    """begin --in-place, change the running system, abort: the next boot is as it was before."""
    it = case.machine()
    case.abctl(it, "begin", "--in-place")
    it.run("sh", "-c", f"echo mine >{it.root}/etc/mine; rm {it.root}/usr/bin/hello")
    case.abctl(it, "abort")
    it.reboot()
    case.check(it.run("cat", f"{it.root}/etc/mine").code != 0)
    case.equal(it.run("test", "-e", f"{it.root}/usr/bin/hello").code, 0)
    case.expect(it, transaction="")


def test_transaction_power_cut(case):
    """A power cut in an open transaction boots the system as it was before."""
    it = case.machine()
    case.abctl(it, "begin", "--in-place")
    it.run("sh", "-c", f"rm -r {it.root}/usr/bin {it.root}/etc/os-release; sync -f {it.root}")
    it.power_cut()
    it.boot()
    case.equal(it.run("test", "-e", f"{it.root}/usr/bin/hello").code, 0)
    case.expect(it, transaction="")
    case.check(case.status(it)["state"] in ("fallback", "steady"))


def test_no_transaction(case):
    """commit and abort without a transaction."""
    it = case.machine()
    for verb in ("commit", "abort"):
        case.refused(it, verb, error="NoTransaction", code=harness.ANY)


def test_no_leaks_in_daemon(case):
    """Fifty refused and cancelled jobs leave the daemon no descriptor more."""
    it = case.machine()
    bad = f"{case.tmp}/bad.send"
    with open(bad, "wb") as file:
        file.write(b"no stream" * 100)
    case.abctl(it, "status")
    pid, = case.pids(it)[0]

    def descriptors():
        return len(it.run("ls", f"/proc/{pid}/fd").out.split())

    before = descriptors()
    for _ in range(25):
        case.refused(it, "update", bad, error=("BadStream", "BadInput"))
        case.refused(it, "discard", "99", error="UnknownSlot")
    # a call is refused before its worker is gone, with two descriptors of the daemon
    case.wait(f"no more than {before} descriptors", lambda: descriptors() <= before)
    case.equal(case.pids(it)[0], {pid}, "the daemon is another one")


def test_worker_memory(case):
    """A worker needs at most 32 MiB for an image of 200 MB."""
    it = case.machine()
    image = case.image(it, "2.0", change="head -c 200000000 /dev/urandom >usr/big")
    peak = 0
    with it.popen("abctl", "update", image, stdout=subprocess.DEVNULL,
                  stderr=subprocess.DEVNULL) as update:
        while update.poll() is None:
            for pid in case.pids(it)[1]:
                text = it.run("cat", f"/proc/{pid}/status").out
                found = re.search(r"VmHWM:\s+(\d+)", text)
                peak = max(peak, int(found[1]) if found else 0)
    case.equal(update.returncode, 0)
    case.check(0 < peak <= 32 * 1024, f"{peak} KiB")
    return f"peak {peak / 1024:.1f} MiB"


def test_monitor(case):
    """`abctl monitor` tells of a job from its beginning to its end."""
    it = case.machine()
    image = case.image(it, "2.0")
    with it.popen("abctl", "--json=short", "monitor", stdout=subprocess.PIPE,
                  stderr=subprocess.PIPE, text=True) as monitor:
        time.sleep(1.0)
        case.abctl(it, "update", image)
        time.sleep(0.5)
        monitor.send_signal(signal.SIGINT)
        it.run("pkill", "-INT", "-x", "abctl")
        out, _ = monitor.communicate(timeout=10)
    lines = [json.loads(line) for line in out.splitlines() if line.startswith("{")]
    case.check(len(lines) >= 2 and "update" in out, out)


if __name__ == "__main__":
    sys.exit(harness.main(globals()))
