# SPDX-License-Identifier: LGPL-2.1-or-later
"""Talks to a worker directly, as the daemon does: dbus/worker-api.h. For tests without a bus."""

import array
import fcntl
import json
import os
import signal
import socket
import sys


def order(program, root, what, image=None, wrap=(), on_packet=None, hang_up=None):
    """Start a worker on the machine at @root, give it @what, wait for its end.

    @on_packet: called with every packet as it comes. @hang_up: the link is closed when that phase begins.
    Returns {"result": its last words or None, "world": the machine as it left it or None, "phases": the
    phases it went through, "status": its exit status as waitpid() gives it}.
    """
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    high = [fcntl.fcntl(theirs.fileno(), fcntl.F_DUPFD_CLOEXEC, 20)]
    if image:
        file = os.open(image, os.O_RDONLY | os.O_CLOEXEC)
        high.append(fcntl.fcntl(file, fcntl.F_DUPFD_CLOEXEC, 20))
        os.close(file)
        what = {"name": os.path.basename(image), "size": os.stat(image).st_size, **what}
    argv = [*wrap, program, "--worker", f"--root={root}"]
    actions = [(os.POSIX_SPAWN_DUP2, fd, 3 + n) for n, fd in enumerate(high)]
    # Python ignores SIGPIPE, and that would go along
    pid = os.posix_spawnp(argv[0], argv, dict(os.environ), file_actions=actions,
                          setsigdef=[signal.SIGPIPE])
    theirs.close()
    for fd in high:
        os.close(fd)
    outcome = {"result": None, "world": None, "phases": [], "status": None}
    try:
        ours.send(json.dumps({"job": 1, **what}).encode())
    except BrokenPipeError:
        pass                            # it died first: that is an outcome like any other
    while True:
        try:
            data, ancillary, _, _ = ours.recvmsg(128 * 1024, socket.CMSG_SPACE(4))
        except ConnectionResetError:
            break
        if not data:
            break
        packet = json.loads(data)
        if on_packet:
            on_packet(packet)
        for _, _, payload in ancillary:
            fd = array.array("i", payload[:4])[0]
            with os.fdopen(fd, "rb") as file:
                file.seek(0)
                outcome["world"] = json.loads(file.read())
        if packet["msg"] == "result":
            outcome["result"] = packet
        elif packet["msg"] == "progress" and packet["phase"] not in outcome["phases"]:
            outcome["phases"].append(packet["phase"])
            if packet["phase"] == hang_up:
                break
    ours.close()
    outcome["status"] = os.waitpid(pid, 0)[1]
    return outcome


if __name__ == "__main__":
    PROGRAM, ROOT, ORDER, IMAGE, *WRAP = sys.argv[1:]
    WHAT = json.loads(ORDER)
    print(json.dumps(order(PROGRAM, ROOT, WHAT, IMAGE or None, WRAP, hang_up=WHAT.pop("hang-up", None))))
