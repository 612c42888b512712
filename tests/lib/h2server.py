"""An HTTP/2 server that does to its clients what a test asks for, frame by frame.

    with RawServer(lambda c, stream, headers, body: c.answer(stream)) as srv:
        out = push(srv, n=100)
        assert srv.frames["RST_STREAM"] == 0

Frames are parsed by hand (HPACK by python3-hpack), so that what a library would hide is seen:
resets of closed streams, PING, PRIORITY. push() runs bench/load/h2_push against it.
SPDX-License-Identifier: BSD-3-Clause
"""
import collections
import json
import os
import socket
import ssl
import struct
import subprocess
import tempfile
import threading

import hpack

from soridaemon import BUILD, SANITIZER, free_port

TYPES = ["DATA", "HEADERS", "PRIORITY", "RST_STREAM", "SETTINGS", "PUSH_PROMISE", "PING", "GOAWAY", "WINDOW_UPDATE",
         "CONTINUATION"]
MAX_CONCURRENT, INITIAL_WINDOW = 3, 4
NO_ERROR, INTERNAL_ERROR, REFUSED_STREAM, CANCEL, ENHANCE_YOUR_CALM = 0, 2, 7, 8, 11
END_STREAM = ACK = 1
END_HEADERS = 4
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"


def openssl(*args):
    subprocess.run(["openssl", *args], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


class Certificates:
    """An authority and what it signs, in files of a temporary folder."""

    def __init__(self):
        self.folder = tempfile.mkdtemp(prefix="sori-h2-")
        self.ca = self.path("ca.pem")
        openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2",
                "-subj", "/CN=test authority", "-keyout", self.path("ca.key"), "-out", self.ca)
        self.good = self.sign("good", "DNS:localhost,IP:127.0.0.1", 2)

    def path(self, name):
        return os.path.join(self.folder, name)

    def sign(self, name, san, days, dates=()):
        """A certificate for san that is valid for so many days from now, or within dates."""
        key, csr, pem, ext = (self.path(name + e) for e in (".key", ".csr", ".pem", ".ext"))
        openssl("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", f"/CN={name}",
                "-keyout", key, "-out", csr)
        os.chmod(key, 0o600)
        with open(ext, "w", encoding="ascii") as f:
            f.write(f"[v3]\nsubjectAltName={san}\n[ca]\ndefault_ca=c\n[c]\ndatabase={self.path('index')}\n"
                    f"new_certs_dir={self.folder}\nserial={self.path('serial')}\npolicy=p\n[p]\ncommonName=supplied\n")
        if dates:
            for made, text in (("index", ""), ("serial", "10\n")):
                with open(self.path(made), "w", encoding="ascii") as f:
                    f.write(text)
            openssl("ca", "-batch", "-config", ext, "-extensions", "v3", "-in", csr, "-out", pem, "-cert", self.ca,
                    "-keyfile", self.path("ca.key"), "-md", "sha256", "-startdate", dates[0], "-enddate", dates[1])
        else:
            openssl("x509", "-req", "-in", csr, "-CA", self.ca, "-CAkey", self.path("ca.key"), "-CAcreateserial",
                    "-days", str(days), "-out", pem, "-extfile", ext, "-extensions", "v3")
        return pem, key


_certificates = None


def certificates():
    global _certificates
    if not _certificates:
        _certificates = Certificates()
    return _certificates


