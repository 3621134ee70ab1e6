# SPDX-License-Identifier: LGPL-2.1-or-later
"""A D-Bus peer over the bare wire: what a library would refuse to send can be sent, what it would hide can be seen."""
import array
import os
import select
import socket
import struct
import time

FIXED = {"y": "B", "b": "I", "n": "h", "q": "H", "i": "i", "u": "I", "x": "q", "t": "Q", "d": "d", "h": "I"}
ALIGN = {"y": 1, "b": 4, "n": 2, "q": 2, "i": 4, "u": 4, "x": 8, "t": 8, "d": 8, "h": 4,
         "s": 4, "o": 4, "g": 1, "a": 4, "(": 8, "{": 8, "v": 1}
CALL, RETURN, ERROR, SIGNAL = 1, 2, 3, 4
NO_REPLY, NO_AUTO_START, ALLOW_INTERACTIVE = 1, 2, 4


class Variant:
    def __init__(self, signature, value):
        self.signature, self.value = signature, value


class BusError(Exception):
    def __init__(self, name, text):
        super().__init__(f"{name}: {text}")
        self.name, self.text = name, text


class Gone(Exception):
    """The other end has closed the connection."""


def split(signature):
    """'sa{sv}' -> ['s', 'a{sv}']"""
    out, i = [], 0
    while i < len(signature):
        j = i
        while signature[j] == "a":
            j += 1
        if signature[j] in "({":
            depth = 0
            while True:
                depth += (signature[j] in "({") - (signature[j] in ")}")
                if depth == 0:
                    break
                j += 1
        out.append(signature[i:j + 1])
        i = j + 1
    return out


def pad(buf, n):
    buf.extend(b"\0" * (-len(buf) % n))


def put(buf, t, v):
    pad(buf, ALIGN[t[0]])
    if t in FIXED:
        buf += struct.pack("<" + FIXED[t], int(v) if t != "d" else v)
    elif t in "so":
        raw = v if isinstance(v, bytes) else v.encode()
        buf += struct.pack("<I", len(raw)) + raw + b"\0"
    elif t == "g":
        buf += bytes([len(v)]) + v.encode() + b"\0"
    elif t == "v":
        put(buf, "g", v.signature)
        put(buf, v.signature, v.value)
    elif t[0] == "a":
        at = len(buf)
        buf += b"\0\0\0\0"
        pad(buf, ALIGN[t[1]])
        start = len(buf)
        for item in (v.items() if isinstance(v, dict) else v):
            put(buf, t[1:], item)
        buf[at:at + 4] = struct.pack("<I", len(buf) - start)
    else:
        for member, item in zip(split(t[1:-1]), v, strict=True):
            put(buf, member, item)


class Reader:
    def __init__(self, data, at=0):
        self.data, self.at = data, at

    def align(self, n):
        self.at += -self.at % n

    def get(self, t):
        self.align(ALIGN[t[0]])
        if t in FIXED:
            size = struct.calcsize(FIXED[t])
            v, = struct.unpack_from("<" + FIXED[t], self.data, self.at)
            self.at += size
            return bool(v) if t == "b" else v
        if t in "so":
            n, = struct.unpack_from("<I", self.data, self.at)
            v = self.data[self.at + 4:self.at + 4 + n].decode()
            self.at += 5 + n
            return v
        if t == "g":
            n = self.data[self.at]
            v = self.data[self.at + 1:self.at + 1 + n].decode()
            self.at += 2 + n
            return v
        if t == "v":
            return self.get(self.get("g"))
        if t[0] == "a":
            n, = struct.unpack_from("<I", self.data, self.at)
            self.at += 4
            self.align(ALIGN[t[1]])
            end, items = self.at + n, []
            while self.at < end:
                items.append(self.get(t[1:]))
            return dict(items) if t[1] == "{" else items
        return tuple(self.get(m) for m in split(t[1:-1]))


class Message:
    def __init__(self, kind, flags, serial, fields, body):
        self.kind, self.flags, self.serial, self.fields = kind, flags, serial, fields
        self.path, self.interface, self.member = fields.get(1), fields.get(2), fields.get(3)
        self.error, self.reply_to, self.sender = fields.get(4), fields.get(5), fields.get(7)
        self.signature = fields.get(8, "")
        r = Reader(body)
        self.body = [r.get(t) for t in split(self.signature)]

    def __repr__(self):
        return f"<{self.member or self.error or self.reply_to} {self.path} {self.body}>"


