#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Stands in for "abupdated --worker" (dbus/worker-api.h): $FAKE_WORKER says how it behaves.

done, error=KIND=MESSAGE, die, slow (until SIGTERM), stubborn (until killed), silent (no world).
"""

import json
import os
import select
import signal
import socket
import sys
import time

WORLD = {
    "backend": "snapshot", "boot-backend": "default-subvolume", "verification": "signature",
    "capabilities": [], "state": "steady", "reason": "it is the default slot", "version": "2.0",
    "booted": "2", "next": "2", "good": "2", "reboot-required": False, "transaction": "",
    "problems": [], "refused": [],
    "slots": [{"id": str(i), "state": "good", "version": f"{i}.0", "reason": "", "pinned": False,
               "created": 1790000000000000, "size": 1 << 30, "exclusive": 0, "read-only": True,
               "kernel-version": "6.18.2", "devices": [], "tries-left": -1} for i in (1, 2)],
    "history": [{"time": 1790000000000000 + i, "job": i, "type": "update", "slot": "2",
                 "version": "2.0", "status": 0, "error": "", "message": f"event {i}"}
                for i in (1, 2, 3)],
}


def send(link, packet, *fds):
    """One packet."""
    socket.send_fds(link, [json.dumps(packet).encode()], fds)


def main():
    """One job."""
    link = socket.socket(fileno=3)
    order = json.loads(link.recv(131072))
    how, *rest = os.environ.get("FAKE_WORKER", "done").split("=")
    stopped = []
    signal.signal(signal.SIGTERM, lambda *_: stopped.append(1))
    with open(os.environ["FAKE_WORKER_LOG"], "a", encoding="utf-8") as log:
        log.write(json.dumps([sys.argv[1:], order]) + "\n")
    result = {"msg": "result", "code": 0, "kind": "", "text": f"{order['type']} is done",
              "slot": "3", "transaction": "3"}
    if how == "error":
        result.update(code=-5, kind=rest[0], text=rest[1])
    if how == "die":
        sys.exit(1)
    send(link, {"msg": "ready"})
    send(link, {"msg": "progress", "phase": "write", "done": 5, "total": 10})
    if order["type"] in ("update", "plan"):
        result["steps"] = [{"phase": "write", "text": "receive", "bytes": order.get("size", 0)}]
        with open(os.environ["FAKE_WORKER_LOG"] + ".image", "wb") as out:
            while how not in ("slow", "stubborn") and not stopped:
                if not select.select([4], [], [], 0.05)[0]:
                    continue
                piece = os.read(4, 65536)
                if not piece:
                    break
                out.write(piece)
    if order["type"] == "check":
        result["findings"] = [{"severity": "error", "subject": "s", "problem": "p", "advice": "a"}]
    while how == "stubborn" or (how == "slow" and not stopped):
        time.sleep(0.05)
    if stopped:
        result.update(code=-125, kind="Cancelled", text="stopped")
    if how != "silent":
        fd = os.memfd_create("world")
        os.write(fd, json.dumps(WORLD).encode())
        send(link, {"msg": "world"}, fd)
    send(link, result)


main()
