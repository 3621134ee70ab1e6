#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""test-url.py BUILD - abctl update URL against a web server that misbehaves."""

import os
import subprocess
import sys
import time

from harness import Terminal, main, wait_for
from webserver import Server

DATA = os.urandom(3_000_000)


def case_the_whole_file(world):
    world.fake("--step=0")
    with Server(DATA) as server:
        world.abctl("update", server.url("a%20b/new%20image.send?token=1"))
    assert world.sink.read_bytes() == DATA
    assert world.calls()[:2] == ["Update new image.send", f"  size={len(DATA)}"], world.calls()


def case_a_broken_connection_is_continued(world):
    world.fake("--step=0")
    with Server(DATA) as server:
        server.breaks = [1_000_000, 500_000]
        _, err = world.abctl("update", server.url())
        assert world.sink.read_bytes() == DATA
        assert len(server.requests) == 3
        path, start, condition = server.requests[1]
        assert path == "/image.send" and condition == '"one"'
        assert 0 < int(start.removeprefix("bytes=").removesuffix("-")) <= 1_000_000
        assert err.count("The connection broke after") == 2, err


def case_continued_by_date_where_there_is_no_tag(world):
    world.fake("--step=0")
    with Server(DATA) as server:
        for tag in (None, 'W/"weak"'):
            server.etag, server.requests, server.breaks = tag, [], [1_000_000]
            world.abctl("update", server.url())
            assert world.sink.read_bytes() == DATA
            assert server.requests[1][2] == server.modified


def case_chunked_without_a_length(world):
    world.fake("--step=0")
    with Server(DATA) as server:
        server.length, server.breaks = False, [1_000_000]
        world.abctl("update", server.url())
    assert world.sink.read_bytes() == DATA
    assert world.calls()[:2] == ["Update image.send", "end done"]


def broken(world, server, text, *more):
    """The update fails for @text, the daemon is told to cancel and never sees a false end."""
    _, err = world.abctl("update", server.url(), *more, expect=1)
    assert text in err, err
    cancelled(world)


def cancelled(world):
    """Waits for the end of the job, where the download lived long enough to begin one."""
    wait_for("the end of the job", lambda: world.calls()[-1:] in ([], ["end Cancelled"]))
    if world.sink.exists():
        assert DATA.startswith(world.sink.read_bytes()), "a mix of two files"


def case_a_changed_file_is_an_error(world):
    world.fake("--step=0")
    with Server(DATA) as server:
        def change():
            server.data = os.urandom(len(DATA))
            if what != "modified":
                server.etag = '"two"'
            if what != "etag":
                server.modified = "Tue, 03 Nov 2026 10:00:00 GMT"

        for what in ("etag", "modified", "both"):
            server.etag, server.modified = '"one"', "Mon, 02 Nov 2026 10:00:00 GMT"
            server.data, server.breaks, server.then = DATA, [1_000_000], [change]
            broken(world, server, "changed on the server")


def case_a_shorter_file_is_an_error(world):
    world.fake("--step=0")
    with Server(DATA) as server:
        server.breaks = [1_000_000]
        server.then = [lambda: setattr(server, "data", DATA[:900_000])]
        broken(world, server, "changed on the server")


def case_a_server_without_ranges(world):
    world.fake("--step=0")
    with Server(DATA) as server:
        server.ranges, server.breaks = False, [1_000_000]
        broken(world, server, "knows no ranges): load the file first")


def case_a_server_without_validators(world):
    world.fake("--step=0")
    with Server(DATA) as server:
        server.etag = server.modified = None
        server.breaks = [1_000_000]
        broken(world, server, "gives neither ETag nor Last-Modified")
        server.breaks = []
        world.abctl("update", server.url())
        assert world.sink.read_bytes() == DATA, "but without a break there is no need for them"


def case_attempts_are_bounded(world):
    world.fake("--step=0")
    with Server(DATA) as server:
        server.breaks = [1_000_000] + [0] * 10
        begin = time.monotonic()
        broken(world, server, "2 attempts did not help", "--retries=2")
        assert len(server.requests) == 3 and time.monotonic() - begin > 2.5
        server.requests, server.breaks = [], [1_000_000, 0]
        broken(world, server, "0 attempts did not help", "--retries=0")
        assert len(server.requests) == 1


def case_a_busy_server_is_asked_again(world):
    world.fake("--step=0")
    with Server(DATA) as server:
        server.statuses = [503, None, 429]
        server.breaks = [1_000_000]
        _, err = world.abctl("update", server.url())
        assert world.sink.read_bytes() == DATA
        assert "HTTP status 503" in err and "HTTP status 429" in err, err


