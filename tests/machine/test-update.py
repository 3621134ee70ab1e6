#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Updates that work: full, incremental, squeezed, of several subvolumes, of a whole system tree."""

import json
import os
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from machinery import disk, harness, invariants, kernel


def test_life_of_an_update(case):
    """Install, reboot, bless: each step shows in the status, and the old slot stays."""
    it = case.machine()
    case.expect(it, state="steady", booted="1", next="1", good="1", version="1.0",
                reboot_required=False, verification="none", backend="snapshot")
    case.update(it, "2.0", change="echo two >etc/motd")
    case.expect(it, state="staged", booted="1", next="2", good="1", version="1.0",
                reboot_required=True)
    case.sound(it, ["2.0"])
    it.reboot()
    case.equal(it.run("cat", f"{it.root}/etc/motd").out, "two\n")
    case.expect(it, state="trial", booted="2", next="2", good="1", version="2.0",
                reboot_required=False)
    case.abctl(it, "mark", "good")
    case.expect(it, state="steady", booted="2", next="2", good="2")
    case.equal(case.slot(it, 1)["state"], "good")
    it.reboot()
    case.expect(it, state="steady", booted="2", next="2", version="2.0")
    case.sound(it, ["2.0"])


def test_incremental_chain(case):
    """Incremental images build on what was received before, several times in a row."""
    it = case.machine()
    base = "1.0"
    for version in ("1.1", "1.2", "1.3"):
        case.to(it, version, base=base, change=f"echo {version} >>usr/share/tiny/0/file0; "
                "rm -f usr/share/tiny/1/file1; mv usr/bin/hello usr/bin/hello.$VERSION; "
                "cp --reflink=always usr/bin/hello.$VERSION usr/bin/hello")
        base = version
    case.expect(it, state="steady", version="1.3")
    case.sound(it, ["1.3"])
    case.equal(case.facts(it)["next"], "4")


def test_base_is_not_booted(case):
    """An incremental image finds its base in any slot that is here, not only in the booted one."""
    it = case.machine()
    case.to(it, "2.0")
    case.update(it, "3.0", base="1.0", start="1.0", change="echo x >etc/from-one")
    case.sound(it, ["3.0"])


def test_changed_root_does_not_matter(case):
    """What was written into the running root disturbs no incremental update and does not stay."""
    it = case.machine()
    it.run("sh", "-c", f"echo mine >{it.root}/etc/mine; rm {it.root}/usr/bin/hello")
    case.to(it, "1.1", base="1.0")
    case.sound(it, ["1.1"])
    case.check(it.run("cat", f"{it.root}/etc/mine").code != 0)


def test_carry(case):
    """Paths under Carry= come along from the running slot."""
    it = case.machine()
    it.run("sh", "-c", f"sed -i 's,^Keep=3,Keep=3\\nCarry=/etc/machine-id /home/kept,' "
           f"{it.root}/etc/abupdate/abupdated.conf; echo 0123 >{it.root}/etc/machine-id; "
           f"mkdir -p {it.root}/home/kept/a; echo k >{it.root}/home/kept/a/b; "
           f"echo gone >{it.root}/home/gone")
    case.update(it, "2.0")
    it.reboot()
    case.equal(it.run("cat", f"{it.root}/etc/machine-id", f"{it.root}/home/kept/a/b").out,
               "0123\nk\n")
    case.check(it.run("cat", f"{it.root}/home/gone").code != 0)


def test_squeezed(case):
    """An image under zstd is an image."""
    it = case.machine()
    case.update(it, "2.0", compress=True)
    case.sound(it, ["2.0"])


def test_stream_version_two(case):
    """A stream of protocol 2 is an image."""
    it = case.machine()
    case.update(it, "2.0", protocol=2)
    case.sound(it, ["2.0"])


def test_standard_input(case):
    """`abctl update -` reads a pipe."""
    it = case.machine()
    path = case.image(it, "2.0")
    with open(path, "rb") as file, subprocess.Popen(["cat"], stdin=file,
                                                    stdout=subprocess.PIPE) as cat:
        case.abctl(it, "update", "-", stdin=cat.stdout)
    case.sound(it, ["2.0"])