class Peer:
    """One connection. @uid: who the bus takes us for."""

    def __init__(self, address, uid=0):
        path = address.removeprefix("unix:path=")
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        self.serial, self.data, self.signals, self.replies = 0, bytearray(), [], {}
        os.seteuid(uid)
        try:
            self.sock.connect(path)
            self.sock.sendall(b"\0AUTH EXTERNAL " + str(uid).encode().hex().encode() + b"\r\n")
            answer = self.sock.recv(512)
            assert answer.startswith(b"OK"), answer
            self.sock.sendall(b"NEGOTIATE_UNIX_FD\r\n")
            answer = self.sock.recv(512)
            assert answer.startswith(b"AGREE_UNIX_FD"), answer
            self.sock.sendall(b"BEGIN\r\n")
        finally:
            os.seteuid(0)
        self.name = self.driver("Hello")[0]

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self.sock.close()

    # --- out

    def pack(self, kind, fields, signature="", args=(), flags=0, fds=(), body=None):
        self.serial += 1
        if body is None:
            body = bytearray()
            for t, v in zip(split(signature), args, strict=True):
                put(body, t, v)
        fields = dict(fields)
        if signature:
            fields[8] = ("g", signature)
        if fds:
            fields[9] = ("u", len(fds))
        head = bytearray(struct.pack("<cBBBII", b"l", kind, flags, 1, len(body), self.serial))
        put(head, "a(yv)", [(k, Variant(*v)) for k, v in sorted(fields.items())])
        pad(head, 8)
        return bytes(head + body)

    def push(self, data, fds=()):
        """Blocks while the bus does not take more."""
        view, anc = memoryview(data), []
        if fds:
            anc = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))]
        while view:
            n = self.sock.sendmsg([view], anc)
            view, anc = view[n:], []

    def post(self, dest, path, interface, member, signature="", args=(), flags=0, fds=(), body=None):
        """Sends a call, returns its serial."""
        fields = {1: ("o", path), 2: ("s", interface), 3: ("s", member), 6: ("s", dest)}
        self.push(self.pack(CALL, fields, signature, args, flags, fds, body), fds)
        return self.serial

    def emit(self, path, interface, member, signature="", args=()):
        self.push(self.pack(SIGNAL, {1: ("o", path), 2: ("s", interface), 3: ("s", member)}, signature, args))

    def answer(self, call, signature="", args=(), error=None):
        fields = {5: ("u", call.serial), 6: ("s", call.sender)}
        if error:
            fields[4] = ("s", error)
        self.push(self.pack(ERROR if error else RETURN, fields, signature, args))

    # --- in

    def parse(self):
        if len(self.data) < 16:
            return None
        n_body, serial, n_fields = struct.unpack_from("<III", self.data, 4)
        start = 16 + n_fields + (-n_fields % 8)
        if len(self.data) < start + n_body:
            return None
        fields = dict(Reader(bytes(self.data[:start]), 12).get("a(yv)"))
        body = bytes(self.data[start:start + n_body])
        m = Message(self.data[1], self.data[2], serial, fields, body)
        del self.data[:start + n_body]
        return m

    def receive(self, timeout=10.0):
        """The next message of any kind, None after @timeout."""
        end = time.monotonic() + timeout
        while True:
            m = self.parse()
            if m:
                return m
            left = end - time.monotonic()
            if left <= 0 or not select.select([self.sock], [], [], left)[0]:
                return None
            try:
                chunk = self.sock.recv(1 << 16)
            except ConnectionResetError:
                chunk = b""
            if not chunk:
                raise Gone()
            self.data += chunk

    def sort(self, m):
        if m.kind in (RETURN, ERROR):
            self.replies[m.reply_to] = m
        else:
            self.signals.append(m)

    def wait(self, serial, timeout=10.0):
        """The body of the reply, or BusError; what else arrives is kept in .signals."""
        end = time.monotonic() + timeout
        while serial not in self.replies:
            m = self.receive(end - time.monotonic())
            if not m:
                raise TimeoutError(f"no reply within {timeout} s")
            self.sort(m)
        m = self.replies.pop(serial)
        if m.kind == ERROR:
            raise BusError(m.error, m.body[0] if m.body else "")
        return m.body

    def call(self, *args, timeout=10.0, **kw):
        return self.wait(self.post(*args, **kw), timeout)

    def driver(self, member, signature="", args=()):
        return self.call("org.freedesktop.DBus", "/org/freedesktop/DBus", "org.freedesktop.DBus", member, signature,
                         args)

    def signal(self, member, test=lambda m: True, timeout=10.0):
        """The first signal (or call to us) of that name that passes @test; earlier ones stay."""
        end, seen = time.monotonic() + timeout, 0
        while True:
            for m in self.signals[seen:]:
                if m.member == member and test(m):
                    self.signals.remove(m)
                    return m
            seen = len(self.signals)
            m = self.receive(end - time.monotonic())
            if not m:
                raise TimeoutError(f"no {member} within {timeout} s; there were {self.signals}")
            self.sort(m)

    def drain(self, seconds):
        """Everything that arrives in that time, into .signals and .replies."""
        end = time.monotonic() + seconds
        while (m := self.receive(max(0.0, end - time.monotonic()))) is not None:
            self.sort(m)
