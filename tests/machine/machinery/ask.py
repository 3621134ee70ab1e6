#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""ask.py MANIFEST: what Inspect answers on the machine's bus, as JSON. Inside a machine."""

import json
import os
import sys

sys.path.append(os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "bus"))

from wire import BusError, Peer  # pylint: disable=wrong-import-position  # noqa: E402


def main():
    fd = os.open(sys.argv[1], os.O_RDONLY | os.O_NONBLOCK)
    with Peer(os.environ["DBUS_SYSTEM_BUS_ADDRESS"], uid=65534) as peer:
        try:
            answer = peer.call("org.abupdate1", "/org/abupdate1", "org.abupdate1.Manager", "Inspect", "h", [0],
                               fds=[fd])[0]
        except BusError as error:
            answer = {"refused": error.name.rpartition(".")[2]}
    json.dump({k: getattr(v, "value", v) for k, v in answer.items()}, sys.stdout)


main()