def test_url(case):
    """`abctl update URL` goes on where a broken connection left it."""
    it = case.machine()
    path = case.image(it, "2.0")
    with open(path, "rb") as file:
        content = file.read()
    ranges = []

    class Server(BaseHTTPRequestHandler):
        """Breaks the first connection in the middle."""

        def do_GET(self):
            """Half of it first, the rest by range."""
            if self.path.endswith(".manifest"):
                self.send_error(404)
                return
            wanted = self.headers.get("Range")
            start = int(wanted.split("=")[1].split("-")[0]) if wanted else 0
            ranges.append(start)
            self.send_response(206 if wanted else 200)
            if wanted:
                self.send_header("Content-Range",
                                 f"bytes {start}-{len(content) - 1}/{len(content)}")
            self.send_header("Accept-Ranges", "bytes")
            self.send_header("ETag", '"one"')
            self.send_header("Content-Length", str(len(content) - start))
            self.end_headers()
            end = len(content) if len(ranges) > 1 else len(content) // 2
            self.wfile.write(content[start:end])

        def log_message(self, *_):
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Server)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    case.abctl(it, "update", f"http://127.0.0.1:{server.server_address[1]}/image.send")
    server.shutdown()
    case.check(len(ranges) >= 2 and ranges[1] > 0, ranges)
    case.sound(it, ["2.0"])


def test_read_only(case):
    """With ReadOnly=yes the booted root is a read-only subvolume, before and after."""
    it = case.machine(read_only=True)
    case.check(it.run("touch", f"{it.root}/home/x").code != 0)
    case.to(it, "2.0", base="1.0")
    case.check(it.run("touch", f"{it.root}/home/x").code != 0)
    case.check(case.slot(it, 2)["read-only"] in (True, "yes"))
    case.sound(it, ["2.0"])


SEVERAL = "home:/home srv:/usr/srv deep:/usr/srv/deep"


def test_several_subvolumes(case):
    """An image of several subvolumes, some inside others, is one slot and switches as one."""
    it = case.machine(subvolumes=SEVERAL)
    case.update(it, "2.0")
    case.sound(it, ["2.0"])
    it.reboot()
    read = it.run("cat", f"{it.root}/home/content", f"{it.root}/usr/srv/content",
                  f"{it.root}/usr/srv/deep/content")
    case.equal(read.out, "home of 2.0\nsrv of 2.0\ndeep of 2.0\n", read)
    case.abctl(it, "mark", "good")
    case.update(it, "3.0", base="2.0")
    case.sound(it, ["3.0"])
    case.abctl(it, "rollback")
    it.reboot()
    case.equal(it.run("cat", f"{it.root}/usr/srv/deep/content").out, "deep of 2.0\n")
    case.sound(it, ["2.0"])


def test_several_read_only(case):
    """The same with ReadOnly=yes: every subvolume of the slot is read-only."""
    it = case.machine(subvolumes=SEVERAL, read_only=True)
    case.to(it, "2.0", base="1.0")
    for place in ("", "/home", "/usr/srv", "/usr/srv/deep"):
        case.check(it.on_disk(
            lambda top, p: invariants.is_read_only(f"{top}/@abupdate/slots/2/root{p}"), place),
            f"{place or '/'} can be written")
    case.sound(it, ["2.0"])


def test_new_subvolume_appears(case):
    """A version may bring a subvolume that the version before did not have."""
    it = case.machine()
    it.run("sh", "-c", f"sed -i 's,^Keep=3,Keep=3\\nSubvolumes=home:/home,' "
           f"{it.root}/etc/abupdate/abupdated.conf")
    case.update(it, "2.0", subvolumes="home:/home")
    case.sound(it, ["2.0"])


def test_no_arm(case):
    """--no-arm writes the slot and leaves the boot choice alone."""
    it = case.machine()
    case.abctl(it, "update", "--no-arm", case.image(it, "2.0"))
    case.expect(it, state="steady", next="1", booted="1")
    case.equal(case.slot(it, 2)["state"], "staged")
    case.sound(it, ["1.0"])


def test_dry_run(case):
    """--dry-run prints the steps and changes nothing."""
    it = case.machine()
    image = case.image(it, "2.0")
    before = case.facts(it)
    text = case.abctl(it, "update", "--dry-run", image)
    case.check("bytes" in text.out or "B" in text.out, text)
    steps = case.abctl(it, "--json=short", "update", "--dry-run", image).data
    steps = steps.get("steps", steps) if isinstance(steps, dict) else steps
    phases = [step["phase"] for step in steps]
    case.check({"write", "arm"} <= set(phases), phases)
    case.unchanged(it, before)


