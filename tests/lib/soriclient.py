"""A small signaling client for tests, on Debian's python3-websockets. SPDX-License-Identifier: BSD-3-Clause"""
import asyncio
import base64
import hashlib
import hmac
import json
import ssl
import time

import websockets

SECRET = "0123456789abcdef0123456789abcdef"


def _b64(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def token(user, life_s=3600, secret=SECRET, **claims):
    head = _b64(json.dumps({"alg": "HS256", "typ": "JWT"}).encode())
    body = _b64(json.dumps({"sub": user, "exp": int(time.time()) + life_s, **claims}).encode())
    mac = hmac.new(secret.encode(), f"{head}.{body}".encode(), hashlib.sha256).digest()
    return f"{head}.{body}.{_b64(mac)}"


def trust_anything():
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


class Client:
    """One device. Numbers what it sends, acknowledges what it gets, keeps the rest in order."""

    def __init__(self, url, user, device="dev-1"):
        self.url, self.user, self.device = url, user, device
        self.socket, self.welcome = None, None
        self.seq = self.last = 0
        self.ids = 0

    async def connect(self, resume=None, **kw):
        tls = trust_anything() if self.url.startswith("wss") else None
        self.socket = await websockets.connect(self.url, subprotocols=["sori.v1"], ssl=tls,
                                               compression=None, max_size=None, ping_interval=None, **kw)
        data = {"token": token(self.user), "deviceId": self.device, "capabilities": ["video"]}
        if resume:
            data["resume"] = resume
        await self.raw({"type": "hello", "id": "h", "data": data})
        self.welcome = await self.next()
        assert self.welcome["type"] == "welcome", self.welcome
        if not self.welcome["data"]["resumed"]:
            self.seq = self.last = 0
        return self.welcome["data"]

    def resume(self):
        d = self.welcome["data"]
        return {"sessionId": d["sessionId"], "resumeToken": d["resumeToken"], "lastSeq": self.last}

    async def raw(self, message):
        await self.socket.send(message if isinstance(message, (str, bytes)) else json.dumps(message))

    async def send(self, kind, call=None, data=None, to=None, **more):
        self.seq += 1
        self.ids += 1
        m = {"type": kind, "id": f"{self.device}-{self.ids}", "seq": self.seq, "ack": self.last, **more}
        if call:
            m["callId"] = call
        if to:
            m["to"] = to
        if data is not None:
            m["data"] = data
        await self.raw(m)
        return m["id"]

    async def next(self, timeout=5):
        m = json.loads(await asyncio.wait_for(self.socket.recv(), timeout))
        if "seq" in m:
            assert m["seq"] == self.last + 1, (m, self.last)
            self.last = m["seq"]
        return m

    async def until(self, kind, timeout=5):
        """Skips to the next message of a type (or the answer to a request id)."""
        while True:
            m = await self.next(timeout)
            if m["type"] == kind or m.get("re") == kind:
                return m

    async def request(self, kind, *args, **kw):
        return await self.until(await self.send(kind, *args, **kw))

    async def closed(self, timeout=5):
        """Waits for the server's close and gives its code."""
        try:
            while True:
                await asyncio.wait_for(self.socket.recv(), timeout)
        except websockets.ConnectionClosed:
            return self.socket.close_code
