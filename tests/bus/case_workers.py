# SPDX-License-Identifier: LGPL-2.1-or-later
"""Workers that misbehave, jobs that are stopped."""
import pathlib
import resource
import signal
import time

from harness import (ERR, JOB, NAME, NOBODY, Bus, ended, eq, fails, get, listen, manager, options, post,
                     quit_daemon, update, world)
from wire import BusError

OK = [["ready"], ["world"], ["result", 0, "", "ok"]]


def broken(build, steps, want, early=None):
    """An update whose worker does @steps after it said that it is ready fails with @want in its text; the daemon lives,
    cleans up and does the next one. With @early the same before it is ready: the error of the call."""
    with Bus(build) as b:
        b.script(update=[["ready"], *steps])
        p = b.peer()
        listen(p)
        number, path = p.wait(update(p))
        status, error, text = ended(p, number, 30)[2:]
        eq((status < 0, error), (True, ERR + "WorkerDied"))
        assert want in text, text
        b.until(lambda: len(b.orders("recover")) == 2, what="cleaning up")

        if early is not False:
            b.until(lambda: manager(p, "ListJobs")[0] == [])
            b.script(update=steps)
            text = fails("WorkerDied", p.wait, update(p), 30)
            assert want in text, text
            b.until(lambda: manager(p, "ListJobs")[0] == [])

        b.script()
        number = p.wait(update(p))[0]
        eq(ended(p, number)[2:4], [0, ""])
        b.until(lambda: b.pids() == [], what="no children")


def test_crash(build):
    broken(build, [["kill", signal.SIGSEGV]], "signal 11")


def test_exit_without_result(build):
    broken(build, [["exit", 3]], "exit status 3")


def test_success_without_result(build):
    broken(build, [["exit", 0]], "exit status 0")


def test_close_early(build):
    broken(build, [["close"], ["deaf"], ["sleep", 1000]], "signal 9", early=False)


def test_garbage(build):
    for raw in ("", "{", "null", "[]", "{}", '{"msg":1}', '{"msg":"x"}', '{"msg":"ready"} x', "\xff\xfe", "\0",
                '{"msg":"progress","phase":"write","done":-1}', '{"msg":"progress","phase":"a/b"}',
                '{"msg":"progress","phase":"write","done":"1"}', '{"msg":"slot","slot":"../x"}',
                '{"msg":"result"}', '{"msg":"result","code":1}', '{"msg":"result","code":-5,"kind":"Nonsense"}',
                '{"msg":"result","code":0,"steps":{}}', '{"msg":"result","code":0,"findings":[1]}',
                '{"msg":"result","code":-99999999999}', '{"msg":"result","code":0,"text":"a\\u0000b"}',
                "[" * 1000, '{"a":' * 20, '{"msg":"result","code":0,"text":"' + "x" * 5000 + '"}'):
        with Bus(build) as b:
            b.script(update=[["ready"], ["raw", raw], ["forever"]])
            p = b.peer()
            listen(p)
            number = p.wait(update(p))[0]
            status, error, text = ended(p, number)[2:]
            # an empty packet is the end of the connection
            want = "was killed" if raw == "" else "broke"
            eq((error, want in text), (ERR + "WorkerDied", True)) if raw else eq(error, ERR + "WorkerDied")
            assert status < 0 and get(p, "State") == "steady"


def test_too_big(build):
    broken(build, [["big"], ["forever"]], "too big")


def test_too_many_descriptors(build):
    with Bus(build) as b:
        p = b.peer()
        listen(p)
        before = None
        for n in (1, 2, 3, 20):
            b.script(update=[["ready"], ["fds", n], ["forever"]])
            number, path = p.wait(update(p))
            if n == 1:
                p.call(NAME, path, JOB, "Cancel")
            eq(ended(p, number)[3], ERR + ("Cancelled" if n == 1 else "WorkerDied"))
            b.until(lambda: manager(p, "ListJobs")[0] == [])
            eq(b.fds(), before or b.fds())
            before = b.fds()


def test_worlds_that_are_none(build):
    """A report that makes no sense fails nothing and changes nothing."""
    with Bus(build) as b:
        p = b.peer()
        for i, text in enumerate(("", "x", "[]", '{"slots":1}', '{"slots":[1]}', '{"slots":[{}]}',
                                  '{"slots":[{"id":"1"},{"id":"1"}]}', '{"slots":[{"id":"../1"}]}', '{"version":7}',
                                  '{"slots":[{"id":"1","size":-4}]}', '{"capabilities":[1]}', "{" * 5000,
                                  '{"a":"' + "x" * (17 << 20) + '"}')):
            b.write_world(text)
            b.script(check=[["ready"], ["world"], ["result", 0, "", "ok"]])
            manager(p, "Check")
            eq((i, get(p, "Version"), len(manager(p, "ListSlots")[0])), (i, "1.0", 2))
        b.write_world(world(5))
        manager(p, "Check")
        eq(len(manager(p, "ListSlots")[0]), 5)