def test_same_version_again(case):
    """The same version again is nothing to do (exit 3), with --reinstall it is done."""
    it = case.machine()
    case.update(it, "2.0")
    image = case.image(it, "2.0")
    before = case.facts(it)
    case.refused(it, "update", image, error="AlreadyInstalled", code=3)
    case.unchanged(it, before)
    case.abctl(it, "update", "--reinstall", image)
    case.sound(it, ["2.0"])


def test_reboot_needed_exit_code(case):
    """--exit-code makes a needed reboot exit code 4."""
    it = case.machine()
    case.abctl(it, "status", "--exit-code")
    case.abctl(it, "update", "--exit-code", case.image(it, "2.0"), code=4)
    case.abctl(it, "status", "--exit-code", code=4)


def test_progress_lines(case):
    """--progress=json is JSON Lines with phases in their order and bytes that only grow."""
    it = case.machine()
    image = case.image(it, "2.0", change="head -c 6000000 /dev/urandom >usr/big")
    # the bus tells of progress ten times a second: writing has to take longer
    slowly = f"head -c 3000000 {image}; sleep 0.5; tail -c +3000001 {image}"
    out = it.run("sh", "-c", f"({slowly}) | abctl --json=short update --progress=json -").out
    rows = [json.loads(line) for line in out.splitlines() if line.strip()]
    phases = [row["phase"] for row in rows if row.get("phase")]
    order = ["check", "prepare", "write", "verify", "place", "arm"]
    seen = [p for n, p in enumerate(phases) if p in order and p not in phases[:n]]
    case.equal(seen, [p for p in order if p in seen])
    case.check("write" in seen, phases)


def test_next_update_replaces_staged(case):
    """An update on top of one that waits for its reboot wins, and the booted slot stays good."""
    it = case.machine()
    case.update(it, "2.0")
    case.update(it, "3.0")
    case.expect(it, booted="1", good="1", state="staged")
    case.sound(it, ["3.0"])
    it.reboot()
    case.expect(it, version="3.0", state="trial")
    case.abctl(it, "mark", "good")
    case.sound(it, ["3.0"])


def test_events(case):
    """The lifecycle reaches the journal as structured entries with message ids."""
    it = case.machine()
    case.to(it, "2.0")
    entries = [e for e in it.journal() if e.get("MESSAGE_ID")]
    case.check(len({e["MESSAGE_ID"] for e in entries}) >= 3, *entries)
    case.check(any(e.get("ABUPDATE_SLOT") == "2" for e in entries), *entries)


def test_history(case):
    """The history tells what was done and how it ended, after the daemon has gone too."""
    it = case.machine()
    case.to(it, "2.0")
    case.refused(it, "discard", "2", error="SlotInUse")
    it.reboot()
    text = case.abctl(it, "--json=short", "history").out
    for word in ("update", "mark", "2.0"):
        case.check(word in text, text)


def test_host_tree(case):
    """A tree cut from real packages arrives file by file, full and incrementally, by rsync's word."""
    it = case.machine(os_tree="host")
    started = time.monotonic()
    case.update(it, "2.0", change="touch -d @12345 etc/motd; rm -rf usr/share/doc/bash")
    full = time.monotonic() - started
    case.sound(it, ["2.0"])
    it.reboot()
    case.abctl(it, "mark", "good")
    case.update(it, "2.1", base="2.0", change="cp -a usr/share/doc usr/share/doc2; "
                "find usr/share/locale -name '*.mo' | head -50 | xargs rm -f")
    case.sound(it, ["2.1"])

    def compare(top):
        with disk.mounted(f"{it.folder}/maker.img", f"{it.folder}/maker"):
            text = disk.run("rsync", "-aHAXnci", "--delete", f"{it.folder}/maker/2.1/root/",
                            f"{top}/@abupdate/slots/3/root/").decode()
            kernel.umount(f"{it.folder}/maker")
        count = sum(len(files) for _, _, files in os.walk(f"{top}/@abupdate/slots/3/root"))
        return text, count

    text, count = it.on_disk(compare)
    case.equal(text, "")
    return f"{count} files, full update {full:.1f} s"


if __name__ == "__main__":
    sys.exit(harness.main(globals()))
