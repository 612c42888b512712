"""A TURN client for tests, over UDP or TCP: long-term credentials, Allocate and what follows.
SPDX-License-Identifier: BSD-3-Clause
"""
import hashlib
import hmac
import os
import socket
import ssl
import struct

MAGIC = 0x2112A442
ALLOCATE, REFRESH, SEND, DATA, CREATE_PERMISSION, CHANNEL_BIND = 3, 4, 6, 7, 8, 9
XOR_PEER_ADDRESS, XOR_RELAYED_ADDRESS, ALTERNATE_SERVER = 0x0012, 0x0016, 0x8023
ERROR_CODE, LIFETIME, CHANNEL_NUMBER, REQUESTED_TRANSPORT = 0x0009, 0x000D, 0x000C, 0x0019
CONNECT, CONNECTION_BIND, CONNECTION_ATTEMPT, CONNECTION_ID = 0x0A, 0x0B, 0x0C, 0x002A
MOBILITY_TICKET = 0x8030
USERNAME, MESSAGE_INTEGRITY, REALM, NONCE, DATA_ATTR = 0x0006, 0x0008, 0x0014, 0x0015, 0x0013


def attr(kind, value):
    return struct.pack("!HH", kind, len(value)) + value + bytes(-len(value) % 4)


def xor_address(host, port):
    ip = int.from_bytes(socket.inet_aton(host), "big") ^ MAGIC
    return struct.pack("!BBHI", 0, 1, port ^ (MAGIC >> 16), ip)


def unxor(value):
    _, _, port, ip = struct.unpack("!BBHI", value)
    return socket.inet_ntoa(struct.pack("!I", ip ^ MAGIC)), port ^ (MAGIC >> 16)


def parse(message):
    """(type, {attribute: value})"""
    kind, length = struct.unpack("!HH", message[:4])
    at, found = 20, {}
    while at + 4 <= 20 + length:
        name, n = struct.unpack("!HH", message[at:at + 4])
        found.setdefault(name, message[at + 4:at + 4 + n])
        at += 4 + n + -n % 4
    return kind, found


class TurnClient:
    """request() gives the error code, 0 for a success; attributes of the last answer in .last."""

    def __init__(self, port, user, password, *, tcp=False, tls=False, source="127.0.0.1",
                 timeout_s=5):
        self.sock = socket.socket(socket.AF_INET,
                                  socket.SOCK_STREAM if tcp or tls else socket.SOCK_DGRAM)
        self.sock.settimeout(timeout_s)
        self.sock.bind((source, 0))
        self.sock.connect(("127.0.0.1", port))
        if tls:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
            self.sock = context.wrap_socket(self.sock)
        self.user, self.password = user.encode(), password.encode()
        self.realm = self.nonce = b""
        self.last, self.relayed, self.connection, self.ticket = {}, None, None, None

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.sock.close()

    def message(self, method, body, tid=None):
        tid = tid or os.urandom(12)
        if not self.nonce:
            return struct.pack("!HHI", method, len(body), MAGIC) + tid + body
        body += attr(USERNAME, self.user) + attr(REALM, self.realm) + attr(NONCE, self.nonce)
        head = struct.pack("!HHI", method, len(body) + 24, MAGIC) + tid
        key = hashlib.md5(b":".join((self.user, self.realm, self.password))).digest()
        mac = hmac.new(key, head + body, hashlib.sha1).digest()
        return head + body + attr(MESSAGE_INTEGRITY, mac)

    def read(self):
        """One STUN message; of a stream exactly its bytes."""
        if self.sock.type == socket.SOCK_DGRAM:
            return self.sock.recv(2048)
        head = self.exactly(20)
        return head + self.exactly(struct.unpack("!H", head[2:4])[0])

    def exactly(self, n):
        data = b""
        while len(data) < n:
            more = self.sock.recv(n - len(data))
            if not more:
                raise ConnectionError("closed by the server")
            data += more
        return data

    def request(self, method, body=b""):
        for _ in range(2):
            self.sock.send(self.message(method, body))
            kind, self.last = parse(self.read())
            if kind & 0x0110 == 0x0100:
                return 0
            code = self.last[ERROR_CODE][2] * 100 + self.last[ERROR_CODE][3]
            if code not in (401, 438) or NONCE not in self.last:
                break
            self.realm = self.last.get(REALM, self.realm)
            self.nonce = self.last[NONCE]
        return code

    def allocate(self, transport=17, body=b""):
        code = self.request(ALLOCATE, attr(REQUESTED_TRANSPORT, bytes([transport, 0, 0, 0])) + body)
        if code == 0 and len(self.last[XOR_RELAYED_ADDRESS]) == 8:
            self.relayed = unxor(self.last[XOR_RELAYED_ADDRESS])
        return code

    def refresh(self, lifetime_s):
        return self.request(REFRESH, attr(LIFETIME, struct.pack("!I", lifetime_s)))

    def permit(self, *hosts):
        return self.request(CREATE_PERMISSION, b"".join(
            attr(XOR_PEER_ADDRESS, xor_address(host, 0)) for host in hosts))

    def bind_channel(self, number, host, port):
        return self.request(CHANNEL_BIND, attr(CHANNEL_NUMBER, struct.pack("!HH", number, 0)) +
                            attr(XOR_PEER_ADDRESS, xor_address(host, port)))

    def send_channel(self, number, data):
        self.sock.send(struct.pack("!HH", number, len(data)) + data)

    def connect(self, host, port):
        """Connect of a TCP allocation; after 0, .connection is its CONNECTION-ID."""
        code = self.request(CONNECT, attr(XOR_PEER_ADDRESS, xor_address(host, port)))
        if code == 0:
            self.connection = self.last[CONNECTION_ID]
        return code

    def connection_bind(self, connection):
        return self.request(CONNECTION_BIND, attr(CONNECTION_ID, connection))

    def allocate_mobile(self, transport=17):
        """Allocate that asks for a ticket; after 0 it is in .ticket."""
        code = self.allocate(transport, attr(MOBILITY_TICKET, b""))
        if code == 0:
            self.ticket = self.last[MOBILITY_TICKET]
        return code

    def move(self, ticket, lifetime_s=600):
        """Refresh with a ticket; after 0 the next one is in .ticket."""
        code = self.request(REFRESH, attr(LIFETIME, struct.pack("!I", lifetime_s)) +
                            attr(MOBILITY_TICKET, ticket))
        if code == 0:
            self.ticket = self.last[MOBILITY_TICKET]
        return code
