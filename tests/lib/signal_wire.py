"""One WebSocket of a signaling client on bare asyncio: cheap enough for thousands of clients in one process.

Text frames only, for tests against our own server: masks are zero (RFC 6455 asks for random ones to protect
proxies, of which there are none here). SPDX-License-Identifier: BSD-3-Clause
"""
import asyncio
import base64
import json
import os
import struct
from urllib.parse import urlsplit

from soriclient import trust_anything

TEXT, CLOSE, PING, PONG = 1, 8, 9, 10
CONTINUES = 0
TLS = trust_anything()


def frame(opcode, payload):
    n = len(payload)
    size = bytes([0x80 | n]) if n < 126 else (
        b"\xfe" + struct.pack(">H", n) if n < 65536 else b"\xff" + struct.pack(">Q", n))
    return bytes([0x80 | opcode]) + size + b"\0\0\0\0" + payload


class Wire(asyncio.Protocol):
    """told(message) for each text, gone(code) once: 1006 when the connection ended without a word."""

    def __init__(self, host, told, gone):
        self.host, self.told, self.gone = host, told, gone
        self.buffer, self.text, self.upgraded, self.code = b"", b"", False, 1006
        self.transport = None
        self.open = asyncio.get_running_loop().create_future()

    def connection_made(self, transport):
        self.transport = transport
        key = base64.b64encode(os.urandom(16)).decode()
        transport.write(f"GET /ws HTTP/1.1\r\nHost: {self.host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                        f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n"
                        "Sec-WebSocket-Protocol: sori.v1\r\n\r\n".encode())

    def data_received(self, data):
        self.buffer += data
        if not self.upgraded:
            head, found, rest = self.buffer.partition(b"\r\n\r\n")
            if not found:
                return
            if b" 101 " not in head.split(b"\r\n")[0]:
                self.transport.abort()
                return
            self.upgraded, self.buffer = True, rest
            if not self.open.done():
                self.open.set_result(self)
        self._frames()

    def _frames(self):
        data, at = self.buffer, 0
        while len(data) - at >= 2:
            first, n, head = data[at], data[at + 1], 2
            if n >= 126:
                head = 4 if n == 126 else 10
                if len(data) - at < head:
                    break
                n = int.from_bytes(data[at + 2:at + head], "big")
            if len(data) - at < head + n:
                break
            payload = data[at + head:at + head + n]
            at += head + n
            self._take(first, payload)
        self.buffer = data[at:]

    def _take(self, first, payload):
        opcode = first & 15
        if opcode == PING:
            self.transport.write(frame(PONG, payload))
        elif opcode == CLOSE:
            self.code = struct.unpack(">H", payload[:2])[0] if len(payload) >= 2 else 1005
            self.transport.write(frame(CLOSE, payload[:2]))
            self.transport.close()
        elif opcode in (TEXT, CONTINUES):
            self.text += payload
            if first & 0x80:
                text, self.text = self.text, b""
                self.told(json.loads(text))

    def connection_lost(self, _):
        if not self.open.done():
            self.open.set_exception(ConnectionError("refused before the upgrade"))
            self.open.exception()  # whoever waits gets it; nobody may wait
        self.gone(self.code)

    def send(self, text):
        self.transport.write(frame(TEXT, text.encode()))

    def abort(self):
        self.transport.abort()


async def connect(url, told, gone, timeout_s=10, local=None):
    """A socket that is open, or ConnectionError. local: (address, port) to come from."""
    where = urlsplit(url)
    loop = asyncio.get_running_loop()
    try:
        _, wire = await asyncio.wait_for(loop.create_connection(
            lambda: Wire(where.netloc, told, gone), where.hostname, where.port, local_addr=local,
            ssl=TLS if where.scheme == "wss" else None, server_hostname="sori" if where.scheme == "wss" else None),
            timeout_s)
    except (OSError, asyncio.TimeoutError) as e:
        raise ConnectionError(str(e) or "no connection in time") from e
    try:
        return await asyncio.wait_for(asyncio.shield(wire.open), timeout_s)
    except asyncio.TimeoutError:
        wire.abort()
        raise ConnectionError("no upgrade in time") from None
