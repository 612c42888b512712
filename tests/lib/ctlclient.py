"""A sori-server as far as sori-sfu sees one: the control protocol (docs/CONTROL.md), for tests and
benches that need no rooms on the socket.

    c = Ctl("unix:/path", secret=b"...")
    answer = c.request("join", "room", "alice", mode="single", perms=ALL, offer=sdp, tracks=[...])["answer"]
    c.wait("state", lambda e: e["participant"] == "alice" and e["state"] == "connected")

SPDX-License-Identifier: BSD-3-Clause
"""
import hashlib
import hmac
import json
import secrets
import socket
import struct
import threading
import time

ALL = {"publish": ["microphone", "camera", "screen", "screen_audio", "other"], "subscribe": True, "data": True}
ANSWER_S = 20
ACK_EVENTS, ACK_S = 32, 0.2  # as sori-server does
PING_EVERY = 7  # of ACK_S


class Refused(Exception):
    """The SFU's error: .code and its message."""

    def __init__(self, code, message):
        super().__init__(f"{code}: {message}")
        self.code = code


class Ctl:
    def __init__(self, address, secret=b"", name="test", connect_s=10):
        self.secret, self.name = secret, name
        self.epoch, self.sfu_epoch = secrets.randbits(62) | 1, 0
        self.ids, self.last_seq, self.acked = 0, 0, 0
        self.news = threading.Condition()
        self.replies, self.events, self.ended = {}, [], None
        self.lock = threading.Lock()
        self.sock = self._connect(address, connect_s)
        self._hello()
        threading.Thread(target=self._read, daemon=True).start()
        threading.Thread(target=self._remind, daemon=True).start()

    @staticmethod
    def _connect(address, connect_s):
        deadline = time.monotonic() + connect_s
        while True:
            s = socket.socket(socket.AF_UNIX if address.startswith("unix:") else socket.AF_INET)
            try:
                host, _, port = address.rpartition(":")
                s.connect(address[5:] if address.startswith("unix:") else (host, int(port)))
                return s
            except OSError:
                s.close()
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.02)

    def _send(self, message):
        text = json.dumps(message).encode()
        with self.lock:
            self.sock.sendall(struct.pack("!I", len(text)) + text)

    def _take(self, n):
        data = b""
        while len(data) < n:
            piece = self.sock.recv(n - len(data))
            if not piece:
                raise ConnectionError("the SFU has closed the connection")
            data += piece
        return data

    def _receive(self):
        return json.loads(self._take(struct.unpack("!I", self._take(4))[0]))

    def _mac(self, label, *, sfu_nonce, nonce, node, sfu_epoch):
        text = b"".join(struct.pack("!I", len(f)) + f for f in (label, sfu_nonce, nonce, self.name.encode(), node))
        return hmac.new(self.secret, text + struct.pack("!QQ", self.epoch, sfu_epoch), hashlib.sha256).hexdigest()

    def _hello(self):
        self.sock.settimeout(ANSWER_S)
        challenge = self._receive()
        nonce, sfu_nonce = secrets.token_bytes(32), bytes.fromhex(challenge["nonce"])
        self._send({"t": "hello", "id": 1, "version": 1, "server": self.name, "epoch": self.epoch,
                    "sfuEpoch": 0, "lastSeq": 0, "nonce": nonce.hex(),
                    "mac": self._mac(b"sori-ctl 1 server", sfu_nonce=sfu_nonce, nonce=nonce, node=b"", sfu_epoch=0)})
        self.welcome = self._receive()
        if "error" in self.welcome:
            raise Refused(**self.welcome["error"])
        self.sfu_epoch = self.welcome["epoch"]
        want = self._mac(b"sori-ctl 1 sfu", sfu_nonce=sfu_nonce, nonce=nonce, node=self.welcome["node"].encode(),
                         sfu_epoch=self.sfu_epoch)
        assert hmac.compare_digest(want, self.welcome["mac"]), "the SFU does not know the secret"
        self.sock.settimeout(None)

    def _read(self):
        try:
            while True:
                self._handle(self._receive())
        except (OSError, ValueError) as e:
            with self.news:
                self.ended = e
                self.news.notify_all()

    def _handle(self, m):
        if m["t"] == "ping" and "id" in m:
            self._send({"t": "ping", "re": m["id"]})
        elif "re" in m:
            if m["t"] != "ping":
                with self.news:
                    self.replies[m["re"]] = m
                    self.news.notify_all()
        else:
            if "seq" in m:
                self.last_seq = m["seq"]
                if self.last_seq - self.acked >= ACK_EVENTS:
                    self._ack()
            m["at"] = time.monotonic()
            with self.news:
                self.events.append(m)
                self.news.notify_all()

    def _ack(self):
        self.acked = self.last_seq
        self._send({"t": "ack", "upto": self.acked})

    def _remind(self):
        """Acknowledges in time, and pings."""
        n = 0
        while self.ended is None:
            time.sleep(ACK_S)
            n += 1
            try:
                if self.acked != self.last_seq:
                    self._ack()
                if n % PING_EVERY == 0:
                    self._send({"t": "ping", "id": n})
            except OSError:
                return

    def ask(self, t, room=None, participant=None, **fields):
        """Sends a request; gives its id for answer()."""
        with self.news:
            self.ids += 1
            n = self.ids
        m = {"t": t, "id": n, **fields}
        if room is not None:
            m["room"] = room
        if participant is not None:
            m["participant"] = participant
        self._send(m)
        return n

    def answer(self, n, timeout_s=ANSWER_S):
        with self.news:
            if not self.news.wait_for(lambda: n in self.replies or self.ended, timeout_s):
                raise TimeoutError(f"no answer to request {n}")
            if n not in self.replies:
                raise self.ended
            m = self.replies.pop(n)
        if "error" in m:
            raise Refused(**m["error"])
        return m

    def request(self, t, room=None, participant=None, **fields):
        return self.answer(self.ask(t, room, participant, **fields))

    def wait(self, t, matches=lambda e: True, since=0, timeout_s=ANSWER_S):
        """The first event of this type that matches, from number `since` of self.events on."""
        found = []

        def there():
            found[:] = [e for e in self.events[since:] if e["t"] == t and matches(e)]
            return found or self.ended

        with self.news:
            if not self.news.wait_for(there, timeout_s) or not found:
                raise TimeoutError(f"no event {t}; the last: {self.events[-5:]}")
            return found[0]

    def close(self):
        self.sock.close()
