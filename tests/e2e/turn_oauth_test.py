"""Third-party authorization (RFC 7635): coturn's client with tokens of its own, tokens made by
turnutils_oauth, tokens that are over, changed or for somebody else. SPDX-License-Identifier:
BSD-3-Clause
"""
import base64
import hashlib
import hmac
import json
import os
import struct
import subprocess
import time

import pytest

from soridaemon import Daemon, free_port
from turnclient import (ALLOCATE, CREATE_PERMISSION, ERROR_CODE, LIFETIME, MAGIC, MESSAGE_INTEGRITY,
                        NONCE, REALM, REQUESTED_TRANSPORT, USERNAME, XOR_PEER_ADDRESS,
                        TurnClient, attr, parse, xor_address)

ACCESS_TOKEN, THIRD_PARTY_AUTHORIZATION = 0x001B, 0x802E
SERVER = "turn.example.com"
UDP = attr(REQUESTED_TRANSPORT, bytes([17, 0, 0, 0]))
# The keys that turnutils_uclient -J makes its tokens with (without the newline at their end).
KEYS = {"north": ("A256GCM", b"01234567890123456789012345678901"),
        "union": ("A128GCM", b"1234567890123456"),
        "oldempire": ("A256GCM", b"12345678901234567890123456789012"),
        "ours": ("A256GCM", b"HGkj32KJGiuy098sdfaqbNjOiaz71923"),
        "over": ("A256GCM", b"HGkj32KJGiuy098sdfaqbNjOiaz71923")}


@pytest.fixture(scope="module")
def relay():
    port = free_port()
    lines = [f"{kid}:{alg}:{base64.b64encode(key).decode()}" for kid, (alg, key) in KEYS.items()]
    lines[-1] += ":100:200"
    d = Daemon("sori-turn", f"""
[turn]
listen_udp = 127.0.0.1:{port}
listen_tcp = 127.0.0.1:{port}
threads = 2
[auth]
oauth_keys_file = @FOLDER@/keys
oauth_server_name = {SERVER}
[peers]
allow_loopback_peers = yes
[limits]
unauthenticated_burst = 1000
[log]
users = plain
""", files={"keys": "\n".join(lines)})
    d.port = port
    with d:
        yield d


@pytest.mark.parametrize("transport", [[], ["-t"]])
def test_coturns_client_with_its_own_tokens(relay, transport):
    p = subprocess.run(["turnutils_uclient", "-J", "-y", "-c", "-n", "5", *transport, "-p",
                        str(relay.port), "127.0.0.1"],
                       stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=60)
    assert p.returncode == 0, p.stdout.decode()
    assert b"Total lost packets 0" in p.stdout


def token(mac_key, made_s=None, lifetime_s=600, server=SERVER, kid="ours"):
    """A token as coturn's own tool makes it."""
    made = int(made_s or time.time()) << 16
    p = subprocess.run(
        ["turnutils_oauth", "-e", "--server-name", server, "--auth-key-id", kid,
         "--auth-key", base64.b64encode(KEYS[kid][1]).decode(), "--auth-key-timestamp", "1",
         "--auth-key-lifetime", "2000000000", "--token-mac-key", base64.b64encode(mac_key).decode(),
         "--token-timestamp", str(made), f"--token-lifetime={lifetime_s}"],
        stdout=subprocess.PIPE, timeout=20, check=True)
    return base64.b64decode(json.loads(p.stdout.decode().split("\n}")[0] + "\n}")["access_token"])


class TokenClient(TurnClient):
    def __init__(self, port, mac_key, kid="ours"):
        super().__init__(port, kid, "")
        self.mac_key, self.token = mac_key, b""

    def message(self, method, body):
        if not self.nonce:
            return super().message(method, body)
        body += attr(USERNAME, self.user) + attr(REALM, self.realm) + attr(NONCE, self.nonce)
        if self.token:
            body += attr(ACCESS_TOKEN, self.token)
        head = struct.pack("!HHI", method, len(body) + 24, MAGIC) + os.urandom(12)
        mac = hmac.new(self.mac_key, head + body, hashlib.sha1).digest()
        return head + body + attr(MESSAGE_INTEGRITY, mac)


MAC_KEY = b"twenty bytes for us!"


def test_token_opens_holds_and_ends_a_session(relay):
    with TokenClient(relay.port, MAC_KEY) as c:
        c.sock.send(c.message(ALLOCATE, UDP))
        kind, found = parse(c.sock.recv(2048))
        assert kind == 0x0113 and found[THIRD_PARTY_AUTHORIZATION] == SERVER.encode()
        c.token = token(MAC_KEY, lifetime_s=100)
        assert c.request(ALLOCATE, UDP + attr(LIFETIME, struct.pack("!I", 3600))) == 0
        granted = struct.unpack("!I", c.last[LIFETIME])[0]
        assert 90 <= granted <= 100
        c.token = b""  # the session's key is known now
        peer = attr(XOR_PEER_ADDRESS, xor_address("127.0.0.1", 0))
        assert c.request(CREATE_PERMISSION, peer) == 0
        right, c.mac_key = c.mac_key, b"another key of 20 b."
        assert c.request(CREATE_PERMISSION, peer) == 401
        c.token = token(c.mac_key, lifetime_s=1000)  # a new token, a new session key
        assert c.refresh(3600) == 0
        assert 990 <= struct.unpack("!I", c.last[LIFETIME])[0] <= 1000
        c.token, c.mac_key = b"", right
        assert c.request(CREATE_PERMISSION, peer) == 401
        c.token = token(MAC_KEY)
        assert c.refresh(0) == 0


@pytest.mark.parametrize("options,kid", [
    ({"made_s": time.time() - 700}, "ours"), ({"made_s": time.time() + 600}, "ours"),
    ({"server": "other.example.com"}, "ours"), ({}, "north"), ({"kid": "over"}, "over"),
    ({}, "nobody")])
def test_token_that_is_not_for_now_or_us_gets_401(relay, options, kid):
    with TokenClient(relay.port, MAC_KEY, kid) as c:
        c.token = token(MAC_KEY, **options)
        assert c.request(ALLOCATE, UDP) == 401


def test_changed_token_gets_401(relay):
    good = token(MAC_KEY)
    with TokenClient(relay.port, MAC_KEY) as c:
        assert c.request(ALLOCATE, UDP) == 401  # the nonce, and no token
        for wrong in (good[:-1], good + b"\0", good[:20] + bytes([good[20] ^ 1]) + good[21:],
                      b"\xff\xff" + good[2:], b"\0\0" + good[2:], b"\0"):
            c.token = wrong
            c.sock.send(c.message(ALLOCATE, UDP))
            kind, found = parse(c.sock.recv(2048))
            assert kind == 0x0113 and found[ERROR_CODE][2:4] == b"\x04\x01"
        c.token = good
        assert c.request(ALLOCATE, UDP) == 0 and c.refresh(0) == 0
