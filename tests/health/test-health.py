#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""test-health.py PROGRAM - abupdate-health on a root that is a folder, with an abctl and a systemctl that
only write down how they were called."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
from tap import Tap

ABCTL = """#!/bin/sh
echo "abctl $*" >>"$CALLS"
answer() { # whole lines of what is said in turn, the last one for ever
        head -1 "$1"
        test "$(wc -l <"$1")" -eq 1 || sed -i 1d "$1"
}
case "$*" in
--json=short*) test -z "$NO_BUS" && answer "$STATUS" ;;
--offline*status) answer "$STATUS" ;;
--quiet*mark*) test -z "$NO_BUS" && exit "$(answer "$MARK")" ;;
--offline*) : ;;
*) test -z "$NO_BUS" ;;
esac
"""
SYSTEMCTL = """#!/bin/sh
echo "systemctl $*" >>"$CALLS"
case "$*" in
*is-active*) test -n "$COMPLETE" ;;
*list-units*) printf "$FAILED" ;;
*show*) echo "sysinit.target web.service abupdate-health-check.service" ;;
esac
"""
REBOOT = "systemctl --no-block reboot"


class Root:
    """A root in a folder: checks, a status, and what was called."""

    def __init__(self, program, top):
        self.program, self.top = program, top
        self.write("bin/abctl", ABCTL, 0o755)
        self.write("bin/systemctl", SYSTEMCTL, 0o755)
        self.write("etc/abupdate/abupdated.conf",
                   "[Boot]\nTries=3\n[Health]\nTimeout=1\nCheckTimeout=1\n")
        os.mkdir(f"{top}/run")
        self.trial(None)

    def write(self, path, text, mode=0o644):
        """A file below the root."""
        os.makedirs(os.path.dirname(f"{self.top}/{path}"), exist_ok=True)
        with open(f"{self.top}/{path}", "w", encoding="utf-8") as file:
            file.write(text)
        os.chmod(f"{self.top}/{path}", mode)

    def reboot(self):
        """What is in /run is forgotten."""
        shutil.rmtree(f"{self.top}/run")
        os.mkdir(f"{self.top}/run")

    def check(self, path, script, mode=0o755):
        """A health check."""
        self.write(path, f"#!/bin/sh\n{script}\n", mode)

    def trial(self, tries_left, tries=None):
        """What abctl status says: on trial with so many tries left of @tries, or steady."""
        self.write("mark", "0\n")
        self.write("status", self.status(tries_left, tries))

    @staticmethod
    def status(tries_left, tries=None, **more):
        """A line that abctl says."""
        state = "good" if tries_left is None else "trial"
        slots = [{"id": "1", "state": "good", "tries-left": -1},
                 {"id": "2", "state": state, "tries-left": -1 if tries_left is None else tries_left,
                  **({"tries": tries} if tries else {})}]
        return json.dumps({"state": "steady" if tries_left is None else "trial", "booted": "2",
                           "next": "2", "backend": "snapshot", "slots": slots, **more}) + "\n"

    def run(self, verb, **environ):
        """Run a verb; returns (exit code, what was called)."""
        calls = f"{self.top}/calls"
        with open(calls, "w", encoding="utf-8"):
            pass
        done = subprocess.run([self.program, f"--root={self.top}", verb], check=False, timeout=60,
                              stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
                              env={"PATH": f"{self.top}/bin:/usr/bin:/bin", "CALLS": calls,
                                   "STATUS": f"{self.top}/status", "MARK": f"{self.top}/mark",
                                   **environ})
        with open(calls, encoding="utf-8") as file:
            return done.returncode, file.read().splitlines()

    def result(self):
        """What the checks left behind."""
        with open(f"{self.top}/run/abupdate/health", encoding="utf-8") as file:
            return file.read().splitlines()


def same(got, wanted):
    """Fail unless @got is @wanted."""
    assert got == wanted, f"got    {got!r}\nwanted {wanted!r}"


def marked(calls):
    """Only the verdicts among the calls."""
    return [c for c in calls if "mark" in c]


def test_pass(root):
    """checks that pass, files that are no checks, folders that are not there"""
    root.check("usr/lib/abupdate/check.d/10-good", "exit 0")
    root.check("etc/abupdate/check.d/README", "exit 1", mode=0o644)
    same(root.run("check"), (0, []))
    same(root.result(), [])


