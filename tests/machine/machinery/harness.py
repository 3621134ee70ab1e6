# SPDX-License-Identifier: LGPL-2.1-or-later
"""Runs the functions of a test program, each in a process of its own with machines of its own.

A test program ends in `sys.exit(harness.main(globals()))`. Every function test_x(case) is a case;
its first line of documentation is its name in the report. Arguments of the program choose cases by
name. The build tree is $ABUPDATE_BUILD, or the program's --build=.
"""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))
from tap import Tap

from . import invariants, kernel, maker, ubootloader, worker
from .machine import Machine

TIME_LIMIT = 900
ROOM = 3 << 30          # what a case may need at most
ANY = object()     # for abctl(code=): every exit code is fine
ANY_ERROR = None    # for refused(error=): every stable name is fine


class Failed(AssertionError):
    """A case did not see what it must see."""


class Skip(Exception):
    """This case cannot run on this host."""


def scratch_parent():
    """Memory where there is plenty of it, for other cases run beside; else the usual place."""
    try:
        with open("/proc/meminfo", encoding="ascii") as file:
            free = next(int(line.split()[1]) << 10 for line in file if "MemAvailable" in line)
        room = os.statvfs("/dev/shm")
        if min(free // 3, room.f_bavail * room.f_frsize) > ROOM:
            return "/dev/shm"
    except FileNotFoundError:
        pass
    return None


class Case:
    """What a test function gets: a scratch folder, machines, and questions to ask of them."""

    def __init__(self, build, tmp):
        self.build = build
        self.tmp = tmp
        self.machines = []
        self.digests = {}
        self.half = None

    # ---- machines

    def machine(self, boot=True, os_tree="tiny", loader="default-subvolume", **options):
        """A new machine, booted where @boot is not False (a dictionary: options of the boot).
        @loader: its boot backend."""
        name = f"m{len(self.machines) + 1}"
        it = Machine(f"{self.tmp}/{name}", self.build, owner=os.getpid())
        self.machines.append(it)
        it.new(os_tree=os_tree, boot=loader, **options)
        self.digests[it.folder] = {"1.0": maker.digests(it.folder, "1.0",
                                                        options.get("subvolumes", ""))}
        if boot is not False:
            it.boot(**(boot if isinstance(boot, dict) else {}))
        return it

    def image(self, it, version, **options):
        """An image of @version; its digests are remembered for the invariants."""
        path = f"{self.tmp}/{os.path.basename(it.folder)}-{version}-{options.get('base')}.send"
        digests = it.image(version, path, **options)
        self.digests[it.folder].setdefault(version, {}).update(digests)
        return path

    def known(self, it):
        """The maker's digests of every version that an image was made of."""
        return self.digests[it.folder]

    # ---- saying and asking

    def check(self, truth, *what):
        """Fail with @what unless @truth."""
        if not truth:
            raise Failed("\n".join(str(w() if callable(w) else w) for w in what))

    def equal(self, got, wanted, *what):
        """Fail unless @got is @wanted."""
        self.check(got == wanted, f"got    {got!r}", f"wanted {wanted!r}", *what)

    def abctl(self, it, *args, code=0, **options):
        """Run abctl; fail unless it ends with @code."""
        result = it.abctl(*args, **options)
        if code is not ANY:
            self.equal(result.code, code, result)
        return result

    def refused(self, it, *args, error, code=1, **options):
        """Run abctl; fail unless it ends with @code and the stable name @error (or one of them)."""
        result = it.abctl("--json=short", *args, **options)
        self.check(result.code != 0, "it was not refused", result)
        if code is not ANY:
            self.equal(result.code, code, result)
        lines = [line for line in result.out.splitlines() if line.startswith("{")]
        self.check(lines, "no error as JSON", result)
        name = json.loads(lines[-1]).get("error")
        names = (error,) if isinstance(error, str) else error
        self.check(name if names is ANY_ERROR else name in names, f"wanted {error}", result)
        self.check(result.err.strip(), "nothing on stderr", result)
        return result

    def status(self, it):
        """The status as a dictionary."""
        return self.abctl(it, "--json=short", "status").data

    def slot(self, it, slot):
        """One slot of the status, or None."""
        return next((s for s in self.status(it)["slots"] if s["id"] == str(slot)), None)

    def expect(self, it, **wanted):
        """Fail unless the status has these members; "_" stands for "-"."""
        status = self.status(it)
        got = {k: status.get(k.replace("_", "-")) for k in wanted}
        self.equal(got, wanted, lambda: json.dumps(status, indent=1))
        return status

    def update(self, it, version, *args, code=0, **options):
        """Make an image of @version and install it."""
        return self.abctl(it, "update", *args, self.image(it, version, **options), code=code)

    def to(self, it, version, **options):
        """Update, reboot and bless: @version runs and is good afterwards."""
        self.update(it, version, **options)
        it.reboot()
        self.abctl(it, "mark", "good")

    def merged(self, it, version, **options):
        """Update, reboot, bless, merge: @version runs from a device of its own."""
        self.to(it, version, **options)
        self.abctl(it, "merge")

    def device_kind(self, it, slot):
        """What the worker says the device of a slot is."""
        return self.slot(it, slot)["device-kind"]

    def tries_run_out(self, it, slot, version):
        """The armed @slot is booted as often as it may, three times, and proves nothing; then 1.0 of slot 1 runs."""
        for left in (2, 1, 0):
            it.reboot()
            self.expect(it, booted=slot, version=version, state="trial")
            self.equal(self.slot(it, slot)["tries-left"], left)
        it.reboot()
        self.expect(it, booted="1", version="1.0", state="fallback")

    def facts(self, it):
        """The layout on the machine's disk."""
        return it.on_disk(invariants.facts)

    def sound(self, it, allowed=None, changed=()):
        """Fail unless both invariants hold; see invariants.problems()."""
        lines = it.on_disk(invariants.problems, self.known(it), allowed, changed)
        self.check(not lines, *lines)

    def unchanged(self, it, before):
        """Fail unless the layout is as it was: subvolumes, slots, default, staging."""
        after = self.facts(it)
        for name in ("top", "default", "slots", "subvolumes", "staging"):
            self.equal(after[name], before[name], f"{name} has changed")

    def worker(self, it, order, image=None, wrap=(), root=None):
        """Give one order to a worker inside the machine (or below @root), past the daemon."""
        program = it.programs()["abupdated"]
        result = it.run(sys.executable, "-m", "machinery.worker", program, root or it.root,
                        json.dumps(order), image or "", *wrap,
                        cwd=os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
        self.equal(result.code, 0, result)
        return result.data

    def grub(self):
        """Skip unless GRUB's emulator is here."""
        if not (shutil.which("grub-emu") and shutil.which("grub-editenv")):
            raise Skip("grub-emu is not installed")

    def uboot(self):
        """Skip unless U-Boot, a board for it, and its tools are here."""
        for name in (ubootloader.EMULATOR, "mkimage", "fw_setenv"):
            if not shutil.which(name):
                raise Skip(f"{name} is not installed")
        if not os.path.exists(ubootloader.FIRMWARE):
            raise Skip("u-boot-qemu is not installed")

    def pair(self, boot=True, **options):
        """A machine whose versions are two devices, a and b."""
        return self.machine(boot, **{"loader": "bls", "backend": "seed", "size": 1536 << 20,
                                     **options})

    def runs(self, it, version, slot):
        """Fail unless slot @slot runs, and is @version to the last byte."""
        self.expect(it, booted=slot, version=version)
        found, lines = it.on_disk(invariants.slot_version, slot, self.known(it))
        self.equal(found, version, *lines)
        self.check(not lines, *lines)

    def runs_world(self, it, world, version):
        """Fail unless the worker and the kernel agree that @version runs."""
        self.equal((world["booted"], world["version"]), (it.root_slot(), version), world)
        found, lines = it.on_disk(invariants.slot_version, it.root_slot(), self.known(it))
        self.check(found == version and not lines, found, *lines)

    def boots(self, it, allowed):
        """The version that would boot were the power to come on now: complete, and one of
        @allowed."""
        found, lines = it.on_disk(invariants.slot_version, it.next_slot(), self.known(it))
        self.check(found in allowed and not lines, f"{found} would boot", *lines)
        return found

    def wait(self, what, test, seconds=20.0):
        """Wait until test() is true; returns what it returned."""
        end = time.monotonic() + seconds
        while not (value := test()):
            self.check(time.monotonic() < end, f"waited {seconds} s for {what}")
            time.sleep(0.02)
        return value

    @contextlib.contextmanager
    def halfway(self, it, *args, user=None):
        """An update that has written half of its image and waits for the rest, for ever.

        Yields the running abctl; its image is given at `case.half`.
        """
        image = self.image(it, "2.0", change="head -c 8000000 /dev/urandom >usr/big")
        half = os.path.getsize(image) // 2
        with it.popen("sh", "-c", f"head -c {half} {image}; exec sleep 1000",
                      stdout=subprocess.PIPE) as feeder:
            with it.popen("abctl", "--json=short", "update", *args, "-", user=user,
                          stdin=feeder.stdout, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          text=True) as update:
                feeder.stdout.close()
                self.half = image
                self.wait("the phase write", lambda: self.phase(it) == "write")
                yield update
                update.kill()
            feeder.kill()

    def jobs(self, it):
        """The running jobs."""
        return self.abctl(it, "--json=short", "jobs").data

    def phase(self, it):
        """The phase of the first running job, None where none runs."""
        jobs = self.jobs(it)
        return jobs[0]["phase"] if jobs else None

    def pids(self, it):
        """(of the daemon, of its workers), in the numbers of the machine."""
        workers = set(it.run("pgrep", "-f", "abupdated --worker").out.split())
        return set(it.run("pgrep", "-x", "abupdated").out.split()) - workers, workers

    def close(self):
        """Power off in good order where possible, destroy, and say what was left behind."""
        left = []
        for it in self.machines:
            try:
                if it.running:
                    it.power_cut()
            except Exception as error:
                left.append(str(error))
            it.destroy()
        left += [f"loop device on {line}" for line in leaked_loops(self.tmp)]
        return left


def leaked_loops(folder):
    """Backing files below @folder that still have a loop device."""
    found = []
    for name in os.listdir("/sys/block"):
        try:
            with open(f"/sys/block/{name}/loop/backing_file", encoding="utf-8") as file:
                path = file.read().strip()
        except OSError:
            continue
        if path.startswith(folder):
            found.append(path)
    return found


def evidence(case):
    """The logs of the machines of a failed case."""
    lines = []
    for it in case.machines:
        for name in ("session.log", "journal.jsonl"):
            path = f"{it.folder}/{name}"
            if os.path.exists(path):
                with open(path, encoding="utf-8", errors="replace") as file:
                    tail = file.readlines()[-25:]
                lines += [f"{os.path.basename(it.folder)}/{name}: {line.rstrip()}" for line in tail]
    return lines


def _child(function, build, tmp, report):
    """Run one case in this process; write its problems to @report as JSON."""
    os.setpgid(0, 0)
    case = Case(build, tmp)
    outcome = {"problems": [], "skip": None, "note": ""}
    try:
        outcome["note"] = function(case) or ""
    except Skip as skip:
        outcome["skip"] = str(skip)
    except Failed as error:
        where = traceback.extract_tb(error.__traceback__)
        spot = next((f for f in reversed(where) if not f.filename.endswith("harness.py")), where[-1])
        outcome["problems"] = [f"{os.path.basename(spot.filename)}:{spot.lineno}: {spot.line}",
                               str(error), *evidence(case)]
    except BaseException:
        outcome["problems"] = [traceback.format_exc(), *evidence(case)]
    left = case.close()
    if left and not outcome["skip"]:
        outcome["problems"] += left
    with os.fdopen(report, "w", encoding="utf-8") as file:
        json.dump(outcome, file)


def run_case(function, build):
    """Run one case in a child with a time limit; returns (problems, skip, note)."""
    tmp = tempfile.mkdtemp(prefix="abupdate-test-", dir=scratch_parent())
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(reader)
        try:
            kernel.die_with_parent(signal.SIGKILL)
            _child(function, build, tmp, writer)
        finally:
            os._exit(0)
    os.close(writer)
    signal.signal(signal.SIGALRM, lambda *_: os.kill(pid, signal.SIGKILL))
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    signal.alarm(TIME_LIMIT)
    try:
        with os.fdopen(reader, encoding="utf-8") as file:
            text = file.read()
    finally:
        signal.alarm(0)
        os.kill(pid, signal.SIGKILL)                # done or not; its machines end with it
        os.waitpid(pid, 0)
        shutil.rmtree(tmp, ignore_errors=True)
    if not text:
        return [f"the case died or took more than {TIME_LIMIT} s"], None, ""
    outcome = json.loads(text)
    return outcome["problems"], outcome["skip"], outcome["note"]


def main(names):
    """Run the cases in @names, the globals of the test program."""
    build = os.environ.get("ABUPDATE_BUILD")
    chosen = []
    for word in sys.argv[1:]:
        if word.startswith("--build="):
            build = word.split("=", 1)[1]
        else:
            chosen.append(word)
    cases = {n: f for n, f in names.items() if n.startswith("test_") and callable(f)}
    if "--list" in chosen:
        print("\n".join(cases))
        return 0
    if not build or os.geteuid() != 0:
        print("Bail out! root and $ABUPDATE_BUILD are needed")
        return 1
    tap = Tap()
    for name, function in cases.items():
        if chosen and not any(word in name for word in chosen):
            continue
        started = time.monotonic()
        problems, skip, note = run_case(function, build)
        title = (function.__doc__ or name).splitlines()[0].rstrip(".")
        if skip:
            tap.skip(f"{name}: {title}", skip)
            continue
        seconds = f"{time.monotonic() - started:.1f} s"
        tap.case(f"{name}: {title}", problems, f"{seconds}, {note}" if note else seconds)
    return tap.done()
