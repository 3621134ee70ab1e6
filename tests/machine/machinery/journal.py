# SPDX-License-Identifier: LGPL-2.1-or-later
"""A stand-in for journald: takes native datagrams, keeps every entry as a line of JSON."""

import array
import json
import os
import socket
import struct


def parse(data):
    """A native protocol datagram as a dict of strings."""
    fields = {}
    at = 0
    while at < len(data):
        end = data.index(b"\n", at)
        name, equals, value = data[at:end].partition(b"=")
        at = end + 1
        if not equals:                  # binary: 8 bytes of length, the value, a newline
            size, = struct.unpack_from("<Q", data, at)
            value = data[at + 8:at + 8 + size]
            at += 8 + size + 1
        fields[name.decode()] = value.decode(errors="backslashreplace")
    return fields


class Journal:
    """Listens at @path and appends to @log."""

    def __init__(self, path, log):
        os.makedirs(os.path.dirname(path), exist_ok=True)
        self.log = log
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
        self.socket.bind(path)
        os.chmod(path, 0o666)

    def fileno(self):
        """For a selector."""
        return self.socket.fileno()

    def receive(self):
        """Take one entry; call when the socket is readable."""
        data, ancillary, _, _ = self.socket.recvmsg(1 << 20, socket.CMSG_SPACE(4))
        for level, kind, payload in ancillary:
            if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
                for fd in array.array("i", payload[:4]):
                    with os.fdopen(fd, "rb") as file:       # an entry too big for a datagram
                        file.seek(0)
                        data = file.read()
        try:
            entry = parse(data)
        except (ValueError, struct.error):
            entry = {"MESSAGE": "not an entry", "RAW": repr(data)}
        with open(self.log, "a", encoding="utf-8") as file:
            file.write(json.dumps(entry) + "\n")