class Conn:
    """One client's connection. The test's functions run on its thread."""

    def __init__(self, server, sock, number):
        self.server, self.sock, self.number = server, sock, number
        self.encoder, self.decoder = hpack.Encoder(), hpack.Decoder()
        self.lock = threading.Lock()
        self.heads, self.bodies, self.data = {}, {}, {}
        self.requests = self.last_stream = 0
        self.stop_at = None  # streams above are ignored: a GOAWAY said so
        self.deaf = self.mute = self.closed = False  # mute: says nothing

    def send(self, kind, flags=0, stream=0, payload=b""):
        frame = struct.pack(">I", len(payload))[1:] + bytes([TYPES.index(kind), flags]) + struct.pack(">I", stream) + payload
        with self.lock:
            if self.mute or self.closed:
                return
            try:
                self.sock.sendall(frame)
            except OSError:
                self.closed = True

    def settings(self, **values):
        ids = {"max_concurrent": MAX_CONCURRENT, "initial_window": INITIAL_WINDOW}
        self.send("SETTINGS", payload=b"".join(struct.pack(">HI", ids[k], v) for k, v in values.items()))

    def answer(self, stream, status=200, body=b"", headers=()):
        """As Apple does: apns-id comes back."""
        fields = [(":status", str(status)), ("apns-id", self.heads.get(stream, {}).get("apns-id", "")), *headers]
        with self.server.lock:
            self.server.answered += 1
        with self.lock:
            block = self.encoder.encode(fields)
        self.send("HEADERS", END_HEADERS | (0 if body else END_STREAM), stream, block)
        if body:
            self.send("DATA", END_STREAM, stream, body)

    def rst(self, stream, code):
        self.send("RST_STREAM", 0, stream, struct.pack(">I", code))

    def goaway(self, last, code=NO_ERROR, debug=b""):
        if last < 0x7fffffff:
            self.stop_at = last
        self.send("GOAWAY", 0, 0, struct.pack(">II", last, code) + debug)

    # The descriptor is closed by its own thread only: its number would be somebody else's else.

    def drop(self):
        """The connection breaks (RST), without TLS's goodbye. From on_request only."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.closed = True

    def close(self):
        """The connection ends (FIN)."""
        self.closed = True
        try:
            socket.socket.shutdown(self.sock, socket.SHUT_RDWR)
        except OSError:
            pass

    # ---- reading

    def exactly(self, n):
        while len(self.pending) < n:
            more = self.sock.recv(65536)
            if not more:
                raise EOFError
            self.pending += more
        out, self.pending = self.pending[:n], self.pending[n:]
        return out

    def run(self):
        self.pending = b""
        try:
            if self.exactly(len(PREFACE)) != PREFACE:
                self.server.wrong.append("preface")
                return
            if self.server.settings is not False:
                self.settings(**self.server.settings)
            while not self.closed:
                if self.deaf:
                    self.server.stopped.wait(60)
                    return
                head = self.exactly(9)
                length = int.from_bytes(head[:3], "big")
                self.frame(TYPES[head[3]], head[4], int.from_bytes(head[5:], "big"), self.exactly(length))
        except (EOFError, OSError, ssl.SSLError):
            pass
        finally:
            with self.lock:
                self.closed = True
                self.sock.close()
            self.server.gone(self)

    def frame(self, kind, flags, stream, payload):
        srv = self.server
        with srv.lock:
            srv.frames[kind] += 1
        if kind == "SETTINGS" and not flags & ACK:
            self.send("SETTINGS", ACK)
        elif kind == "PING" and not flags & ACK and srv.answers_ping:
            self.send("PING", ACK, 0, payload)
        elif kind == "HEADERS":
            headers = self.decoder.decode(payload, raw=False)
            self.never_indexed(headers)
            if stream <= self.last_stream or stream % 2 == 0 or not flags & END_HEADERS:
                srv.wrong.append(f"stream {stream} after {self.last_stream}")
            self.last_stream = stream
            self.heads[stream] = dict(headers)
            self.bodies[stream] = []
            if flags & END_STREAM:
                self.request(stream)
        elif kind == "DATA":
            if srv.credits and payload:
                self.send("WINDOW_UPDATE", 0, 0, struct.pack(">I", len(payload)))
                if not flags & END_STREAM:
                    self.send("WINDOW_UPDATE", 0, stream, struct.pack(">I", len(payload)))
            self.bodies.get(stream, []).append(payload)
            if flags & END_STREAM:
                self.request(stream)
        elif kind == "RST_STREAM":
            srv.resets.append(struct.unpack(">I", payload)[0])

    def never_indexed(self, headers):
        """Secrets and paths stay out of the header table (RFC 7541 §7.1.3)."""
        for h in headers:
            if h[0] in (":path", "authorization") and getattr(h, "indexable", True):
                self.server.wrong.append(f"{h[0]} may be indexed")
        self.server.table_bytes = max(self.server.table_bytes, self.decoder.header_table._current_size)

    def request(self, stream):
        if self.stop_at is not None and stream > self.stop_at:
            return
        self.requests += 1
        head = self.heads[stream]
        with self.server.lock:
            self.server.requests += 1
            self.server.ids[head.get("apns-id")] += 1
        self.server.on_request(self, stream, head, b"".join(self.bodies.pop(stream)))


class RawServer:
    """Listens on 127.0.0.1:port over TLS. on_request(conn, stream, headers, body) answers.

    settings: of every connection; False: never any. credits: windows are given back. on_open(conn): before the first
    byte. alpn: protocols; cert: (pem, key)."""

    def __init__(self, on_request=lambda c, s, h, b: c.answer(s), *, settings=None, credits=True, answers_ping=True,
                 on_open=None, alpn=("h2",), cert=None, port=None, verify=None):
        self.on_request, self.settings, self.credits = on_request, settings, credits
        if settings is None:
            self.settings = {"max_concurrent": 1000}
        self.answers_ping, self.on_open = answers_ping, on_open
        self.frames, self.ids = collections.Counter(), collections.Counter()
        self.requests = self.answered = self.table_bytes = self.accepted = 0
        self.resets, self.wrong, self.conns, self.handshake_errors = [], [], [], []
        self.lock, self.stopped = threading.Lock(), threading.Event()
        self.port = port or free_port()
        self.tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.tls.load_cert_chain(*(cert or certificates().good))
        if alpn:
            self.tls.set_alpn_protocols(list(alpn))
        if verify:
            self.tls.verify_mode = ssl.CERT_REQUIRED
            self.tls.load_verify_locations(verify)

    def __enter__(self):
        self.listener = socket.create_server(("127.0.0.1", self.port), backlog=64)
        threading.Thread(target=self.accept, daemon=True).start()
        return self

    def __exit__(self, *_):
        self.stopped.set()
        self.listener.close()
        for c in list(self.conns):
            c.close()

    def accept(self):
        while not self.stopped.is_set():
            try:
                sock, _ = self.listener.accept()
            except OSError:
                return
            self.accepted += 1
            threading.Thread(target=self.serve, args=(sock, self.accepted), daemon=True).start()

    def serve(self, sock, number):
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            tls = self.tls.wrap_socket(sock, server_side=True)
        except (OSError, ssl.SSLError) as e:
            self.handshake_errors.append(str(e))
            sock.close()
            return
        conn = Conn(self, tls, number)
        with self.lock:
            self.conns.append(conn)
        if self.on_open:
            self.on_open(conn)
        conn.run()

    def gone(self, conn):
        with self.lock:
            if conn in self.conns:
                self.conns.remove(conn)

    @property
    def doubled(self):
        return sum(n - 1 for n in self.ids.values() if n > 1)


def push_command(**options):
    options.setdefault("ca", certificates().ca)
    return [os.path.join(BUILD, "bench/load/h2_push"), *(f"{k}={v}" for k, v in options.items())]


def push(server=None, timeout=30, **options):
    """Runs h2_push; its report as a dict."""
    if server:
        options.setdefault("port", server.port)
        options.setdefault("connect", f"127.0.0.1:{server.port}")
    p = subprocess.run(push_command(**options), capture_output=True, text=True, timeout=timeout)
    assert p.returncode == 0, p.stderr
    assert not SANITIZER.search(p.stderr), p.stderr
    assert p.stdout.startswith("{"), (p.stdout, p.stderr)
    return json.loads(p.stdout)