def test_leftover_helper_is_killed(build):
    with Bus(build) as b:
        b.script(update=[["fork"], *OK])
        p = b.peer()
        listen(p)
        number = p.wait(update(p))[0]
        eq(ended(p, number)[2], 0)
        group = b.orders("update")[0][1]["pgid"]
        b.until(lambda: not group_alive(group), what="an empty process group")


def group_alive(group):
    """Zombies do not count: nobody collects orphans in here."""
    for path in pathlib.Path("/proc").glob("[0-9]*/stat"):
        try:
            state, _, pgrp = path.read_text().rpartition(")")[2].split()[:3]
        except OSError:
            continue
        if int(pgrp) == group and state != "Z":
            return True
    return False


def test_worker_that_lingers(build):
    """After its result it has a few seconds."""
    with Bus(build) as b:
        b.script(update=[*OK, ["deaf"], ["sleep", 1000]])
        p = b.peer()
        listen(p)
        start = time.monotonic()
        number = p.wait(update(p))[0]
        eq(ended(p, number)[2], 0)
        assert 4 < time.monotonic() - start < 8


def test_program_that_cannot_run(build):
    with Bus(build, start=False) as b:
        b.start_daemon("--worker-program=/nowhere")
        text = fails("Failed", manager, b.peer(), "Prune", "a{sv}", [{}])
        assert "cannot run the worker: No such file" in text, text


def test_cancel(build):
    with Bus(build) as b:
        b.script(update=[["ready"], ["forever"]])
        p = b.peer()
        listen(p)
        number, path = p.wait(update(p))
        p.call(NAME, path, JOB, "Cancel")
        eq(ended(p, number), [number, path, -125, ERR + "Cancelled", "cancelled: the machine is as before"])
        eq(get(p, "State"), "steady")


def test_cancel_before_ready(build):
    """A job that still checks can be found and stopped; its caller hears it."""
    with Bus(build) as b:
        b.script(update=[["forever"]])
        p, q = b.peer(), b.peer()
        serial = update(p)
        path = b.until(lambda: manager(q, "ListJobs")[0])[0][4]
        q.call(NAME, path, JOB, "Cancel")
        fails("Cancelled", p.wait, serial)


def test_cancel_is_certain(build):
    """A worker that does not listen is killed after 20 seconds, and the machine is looked at again."""
    with Bus(build) as b:
        b.script(update=[["deaf"], ["ready"], ["sleep", 1000]])
        p = b.peer()
        listen(p)
        number, path = p.wait(update(p))
        start = time.monotonic()
        for _ in range(3):
            p.call(NAME, path, JOB, "Cancel")
        status, error, text = ended(p, number, 30)[2:]
        assert 19 < time.monotonic() - start < 23
        eq((status, error), (-125, ERR + "Cancelled"))
        assert "cleans up" in text
        b.until(lambda: len(b.orders("recover")) == 2)


def test_no_cancel_past_the_point_of_no_return(build):
    with Bus(build) as b:
        b.script(update=[["ready"], ["no-return"], ["sleep", 1], *OK])
        p = b.peer()
        listen(p)
        number, path = p.wait(update(p))
        p.signal("PropertiesChanged", lambda m: m.body[1].get("PointOfNoReturn") is True)
        eq((get(p, "PointOfNoReturn", path, JOB), get(p, "Cancellable", path, JOB)), (True, False))
        fails("NotCancellable", p.call, NAME, path, JOB, "Cancel")
        eq(ended(p, number)[2:4], [0, ""])


def test_cancel_that_comes_too_late_does_no_harm(build):
    """The worker passes the point of no return while it is asked to stop: it is not killed after the grace."""
    with Bus(build) as b:
        b.script(update=[["deaf"], ["ready"], ["sleep", 0.5], ["no-return"], ["sleep", 21], *OK])
        p = b.peer()
        listen(p)
        number, path = p.wait(update(p))
        p.call(NAME, path, JOB, "Cancel")
        eq(ended(p, number, 30)[2:4], [0, ""])


def test_only_a_merge_is_paused(build):
    """The signal would kill what does not listen to it: nobody else gets it, nor a merge that is not ready."""
    with Bus(build) as b:
        b.script(update=[["ready"], ["forever"]], merge=[["sleep", 0.5], ["ready"], ["result", 0, "", "ok"]])
        p = b.peer()
        listen(p)
        number, path = p.wait(update(p))
        for member in ("Pause", "Resume"):
            fails("NotSupported", p.call, NAME, path, JOB, member)
        eq(get(p, "Paused", path, JOB), False)
        p.call(NAME, path, JOB, "Cancel")
        eq(ended(p, number)[3], ERR + "Cancelled")
        serial = post(p, "Merge", "a{sv}", [{}])
        b.until(lambda: manager(b.peer(), "ListJobs")[0])
        fails("NotSupported", b.peer().call, NAME, manager(b.peer(), "ListJobs")[0][0][4], JOB, "Pause")
        eq(ended(p, p.wait(serial)[0])[2:4], [0, ""])