def test_order(root):
    """all run, in order, also behind one that fails"""
    for name in ("20-b", "9-a", "30-c"):
        root.check(f"etc/abupdate/check.d/{name}", f"echo {name} >>{root.top}/order; exit 1")
    same(root.run("check")[0], 1)
    with open(f"{root.top}/order", encoding="utf-8") as file:
        same(file.read().split(), ["9-a", "20-b", "30-c"])


def test_fail(root):
    """status, signal and time of a required check, and greenboot's folders"""
    root.check("usr/lib/abupdate/check.d/10-status", "exit 7")
    root.check("etc/abupdate/check.d/20-signal", "kill -9 $$")
    root.check("usr/lib/greenboot/check/required.d/30-slow.sh", "sleep 100 & sleep 100")
    root.check("etc/greenboot/check/wanted.d/40-wanted.sh", "exit 1")
    started = time.monotonic()
    same(root.run("check")[0], 1)
    assert time.monotonic() - started < 20, "the limit of a check was not kept"
    same(root.result(), [
        "error the check /usr/lib/abupdate/check.d/10-status failed with status 7",
        "error the check /etc/abupdate/check.d/20-signal was killed by signal 9",
        "error the check /usr/lib/greenboot/check/required.d/30-slow.sh took more than 1 s",
        "warning the check /etc/greenboot/check/wanted.d/40-wanted.sh failed with status 1"])


def test_wanted(root):
    """a wanted check that fails fails nothing"""
    root.check("usr/lib/greenboot/check/wanted.d/10", "exit 1")
    same(root.run("check")[0], 0)


def test_override(root):
    """the administrator's file takes the place of the vendor's, a link to /dev/null switches off"""
    root.check("usr/lib/abupdate/check.d/10", "exit 1")
    root.check("etc/abupdate/check.d/10", "exit 0")
    root.check("usr/lib/abupdate/check.d/20", "exit 1")
    os.symlink("/dev/null", f"{root.top}/etc/abupdate/check.d/20")
    same(root.run("check"), (0, []))


def test_unusable(root):
    """a check that cannot be started has failed; a name cannot write lines"""
    root.write("etc/abupdate/check.d/a\nerror b", "#!/nowhere\n", 0o755)
    same(root.run("check")[0], 1)
    same(len(root.result()), 1)


def test_success(root):
    """a slot on trial is marked good, once; nothing else is"""
    same(marked(root.run("success")[1]), [])
    root.reboot()
    root.trial(2)
    same(marked(root.run("success")[1]), ["abctl --quiet mark good --reason="])
    same(root.run("success"), (0, []))


def test_success_offline(root):
    """without a bus the verdict comes without it"""
    root.trial(2)
    code, calls = root.run("success", NO_BUS="yes")
    same((code, calls[-1]), (0, "abctl --offline --quiet mark good --reason="))


def test_success_while_a_job_runs(root):
    """a job that runs meanwhile hides no trial, and is waited for"""
    root.write("status", root.status(2, state="updating"))
    root.write("mark", "5\n5\n0\n")
    code, calls = root.run("success")
    same((code, calls[1:]), (0, ["abctl --quiet mark good --reason="] * 3))


def test_not_known_yet(root):
    """a machine that is not known, or cannot be read, is asked again"""
    root.write("status", root.status(2, backend="", state="") +
               root.status(2, backend="", state="steady", reason="no room") + root.status(2))
    same(marked(root.run("success")[1]), ["abctl --quiet mark good --reason="])


def test_marked_already(root):
    """a slot that somebody has marked meanwhile is fine"""
    root.trial(2)
    root.write("mark", "3\n")
    same(root.run("success")[0], 0)
    same(root.run("success"), (0, []))


def test_another_is_next(root):
    """a slot that is left with the next boot is not judged"""
    root.write("status", root.status(2, next="1", state="staged"))
    same(marked(root.run("success")[1]), [])


def test_kexec(root):
    """kexec proves no boot"""
    root.trial(2)
    root.write("proc/sys/kernel/bootloader_type", "208\n")
    same(root.run("success"), (0, []))
    root.write("proc/sys/kernel/bootloader_type", "176\n")
    same(len(marked(root.run("success")[1])), 1)