def case_refusals_come_before_the_call(world):
    world.fake("--step=0")
    with Server(DATA) as server:
        for status, text in ((404, "no such file"), (403, "not allowed"), (410, "HTTP status 410")):
            server.statuses = [status]
            _, err = world.abctl("update", server.url(), expect=1)
            assert text in err, err
        server.data = b""
        assert "is empty" in world.abctl("update", server.url(), expect=1)[1]
        port = server.server_port
    for url, text, code in ((f"http://localhost:{port}/x", "Cannot load", 1),
                            ("http://no-such-host.invalid/x", "Could not resolve", 1),
                            ("ftp://localhost/x", "only http, https and file", 2),
                            ("http://", "is no URL", 2), ("file:///none", "Cannot load", 1)):
        _, err = world.abctl("update", url, expect=code)
        assert text in err, (url, err)
    assert world.calls() == []


def case_redirections(world):
    world.fake("--step=0")
    with Server(DATA) as server, Server(DATA) as mirror:
        server.redirect["/image.send"] = mirror.url("mirrored.send")
        mirror.breaks = [1_000_000]
        world.abctl("update", server.url())
        assert world.sink.read_bytes() == DATA
        assert len(server.requests) == 1, "the second mirror might have another file"
        assert [r[0] for r in mirror.requests] == ["/mirrored.send"] * 2
        # the address of the mirror is good for once only
        server.requests, mirror.requests = [], []
        mirror.breaks, mirror.statuses = [1_000_000], [None, 403]
        world.abctl("update", server.url())
        assert world.sink.read_bytes() == DATA and len(server.requests) == 2
        server.redirect["/image.send"] = server.url()
        assert "redirects" in world.abctl("update", server.url(), expect=1)[1]
        server.redirect["/image.send"] = "file:///etc/passwd"
        world.abctl("update", server.url(), expect=1)


def case_a_file_url(world):
    world.fake("--step=0")
    image = world.image(1_000_000, "of mine.send")
    world.abctl("update", f"file://{world.path}/of%20mine.send")
    assert world.sink.read_bytes() == image.read_bytes()
    assert world.calls()[:2] == ["Update of mine.send", "  size=1000000"], world.calls()


def case_https(world):
    world.fake("--step=0")
    pem, names = world.path / "pem", "subjectAltName=DNS:localhost"
    subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", pem,
                    "-out", world.path / "cert", "-subj", "/CN=localhost", "-addext", names],
                   check=True, capture_output=True)
    world.path.chmod(0o755)
    with pem.open("ab") as file:
        file.write((world.path / "cert").read_bytes())
    with Server(DATA, tls=pem) as server:
        _, err = world.abctl("update", server.url(), expect=1)
        assert "certificate" in err and world.calls() == [], err
        env = dict(world.env, SSL_CERT_FILE=str(world.path / "cert"))
        world.abctl("update", server.url(), env=env)
        assert world.sink.read_bytes() == DATA
        with Server(DATA) as plain:
            server.redirect["/image.send"] = plain.url()
            world.abctl("update", server.url(), env=env, expect=1)
            assert plain.requests == [], "from https to http"


def case_dry_run_of_a_url(world):
    world.fake("--step=0")
    with Server(DATA) as server:
        out, _ = world.abctl("update", "--dry-run", server.url())
    assert "2.9 MiB" in out and world.calls()[0] == "Plan image.send"


def case_a_job_that_fails_ends_the_download(world):
    world.fake("--fail=Update=NotSigned=no key")
    with Server(DATA * 10) as server:
        _, err = world.abctl("update", server.url(), expect=6)
        assert "no key" in err
        assert fetchers(server) == []


def fetchers(server):
    """The users that run a download from this server."""
    done = subprocess.run(["ps", "-o", "uid=,args=", "-C", "abctl-fetch"], text=True, check=False,
                          capture_output=True)
    return [line.split()[0] for line in done.stdout.splitlines() if server.url() in line]


def case_runs_as_nobody(world):
    if os.geteuid() != 0:
        return
    world.fake("--rate=1M")
    with Server(DATA * 10) as server:
        child = world.start([world.build / "client/abctl", "-q", "update", server.url()])
        wait_for("the download", lambda: fetchers(server))
        # it begins as root, and looks at the first byte when it is not any more
        wait_for("a job", lambda: world.calls())
        assert fetchers(server) == ["65534"]
        child.kill()
        child.wait()
        wait_for("the end of the download", lambda: fetchers(server) == [])


def case_ctrl_c_during_a_download(world):
    world.fake("--rate=1M")
    with Server(DATA * 10) as server:
        t = Terminal(world, "update", server.url(), width=110, env=dict(world.env, NO_COLOR="1"))
        t.until("write  ")
        t.press_ctrl_c()
        t.finish(expect=1)
        assert t.screen()[-2].startswith("abctl: Job 7 was cancelled. Slot 3"), t.screen()
        assert world.calls()[-2:] == ["Cancel", "end Cancelled"]


if __name__ == "__main__":
    sys.exit(main(globals()))