def test_cancel_of_an_ended_job(build):
    with Bus(build) as b:
        p = b.peer()
        listen(p)
        number, path = p.wait(update(p))
        ended(p, number)
        fails("org.freedesktop.DBus.Error.UnknownObject", p.call, NAME, path, JOB, "Cancel")


def test_busy(build):
    with Bus(build) as b:
        b.script(update=[["ready"], ["forever"]])
        p, q = b.peer(), b.peer()
        number, path = p.wait(update(p))
        for call in (lambda: q.wait(update(q)), lambda: manager(q, "Rollback", "sa{sv}", ["", {}]),
                     lambda: manager(q, "Check")):
            text = fails("Busy", call)
            assert f"job {number} (update)" in text and f"abctl cancel {number}" in text, text
        eq(len(manager(q, "ListSlots")[0]), 2)
        eq(len(b.orders("update")), 1)
        q.call(NAME, path, JOB, "Cancel")


def test_calls_wait_for_a_check(build):
    """A look at the machine is no reason to refuse; but one waits at most."""
    with Bus(build) as b:
        b.script(check=[["ready"], ["sleep", 0.5], ["world"], ["result", 0, "", "ok"]], update=OK)
        p, q, r = b.peer(), b.peer(), b.peer(NOBODY)
        serial = post(r, "Check")
        b.until(lambda: b.orders("check"))
        first = update(p)
        manager(q, "ListJobs")
        fails("Busy", q.wait, update(q))
        p.wait(first)
        eq(r.wait(serial), [[]])


def test_caller_who_leaves_cancels(build):
    with Bus(build) as b:
        b.script(update=[["ready"], ["forever"]])
        p, q = b.peer(), b.peer()
        listen(q)
        number = p.wait(update(p))[0]
        p.close()
        eq(ended(q, number)[3], ERR + "Cancelled")


def test_caller_who_leaves_before_the_answer_cancels(build):
    with Bus(build) as b:
        b.script(update=[["forever"]])
        p, q = b.peer(), b.peer()
        update(p)
        b.until(lambda: b.orders("update"))
        p.close()
        b.until(lambda: manager(q, "ListJobs")[0] == [])
        b.until(lambda: b.pids() == [], what="no children")


def test_caller_who_leaves_at_once(build):
    """Whatever the daemon knew of him by then, no job stays."""
    with Bus(build) as b:
        b.script(update=[["ready"], ["forever"]])
        q = b.peer()
        for _ in range(30):
            p = b.peer()
            update(p)
            p.close()
        b.until(lambda: manager(q, "ListJobs")[0] == [])
        time.sleep(0.2)
        eq((manager(q, "ListJobs")[0], b.pids()), ([], []))


def test_detached_job_goes_on(build):
    with Bus(build) as b:
        b.script(update=[["ready"], ["sleep", 0.5], *OK])
        p, q = b.peer(), b.peer()
        listen(q)
        number = p.wait(update(p, opts=options(detach=True)))[0]
        p.close()
        eq(ended(q, number)[2:4], [0, ""])


def test_short_jobs_go_on_without_their_caller(build):
    """Who calls from a script leaves with the answer; before it he takes the job along."""
    with Bus(build) as b:
        b.script(mark=[["ready"], ["sleep", 0.5], *OK])
        p, q = b.peer(), b.peer()
        listen(q)
        number = manager(p, "Mark", "sss", ["", "good", ""])[0]
        p.close()
        eq(ended(q, number)[2:4], [0, ""])

        b.script(mark=[["sleep", 5], *OK], begin=[["ready"], ["sleep", 5], *OK])
        for member, signature, args in (("Mark", "sss", ["", "good", ""]), ("Begin", "a{sv}", [{}])):
            p = b.peer()
            post(p, member, signature, args)
            b.until(lambda: manager(q, "ListJobs")[0])
            p.close()
            start = time.monotonic()
            b.until(lambda: manager(q, "ListJobs")[0] == [])
            assert time.monotonic() - start < 3