def test_soft_reboot(root):
    """what comes by a soft reboot is not judged, whatever ran before it; a real boot of it is"""
    same(marked(root.run("success")[1]), [])
    root.trial(2)
    for verb in ("success", "failed", "deadline"):
        same(root.run(verb), (0, [c for c in root.run(verb)[1] if "is-active" in c]))
    root.reboot()
    same(len(marked(root.run("success")[1])), 1)


def test_failed_again(root):
    """a boot that fails with tries left is tried again, without a verdict"""
    root.trial(1)
    code, calls = root.run("failed")
    same((code, marked(calls), calls[-1]), (0, [], REBOOT))


def test_failed_last(root):
    """with the last try the slot is bad, for what failed, and the machine leaves it"""
    root.check("etc/abupdate/check.d/10-web", "exit 3")
    root.run("check")
    root.trial(0)
    code, calls = root.run("failed")
    same((code, marked(calls), calls[-1]), (0, [
        "abctl --quiet mark bad --reason=the check /etc/abupdate/check.d/10-web failed with status 3"],
        REBOOT))


def test_failed_uncounted(root):
    """where nobody takes tries off there is no second one: no loop for ever"""
    root.trial(3)
    code, calls = root.run("failed")
    same((code, len(marked(calls)), calls[-1]), (0, 1, REBOOT))
    assert "boot-complete.target" in marked(calls)[0], calls


def test_failed_armed_with_another_number(root):
    """how many tries there were says who armed the slot, not the configuration that is in it"""
    root.trial(2, tries=2)
    code, calls = root.run("failed")
    same((code, len(marked(calls)), calls[-1]), (0, 1, REBOOT))
    for left in (4, 3, 2, 1):
        root.reboot()
        root.trial(left, tries=5)
        code, calls = root.run("failed")
        same((code, marked(calls), calls[-1]), (0, [], REBOOT))
    root.reboot()
    root.trial(3, tries=-1)
    same(len(marked(root.run("failed")[1])), 1)


def test_failed_units(root):
    """the unit that failed is named: one that the target requires, else whatever has failed"""
    line = " loaded failed failed What it does\\n"
    for failed, reason in (
            (f"db.service{line}web.service{line}eb.service{line}", "web.service failed"),
            (f"db.service{line}", "a unit that boot-complete.target requires has failed; "
                                  "failed units: db.service"),
            ("", "a unit that boot-complete.target requires has failed")):
        root.reboot()
        root.trial(0)
        same(marked(root.run("failed", FAILED=failed)[1]),
             [f"abctl --quiet mark bad --reason=the boot did not complete: {reason}"])


def test_failed_no_trial(root):
    """a proven slot whose boot fails is left alone"""
    code, calls = root.run("failed")
    same((code, [c for c in calls if "status" not in c]), (0, []))


def test_deadline(root):
    """an incomplete boot is given up after Timeout=, a complete one and a proven slot are not"""
    root.trial(2)
    same(marked(root.run("deadline", COMPLETE="yes")[1]), [])
    code, calls = root.run("deadline")
    same((code, marked(calls), calls[-1]), (0, [
        "abctl --quiet mark bad --reason=the boot was not complete after 1 s"], REBOOT))
    root.trial(None)
    root.reboot()
    same(marked(root.run("deadline")[1]), [])


def test_deadline_unread(root):
    """where neither abctl nor the slot's own record tells of a trial, nothing is left"""
    os.unlink(f"{root.top}/status")
    code, calls = root.run("deadline", NO_BUS="yes")
    same((code, [c for c in calls if "reboot" in c or "mark" in c]), (1, []))


def test_wrong_use(root):
    """verbs that are none"""
    same(root.run("fly")[0], 2)


def main():
    """One case a function."""
    tap = Tap()
    for name, function in list(globals().items()):
        if name.startswith("test_"):
            with tempfile.TemporaryDirectory(prefix="abupdate-health-") as top:
                try:
                    function(Root(sys.argv[1], top))
                    problems = []
                except AssertionError as error:
                    problems = [str(error)]
            tap.case(f"health: {function.__doc__}", problems)
    return tap.done()


if __name__ == "__main__":
    sys.exit(main())
