# SPDX-License-Identifier: LGPL-2.1-or-later
"""A web server that behaves as badly as it is told: breaks connections, ignores ranges, changes the file."""

import http.server
import ssl
import threading


class Server(http.server.ThreadingHTTPServer):
    """Serves one file under every path. Options, all of which may be changed while it runs:

    data            the bytes of the file
    breaks          for the next requests: after how many bytes the connection is cut (None: never)
    then            for the next requests: what is called behind the body, before the connection is cut
    statuses        for the next requests: answer with this status instead (None: the file)
    ranges          whether Range is honoured
    etag, modified  validators; None: not sent
    length          whether Content-Length is sent; else the body is chunked
    redirect        path -> where it leads to
    manifest        what lies beside the file; None: nothing
    """

    def __init__(self, data, tls=None):
        super().__init__(("127.0.0.1", 0), Handler)
        self.data, self.etag, self.modified = data, '"one"', "Mon, 02 Nov 2026 10:00:00 GMT"
        self.breaks, self.then, self.statuses, self.requests = [], [], [], []
        self.ranges = self.length = True
        self.redirect = {}
        self.manifest, self.manifests = None, 0
        self.scheme = "http"
        if tls:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(tls)
            self.socket = context.wrap_socket(self.socket, server_side=True)
            self.scheme = "https"
        self.thread = threading.Thread(target=self.serve_forever, daemon=True)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.shutdown()
        self.server_close()

    def url(self, path="image.send"):
        """Where the file is."""
        return f"{self.scheme}://localhost:{self.server_port}/{path}"

    def handle_error(self, request, client_address):
        """A client that goes away is no news here."""


class Handler(http.server.BaseHTTPRequestHandler):
    """One request."""

    protocol_version = "HTTP/1.1"

    def log_message(self, format, *args):  # pylint: disable=redefined-builtin
        """Says nothing."""

    def validators(self):
        """The headers that say which file this is."""
        if self.server.etag:
            self.send_header("ETag", self.server.etag)
        if self.server.modified:
            self.send_header("Last-Modified", self.server.modified)

    def wants_range(self):
        """Where to begin, or None for the whole file."""
        condition = self.headers.get("If-Range")
        if not self.server.ranges or "Range" not in self.headers:
            return None
        if condition and condition not in (self.server.etag, self.server.modified):
            return None
        return int(self.headers["Range"].removeprefix("bytes=").removesuffix("-"))

    def do_GET(self):  # pylint: disable=invalid-name
        """The file, or what the server was told to do instead."""
        server = self.server
        if self.path.endswith(".manifest"):
            server.manifests += 1
            self.send_response(200 if server.manifest is not None else 404)
            self.send_header("Content-Length", str(len(server.manifest or b"")))
            self.end_headers()
            self.wfile.write(server.manifest or b"")
            return
        server.requests.append((self.path, self.headers.get("Range"), self.headers.get("If-Range")))
        status = server.statuses.pop(0) if server.statuses else None
        if self.path in server.redirect:
            self.send_response(302)
            self.send_header("Location", server.redirect[self.path])
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        if status:
            self.send_response(status)
            self.send_header("Content-Length", "11")
            self.end_headers()
            self.wfile.write(b"not for you")
            return
        cut = server.breaks.pop(0) if server.breaks else None
        self.send_file(self.wants_range(), cut, server.then.pop(0) if server.then else None)

    def send_file(self, start, cut, then):
        """The file from @start, but no more than @cut bytes of it; then calls @then."""
        data = self.server.data[start or 0:]
        if start is not None and not data:
            self.send_response(416)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        self.send_response(200 if start is None else 206)
        self.validators()
        if start is not None:
            size = len(self.server.data)
            self.send_header("Content-Range", f"bytes {start}-{size - 1}/{size}")
        if self.server.length:
            self.send_header("Content-Length", str(len(data)))
        else:
            self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        body = data if cut is None else data[:cut]
        if self.server.length:
            self.wfile.write(body)
        else:
            for at in range(0, len(body), 10000):
                piece = body[at:at + 10000]
                self.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece))
            if cut is None:
                self.wfile.write(b"0\r\n\r\n")
        if then:
            then()
        if cut is not None:
            self.wfile.flush()
            self.connection.close()
            self.close_connection = True
