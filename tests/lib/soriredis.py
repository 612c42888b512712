"""A redis-server of Debian for tests, in a folder of its own, on a Unix socket and a port.
SPDX-License-Identifier: BSD-3-Clause
"""
import os
import shutil
import socket
import subprocess
import tempfile
import threading
import time

from soridaemon import free_port


# Where nodes of a cluster find it, each at an address of its own: so one can be cut off.
NODES = [f"127.0.0.{i}" for i in range(2, 6)]


class Redis:
    """with Redis(password="x") as r: r.do("SET", "key", "value")"""

    def __init__(self, password=None, *options):
        self.folder, self.password, self.process = tempfile.mkdtemp(prefix="redis-"), password, None
        self.options = [str(o) for o in options]
        self.port, self.path = free_port(), os.path.join(self.folder, "socket")

    def start(self):
        more = ["--requirepass", self.password] if self.password else []
        self.process = subprocess.Popen(
            ["redis-server", "--port", str(self.port), "--bind", "127.0.0.1", *NODES, "--unixsocket", self.path,
             "--dir", self.folder, "--save", "", "--appendonly", "no", *more,
             *self.options],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + 10
        while True:
            try:
                assert self.do("PING") == b"PONG"
                return self
            except OSError:
                assert time.monotonic() < deadline and self.process.poll() is None
                time.sleep(0.02)

    def stop(self):
        if self.process:
            self.process.kill()
            self.process.wait()
            self.process = None

    def connect(self):
        s = socket.create_connection(("127.0.0.1", self.port), 5)
        f = s.makefile("rb")
        if self.password:
            send(s, "AUTH", self.password)
            assert read(f) == b"OK"
        return s, f

    def do(self, *words):
        s, f = self.connect()
        with s, f:
            send(s, *words)
            return read(f)

    def __enter__(self):
        return self.start()

    def __exit__(self, *_):
        self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)


class Sentinel:
    """One of those who watch a master: with Sentinel(master, quorum=2) as s: ..."""

    def __init__(self, master, quorum, down_after_ms=1000):
        self.folder, self.port, self.process = tempfile.mkdtemp(prefix="sentinel-"), free_port(), None
        self.conf = os.path.join(self.folder, "sentinel.conf")
        with open(self.conf, "w", encoding="utf-8") as f:
            f.write(f"""port {self.port}
bind 127.0.0.1
dir {self.folder}
sentinel monitor mymaster 127.0.0.1 {master.port} {quorum}
sentinel down-after-milliseconds mymaster {down_after_ms}
sentinel failover-timeout mymaster 5000
""")

    def do(self, *words):
        with socket.create_connection(("127.0.0.1", self.port), 5) as s, s.makefile("rb") as f:
            send(s, *words)
            return read(f)

    def master(self):
        """What it knows of the master."""
        flat = self.do("SENTINEL", "master", "mymaster")
        return dict(zip(flat[::2], flat[1::2]))

    def __enter__(self):
        self.process = subprocess.Popen(["redis-server", self.conf, "--sentinel"], stdin=subprocess.DEVNULL,
                                        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)


class Channel:
    """What is published to a channel, from now on."""

    def __init__(self, redis, name):
        self.sock, self.file = redis.connect()
        self.messages, self.news = [], threading.Condition()
        send(self.sock, "SUBSCRIBE", name)
        assert read(self.file)[0] == b"subscribe"
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self):
        try:
            while True:
                message = read(self.file)[2]
                with self.news:
                    self.messages.append(message)
                    self.news.notify_all()
        except (OSError, EOFError, ValueError):
            pass

    def wait(self, n, timeout_s=10):
        """The first n messages."""
        with self.news:
            assert self.news.wait_for(lambda: len(self.messages) >= n, timeout_s), self.messages
            return self.messages[:n]

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.sock.close()


def send(sock, *words):
    words = [w if isinstance(w, bytes) else str(w).encode() for w in words]
    sock.sendall(b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%s\r\n" % (len(w), w) for w in words))


def read(f):
    line = f.readline()
    if not line:
        raise EOFError
    kind, rest = line[:1], line[1:].strip()
    if kind == b"-":
        raise AssertionError(rest)
    if kind == b":":
        return int(rest)
    if kind == b"$":
        return None if rest == b"-1" else f.read(int(rest) + 2)[:-2]
    if kind == b"*":
        return [read(f) for _ in range(int(rest))]
    return rest