def test_no_descriptors_left(build):
    """A worker that cannot be started is an error of its call alone."""
    with Bus(build) as b:
        p = b.peer()
        listen(p)
        ended(p, p.wait(update(p))[0])
        b.until(lambda: b.pids() == [])
        before = b.fds()
        limits = resource.prlimit(b.daemon.pid, resource.RLIMIT_NOFILE)
        for spare in (0, 1, 2, 3):
            resource.prlimit(b.daemon.pid, resource.RLIMIT_NOFILE, (len(before) + spare, limits[1]))
            try:
                ended(p, manager(p, "Prune", "a{sv}", [{}])[0])
            except BusError as e:
                assert e.name in (ERR + "Failed", ERR + "WorkerDied"), e
            b.until(lambda: manager(p, "ListJobs")[0] == [] and b.pids() == [])
            eq(b.fds(), before)
        resource.prlimit(b.daemon.pid, resource.RLIMIT_NOFILE, limits)
        eq(ended(p, manager(p, "Prune", "a{sv}", [{}])[0])[2], 0)


def test_progress_is_told_at_most_ten_times_a_second(build):
    with Bus(build) as b:
        b.script(update=[["ready"], ["many", 400, 0.005], ["no-return"], *OK])
        p = b.peer()
        listen(p)
        number, path = p.wait(update(p))
        times, last = [], None
        while True:
            m = p.receive()
            if m.member == "PropertiesChanged" and m.path == path:
                times.append(time.monotonic())
                last = m.body[1]
            if m.member == "JobRemoved":
                break
        eq(m.body[2], 0)
        worst = max(sum(1 for u in times if t <= u < t + 1) for t in times)
        assert 5 <= worst <= 10, worst
        eq((last["PointOfNoReturn"], last["BytesTotal"]), (True, 400))
        return f"{len(times)} signals for 400 packets, at most {worst} in a second"


def test_estimate(build):
    with Bus(build) as b:
        b.script(update=[["ready"], ["many", 200, 0.02], *OK])
        p = b.peer()
        listen(p)
        path = p.wait(update(p))[1]
        time.sleep(2)
        eta, done, total = (get(p, n, path, JOB) for n in ("EstimatedCompletion", "BytesDone", "BytesTotal"))
        left = eta / 1e6 - time.time()
        want = (total - done) * 0.02
        assert 0.5 * want < left < 2.5 * want, (left, want)


def test_phase_without_total(build):
    with Bus(build) as b:
        b.script(update=[["ready"], ["progress", "verify", 5, 0], ["forever"]])
        p = b.peer()
        path = p.wait(update(p))[1]
        b.until(lambda: get(p, "Phase", path, JOB) == "verify")
        eq((get(p, "Progress", path, JOB), get(p, "EstimatedCompletion", path, JOB)), (-1.0, 0))


def test_packet_flood_starves_nobody(build):
    with Bus(build) as b:
        b.script(update=[["ready"], ["many", 1000000, 0], *OK])
        p = b.peer()
        path = p.wait(update(p))[1]
        start = time.monotonic()
        for _ in range(100):
            manager(p, "ListJobs")
        spent = time.monotonic() - start
        p.call(NAME, path, JOB, "Cancel")
        return f"{spent * 10:.2f} ms a call"


def test_sigterm_stops_the_job(build):
    with Bus(build) as b:
        b.script(update=[["ready"], ["forever"]])
        p = b.peer()
        listen(p)
        number = p.wait(update(p))[0]
        start = time.monotonic()
        b.daemon.send_signal(signal.SIGTERM)
        eq(ended(p, number)[3], ERR + "Cancelled")
        eq(b.daemon.wait(5), 0)
        assert time.monotonic() - start < 5


def test_sigterm_waits_past_the_point_of_no_return(build):
    with Bus(build) as b:
        b.script(update=[["ready"], ["no-return"], ["sleep", 1], *OK])
        p = b.peer()
        listen(p)
        number = p.wait(update(p))[0]
        p.signal("PropertiesChanged", lambda m: m.body[1].get("PointOfNoReturn") is True)
        b.daemon.send_signal(signal.SIGTERM)
        time.sleep(0.2)
        fails("Busy", p.wait, update(p))
        eq(ended(p, number)[2:4], [0, ""])
        eq(b.daemon.wait(5), 0)


def test_killed_daemon_takes_its_worker_along(build):
    with Bus(build) as b:
        b.script(update=[["ready"], ["forever"]])
        p = b.peer()
        p.wait(update(p))
        group = b.orders("update")[0][1]["pgid"]
        b.daemon.kill()
        b.daemon.wait()
        b.until(lambda: not group_alive(group), what="the end of the worker")


def test_bus_that_goes_away(build):
    with Bus(build) as b:
        b.script(update=[["ready"], ["forever"]])
        p = b.peer()
        p.wait(update(p, opts=options(detach=True)))
        group = b.orders("update")[0][1]["pgid"]
        b.bus.kill()
        b.bus.wait()
        eq(b.daemon.wait(5), 0)
        eq(group_alive(group), False)


def test_sigterm_idle(build):
    with Bus(build) as b:
        eq(quit_daemon(b), 0)
